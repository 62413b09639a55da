"""Deletions by Django's Collector: row by row is enough only where the instances are what stands in the database.

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
from django.db.models import Model, QuerySet
from django.db.models.signals import pre_delete
from django.db.models.sql.constants import GET_ITERATOR_CHUNK_SIZE

from cachepolicy.runtime.accounting import accounted_if, is_complete, is_same
from cachepolicy.runtime.connection_state import nothing_served
from cachepolicy.runtime.relation_writes import writes_through

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
        known = writes_through.get() is self.model or _are_rows_known(self.model, pk_list, using)
        with accounted_if(known, self.model):
            return upstream(self, pk_list, using)

    return delete_batch


def _are_rows_known(model: type[Model], pks: list[Any], alias: str) -> bool:
    collector = collecting.get()
    if collector is None or model._meta.auto_created or no_invalidation.active or not is_complete(model):
        return False
    instances = {each.pk: each for each in collector.data.get(model, ())}
    if not all(pk in instances for pk in pks) or any(each.get_deferred_fields() for each in instances.values()):
        return False
    given = collector.__dict__.get("_cachepolicy_given")
    is_fetched = given is not None and model._meta.concrete_model not in given
    # A handler may have edited what was fetched.
    if is_fetched and not pre_delete.has_listeners(model):
        return True
    return all(
        _stand_there(model, [instances[pk] for pk in pks[start : start + GET_ITERATOR_CHUNK_SIZE]], alias)
        for start in range(0, len(pks), GET_ITERATOR_CHUNK_SIZE)
    )


def _stand_there(model: type[Model], instances: list[Any], alias: str) -> bool:
    """Whether each instance holds what its row holds."""
    names = [field.attname for field in model._meta.concrete_fields]
    rows: Any = model._base_manager.using(alias).filter(pk__in=[each.pk for each in instances])
    with nothing_served(alias):
        found = {row[0]: row[1:] for row in rows.values_list("pk", *names)}
    return all(
        each.pk in found and all(map(is_same, [each.__dict__[name] for name in names], found[each.pk]))
        for each in instances
    )


REPLACEMENTS: Final = (
    ("django.db.models.deletion:Collector", "collect", _collect),
    ("django.db.models.deletion:Collector", "delete", _delete),
    ("django.db.models.sql.subqueries:DeleteQuery", "delete_batch", _delete_batch),
)
