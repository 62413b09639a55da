"""Answers: a value from the process's memory, from Redis, or computed and stored; before its end computed anew.

A hot value that ends makes everybody wait who reads it. Under `refresh_ahead` one process computes it anew in the
background while readers get the one there is, which is still within its bound.
"""

from __future__ import annotations

import contextvars
import functools
import logging
import os
import threading
from collections.abc import Callable, Iterable
from typing import Any, Final

from cacheops.redis import redis_client
from cacheops.signals import cache_read
from django.db import connections
from django.urls import get_script_prefix, get_urlconf, set_script_prefix, set_urlconf
from django.utils import timezone, translation

from cachepolicy import clock
from cachepolicy.runtime import births, scripts
from cachepolicy.runtime.fills import fill
from cachepolicy.runtime.identities import has_one_prefix
from cachepolicy.runtime.near import Copy
from cachepolicy.runtime.places import Place
from cachepolicy.runtime.reads import LOCK_MS, Reading, near_copy, unlock
from cachepolicy.runtime.transactions import transaction_states

__all__ = ["answer"]

_log: Final = logging.getLogger("cachepolicy")
# At once in a process; each has a database connection of its own.
_MOST_REFRESHES: Final = 4


def answer(
    place: Place,
    compute: Callable[[], Any],
    ms: int,
    *,
    lock: bool,
    dbs: Iterable[str],
    apart: Callable[[], Callable[[], Any]] | None = None,
    sender: Any = None,
    func: Any = None,
) -> tuple[Any, Copy | None]:
    """The value of a place, and what is kept of it near by; `compute` makes it where there is none, good for `ms`.

    `apart` gives what computes it in another thread while the caller goes on; without it nothing is computed ahead.
    `sender` and `func` are what cacheops' signal says of the read.
    """
    if place.near_ns and (copy := near_copy(place.key)) is not None:
        cache_read.send(sender=sender, func=func, hit=True)
        return copy.kept.value(), copy
    reading = Reading(place, lock, ms=ms)
    with reading as kept:
        cache_read.send(sender=sender, func=func, hit=kept is not None)
        if kept is None:
            value = compute()
            dirty = transaction_states.is_dirty(dbs)
            return value, fill(place, value, ms, dirty=dirty, computation=reading.computation)
    ahead_ms = place.allowed.ahead and place.allowed.ahead_of(ms)
    if apart and ahead_ms and reading.left_ns is not None and reading.left_ns < ahead_ms * 1_000_000:
        _refresh(place, apart, ms)
    return kept.value(), reading.copy


class _Refreshes:
    """What this process is computing anew, and what it leaves to others until when."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.running: set[str] = set()
        self.left_until_ns: dict[str, int] = {}

    def begin(self, key: str) -> bool:
        """Whether this process may compute it now."""
        now_ns = clock.now_ns()
        with self.lock:
            if key in self.running or len(self.running) >= _MOST_REFRESHES or self.left_until_ns.get(key, 0) > now_ns:
                return False
            self.left_until_ns = {each: until for each, until in self.left_until_ns.items() if until > now_ns}
            self.running.add(key)
            return True

    def end(self, key: str, leave_for_ms: int) -> None:
        """It is over; for so long it is left to others."""
        with self.lock:
            self.running.discard(key)
            self.left_until_ns[key] = clock.now_ns() + leave_for_ms * 1_000_000


_refreshes = _Refreshes()


def _begun_in_child() -> None:
    global _refreshes
    _refreshes = _Refreshes()  # the threads are the parent's


os.register_at_fork(after_in_child=_begun_in_child)


def _refresh(place: Place, apart: Callable[[], Callable[[], Any]], ms: int) -> None:
    """Have the value computed anew by a thread, unless somebody does; the one there is stays until then."""
    # A prefix that goes by the reader, as its tenant, may go by what this thread alone knows of it.
    if not (has_one_prefix() and _refreshes.begin(place.key)):
        return
    # Soon again where nothing came of it, but not with every read.
    pause_ms = max(place.allowed.ahead // 4, 50)
    lock_key, token = f"{place.key}:ahead", scripts.random_text()
    is_begun = False
    try:
        work = (place, apart(), ms, lock_key, token, pause_ms)
        if redis_client.set(lock_key, token, nx=True, px=LOCK_MS):
            run, inside = contextvars.copy_context().run, _as_here(functools.partial(_compute, *work))
            threading.Thread(target=run, args=(inside,), name="cachepolicy-refresh", daemon=True).start()
            is_begun = True
    except Exception:
        return  # Redis is away, an argument cannot be copied, no thread can be started
    finally:
        if not is_begun:
            _refreshes.end(place.key, pause_ms)


def _as_here(work: Callable[[], None]) -> Callable[[], None]:
    """For another thread: in this one's language and time zone, with its URLs.

    Django keeps them in asgiref's Locals, which are not inherited with a context.
    """
    language, zone = translation.get_language(), timezone.get_current_timezone()
    prefix, urls = get_script_prefix(), get_urlconf()

    def inside() -> None:
        set_script_prefix(prefix)
        set_urlconf(urls)
        with translation.override(language), timezone.override(zone):
            work()

    return inside


def _compute(place: Place, compute: Callable[[], Any], ms: int, lock_key: str, token: str, pause_ms: int) -> None:
    births.detach()
    refreshes = _refreshes
    try:
        try:
            reading = Reading(place, ms=ms, anew=True)
            with reading:
                fill(place, compute(), ms, dirty=False, computation=reading.computation)
        finally:
            connections.close_all()
            unlock(lock_key, token)
    except Exception:
        _log.exception("a value could not be computed ahead of its end; readers get the one there is until then")
    finally:
        refreshes.end(place.key, pause_ms)
