"""The CACHEPOLICY* settings, read at call time: one function each."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, Final

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from cachepolicy.policies.model import PolicySet
from cachepolicy.policies.problems import Problem

__all__ = [
    "compress_above",
    "loaded",
    "local_get_entries",
    "max_lag_ns",
    "near_bytes",
    "near_entries",
    "policies",
    "problems",
    "pure_functions",
    "replaced",
    "secret_keys",
]


# What Django's settings have been asked for, and are emptied of by every change: they themselves take 0.5 µs to say it.
_looked_up: Final[dict[str, Any]] = object.__getattribute__(settings, "__dict__")


def secret_keys() -> tuple[Any, Any]:
    """Django's SECRET_KEY and SECRET_KEY_FALLBACKS; asked for with every entry and every digest."""
    try:
        return _looked_up["SECRET_KEY"], _looked_up["SECRET_KEY_FALLBACKS"]
    except KeyError:
        return settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS


def loaded() -> bool:
    """Whether the settings carry policies, sound or not."""
    return isinstance(getattr(settings, "CACHEPOLICY", None), PolicySet)


def policies() -> PolicySet:
    """The policies in force, empty for a faulty file; raises ImproperlyConfigured where settings.py loads none."""
    found = getattr(settings, "CACHEPOLICY", None)
    if isinstance(found, PolicySet):
        return found
    raise ImproperlyConfigured(
        "settings.CACHEPOLICY is missing: no policy file is loaded; add to settings.py "
        '`globals().update(cachepolicy.settings(BASE_DIR / "policies.yaml"))`'
    )


def max_lag_ns(alias: str) -> int:
    """How far the database `alias` may lag behind, by the policies in force; asked before every statement."""
    found = getattr(settings, "CACHEPOLICY", None)
    return found.max_lag_ms(alias) * 1_000_000 if found is not None else 0


def problems() -> tuple[Problem, ...]:
    """What is wrong with the policy file; nothing is cached while there is any."""
    found: tuple[Problem, ...] = getattr(settings, "CACHEPOLICY_PROBLEMS", ())
    return found


def replaced() -> dict[str, Any]:
    """The settings that stood in settings.py by hand when the policies replaced them, by name."""
    found: dict[str, Any] = getattr(settings, "CACHEPOLICY_REPLACED", {})
    return found


def local_get_entries() -> int:
    """CACHEPOLICY_LOCAL_GET_ENTRIES: how many rows local_get keeps in each process; default 10 000."""
    entries: int = getattr(settings, "CACHEPOLICY_LOCAL_GET_ENTRIES", 10_000)
    return entries


def near_entries() -> int:
    """CACHEPOLICY_NEAR_ENTRIES: how many values the near tier keeps in each process; default 10 000."""
    entries: int = getattr(settings, "CACHEPOLICY_NEAR_ENTRIES", 10_000)
    return entries


def near_bytes() -> int:
    """CACHEPOLICY_NEAR_BYTES: how much memory these may take in each process, estimated; default 64 MiB."""
    size: int = getattr(settings, "CACHEPOLICY_NEAR_BYTES", 64 * 1024 * 1024)
    return size


def compress_above() -> int:
    """CACHEPOLICY_COMPRESS_ABOVE: how many bytes a value may have before it is compressed in Redis; default never."""
    size: int = getattr(settings, "CACHEPOLICY_COMPRESS_ABOVE", sys.maxsize)
    return size


def pure_functions() -> frozenset[str]:
    """CACHEPOLICY_PURE_FUNCTIONS: SQL functions of the project's own that write nothing, so that calling one is a read.

    Names without a schema, in any case. Only a call that the text shows bare is looked up here, not `schema.name()`.
    """
    names: Iterable[str] = getattr(settings, "CACHEPOLICY_PURE_FUNCTIONS", ())
    return frozenset(name.lower() for name in names)
