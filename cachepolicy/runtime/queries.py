"""The cached reads of a queryset: fetch, get, count, exists and aggregate, in place of cacheops' own.

What they ask is cacheops': the rule's ops, `.cache()`, no read for a write, no dirty transaction. How it is answered is
ours: by the process's memory where the rule has `near`, by Redis, by the database.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from typing import Any, Final

from cacheops.conf import settings as cacheops_settings
from cacheops.signals import cache_read
from django.db.models import QuerySet
from django.db.models.manager import BaseManager

from cachepolicy.compiler import Bound
from cachepolicy.runtime import near
from cachepolicy.runtime.answers import answer
from cachepolicy.runtime.compilations import as_compiled, forget
from cachepolicy.runtime.connection_state import suspects
from cachepolicy.runtime.fills import bounded_ms
from cachepolicy.runtime.identities import get_identity, row_identity
from cachepolicy.runtime.near import Copy
from cachepolicy.runtime.places import place_of
from cachepolicy.runtime.reads import near_copy
from cachepolicy.runtime.tables import is_near
from cachepolicy.runtime.values import keep

__all__ = ["REPLACEMENTS"]

# Where get() finds the copy of its row among those of all that was read meanwhile, as a router may.
_asking: Final[ContextVar[list[tuple[Copy, Any]] | None]] = ContextVar("cachepolicy_asking", default=None)


def _answered(queryset: Any, op: str, compute: Callable[[Any], Any], aggregates: dict[str, Any] | None = None) -> Any:
    if (place := place_of(queryset, op, aggregates)) is None:
        return compute(queryset)
    profile = queryset._cacheprofile
    ms = bounded_ms(profile["timeout"], place.allowed.timeout)

    def here() -> Any:
        return compute(queryset)

    def apart() -> Callable[[], Any]:
        # For another thread: a queryset and its query are one thread's, and so is what a router goes by.
        twin = queryset._chain()
        if twin is queryset:  # inplace()
            twin = queryset._no_monkey._clone(queryset)
        twin._db = queryset.db
        return functools.partial(compute, twin)

    dbs, sender = (queryset.db,), queryset.model
    try:
        value, copy = answer(place, here, ms, lock=profile["lock"], dbs=dbs, apart=apart, sender=sender)
    finally:
        forget(queryset)
    if copy is not None and (asking := _asking.get()) is not None:
        asking.append((copy, value))
    return value


def _rows(queryset: Any) -> list[Any]:
    with as_compiled(queryset):
        return list(queryset._iterable_class(queryset))


def _fetch_all(_upstream: Any) -> Callable[[Any], None]:
    def fetch_all(self: Any) -> None:
        if self._result_cache is None and self._should_cache("fetch"):
            self._result_cache = _answered(self, "fetch", _rows)
        self._no_monkey._fetch_all(self)  # and what is prefetched

    return fetch_all


def _of_op(op: str, of_rows: Callable[[Any], Any]) -> Callable[[Any], Callable[[Any], Any]]:
    """count() and exists(), which the rows answer where they are there already."""

    def replaced(_upstream: Any) -> Callable[[Any], Any]:
        def method(self: Any) -> Any:
            if self._result_cache is not None:
                return of_rows(self._result_cache)
            compute = getattr(self._no_monkey, op)
            if not self._should_cache(op):
                return compute(self)
            return _answered(self, op, compute)

        method.__name__ = op
        return method

    return replaced


def _aggregate(_upstream: Any) -> Callable[..., Any]:
    def aggregate(self: Any, *args: Any, **kwargs: Any) -> Any:
        def compute(queryset: Any) -> Any:
            return queryset._no_monkey.aggregate(queryset, *args, **kwargs)

        named = _named(args, kwargs)
        if named is None or not self._should_cache("aggregate"):
            return compute(self)
        return _answered(self, "aggregate", compute, named) if named else {}

    return aggregate


def _named(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any] | None:
    """The expressions of an aggregate() by name; None where Django has to say what is wrong with them."""
    try:
        named = {**kwargs, **{each.default_alias: each for each in args}}
    except (AttributeError, TypeError):
        return None
    return named if all(hasattr(each, "resolve_expression") for each in named.values()) else None


def _manager_get(upstream: Callable[..., Any]) -> Callable[..., Any]:
    """Manager.get: from memory before a queryset is made, where the manager adds nothing to it."""

    @functools.wraps(upstream)
    def get(self: Any, *args: Any, **kwargs: Any) -> Any:
        # That it may be kept near by was said by who has kept it; a state that may be dirty is looked at further on.
        if not args and not suspects and near.is_used() and _adds_nothing(self.__class__, self._queryset_class):
            key = row_identity(self._queryset_class, self.model, self.db, kwargs.items())
            if key is not None and cacheops_settings.CACHEOPS_ENABLED and (copy := near_copy(key)) is not None:
                if cache_read.receivers:
                    cache_read.send(sender=self.model, func=None, hit=True)
                return copy.kept.value()
        return upstream(self, *args, **kwargs)

    return get


def _get(upstream: Callable[..., Any]) -> Callable[..., Any]:
    """QuerySet.get: by plain values of the model's own fields from memory, without a query being made at all."""

    @functools.wraps(upstream)
    def get(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not is_near(self.model) or not self._should_cache("get"):
            return upstream(self, *args, **kwargs)
        # A copy is as old as the rule allows, which may be too old for `.cache(timeout=…)`.
        is_plain = type(self._cacheprofile["timeout"]) is Bound and _changes_nothing(self.__class__)
        key = get_identity(self, args, kwargs) if is_plain else None
        if key is None:
            return upstream(self, *args, **kwargs)
        if (copy := near_copy(key)) is not None:
            cache_read.send(sender=self.model, func=None, hit=True)
            return copy.kept.value()
        asked: list[tuple[Copy, Any]] = []
        token = _asking.set(asked)
        try:
            row = upstream(self, *args, **kwargs)
        finally:
            _asking.reset(token)
        for copy, value in asked:
            if type(value) is list and len(value) == 1 and value[0] is row:
                with suppress(Exception):  # it came out of a pickle, and refuses to be in one again
                    near.keep_under(key, copy, keep(row))
        return row

    return get


@functools.lru_cache(maxsize=1024)  # a call as `article.tags(manager="objects")` makes a class of its own
def _adds_nothing(manager: Any, queryset: Any) -> bool:
    """Whether the manager's querysets ask for the whole table, and are as Django made them."""
    return manager.get_queryset is BaseManager.get_queryset and _changes_nothing(queryset)


@functools.lru_cache(maxsize=1024)
def _changes_nothing(queryset: Any) -> bool:
    """Whether a class of querysets only adds methods: one's own filter() may ask by what the reader is."""
    classes = queryset.__mro__
    own = {name for each in classes[: classes.index(QuerySet)] for name in vars(each)}
    return vars(QuerySet).keys().isdisjoint(own - _OF_ANY_CLASS)


_OF_ANY_CLASS: Final = {"__module__", "__doc__", "__firstlineno__", "__static_attributes__", "as_manager"}


REPLACEMENTS: Final = (
    ("django.db.models:QuerySet", "_fetch_all", _fetch_all),
    ("django.db.models:QuerySet", "get", _get),
    ("django.db.models:Manager", "get", _manager_get),
    ("django.db.models:QuerySet", "count", _of_op("count", len)),
    ("django.db.models:QuerySet", "exists", _of_op("exists", bool)),
    ("django.db.models:QuerySet", "aggregate", _aggregate),
)
