"""Reads: one round trip, and a hit only where everything speaks for it; stands in for cacheops' `getting`.

A hit is an entry whose seal is whole, whose generation, epochs and stamps are those it was stored with, and whose age
is within its bound by Redis' clock and by the wall's. Everything else is a miss, and opens a computation.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Final, NamedTuple

import redis
from cacheops.redis import redis_client

from cachepolicy import clock, signals
from cachepolicy.runtime import births, scripts, switch
from cachepolicy.runtime.conditions import digest
from cachepolicy.runtime.dependencies import fingerprint
from cachepolicy.runtime.entry import Entry, Value, unseal
from cachepolicy.runtime.freshness import is_bypassed, is_fresh
from cachepolicy.runtime.invalidations import delivered
from cachepolicy.runtime.link import Link, link

__all__ = ["LOCK_MS", "REPLACEMENTS", "Place", "Reading"]

# How long the lock of a reader lives if it neither stores nor fails; nobody waits longer in all.
LOCK_MS: Final = 10_000
# How long a reader waits for one holder, dead or slow, before it takes the lock over.
_PATIENCE_S: Final = 2.0
_POLL_S: Final = (0.005, 0.05)
_SUM_DIGITS: Final = 40
_UNLOCK: Final = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end"
_TAKE_OVER: Final = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
"""


class Place(NamedTuple):
    """Where a value lies, and what it depends on: {table: [conditions]} as cacheops has it."""

    key: str
    prefix: str
    conditions: dict[str, list[dict[str, Any]]]

    def tables(self) -> list[str]:
        """The tables whose epochs it depends on."""
        return list(self.conditions)

    def stamps(self) -> Iterator[tuple[int, str, str]]:
        """The number of the table, the scheme and the key of each stamp it depends on."""
        for number, (table, disjunction) in enumerate(self.conditions.items(), 1):
            for conjunction in disjunction:
                fields = sorted(conjunction)
                digests = "".join([digest(field, conjunction[field]) for field in fields])
                scheme = ",".join(fields)
                yield number, scheme, scripts.stamp_key(self.prefix, table, scheme, digests)

    def fingerprint(self) -> bytes:
        """The fields of its tables, as they are in this deploy."""
        return fingerprint(frozenset(self.conditions))


