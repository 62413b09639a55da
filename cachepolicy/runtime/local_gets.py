"""The local tier of `local_get`: bounded in age and entries, copies out, told apart by database.

cacheops keeps its local gets in a module-level dict for ever, hands the same mutable instance to every caller, and
takes neither the database nor `.values()` into the key. This mapping stands in its place.
"""

from __future__ import annotations

import copy
import functools
import threading
from collections import OrderedDict
from collections.abc import Iterable, MutableMapping
from typing import Any, Final

import cacheops.query
from django.db.models import Model, QuerySet
from django.db.models.query import ModelIterable

from cachepolicy import clock, conf
from cachepolicy.policies.model import ModelRule

__all__ = ["LocalGets", "forget", "install"]


_GET_ALONE: Final = frozenset({"get"})


class _Reading(threading.local):
    """What this thread is reading through the local tier now."""

    alias: str = ""
    births_ns: dict[Any, int]
    fresh: tuple[Any, Any] | None = None

    def __init__(self) -> None:
        self.births_ns = {}


class LocalGets(MutableMapping[Any, Any]):
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
            return copy.copy(entry[1])
        # A miss: the row is as old as this instant, before the database is read.
        self.reading.births_ns[here] = now_ns
        raise KeyError(key)

    def __setitem__(self, key: Any, row: Any) -> None:
        here = (self.reading.alias, key)
        born_ns = self.reading.births_ns.pop(here, None)
        self.reading.fresh = (here, row)
        if born_ns is None:
            return  # never missed, so its age is unknown
        with self._lock:
            self._rows[here] = (born_ns, copy.copy(row))
            self._rows.move_to_end(here)
            while len(self._rows) > self._entries:
                self._rows.popitem(last=False)

    def __delitem__(self, key: Any) -> None:
        with self._lock:
            del self._rows[(self.reading.alias, key)]

    def __iter__(self) -> Any:
        return iter([key for _, key in self._rows])

    def __len__(self) -> int:
        return len(self._rows)

    def forget(self, models: Iterable[type[Model]]) -> None:
        """Drop every row of these models, or of all models where none is given."""
        tables = {model._meta.db_table for model in models}
        with self._lock:
            for here in [here for here in self._rows if not tables or here[1][1]._meta.db_table in tables]:
                del self._rows[here]


def _bound_ns(key: Any) -> int:
    rule = conf.policies().rule_for(key[1]._meta.label)
    return rule.timeout.value.ms * 1_000_000 if rule else 0


def forget(models: Iterable[type[Model]]) -> None:
    """Drop this process's local rows of the models (of all, where none is given)."""
    if isinstance(cacheops.query._local_get_cache, LocalGets):
        cacheops.query._local_get_cache.forget(models)


def install() -> None:
    """Put the bounded mapping in cacheops' place; called once, when the apps are ready."""
    rules = conf.policies().models.values()
    if not any(isinstance(rule, ModelRule) and rule.local_get.value for rule in rules):
        return
    local_gets = LocalGets(conf.local_get_entries())
    cacheops.query._local_get_cache = local_gets
    QuerySet.get = _routed(QuerySet.get, local_gets)  # type: ignore[method-assign]


def _routed(upstream: Any, local_gets: LocalGets) -> Any:
    @functools.wraps(upstream)
    def get(self: Any, *args: Any, **kwargs: Any) -> Any:
        profile = self._cacheprofile
        if not (profile and profile["local_get"]):
            return upstream(self, *args, **kwargs)
        kept = dict(profile)
        if _is_plain(self):
            local_gets.reading.alias = self.db
            # Read the database, not Redis: a row that is as old as its timeout there would get the same again here.
            profile["ops"] = _GET_ALONE
        else:
            profile["local_get"] = False
        try:
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
