"""Tables declared immutable: the ORM refuses to write to them, so that what is cached for long stays true."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

import cacheops
from django.apps import apps
from django.db.models import Model, QuerySet
from django.db.models.signals import pre_delete, pre_save

from cachepolicy import conf
from cachepolicy.exceptions import ImmutableTableError
from cachepolicy.runtime.local_gets import forget

__all__ = ["allow_writes", "install"]

_EVERYTHING: Final = frozenset({"*"})
_allowed: ContextVar[frozenset[str]] = ContextVar("cachepolicy_allowed_writes", default=frozenset())


@contextmanager
def allow_writes(*models: type[Model]) -> Iterator[None]:
    """Let the ORM write to these immutable tables (none given: to every one), in this thread or task.

    At the end their cached reads are invalidated; what other processes hold by `local_get` stays until its timeout.
    """
    labels = frozenset(model._meta.label_lower for model in models) or _EVERYTHING
    token = _allowed.set(_allowed.get() | labels)
    try:
        yield
    finally:
        _allowed.reset(token)
        for model in models or filter(_is_immutable, apps.get_models(include_auto_created=True)):
            # The whole table: update() and bulk_create() inside the block have invalidated nothing.
            cacheops.invalidate_model(model)
        forget(models)


def install() -> None:
    """Guard every immutable table; called once, when the apps are ready."""
    if not any(_is_immutable(model) for model in apps.get_models(include_auto_created=True)):
        return
    # Without a sender: a handler for one model would miss its proxies.
    pre_save.connect(_before_save, dispatch_uid="cachepolicy.immutable")
    pre_delete.connect(_before_delete, dispatch_uid="cachepolicy.immutable")
    # These two send no signals. Everything else the ORM writes with ends in one of the four.
    QuerySet.update = _guarded(QuerySet.update, "update()")  # type: ignore[method-assign]
    QuerySet.bulk_create = _guarded(QuerySet.bulk_create, "bulk_create()")  # type: ignore[method-assign]


def _is_immutable(model: type[Model]) -> bool:
    # Migrations write through historical models, which live in a module of this name.
    if model.__module__ == "__fake__":
        return False
    concrete = model._meta.concrete_model or model
    rule = conf.policies().rule_for(concrete._meta.label)
    return rule is not None and rule.immutable.value


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


def _refuse(model: type[Model], operation: str) -> None:
    if not _is_immutable(model):
        return
    concrete = model._meta.concrete_model or model
    if _allowed.get() & {concrete._meta.label_lower, model._meta.label_lower, *_EVERYTHING}:
        return
    rule = conf.policies().rule_for(concrete._meta.label)
    place = rule.immutable.origin if rule else conf.policies().file
    name = concrete._meta.object_name
    raise ImmutableTableError(
        f"{place}: {concrete._meta.label} is immutable, so {operation} is refused; write in a migration, in a fixture, "
        f"or inside `with cachepolicy.allow_writes({name}):`"
    )
