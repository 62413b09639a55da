"""The local tier of `local_get`: bounded in age and entries, copies out, told apart by database.

cacheops keeps its local gets in a module-level dict for ever, hands the same mutable instance to every caller, and
takes neither the database nor `.values()` into the key. This mapping stands in its place.
"""

from __future__ import annotations

import copy
import datetime
import decimal
import functools
import os
import threading
import uuid
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import cacheops.query
from django.db.models import Model, QuerySet
from django.db.models.query import ModelIterable

from cachepolicy import clock, conf, signals
from cachepolicy.policies.model import ModelRule
from cachepolicy.runtime import births, switch
from cachepolicy.runtime.births import Computation
from cachepolicy.runtime.freshness import is_fresh
from cachepolicy.runtime.writes import writes_allowed

__all__ = ["LocalGets", "forget", "install"]


_GET_ALONE: Final = frozenset({"get"})


# Values that a shallow copy may share.
_FINAL_TYPES: Final = frozenset(
    {str, int, float, bool, bytes, type(None), decimal.Decimal, uuid.UUID}
    | {datetime.datetime, datetime.date, datetime.time, datetime.timedelta}
)


class _Reading(threading.local):
    """What this thread is reading through the local tier now; one get() may run inside another."""

    alias: str = ""
    computation: Computation | None = None
    fresh: tuple[Any, Any] | None = None


class LocalGets:
    """cacheops' key → row; holds a row no longer than its rule's timeout, and `entries` rows at most (oldest out)."""

    def __init__(self, entries: int) -> None:
        self._entries = entries
        self._rows: OrderedDict[Any, tuple[int, Any]] = OrderedDict()
        self._lock = threading.Lock()
        self.reading = _Reading()

    def __getitem__(self, key: Any) -> Any:
        here = (self.reading.alias, key)
        if self.reading.fresh is not None:
            # cacheops reads back what it has just set; a bound shorter than that instant must not make it a KeyError.
            fresh_key, row = self.reading.fresh
            self.reading.fresh = None
            if fresh_key == here:
                return row
        now_ns = clock.now_ns()
        with self._lock:
            entry = self._rows.get(here)
        if entry is not None and now_ns - entry[0] <= _bound_ns(key):
            births.lowered(entry[0], entry[0])
            if signals.read.receivers:
                age_ms = (now_ns - entry[0]) / 1_000_000
                signals.read.send_robust(sender=None, key=key[1]._meta.label, hit=True, age_ms=age_ms)
            return _copy(entry[1])
        # A miss: the row is as old as this instant, before the database is read, or as the snapshot it is read from.
        self.reading.computation = births.begin(key[1]._meta.label)
        raise KeyError(key)

    def __setitem__(self, key: Any, row: Any) -> None:
        here = (self.reading.alias, key)
        computation = self.reading.computation
        self.reading.fresh = (here, row)
        if computation is None or computation.refusal is not None:
            return  # never missed, so that its age is unknown, or read where it may never commit
        with self._lock:
            self._rows[here] = (computation.born_ns, _copy(row))
            self._rows.move_to_end(here)
            while len(self._rows) > self._entries:
                self._rows.popitem(last=False)

    def __len__(self) -> int:
        return len(self._rows)

    def clear(self) -> None:
        """Drop every row."""
        with self._lock:
            self._rows.clear()

    def forked(self) -> None:
        """A child begins with none: a thread that held the lock is not in it."""
        self._lock = threading.Lock()
        self._rows.clear()

    def forget(self, models: Iterable[type[Model]]) -> None:
        """Drop every row of these models' tables."""
        tables = {model._meta.db_table for model in models}
        with self._lock:
            for here in [here for here in self._rows if here[1][1]._meta.db_table in tables]:
                del self._rows[here]

    @contextmanager
    def reading_from(self, alias: str) -> Iterator[None]:
        """One get() from a database; restores what an outer one was at."""
        reading = self.reading
        outer = reading.alias, reading.computation, reading.fresh
        reading.alias, reading.computation, reading.fresh = alias, None, None
        try:
            yield
        finally:
            if reading.computation is not None:
                births.finish(reading.computation)
            reading.alias, reading.computation, reading.fresh = outer


def _copy(row: Any) -> Any:
    """A row of the caller's own, down to its JSON and arrays."""
    twin = copy.copy(row)
    for name, value in getattr(twin, "__dict__", {}).items():
        if type(value) not in _FINAL_TYPES and name != "_state":  # Django copies the state itself
            twin.__dict__[name] = copy.deepcopy(value)
    return twin


def _bound_ns(key: Any) -> int:
    rule = conf.policies().rule_for(key[1]._meta.label)
    return rule.timeout.value.ms * 1_000_000 if rule else 0


def forget(models: Iterable[type[Model]]) -> None:
    """Drop this process's local rows of the models."""
    if isinstance(cacheops.query._local_get_cache, LocalGets):
        cacheops.query._local_get_cache.forget(models)


def install() -> None:
    """Put the bounded mapping in cacheops' place; called once, when the apps are ready."""
    rules = conf.policies().models.values()
    if not any(isinstance(rule, ModelRule) and rule.local_get.value for rule in rules):
        return
    local_gets = LocalGets(conf.local_get_entries())
    cacheops.query._local_get_cache = local_gets
    os.register_at_fork(after_in_child=local_gets.forked)
    QuerySet.get = _routed(QuerySet.get, local_gets)  # type: ignore[method-assign]


def _routed(upstream: Any, local_gets: LocalGets) -> Any:
    @functools.wraps(upstream)
    def get(self: Any, *args: Any, **kwargs: Any) -> Any:
        profile = self._cacheprofile
        if not (profile and profile["local_get"]):
            return upstream(self, *args, **kwargs)
        kept = dict(profile)
        if writes_allowed(self.model) or is_fresh() or switch.is_off([self.model._meta.db_table]):
            profile.update(local_get=False, ops=frozenset())
        elif _is_plain(self):
            # The database, not Redis: a row that is as old as its timeout there would get the same again here.
            profile["ops"] = frozenset(profile["ops"]) & _GET_ALONE
        else:
            profile["local_get"] = False
        try:
            with local_gets.reading_from(self.db):
                return upstream(self, *args, **kwargs)
        finally:
            profile.update(kept)

    return get


def _is_plain(queryset: Any) -> bool:
    """Whether the arguments of get() alone say which row comes: cacheops' local key holds nothing else."""
    query = queryset.query
    return (
        queryset._iterable_class is ModelIterable
        and queryset._fields is None
        and not (query.annotations or query.extra or query.deferred_loading[0] or query.is_sliced or query.combinator)
        and not queryset._prefetch_related_lookups
    )
