"""Django's settings of one contender; the run hands them over in the environment."""

from __future__ import annotations

import json
import os

import cachepolicy

_given = json.loads(os.environ["CACHEPOLICY_BENCHMARK"])

SECRET_KEY = "for these measurements only"
ALLOWED_HOSTS = ["*"]
DATABASES = {"default": _given["database"]}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [*_given["apps"], "benchmarks.newspaper"]
ROOT_URLCONF = "benchmarks.newspaper.pages"
TIME_ZONE = "UTC"
USE_TZ = True

BENCHMARK_STYLE = _given["style"]
BENCHMARK_ENTRIES = _given["entries"]
BENCHMARK_DEPENDENTS_READ = _given["dependents_read"]
BENCHMARK_REDIS = _given["redis"]

globals().update(_given["settings"])
if _given["policy"]:
    globals().update(cachepolicy.settings(_given["policy"]))