class Reading:
    """One read of a place, as a context manager: gives the value, or None and is then computing it."""

    __slots__ = ("_computation", "_lock", "_place", "_token")

    def __init__(self, key: str, cond_dnfs: dict[str, list[dict[str, Any]]], prefix: str, lock: bool = False) -> None:
        self._place = Place(key, prefix, cond_dnfs)
        self._lock, self._token = lock, ""

    def __enter__(self) -> Value | None:
        self._computation = births.begin(self._place.key)
        found = self._look()
        # A reader that wants it fresh takes nobody's value, so that it waits for nobody.
        if found is None and self._lock and self._computation.refusal is None and not is_fresh():
            found = self._wait()
        if found is None:
            _tell_read(self._place.key, None)
            return None
        entry, age_us = found
        births.finish(self._computation)
        births.lowered(clock.now_ns() - age_us * 1000)
        _tell_read(self._place.key, age_us)
        return Value(entry.value)

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        births.finish(self._computation)
        if self._token:
            self._unlock()

    def _look(self) -> tuple[Entry, int] | None:
        """The entry and its age in µs."""
        place, computation, here = self._place, self._computation, link(redis_client)
        if is_bypassed():
            computation.refusal = "read past the cache"
            return None
        if switch.is_off(place.tables()):
            computation.refusal = "switched off"
            return None
        try:
            if not delivered(redis_client, here):
                computation.refusal = "Redis has not been told of every write yet"
                return None
            for _ in range(2):  # the first may find it set back
                if here.clock.is_due():
                    _open(here, place.prefix, place.tables())
            computation.restart()
            computation.redis_ns = here.clock.earliest_ns(computation.started_ns)
            epochs = [f"{place.prefix}epoch:{table}" for table in place.conditions]
            stamps = [stamp_key for _, _, stamp_key in place.stamps()]
            generation_key = scripts.server_keys(place.prefix)[0]
            data, *stamped = redis_client.values([place.key, generation_key, *epochs, *stamps])
            computation.generation = stamped[0]
            if None in stamped[: 1 + len(epochs)]:
                computation.generation = _open(here, place.prefix, place.tables())
                computation.restart()
                computation.redis_ns = here.clock.earliest_ns(computation.started_ns)
                return None
        except redis.RedisError:
            computation.refusal = "Redis cannot be reached"
            return None
        if data is None or None in stamped or is_fresh():
            return None
        if hashlib.sha1(b" ".join(stamped)).hexdigest().encode() != data[:_SUM_DIGITS]:
            return None
        return _within_bound(here, unseal(data[_SUM_DIGITS:], place.key, place.fingerprint()))

    def _wait(self) -> tuple[Entry, int] | None:
        """Compute it under the lock, or wait for who does: for the value alone, never for the lock.

        A holder that stores, is refused or raises releases the lock at once, and whoever waited computes at once if
        there is no value then: on a table that is always written to, a reader waits for one computation. A holder may
        be dead or slow, which nobody can tell: after 2 s one of its waiters takes the lock over and computes too, and
        the rest wait for either. So a dead one costs 2 s, a computation of 3 s is made twice, and one of more than
        10 s by everybody, for then nobody waits any longer.
        """
        lock_key, first = f"{self._place.key}:lock", scripts.random_text()
        started = since = time.monotonic()
        try:
            # What is taken over stays the same wait: `<first holder>:<holder>`.
            token = f"{first}:{first}"
            if redis_client.set(lock_key, token, nx=True, px=LOCK_MS):
                self._token = token
                return self._look()  # stored between the miss and the lock
            waited_for = None
            while True:
                held = redis_client.values([lock_key])[0]
                found = self._look()
                now = time.monotonic()
                if found is not None or held is None or self._computation.refusal is not None:
                    return found
                if waited_for is not None and _first(held) != _first(waited_for):
                    return None  # released without a value, and another's by now
                if now - started >= LOCK_MS / 1000:
                    return None
                if held != waited_for:
                    waited_for, since = held, now
                elif now - since >= _PATIENCE_S:
                    token = f"{_first(held)}:{first}"
                    if redis_client.eval(_TAKE_OVER, 1, lock_key, held, token, LOCK_MS):
                        self._token = token
                        return self._look()
                least, most = _POLL_S
                time.sleep(min(max((now - started) / 10, least), most))
        except redis.RedisError:
            return None

    def _unlock(self) -> None:
        try:
            redis_client.eval(_UNLOCK, 1, f"{self._place.key}:lock", self._token)
        except redis.RedisError:
            return  # it goes by itself


def _first(held: bytes) -> str:
    """Of a lock: who took it when it was free."""
    return held.decode().partition(":")[0]


def _open(here: Link, prefix: str, tables: list[str]) -> bytes:
    """Have the tables' records made where there are none, and learn Redis' time; gives the generation."""
    was_set_back = here.clock.set_back
    keys = scripts.server_keys(prefix) + scripts.table_keys(prefix, tables)
    args = [scripts.random_text(), "1" if was_set_back else ""]
    reply = here.run(redis_client, scripts.OPEN, keys, args, anew=was_set_back)
    generation: bytes = reply[0]
    return generation


def _within_bound(here: Link, entry: Entry | None) -> tuple[Entry, int] | None:
    if entry is None:
        return None
    by_redis_us = here.clock.now_us() - entry.birth_us
    # Two clocks: where Redis' was set back before this process came, the wall's still knows.
    age_us = max(by_redis_us, clock.wall_us() - entry.wall_us)
    return (entry, age_us) if by_redis_us >= 0 and age_us <= entry.bound_us else None


def _tell_read(key: str, age_us: int | None) -> None:
    if signals.read.receivers:
        age_ms = None if age_us is None else age_us / 1000
        signals.read.send_robust(sender=None, key=key, hit=age_us is not None, age_ms=age_ms)


REPLACEMENTS: Final = (("cacheops.query", "getting", lambda _: Reading),)
