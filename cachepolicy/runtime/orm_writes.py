"""Writes of the ORM: which of them cacheops invalidates row by row, and completely, so that their tables need not be.

Every other write through Django invalidates the tables that its statement names, after the commit. Row by row is enough
only where the rows before and after are both known: the scopes below hold exactly such a statement each, and no signal
handler of the application's.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any, Final

from cacheops.query import ManagerMixin, _old_objs
from django.db import DEFAULT_DB_ALIAS, connections, router
from django.db.models import Model
from django.db.models.manager import BaseManager
from django.db.models.signals import post_save

from cachepolicy import conf
from cachepolicy.runtime import deletions, invalidations, relation_writes
from cachepolicy.runtime.accounting import accounted_if, is_cacheops, is_complete, is_same
from cachepolicy.runtime.connection_state import nothing_served, state_of
from cachepolicy.runtime.deletions import collecting
from cachepolicy.runtime.relation_writes import writes_through

__all__ = ["REPLACEMENTS", "invalidates"]

Upstream = Callable[..., Any]

# The model whose rows invalidated_update() sees to.
_updating: ContextVar[type[Model] | None] = ContextVar("cachepolicy_invalidated_update", default=None)


@contextmanager
def invalidates(*models: type[Model], using: str | None = None) -> Iterator[None]:
    """Invalidate these models' tables after the block: for writes that neither the ORM nor a cursor of Django's makes.

        with invalidates(Article):
            copy_from_a_file_by_the_drivers_own_cursor()

    Inside a transaction it is done after the commit, and reads are not cached until then; after a rollback it is not
    done at all. It is done also where the block raises. `using` names the database that is written to, else each
    model's router does. Raises TypeError for what is no model class with a table, and where none is given.
    """
    if not models:
        raise TypeError("invalidates() takes the model classes that the block writes, as in invalidates(Article)")
    tables: dict[str, set[str]] = {}
    for model in models:
        meta: Any = getattr(model, "_meta", None)
        if meta is None or not isinstance(model, type) or meta.abstract:
            raise TypeError(
                f"invalidates() takes model classes with a table, as in invalidates(Article), not {model!r}"
            )
        concrete: Any = model._meta.concrete_model
        family = {concrete._meta.db_table, *(parent._meta.db_table for parent in concrete._meta.all_parents)}
        tables.setdefault(using or router.db_for_write(model), set()).update(family)
    _mark_dirty(tables)
    try:
        yield
    finally:
        _mark_dirty(tables)
        for alias, names in tables.items():
            connection: Any = connections[alias]
            state_of(connection).push(connection, frozenset(names))


def _mark_dirty(aliases: Any) -> None:
    for alias in aliases:
        connection: Any = connections[alias]
        if state_of(connection).inside(connection):
            state_of(connection).dirty = True


@contextmanager
def _sent_together(alias: str) -> Iterator[None]:
    """Invalidations of the block go out in one round trip."""
    connection: Any = connections[alias]
    with nothing_served(alias):
        if state_of(connection).inside(connection):
            yield  # its commit sends them
        else:
            with invalidations.batch():
                yield


def _save_base(upstream: Upstream) -> Upstream:
    """Model.save_base: the row as it was is read from the database, whatever the cache holds."""

    @functools.wraps(upstream)
    def save_base(self: Any, raw: Any = False, force_insert: Any = False, force_update: Any = False,
                  using: Any = None, update_fields: Any = None) -> Any:  # fmt: skip
        using = using or router.db_for_write(self.__class__, instance=self)
        if not is_cacheops(type(self)):
            return upstream(self, raw, force_insert, force_update, using, update_fields)
        _listen()
        try:
            with nothing_served(using):
                return upstream(self, raw, force_insert, force_update, using, update_fields)
        finally:
            _send(using)

    return save_base


def _hold(alias: str) -> None:
    """The row is written: hold back what cacheops' handler is about to invalidate, to send it in one round trip."""
    connection: Any = connections[alias]
    state = state_of(connection)
    if state.held is None and state.unserved and not state.inside(connection):
        state.held = ExitStack()
        state.held.enter_context(invalidations.batch())


def _send(using: str | None = None, **_: Any) -> None:
    """A receiver of post_save behind cacheops', before the application's."""
    state = state_of(connections[using or DEFAULT_DB_ALIAS])
    held, state.held = state.held, None
    if held is not None:
        held.close()


@functools.cache
def _listen() -> None:
    others, post_save.receivers = post_save.receivers, []
    post_save.connect(_send, dispatch_uid="cachepolicy.orm_writes", weak=False)
    ours, handler = post_save.receivers, ManagerMixin.__dict__["_post_save"]
    places = [place for place, (_, each, *_) in enumerate(others) if getattr(each, "__func__", None) is handler]
    behind = max(places, default=-1) + 1
    post_save.receivers = [*others[:behind], *ours, *others[behind:]]
    post_save.sender_receivers_cache.clear()


