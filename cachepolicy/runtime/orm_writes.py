"""Writes of the ORM: which of them are invalidated row by row, and completely, so that their tables need not be.

Every other write through Django invalidates the tables that its statement names, after the commit. Row by row is enough
only where the rows before and after are both known: the scopes below hold exactly such a statement each, and no signal
handler of the application's.

save() asks for the row as it was right before its UPDATE, and needs nothing of the handlers that cacheops has on its
signals: they are left out, but where somebody listens to what they tell.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import MethodType
from typing import Any, Final

from cacheops import no_invalidation
from cacheops.query import ManagerMixin
from cacheops.signals import cache_invalidated
from django.db import DEFAULT_DB_ALIAS, IntegrityError, connections, router
from django.db.models import Model
from django.db.models.manager import BaseManager
from django.db.models.signals import post_save, pre_save

from cachepolicy import conf
from cachepolicy.runtime import deletions, invalidations, relation_writes
from cachepolicy.runtime.accounting import accounted_if, is_cacheops
from cachepolicy.runtime.connection_state import nothing_served, state_of
from cachepolicy.runtime.deletions import collecting
from cachepolicy.runtime.relation_writes import writes_through
from cachepolicy.runtime.rows import Rows, rows_of

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


@contextmanager
def _whole_if_broken_off(model: type[Model], alias: str) -> Iterator[None]:
    """Rows are written inside and told after it: where a COMMIT's reply is lost, nobody knows what became of them."""
    try:
        yield
    except IntegrityError:
        raise  # they are as they were
    except BaseException:
        connection: Any = connections[alias]
        state_of(connection).push(connection, frozenset({model._meta.db_table}))
        raise


class _Save:
    """A save() whose row can be told, and whether it has been."""

    __slots__ = ("instance", "is_told", "rows")

    def __init__(self, instance: Any, rows: Rows) -> None:
        self.instance, self.rows, self.is_told = instance, rows, False


# The innermost one: a handler's own is inside another.
_saving: ContextVar[_Save | None] = ContextVar("cachepolicy_save", default=None)


def _save_of(instance: Any) -> _Save | None:
    save = _saving.get()
    return save if save is not None and save.instance is instance else None


def _save_base(upstream: Upstream) -> Upstream:
    """Model.save_base: what is read inside comes from the database, whatever the cache holds."""

    @functools.wraps(upstream)
    def save_base(self: Any, raw: Any = False, force_insert: Any = False, force_update: Any = False,
                  using: Any = None, update_fields: Any = None) -> Any:  # fmt: skip
        using = using or router.db_for_write(self.__class__, instance=self)
        if not is_cacheops(type(self)):
            return upstream(self, raw, force_insert, force_update, using, update_fields)
        _listen()
        rows = None if no_invalidation.active else rows_of(type(self), using)
        token = _saving.set(None if rows is None else _Save(self, rows))
        try:
            with nothing_served(using):
                return upstream(self, raw, force_insert, force_update, using, update_fields)
        finally:
            _saving.reset(token)

    return save_base


@functools.cache
def _listen() -> None:
    """Let cacheops' handlers that are connected already be ours as well."""
    for signal, name, replaced in ((pre_save, "_pre_save", _pre_save), (post_save, "_post_save", _post_save)):
        handler = ManagerMixin.__dict__[name]
        ours = replaced(handler)
        with signal.lock:
            signal.receivers = [
                (key, MethodType(ours, each.__self__) if getattr(each, "__func__", None) is handler else each, *rest)
                for key, each, *rest in signal.receivers
            ]
            signal.sender_receivers_cache.clear()


def _pre_save(upstream: Upstream) -> Upstream:
    """cacheops' handler of pre_save, which reads the row as it was."""

    @functools.wraps(upstream)
    def pre_save(self: Any, sender: Any, instance: Any, using: Any, **kwargs: Any) -> None:
        if _save_of(instance) is None or cache_invalidated.receivers:
            upstream(self, sender=sender, instance=instance, using=using, **kwargs)

    return pre_save


def _post_save(upstream: Upstream) -> Upstream:
    """cacheops' handler of post_save, which invalidates the row as it was and is, and those that are one to one."""

    @functools.wraps(upstream)
    def post_save(self: Any, sender: Any, instance: Any, using: Any, **kwargs: Any) -> None:
        save = _save_of(instance)
        if save is None or cache_invalidated.receivers or (save.rows.one_to_one and not save.is_told):
            with invalidations.batch():
                upstream(self, sender=sender, instance=instance, using=using, **kwargs)

    return post_save


@contextmanager
def _telling(save: _Save) -> Iterator[Rows]:
    """A row is written inside, and Redis told of it; where that fails nobody knows what became of the row."""
    try:
        yield save.rows
    except IntegrityError:
        raise  # it is as it was
    except BaseException:
        save.rows.tell_whole()
        raise
    save.is_told = True


