"""cacheops' simple cache (`@cached`, `cache.get`, `cache.set`): the same entries, without tables to depend on.

A `set` without a `get` that missed stores nothing: since when its value is true is unknown.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

import redis
from cacheops.redis import redis_client
from cacheops.simple import CacheMiss

from cachepolicy.runtime import births, near
from cachepolicy.runtime.fills import bounded_ms, fill
from cachepolicy.runtime.places import Place
from cachepolicy.runtime.reads import Reading
from cachepolicy.runtime.transactions import transaction_states

__all__ = ["REPLACEMENTS", "forget"]

_log: Final = logging.getLogger("cachepolicy")
# What asked and never stored is forgotten then, as when a function raised.
_MOST_ASKED: Final = 32


def _place(key: str) -> Place:
    # On a cluster all keys of a read have to carry its hash tag.
    prefix = key[: key.index("}") + 1] if key.startswith("{") and "}" in key else ""
    # A name of our own: a process of plain cacheops, not gone yet in a deploy, would fail on what is sealed.
    return Place(f"{key}:sealed", prefix, {})


def _get(_upstream: Any) -> Callable[..., Any]:
    def get(_cache: Any, cache_key: str) -> Any:
        place = _place(cache_key)
        found = Reading(place).__enter__()
        if found is not None:
            return found.value()
        births.prune(_MOST_ASKED)
        raise CacheMiss

    return get


def _set(_upstream: Any) -> Callable[..., None]:
    def set_(_cache: Any, cache_key: str, data: Any, timeout: float | None = None) -> None:
        place = _place(cache_key)
        computation = births.found(place.key)
        try:
            # Of any database: what was read for it cannot be told.
            dirty = transaction_states.any_is_dirty()
            fill(place, data, bounded_ms(timeout, None), dirty=dirty, computation=computation)
        finally:
            if computation is not None:
                births.finish(computation)

    return set_


def forget(place: Place) -> None:
    """Drop the value of a place, here and in Redis."""
    try:
        redis_client.delete(place.key)
    except redis.RedisError as error:
        _log.warning("%s could not be deleted, and goes with its timeout: %s", place.key, error)
    near.forget(place.key)


def _delete(_upstream: Any) -> Callable[..., None]:
    def delete(_cache: Any, cache_key: str) -> None:
        forget(_place(cache_key))

    return delete


REPLACEMENTS: Final = (
    ("cacheops.simple:RedisCache", "_get", _get),
    ("cacheops.simple:RedisCache", "_set", _set),
    ("cacheops.simple:RedisCache", "_delete", _delete),
)