def _do_update(upstream: Upstream) -> Upstream:
    """Model._do_update: save()'s UPDATE."""

    @functools.wraps(upstream)
    def _do_update(self: Any, base_qs: Any, using: str, pk_val: Any, values: Any, update_fields: Any,
                   *args: Any) -> Any:  # fmt: skip
        old = _old_objs.__dict__.get((type(self), self.pk))
        known = old is not None and not self._state.adding and not old.get_deferred_fields()
        known = known and _is_row_known(self, base_qs.model) and _is_row_written(self, old, update_fields)
        with accounted_if(known, base_qs.model):
            updated = upstream(self, base_qs, using, pk_val, values, update_fields, *args)
        _hold(using)
        return updated

    return _do_update


def _do_insert(upstream: Upstream) -> Upstream:
    """Model._do_insert: save()'s INSERT."""

    @functools.wraps(upstream)
    def _do_insert(self: Any, manager: Any, using: str, *args: Any, **kwargs: Any) -> Any:
        with accounted_if(_is_row_known(self, manager.model), manager.model):
            returned = upstream(self, manager, using, *args, **kwargs)
        _hold(using)
        return returned

    return _do_insert


def _batched_insert(upstream: Upstream) -> Upstream:
    """QuerySet._batched_insert: bulk_create()'s INSERTs."""

    @functools.wraps(upstream)
    def _batched_insert(self: Any, objs: Any, fields: Any, batch_size: Any, on_conflict: Any = None,
                        **kwargs: Any) -> Any:  # fmt: skip
        # The rows' keys must come back, and no row that was there may change.
        returned = on_conflict is None and connections[self.db].features.can_return_rows_from_bulk_insert
        known = (returned or all(obj.pk is not None for obj in objs)) and kwargs.get("update_fields") is None
        known = known and all(_is_row_known(obj, self.model) for obj in objs)
        with accounted_if(known or writes_through.get() is self.model, self.model):
            return upstream(self, objs, fields, batch_size, on_conflict, **kwargs)

    return _batched_insert


def _bulk_create(upstream: Upstream) -> Upstream:
    """QuerySet.bulk_create: cacheops' own, which invalidates the rows one after another."""

    @functools.wraps(upstream)
    def bulk_create(self: Any, *args: Any, **kwargs: Any) -> Any:
        self._for_write = True
        with _sent_together(self.db):
            return upstream(self, *args, **kwargs)

    return bulk_create


def _invalidated_update(upstream: Upstream) -> Upstream:
    """QuerySet.invalidated_update: cacheops' own, which reads the rows before and after."""

    @functools.wraps(upstream)
    def invalidated_update(self: Any, **kwargs: Any) -> Any:
        # It reads the rows again by `objects`, which may hide what they have become.
        sees_all = type(self.model.objects).get_queryset is BaseManager.get_queryset
        whole = sees_all and not self.query.deferred_loading[0] and is_complete(self.model)
        token = _updating.set(self.model if whole else None)
        self._for_write = True
        try:
            with _sent_together(self.db):
                return upstream(self, **kwargs)
        finally:
            _updating.reset(token)

    return invalidated_update


def _update(upstream: Upstream) -> Upstream:
    """QuerySet.update, which bulk_update() ends in as well."""

    @functools.wraps(upstream)
    def update(self: Any, **kwargs: Any) -> Any:
        ignored = collecting.get() is None and _is_update_ignored(self.model)
        with accounted_if(ignored or _updating.get() is self.model, self.model):
            return upstream(self, **kwargs)

    return update


def _is_row_known(instance: Any, model: type[Model]) -> bool:
    """Whether an instance holds every value that the statement writes to its row."""
    cls = type(instance)
    if cls._meta.auto_created or cls._meta.concrete_model is not model or not is_complete(cls):
        return False
    values = instance.__dict__
    return all(
        field.attname in values and not hasattr(values[field.attname], "resolve_expression")
        for field in model._meta.concrete_fields
    )


def _is_row_written(instance: Any, old: Any, update_fields: Any) -> bool:
    """Whether the row will be as the instance is: of what is not written, the two hold the same."""
    if update_fields is None:
        return True
    mine, before = instance.__dict__, old.__dict__
    return all(
        field.name in update_fields
        or field.attname in update_fields
        or is_same(mine[field.attname], before[field.attname])
        for field in instance._meta.concrete_fields
    )


def _is_update_ignored(model: type[Model]) -> bool:
    if not conf.loaded():
        return False
    concrete = model._meta.concrete_model or model
    rule = conf.policies().rule_for(concrete._meta.label)
    return rule is not None and rule.update.value == "ignore"


REPLACEMENTS: Final = (
    ("django.db.models:Model", "save_base", _save_base),
    ("django.db.models:Model", "_do_update", _do_update),
    ("django.db.models:Model", "_do_insert", _do_insert),
    ("django.db.models:QuerySet", "_batched_insert", _batched_insert),
    ("django.db.models:QuerySet", "bulk_create", _bulk_create),
    ("django.db.models:QuerySet", "invalidated_update", _invalidated_update),
    ("django.db.models:QuerySet", "update", _update),
    *deletions.REPLACEMENTS,
    *relation_writes.REPLACEMENTS,
)
