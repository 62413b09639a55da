"""The near tier: copies of values in the process's own memory, for a part of their time at most.

A copy is served no longer than the rule's `near` after it was true for certain, and never past the bound that it has in
Redis. What this process writes drops its copies at once, by the same rows and tables that Redis is told of; of what
others write it hears nothing, and `near` is how long that may take.
"""

from __future__ import annotations

import os
import sys
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Hashable, Iterable
from typing import Any, Final
from weakref import WeakValueDictionary

from django.core.signals import setting_changed

from cachepolicy import clock, conf
from cachepolicy.runtime.places import Place
from cachepolicy.runtime.scripts import stamp_key
from cachepolicy.runtime.values import Kept

__all__ = ["Copy", "clear", "find", "forget", "invalidated", "is_used", "keep", "keep_under"]

# Beside the value: the key, the copy itself and its place in the mapping; and for each condition its stamp.
_OVERHEAD: Final = 600
_PER_CONDITION: Final = 400


class _Stamp:
    """What copies depend on, shared by all that depend on the same; gone with the last of them."""

    __slots__ = ("__weakref__", "is_void")

    def __init__(self) -> None:
        self.is_void = False


class Copy:
    """A value; since when it is true for certain, when it was last heard of, and until when it is served.

    Instants of `clock.now_ns`.
    """

    __slots__ = ("born_ns", "kept", "place", "since_ns", "size", "stamps", "until_ns")

    def __init__(self, place: Place, kept: Kept, born_ns: int, since_ns: int, until_ns: int) -> None:
        self.place, self.kept = place, kept
        self.size = kept.size + _OVERHEAD + _size_of(place)
        self.born_ns, self.since_ns, self.until_ns = born_ns, since_ns, until_ns
        self.stamps: tuple[_Stamp, ...] = ()


def _size_of(place: Place) -> int:
    """The bytes of what was asked: a pasted text is longer than the answer."""
    conditions = [each for disjunction in place.conditions.values() for each in disjunction if each]
    return sum(_PER_CONDITION + sum(map(sys.getsizeof, each.values())) for each in conditions)


class _Table:
    """The stamps of one table by scheme (which fields) and name (of which values), and its last invalidation."""

    __slots__ = ("last_ns", "schemes", "whole")

    def __init__(self) -> None:
        self.last_ns = 0
        self.whole = _Stamp()
        self.schemes: dict[str, WeakValueDictionary[str, _Stamp]] = defaultdict(WeakValueDictionary)


class _Copies:
    """All copies of a process; hits take no lock, for each step of theirs is atomic."""

    def __init__(self) -> None:
        # A finalizer or a handler of signals may write, wherever it strikes.
        self.lock = threading.RLock()
        self.clear()

    def clear(self) -> None:
        self.by_key: OrderedDict[Hashable, Copy] = OrderedDict()
        self.tables: dict[tuple[str, str], _Table] = defaultdict(_Table)
        # By key, of what depends on no table and is dropped by hand.
        self.alone: WeakValueDictionary[str, _Stamp] = WeakValueDictionary()
        self.bytes = 0
        self.cleared_ns = clock.now_ns()

    def add(self, key: Hashable, copy: Copy) -> None:
        self._drop(key)
        if copy.size > conf.near_bytes():
            return  # all others would go, and then itself
        self.bytes += copy.size
        self.by_key[key] = copy
        # The oldest goes first: it is the next to be too old as well.
        while self.by_key and (len(self.by_key) > conf.near_entries() or self.bytes > conf.near_bytes()):
            self._drop(next(iter(self.by_key)))

    def _drop(self, key: Hashable) -> None:
        if (found := self.by_key.pop(key, None)) is not None:
            self.bytes -= found.size

    def drop(self, key: Hashable, copy: Copy) -> None:
        with self.lock:
            if self.by_key.get(key) is copy:
                self._drop(key)


_copies: Final = _Copies()


def _unlocked_in_child() -> None:
    _copies.lock = threading.RLock()  # a thread that held it is not in the child
    _copies.clear()  # what the parent writes from here on, the child does not hear of


