"""Fills: what may be stored, since when it is true, and for how long; stands in for cacheops' `cache_thing`."""

from __future__ import annotations

import logging
import math
from typing import Any, Final

import redis
from cacheops.redis import redis_client

from cachepolicy import clock, conf, signals
from cachepolicy.compiler import Bound
from cachepolicy.runtime import births, near, scripts
from cachepolicy.runtime.births import Computation
from cachepolicy.runtime.entry import seal
from cachepolicy.runtime.link import link
from cachepolicy.runtime.near import Copy
from cachepolicy.runtime.places import Place
from cachepolicy.runtime.tables import known_tables
from cachepolicy.runtime.transactions import transaction_states
from cachepolicy.runtime.values import keep

__all__ = ["REPLACEMENTS", "bounded_ms", "cache_thing", "fill"]

_log: Final = logging.getLogger("cachepolicy")
_warned: Final[set[str]] = set()


def cache_thing(
    prefix: str,
    cache_key: str,
    data: Any,
    cond_dnfs: dict[str, list[dict[str, Any]]],
    timeout: float | None,
    dbs: Any = (),
    precall_key: str = "",  # noqa: ARG001 - of cacheops without INSIDEOUT
    expected_checksum: str = "",
) -> str | None:
    """Store what a miss has computed, for as long as the call site says within what its tables' rules allow."""
    if expected_checksum == "never match":
        return ""  # keep_fresh's question before the call: the lease answers it for every read
    computation = births.found(cache_key)
    place, dirty = Place(cache_key, prefix, cond_dnfs), transaction_states.is_dirty(dbs)
    fill(place, data, bounded_ms(timeout, place.allowed.timeout), dirty=dirty, computation=computation)
    return None


def fill(place: Place, data: Any, ms: int, *, dirty: bool, computation: Computation | None) -> Copy | None:
    """Store a value that a miss has computed; gives what is kept of it near by. Never raises."""
    copy = None
    if computation is None:
        reason = "nobody asked for it first, so that its age is unknown"
    elif dirty:
        reason = "read inside a transaction that has written"
    elif computation.refusal is not None:
        reason = computation.refusal
    else:
        try:
            kept = keep(data)
            payload = kept.payload()
        except Exception as error:
            _warn_once(place, error)
            reason = f"it cannot be pickled: {error}"
        else:
            reason = computation.unstorable or _store(place, payload, ms, computation)
            # Without Redis the database is asked once per `near`: what this process has written, it knows itself.
            if place.near_ns and (not reason or reason in (computation.unstorable, births.UNREACHABLE)):
                copy = near.keep(place, kept, computation.born_ns, computation.since_ns, ms)
    if signals.fill.receivers:
        signals.fill.send_robust(sender=None, key=place.key, stored=not reason, reason=reason)
    return copy


def bounded_ms(timeout_s: float | None, longest_ms: int | None) -> int:
    """A rule's timeout as it is; a call site's never above `longest_ms`, or `max_staleness` where that is None.

    0, that is nothing is stored, where neither says how long.
    """
    if isinstance(timeout_s, Bound):
        return timeout_s.ms
    ceiling = conf.policies().max_staleness
    limits: list[float | None] = [longest_ms if longest_ms is not None else ceiling.value.ms if ceiling else None]
    limits += [None if timeout_s is None else timeout_s * 1000]
    shortest = min((limit for limit in limits if limit is not None), default=0)
    return int(shortest) if math.isfinite(shortest) else 0


def _store(place: Place, payload: bytes, ms: int, computation: Computation) -> str:
    """Why it was not stored; empty if it was."""
    age_ns = clock.now_ns() - computation.born_ns
    if ms * 1_000_000 - age_ns <= 0:
        return "older than its timeout"
    if computation.generation is None:
        return "Redis was not asked for it"
    birth_us = computation.redis_us(computation.born_ns)
    wall_us = clock.wall_us() - age_ns // 1000 - 1
    value = seal(place.key, place.fingerprint(), birth_us, wall_us, ms, payload)
    stamps = place.stamps()
    keys = [place.key, *scripts.server_keys(place.prefix), *scripts.table_keys(place.prefix, place.tables)]
    keys += [stamp_key for *_, stamp_key in stamps]
    args: list[Any] = [scripts.random_text(), len(place.conditions), computation.redis_us(computation.since_ns)]
    args += [birth_us, ms, computation.generation, value]
    for number, _, scheme, _ in stamps:
        args += [number, scheme]
    try:
        reply = link(redis_client).run(redis_client, scripts.FILL, keys, args)
    except redis.RedisError:
        return births.UNREACHABLE
    return bytes(reply[0]).decode()


def _warn_once(place: Place, error: Exception) -> None:
    names = ", ".join(_rules(place)) or place.key
    if names not in _warned:
        _warned.add(names)
        _log.warning(
            "a result under %s cannot be pickled, so that it is returned and not stored: %s; give its objects a "
            "__reduce__, or read it without a rule",
            names,
            error,
        )


def _rules(place: Place) -> list[str]:
    """The rules of the tables it depends on, with their place in the policy."""
    models = (known_tables().get(table) for table in place.conditions)
    found = (conf.policies().rule_for(model._meta.label) for model in models if model is not None)
    return sorted({f"{rule.timeout.origin} ({rule.pattern})" for rule in found if rule is not None})


REPLACEMENTS: Final = (("cacheops.query", "cache_thing", lambda _: cache_thing),)
