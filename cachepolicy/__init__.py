"""Declare how stale the ORM cache may get, and have it kept. Safe to import inside settings.py."""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any, Final

from cachepolicy.compiler import compile_policies, refused, unsupported
from cachepolicy.exceptions import (
    CacheKeyError,
    CachePolicyError,
    ImmutableTableError,
    PolicyError,
    UnsupportedFunctionError,
)
from cachepolicy.policies.durations import Duration
from cachepolicy.policies.loader import load_policies
from cachepolicy.policies.model import PolicySet
from cachepolicy.startup import checks_follow

if TYPE_CHECKING:
    from cachepolicy.runtime.decorators import cached, cached_as
    from cachepolicy.runtime.immutable import allow_writes

__all__ = [
    "CacheKeyError",
    "CachePolicyError",
    "Duration",
    "ImmutableTableError",
    "PolicyError",
    "PolicySet",
    "UnsupportedFunctionError",
    "allow_writes",
    "cached",
    "cached_as",
    "load_policies",
    "settings",
]

__version__ = "0.1.0"

# Resolved at first use: importing cacheops inside settings.py would freeze half-read settings.
_LAZY: Final = {
    "allow_writes": "cachepolicy.runtime.immutable",
    "cached": "cachepolicy.runtime.decorators",
    "cached_as": "cachepolicy.runtime.decorators",
}


def settings(path: str | os.PathLike[str], environment: str | None = None) -> dict[str, Any]:
    """The Django settings of a policy file, for `globals().update(cachepolicy.settings(BASE_DIR / "policies.yaml"))`.

    `environment` (else $CACHEPOLICY_ENVIRONMENT) names an overlay of the file. Raises PolicyError with every problem;
    under manage.py it returns settings that cache nothing instead, and the system checks say the problems.
    """
    try:
        policies = load_policies(path, environment)
        problems = tuple(unsupported(policies))
    except PolicyError as error:
        problems = error.problems
    if problems:
        if not checks_follow():
            raise PolicyError(problems)
        return refused(problems)
    compiled = {**compile_policies(policies), "CACHEPOLICY": policies}
    caller = sys._getframe(1).f_globals
    # A settings module that star-imports another one with the door in it replaces cachepolicy's own values: fine.
    by_hand = () if "CACHEPOLICY" in caller else tuple(name for name in compiled if name in caller)
    return {**compiled, "CACHEPOLICY_REPLACED": by_hand}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
