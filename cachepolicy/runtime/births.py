"""Births: since when what is being computed here is certainly true, and why it must not be stored if it must not.

Each miss opens a computation, which lives in the context (contextvars: threads of asgiref and tasks carry it on).
Whatever is read inside lowers the birth of every open one, so that nested caches cost max() of their ages, not the sum.
"""

from __future__ import annotations

import math
import os
import threading
from contextvars import ContextVar
from typing import Final

from cachepolicy import clock, conf
from cachepolicy.runtime.redis_clock import drift_ns

__all__ = [
    "UNREACHABLE",
    "Computation",
    "begin",
    "detach",
    "finish",
    "found",
    "is_too_old",
    "lowered",
    "open_computation",
    "prune",
    "statement",
    "taint",
]

# Why nothing of it can be in Redis.
UNREACHABLE: Final = "Redis cannot be reached"


class Computation:
    """A value on its way into the cache; instants in ns of `clock.now_ns`.

    `born_ns`: it is certainly the committed state of that instant, or of a later one. `since_ns`: an invalidation since
    then refuses it. `refusal`: why it must not be stored, if so; `unstorable`: why it cannot be in Redis alone.
    """

    __slots__ = (
        "born_ns", "generation", "key", "oldest_ns", "parent", "redis_ns", "refusal", "since_ns", "started_ns",
        "unstorable",
    )  # fmt: skip

    def __init__(self, key: str, parent: Computation | None, bound_ms: int | None) -> None:
        self.key, self.parent = key, parent
        # What is read inside and is older than half its time is read anew, or it would be born old: a function of 2 s
        # that reads a list of an hour could be stored once an hour.
        self.oldest_ns = math.inf if bound_ms is None else bound_ms * 500_000
        if parent is not None:
            self.oldest_ns = min(self.oldest_ns, parent.oldest_ns)
        self.refusal: str | None = None
        self.unstorable = ""
        # What the reader saw of Redis at the miss: its generation, and its time at `started_ns` or a little earlier.
        self.generation: bytes | None = None
        self.redis_ns = 0
        self.restart()

    def restart(self) -> None:
        """It is born now: nothing has been read for it yet."""
        self.born_ns = self.since_ns = self.started_ns = clock.now_ns()

    def redis_us(self, instant_ns: int) -> int:
        """An instant before it started, in Redis' time, or a little earlier."""
        before_ns = self.started_ns - instant_ns
        return (self.redis_ns - before_ns - drift_ns(before_ns)) // 1000


_open: ContextVar[Computation | None] = ContextVar("cachepolicy_computation", default=None)
# Threads may share a computation; without a lock the later of two births could win.
_lowering = threading.Lock()


def _unlocked_in_child() -> None:
    global _lowering
    _lowering = threading.Lock()  # a thread that held it is not in the child


os.register_at_fork(after_in_child=_unlocked_in_child)


def begin(key: str, bound_ms: int | None = None) -> Computation:
    """Open a computation inside those that are open here; it is born now, and good for `bound_ms` if that is known."""
    computation = Computation(key, _open.get(), bound_ms)
    _open.set(computation)
    return computation


def finish(computation: Computation) -> None:
    """Close it, and whatever was left open inside."""
    _open.set(computation.parent)


def detach() -> None:
    """Nothing is open here: a thread of its own has inherited what its starter is computing."""
    _open.set(None)


def open_computation() -> Computation | None:
    """The innermost one that is open here."""
    return _open.get()


def found(key: str) -> Computation | None:
    """The innermost one of a key."""
    computation = _open.get()
    while computation is not None and computation.key != key:
        computation = computation.parent
    return computation


def prune(most: int) -> None:
    """Forget all but so many of those that are open here, the outermost first: nobody came back to them."""
    last = _open.get()
    for _ in range(most - 1):
        last = last.parent if last is not None else None
    if last is None:
        return
    forgotten, last.parent = last.parent, None
    while forgotten is not None:
        forgotten.refusal = forgotten.refusal or "too many were open at once"  # what lowers the others misses it now
        forgotten = forgotten.parent


def is_too_old(born_ns: int, now_ns: int) -> bool:
    """Whether what is being computed here must not be made of a value of this birth."""
    computation = _open.get()
    return computation is not None and now_ns - born_ns > computation.oldest_ns


def lowered(born_ns: int, since_ns: int | None = None) -> None:
    """A value of this birth is read here: nothing that is being computed is younger.

    `since_ns` is given where the value may have outlived an invalidation since then, as a near copy may.
    """
    computation = _open.get()
    if computation is None:
        return
    with _lowering:
        while computation is not None:
            computation.born_ns = min(computation.born_ns, born_ns)
            if since_ns is not None:
                computation.since_ns = min(computation.since_ns, since_ns)
            computation = computation.parent


def taint(reason: str) -> None:
    """Nothing that is being computed here may be stored."""
    computation = _open.get()
    while computation is not None:
        computation.refusal = computation.refusal or reason
        computation = computation.parent


def statement(alias: str, snapshot_ns: int | None, dirty: bool) -> None:
    """A statement is about to be executed on a database.

    `snapshot_ns` is when the transaction's snapshot was taken at the earliest if it is frozen, None where each
    statement sees what is committed now. A replica is as old as its declared `max_lag` besides.
    """
    if _open.get() is None:
        return
    lag_ns = conf.max_lag_ns(alias)
    if lag_ns or snapshot_ns is not None:
        born_ns = (clock.now_ns() if snapshot_ns is None else snapshot_ns) - lag_ns
        lowered(born_ns, born_ns)
    if dirty:
        taint("read inside a transaction that has written")
