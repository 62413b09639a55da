"""The suite's own settings, with its CACHEOPS dict as a policy: bounds far away, so that nothing ends by time."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import cachepolicy
from cachepolicy.starter import from_cacheops

# The suite's package has the name of ours; its directory comes first on this process's path.
from tests import settings as upstream

globals().update({name: value for name, value in vars(upstream).items() if name.isupper()})
# What stands by hand beside a policy is refused.
for _name in ("CACHEOPS", "CACHEOPS_DEFAULTS", "CACHEOPS_INSIDEOUT", "CACHEOPS_DEGRADE_ON_FAILURE"):
    globals().pop(_name)

INSTALLED_APPS = ["cacheops", "cachepolicy", *(app for app in upstream.INSTALLED_APPS if app != "cacheops")]
CACHEOPS_REDIS = os.environ["REDIS_URL"]
# Its models and rules are cacheops' own tests' business: multi-table inheritance, relations without a rule.
SILENCED_SYSTEM_CHECKS = ["cachepolicy.W012", "cachepolicy.W014"]

with tempfile.TemporaryDirectory() as _directory:
    _policies = Path(_directory) / "policies.yaml"
    _policies.write_text(from_cacheops(upstream.CACHEOPS, upstream.CACHEOPS_DEFAULTS), encoding="utf-8")
    globals().update(cachepolicy.settings(_policies))
