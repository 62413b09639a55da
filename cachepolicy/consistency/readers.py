"""Readers: how each op of a rule reads a row, so that what it shows is one of the row's values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db import models

import cachepolicy
from cachepolicy.consistency.rows import Row

__all__ = ["function_of", "joined_reader", "reader_of"]

Reader = Callable[[], Any]


def reader_of(row: Row, op: str, before: Any, after: Any) -> Reader:
    """How one op of a model's rule reads the row: a function that gives the value it shows.

    count and exists ask for rows with the value `after`, so that one answer means `before` and the other `after`.
    Raises ValueError for an op that no model's rule has.
    """
    manager: Any = row.model._default_manager
    name = row.field.name

    def of_row() -> Any:
        return manager.using(row.alias).filter(pk=row.pk)

    match op:
        case "get" | "local_get":
            return lambda: getattr(manager.using(row.alias).get(pk=row.pk), row.field.attname)
        case "fetch":
            return lambda: next(getattr(found, row.field.attname) for found in list(of_row()))
        case "aggregate":
            return lambda: of_row().aggregate(value=models.Max(name))["value"]
        case "count":
            return lambda: after if of_row().filter(**{name: after}).count() else before
        case "exists":
            return lambda: after if of_row().filter(**{name: after}).exists() else before
    raise ValueError(f"no reader for the op {op!r}")


def joined_reader(instance: models.Model, joined: str, row: Row) -> Reader:
    """A get of `instance` with select_related() of the foreign key `joined`: it shows the value of the joined `row`.

    The reader raises LookupError where what it got has no joined row.
    """
    manager: Any = type(instance)._default_manager
    key: Any = type(instance)._meta.get_field(joined)

    def read() -> Any:
        found = manager.using(row.alias).select_related(joined).get(pk=instance.pk)
        if not key.is_cached(found):
            raise LookupError(f"{joined} was not joined")
        return getattr(getattr(found, joined), row.field.attname)

    return read


# What a cached function reads, by name: its key may hold no closure.
_BODIES: dict[str, Reader] = {}


def _body(name: str) -> Any:
    """The one function that is cached for the kit; its argument says what it reads."""
    return _BODIES[name]()


def function_of(rule: str, name: str, body: Reader) -> Reader:
    """A function under the rule that caches what `body` reads; `name` tells it from the rule's other functions."""
    _BODIES[name] = body
    function = cachepolicy.cached_as(rule)(_body)
    return lambda: function(name)
