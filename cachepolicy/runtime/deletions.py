"""Deletions by Django's Collector: told to Redis row by row, as the rows stand in the database before they go.

cacheops invalidates by what a deleted instance holds. That may have been edited, have been loaded long ago, or never:
Article(pk=1).delete() deletes an article of which the instance knows nothing. So the rows are read before they go,
unless the Collector has fetched the instances itself.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Final

from cacheops import no_invalidation
from django.db import connections
from django.db.models import Model, QuerySet
from django.db.models.signals import pre_delete

from cachepolicy.runtime.accounting import accounted_if, is_cacheops
from cachepolicy.runtime.connection_state import nothing_served
from cachepolicy.runtime.relation_writes import writes_through
from cachepolicy.runtime.rows import Rows, Values, is_behind, rows_of

__all__ = ["REPLACEMENTS", "collecting"]

Upstream = Callable[..., Any]

# What Collector sets to NULL is no update() of the application's.
collecting: ContextVar[Any] = ContextVar("cachepolicy_collector", default=None)


def _collect(upstream: Upstream) -> Upstream:
    """Collector.collect: what it fetches comes from the database; what it is given may be older, or edited."""

    @functools.wraps(upstream)
    def collect(self: Any, objs: Any, source: Any = None, *args: Any, **kwargs: Any) -> Any:
        given = self.__dict__.setdefault("_cachepolicy_given", set())
        fetched = isinstance(objs, QuerySet) and objs._result_cache is None
        if source is None and not fetched:
            for model in {type(each) for each in objs}:
                # A parent's instance is made of its child's values.
                given.update(each._meta.concrete_model for each in (model, *model._meta.all_parents))
        with nothing_served(self.using):
            return upstream(self, objs, source, *args, **kwargs)

    return collect


def _delete(upstream: Upstream) -> Upstream:
    """Collector.delete."""

    @functools.wraps(upstream)
    def delete(self: Any) -> Any:
        token = collecting.set(self)
        try:
            return upstream(self)
        finally:
            collecting.reset(token)

    return delete


def _delete_batch(upstream: Upstream) -> Upstream:
    """DeleteQuery.delete_batch: Collector's DELETE of instances it has at hand, each of which gets its signal."""

    @functools.wraps(upstream)
    def delete_batch(self: Any, pk_list: Any, using: Any) -> Any:
        rows = _rows_of(self.model, using)
        going = None if rows is None else _going(rows, pk_list)
        known = going is not None or writes_through.get() is self.model
        with accounted_if(known, self.model):
            count = upstream(self, pk_list, using)
        if rows is not None and going is not None:
            rows.tell(going)
        return count

    return delete_batch


def _rows_of(model: type[Model], alias: str) -> Rows | None:
    return rows_of(model, alias) if is_cacheops(model) and not no_invalidation.active else None


def _going(rows: Rows, pks: list[Any]) -> list[Values] | None:
    """The rows of some keys, which are to be deleted; None where they are not known."""
    collector = collecting.get()
    given = None if collector is None else collector.__dict__.get("_cachepolicy_given")
    is_fetched = given is not None and rows.model not in given
    # A handler may have edited what was fetched.
    if is_fetched and not pre_delete.has_listeners(rows.model) and not is_behind(connections[rows.alias]):
        instances = {each.pk: each for each in collector.data.get(rows.model, ())}
        held = [rows.of(instances[pk]) for pk in pks if pk in instances]
        found = [values for values in held if values is not None]
        if len(found) == len(pks):
            return found
    return rows.all_standing(pks)


REPLACEMENTS: Final = (
    ("django.db.models.deletion:Collector", "collect", _collect),
    ("django.db.models.deletion:Collector", "delete", _delete),
    ("django.db.models.sql.subqueries:DeleteQuery", "delete_batch", _delete_batch),
)
