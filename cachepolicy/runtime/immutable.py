"""Tables declared immutable: the ORM refuses to write to them, so that what is cached for long stays true."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import cacheops
from django.apps import apps
from django.core.serializers.base import DeserializedObject
from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.db.models import Model, QuerySet
from django.db.models.signals import pre_delete, pre_save

from cachepolicy import conf
from cachepolicy.exceptions import ImmutableTableError
from cachepolicy.runtime.local_gets import forget
from cachepolicy.runtime.writes import writes_allowed, writing

__all__ = ["allow_writes", "install"]


@contextmanager
def allow_writes(*models: type[Model]) -> Iterator[None]:
    """Let the ORM write to these immutable tables (none given: to every one), in this thread or task.

    Inside the block `local_get` keeps and serves nothing of them. At its end, or at the commit of the transaction
    around it, their cached reads are invalidated; what other processes hold in their memory stays until its time is up.
    """
    for model in models:
        if not (isinstance(model, type) and issubclass(model, Model)):
            raise TypeError(f"allow_writes takes model classes, as in allow_writes(Country), not {model!r}")
    try:
        with writing(models):
            yield
    finally:
        _invalidate(models or tuple(filter(_is_immutable, apps.get_models(include_auto_created=True))))


def _invalidate(models: tuple[type[Model], ...]) -> None:
    forget(models)
    inside = [connection.alias for connection in connections.all(initialized_only=True) if connection.in_atomic_block]
    for alias in inside or [DEFAULT_DB_ALIAS]:
        for model in models:
            # The whole table: update() and bulk_create() inside the block have invalidated nothing.
            cacheops.invalidate_model(model, using=alias)
        # Again after the commit: until then another thread could have read and kept the old rows.
        transaction.on_commit(functools.partial(forget, models), using=alias)


def install() -> None:
    """Guard every immutable table; called once, when the apps are ready."""
    guarded = [model for model in apps.get_models(include_auto_created=True) if _refused_by(model) is not None]
    if not guarded:
        return
    for model in guarded:
        # By sender: a listener to every model's pre_delete would end Django's fast deletes in the whole project.
        pre_save.connect(_before_save, sender=model, weak=False, dispatch_uid="cachepolicy.immutable")
        pre_delete.connect(_before_delete, sender=model, weak=False, dispatch_uid="cachepolicy.immutable")
    # These send no signals; neither does what many-to-many managers and cascades remove by _raw_delete.
    for name, operation in {"update": "update()", "bulk_create": "bulk_create()", "_raw_delete": "delete()"}.items():
        setattr(QuerySet, name, _guarded(getattr(QuerySet, name), operation))
    DeserializedObject.save = _as_fixture(DeserializedObject.save)  # type: ignore[method-assign]


def _is_immutable(model: type[Model]) -> bool:
    concrete = model._meta.concrete_model or model
    rule = conf.policies().rule_for(concrete._meta.label)
    return rule is not None and rule.immutable.value


def _refused_by(model: type[Model]) -> type[Model] | None:
    """The immutable model whose table a write of `model` touches: itself, or a parent by multi-table inheritance."""
    # Migrations write through historical models, which live in a module of this name.
    if model.__module__ == "__fake__":
        return None
    concrete = model._meta.concrete_model or model
    if _is_immutable(concrete):
        return concrete
    parents = concrete._meta.get_parent_list() if concrete._meta.parents else ()
    return next((parent for parent in parents if _is_immutable(parent)), None)


def _before_save(sender: type[Model], raw: bool = False, **_: Any) -> None:
    if not raw:  # a fixture is loaded raw
        _refuse(sender, "save()")


def _before_delete(sender: type[Model], **_: Any) -> None:
    _refuse(sender, "delete()")


def _guarded(upstream: Callable[..., Any], operation: str) -> Any:
    @functools.wraps(upstream)
    def guarded(self: QuerySet[Any], *args: Any, **kwargs: Any) -> Any:
        _refuse(self.model, operation)
        return upstream(self, *args, **kwargs)

    return guarded


def _as_fixture(upstream: Callable[..., Any]) -> Any:
    """loaddata's many-to-many rows are not saved raw."""

    @functools.wraps(upstream)
    def save(self: DeserializedObject, *args: Any, **kwargs: Any) -> Any:
        with writing(()):
            return upstream(self, *args, **kwargs)

    return save


def _refuse(model: type[Model], operation: str) -> None:
    table = _refused_by(model)
    if table is None or writes_allowed(table) or writes_allowed(model):
        return
    rule = conf.policies().rule_for(table._meta.label)
    place = rule.immutable.origin if rule else conf.policies().file
    raise ImmutableTableError(
        f"{place}: {table._meta.label} is immutable, so {operation} is refused; write in a migration, by its "
        f"historical models, in a fixture, or inside `with cachepolicy.allow_writes({table._meta.object_name}):`"
    )