def _do_update(upstream: Upstream) -> Upstream:
    """Model._do_update: save()'s UPDATE."""

    @functools.wraps(upstream)
    def _do_update(self: Any, base_qs: Any, using: str, pk_val: Any, values: Any, *args: Any) -> Any:
        save = _save_of(self)
        if save is not None and not self._state.adding and _are_plain(values):
            with _telling(save) as rows:
                with accounted_if(True, rows.model):
                    found = rows.updated(base_qs, pk_val, values)
                if found is not None and found.before is not None:
                    after = rows.written(found.before, ((field, value) for field, _, value in values))
                    rows.tell([found.before] if after is None else [found.before, after])
            save.is_told = found is not None
            if found is not None:
                return found.is_there
        before = None if save is None or self._state.adding or not values else save.rows.standing(pk_val)
        after = None if save is None or before is None else save.rows.written(before, ((f, v) for f, _, v in values))
        if save is None or before is None or after is None:
            return upstream(self, base_qs, using, pk_val, values, *args)
        with _telling(save) as rows:
            with accounted_if(True, rows.model):
                updated = upstream(self, base_qs, using, pk_val, values, *args)
            rows.tell([before, after])
        return updated

    return _do_update


def _are_plain(values: Any) -> bool:
    """Whether every value is the instance's own; there is one at least."""
    return bool(values) and not any(hasattr(value, "resolve_expression") for _, _, value in values)


def _do_insert(upstream: Upstream) -> Upstream:
    """Model._do_insert: save()'s INSERT."""

    @functools.wraps(upstream)
    def _do_insert(self: Any, manager: Any, using: str, fields: Any, returning_fields: Any, *args: Any) -> Any:
        save = _save_of(self)
        if save is None or save.rows.of(self) is None:
            return upstream(self, manager, using, fields, returning_fields, *args)
        with _telling(save) as rows:
            with accounted_if(True, rows.model):
                returned = upstream(self, manager, using, fields, returning_fields, *args)
            # save() gives the instance the key that the database has made only later.
            made = zip(returning_fields, returned[0], strict=False) if returned else ()
            values = rows.of(self)
            inserted = None if values is None else rows.written(values, made)
            if inserted is None or inserted[rows.key] is None:
                rows.tell_whole()
            else:
                rows.tell([inserted])
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
        rows = rows_of(self.model, self.db) if known and is_cacheops(self.model) else None
        known = rows is not None and all(type(obj) is self.model and rows.of(obj) is not None for obj in objs)
        with accounted_if(known or writes_through.get() is self.model, self.model):
            return upstream(self, objs, fields, batch_size, on_conflict, **kwargs)

    return _batched_insert


def _bulk_create(upstream: Upstream) -> Upstream:
    """QuerySet.bulk_create: cacheops' own, which invalidates the rows one after another."""

    @functools.wraps(upstream)
    def bulk_create(self: Any, *args: Any, **kwargs: Any) -> Any:
        self._for_write = True
        with _sent_together(self.db), _whole_if_broken_off(self.model, self.db):
            return upstream(self, *args, **kwargs)

    return bulk_create


def _invalidated_update(upstream: Upstream) -> Upstream:
    """QuerySet.invalidated_update: cacheops' own, which reads the rows before and after."""

    @functools.wraps(upstream)
    def invalidated_update(self: Any, **kwargs: Any) -> Any:
        # It reads the rows again by `objects`, which may hide what they have become.
        sees_all = type(self.model.objects).get_queryset is BaseManager.get_queryset
        whole = sees_all and not self.query.deferred_loading[0] and is_cacheops(self.model)
        whole = whole and rows_of(self.model, self.db) is not None
        token = _updating.set(self.model if whole else None)
        self._for_write = True
        try:
            with _sent_together(self.db), _whole_if_broken_off(self.model, self.db):
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


def _invalidate_obj(upstream: Upstream) -> Upstream:
    """cacheops' own, as bulk_create(), invalidated_update() and its handlers call it."""

    @functools.wraps(upstream)
    def invalidate_obj(obj: Any, using: str = DEFAULT_DB_ALIAS) -> None:
        rows = rows_of(type(obj), using) if is_cacheops(type(obj)) and not cache_invalidated.receivers else None
        values = None if rows is None else rows.of(obj)
        if rows is None or values is None:
            upstream(obj, using=using)
        elif not no_invalidation.active:
            rows.tell([values])

    return invalidate_obj


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
    # Of the models that are still to come.
    ("django.db.models.manager:BaseManager", "_pre_save", _pre_save),
    ("django.db.models.manager:BaseManager", "_post_save", _post_save),
    ("cacheops.query", "invalidate_obj", _invalidate_obj),
    ("django.db.models:QuerySet", "_batched_insert", _batched_insert),
    ("django.db.models:QuerySet", "bulk_create", _bulk_create),
    ("django.db.models:QuerySet", "invalidated_update", _invalidated_update),
    ("django.db.models:QuerySet", "update", _update),
    *deletions.REPLACEMENTS,
    *relation_writes.REPLACEMENTS,
)