os.register_at_fork(after_in_child=_unlocked_in_child)


def find(key: Hashable, now_ns: int) -> Copy | None:
    """The copy under a key, if it may be served now."""
    copy = _copies.by_key.get(key)
    if copy is None:
        return None
    if now_ns <= copy.until_ns:
        for stamp in copy.stamps:
            if stamp.is_void:
                break
        else:
            return copy
    _copies.drop(key, copy)
    return None


def is_used() -> bool:
    """Whether there is any copy."""
    return bool(_copies.by_key)


def keep(place: Place, kept: Kept, born_ns: int, since_ns: int, bound_ms: int) -> Copy | None:
    """Keep a value that was read or stored; None where it is too old, or was invalidated here meanwhile."""
    if not place.near_ns:
        return None
    # From when it is due for a refresh Redis is asked, which may have the new one.
    ends_ns = born_ns + (bound_ms - place.allowed.ahead_of(bound_ms)) * 1_000_000
    until_ns = min(since_ns + place.near_ns, ends_ns)
    if until_ns <= clock.now_ns():
        return None
    try:
        copy = Copy(place, kept, born_ns, since_ns, until_ns)
    except Exception:
        return None  # it was pickled, and refuses to come back
    with _copies.lock:
        if _copies.cleared_ns >= since_ns:
            return None
        copy.stamps = _stamps(place)
        # By the table, not by the row: the stamp of a row that nobody depended on yet has left no trace.
        if any(_copies.tables[place.prefix, table].last_ns >= since_ns for table in place.conditions):
            return None
        _copies.add(place.key, copy)
    return copy


def keep_under(key: Hashable, copy: Copy, kept: Kept) -> None:
    """Keep a part of a copy under a key that is found sooner; it is served as long as the copy."""
    try:
        part = Copy(copy.place, kept, copy.born_ns, copy.since_ns, copy.until_ns)
    except Exception:
        return  # as above
    part.stamps = copy.stamps
    with _copies.lock:
        if _copies.cleared_ns < copy.since_ns:  # else it is one of those that were dropped
            _copies.add(key, part)


def _stamps(place: Place) -> tuple[_Stamp, ...]:
    if not place.conditions:
        return (_named(_copies.alone, place.key),)
    stamps = [_copies.tables[place.prefix, table].whole for table in place.conditions]
    for _, table, scheme, name in place.stamps():
        stamps.append(_named(_copies.tables[place.prefix, table].schemes[scheme], name))
    return tuple(stamps)


def _named(stamps: WeakValueDictionary[str, _Stamp], name: str) -> _Stamp:
    stamp = stamps.get(name)
    if stamp is None:
        stamp = stamps[name] = _Stamp()
    return stamp


def invalidated(prefix: str, table: str, fields: Iterable[tuple[str, str]] | None) -> None:
    """This process has written a row, by the digests of its fields, or the whole table (None).

    To be called when Redis has been told: who read it before that may have got what it held until then, and comes too
    late to keep it.
    """
    with _copies.lock:
        found = _copies.tables[prefix, table]
        found.last_ns = clock.now_ns()
        if fields is None:
            found.whole.is_void = True
            found.whole = _Stamp()
            return
        digests = dict(fields)
        for scheme, named in list(found.schemes.items()):
            names = scheme.split(",") if scheme else []
            if digests.keys() >= set(names):
                stamp = named.pop(stamp_key(prefix, table, scheme, "".join(digests[name] for name in names)), None)
                if stamp is not None:
                    stamp.is_void = True


def _cleared(**_: Any) -> None:
    clear()


# Tests put other policies in place of those that the copies were kept by.
setting_changed.connect(_cleared, dispatch_uid="cachepolicy.near")


def forget(key: str) -> None:
    """Drop what is kept of the place of this key, under whatever keys."""
    with _copies.lock:
        if (stamp := _copies.alone.pop(key, None)) is not None:
            stamp.is_void = True
        _copies._drop(key)


def clear() -> None:
    """Drop everything: all was invalidated, or what a place means has changed."""
    with _copies.lock:
        _copies.clear()
