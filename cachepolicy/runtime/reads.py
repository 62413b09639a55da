"""Reads: one round trip, and a hit only where everything speaks for it; stands in for cacheops' `getting`.

A hit is an entry whose seal is whole, whose generation, epochs and stamps are those it was stored with, and whose age
is within its bound by Redis' clock and by the wall's. Everything else is a miss, and opens a computation.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Hashable, Sequence
from types import TracebackType
from typing import Any, Final

import redis
from cacheops.redis import redis_client

from cachepolicy import clock, signals
from cachepolicy.runtime import births, near, scripts, switch
from cachepolicy.runtime.births import Computation
from cachepolicy.runtime.entry import Entry, unseal
from cachepolicy.runtime.freshness import is_bypassed, is_fresh
from cachepolicy.runtime.invalidations import delivered
from cachepolicy.runtime.link import Link, link
from cachepolicy.runtime.near import Copy
from cachepolicy.runtime.places import Place
from cachepolicy.runtime.values import Kept

__all__ = ["LOCK_MS", "REPLACEMENTS", "Reading", "getting", "near_copy", "unlock"]

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


def near_copy(key: Hashable) -> Copy | None:
    """The copy under a key in this process's memory, if it may be served here and now."""
    now_ns = clock.now_ns()
    copy = near.find(key, now_ns)
    if copy is None or is_fresh() or switch.current(now_ns).covers(copy.place.tables):
        return None
    if births.open_computation() is not None:
        if births.is_too_old(copy.born_ns, now_ns):
            return None
        births.lowered(copy.born_ns, copy.since_ns)
    if signals.read.receivers:
        _tell_read(copy.place.key, (now_ns - copy.born_ns) // 1000)
    return copy


class Reading:
    """One read of a place, as a context manager: gives the value as it is kept, or None and is then computing it.

    `ms` is how long what is computed will be good for. `anew` is for who computes a value that is there.
    """

    __slots__ = ("_anew", "_lock", "_ms", "_place", "_token", "computation", "copy", "left_ns")

    def __init__(self, place: Place, lock: bool = False, *, ms: int | None = None, anew: bool = False) -> None:
        self._place, self._ms, self._anew = place, ms, anew
        self._lock, self._token = lock, ""
        self.computation: Computation | None = None
        # What is kept of the value near by, and for how long the one in Redis is still good.
        self.copy: Copy | None = None
        self.left_ns: int | None = None

    def __enter__(self) -> Kept | None:
        place = self._place
        if place.near_ns and not self._anew and (copy := near_copy(place.key)) is not None:
            self.copy = copy
            return copy.kept
        self.computation = computation = births.begin(place.key, self._ms)
        try:
            found = self._look()
            # A reader that wants it fresh takes nobody's value, so that it waits for nobody.
            if found is None and self._lock and not self._refused() and not is_fresh():
                found = self._wait()
        except BaseException:
            self.__exit__(None, None, None)  # a time limit of the application's strikes anywhere
            raise
        if found is None:
            _tell_read(place.key, None)
            return None
        entry, age_us = found
        births.finish(computation)
        born_ns = clock.now_ns() - age_us * 1000
        births.lowered(born_ns)
        _tell_read(place.key, age_us)
        self.left_ns = (entry.bound_us - age_us) * 1000
        if place.near_ns:
            self.copy = near.keep(place, entry.kept, born_ns, computation.started_ns, entry.bound_us // 1000)
        return entry.kept

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.computation is not None:
            births.finish(self.computation)
        if self._token:
            unlock(f"{self._place.key}:lock", self._token)

    def _look(self) -> tuple[Entry, int] | None:
        """The entry and its age in µs."""
        place, computation, here = self._place, self.computation, link(redis_client)
        assert computation is not None
        if is_bypassed():
            computation.refusal = "read past the cache"
            return None
        if switch.is_off(place.tables):
            computation.refusal = "switched off"
            return None
        try:
            if not delivered(redis_client, here):
                computation.unstorable = "Redis has not been told of every write yet"
                return None
            for _ in range(2):  # the first may find it set back
                if here.clock.is_due():
                    _open(here, place.prefix, place.tables)
            computation.restart()
            computation.redis_ns = here.clock.earliest_ns(computation.started_ns)
            data, *stamped = redis_client.values(place.asked())
            computation.generation = stamped[0]
            if None in stamped[: 1 + len(place.tables)]:
                computation.generation = _open(here, place.prefix, place.tables)
                computation.restart()
                computation.redis_ns = here.clock.earliest_ns(computation.started_ns)
                return None
        except redis.RedisError:
            computation.unstorable = births.UNREACHABLE
            return None
        if data is None or None in stamped or self._anew or is_fresh():
            return None
        if hashlib.sha1(b" ".join(stamped)).hexdigest().encode() != data[:_SUM_DIGITS]:
            return None
        found = _within_bound(here, unseal(memoryview(data)[_SUM_DIGITS:], place.key, place.fingerprint()))
        outer = computation.parent
        return None if found is not None and outer is not None and found[1] * 1000 > outer.oldest_ns else found

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
                if found is not None or held is None or self._refused():
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

    def _refused(self) -> bool:
        found = self.computation
        return found is None or found.refusal is not None or bool(found.unstorable)


def unlock(lock_key: str, token: str) -> None:
    """Release a lock, if it is still the one that was taken."""
    try:
        redis_client.eval(_UNLOCK, 1, lock_key, token)
    except redis.RedisError:
        return  # it goes by itself


def _first(held: bytes) -> str:
    """Of a lock: who took it when it was free."""
    return held.decode().partition(":")[0]


def _open(here: Link, prefix: str, tables: Sequence[str]) -> bytes:
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


def getting(key: str, cond_dnfs: dict[str, list[dict[str, Any]]], prefix: str, lock: bool = False) -> Reading:
    """Stands in for cacheops' `getting`."""
    return Reading(Place(key, prefix, cond_dnfs), lock)


REPLACEMENTS: Final = (("cacheops.query", "getting", lambda _: getting),)
