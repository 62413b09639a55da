"""Declare how stale the ORM cache may get, and have it kept. Safe to import inside settings.py."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from cachepolicy.compiler import compile_policies, unsupported
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
    from cachepolicy.runtime.freshness import fresh
    from cachepolicy.runtime.immutable import allow_writes
    from cachepolicy.runtime.orm_writes import invalidates

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
    "fresh",
    "invalidates",
    "load_policies",
    "settings",
]

__version__ = "0.1.0"

# Resolved at first use: importing cacheops inside settings.py would freeze half-read settings.
_LAZY: Final = {
    "allow_writes": "cachepolicy.runtime.immutable",
    "cached": "cachepolicy.runtime.decorators",
    "cached_as": "cachepolicy.runtime.decorators",
    "fresh": "cachepolicy.runtime.freshness",
    "invalidates": "cachepolicy.runtime.orm_writes",
}


def settings(path: str | os.PathLike[str], environment: str | None = None) -> dict[str, Any]:
    """The Django settings of a policy file, for `globals().update(cachepolicy.settings(BASE_DIR / "policies.yaml"))`.

    `environment` (else $CACHEPOLICY_ENVIRONMENT) names an overlay of the file. Raises PolicyError with every problem;
    under the commands that say them as system checks it returns settings that cache nothing instead.
    """
    try:
        policies = load_policies(path, environment)
        problems = tuple(unsupported(policies))
    except PolicyError as error:
        problems = error.problems
    if problems:
        if not checks_follow():
            raise PolicyError(problems)
        policies = PolicySet(problems[0].origin.file)
    compiled = compile_policies(policies)
    frame = sys._getframe(1)
    # The body of a settings class has its names in the locals.
    return {
        **compiled,
        "CACHEPOLICY": policies,
        "CACHEPOLICY_PROBLEMS": problems,
        "CACHEPOLICY_REPLACED": _replaced({**frame.f_globals, **frame.f_locals}, compiled),
    }


def _replaced(caller: Mapping[str, Any], compiled: Mapping[str, Any]) -> dict[str, Any]:
    """What stands in the caller by hand; settings that star-import others with the door in them have its values too."""
    ours = compile_policies(caller["CACHEPOLICY"]) if "CACHEPOLICY" in caller else {}
    by_hand = {name: caller[name] for name in compiled if name in caller and caller[name] != ours.get(name)}
    return {**caller.get("CACHEPOLICY_REPLACED", {}), **by_hand}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
