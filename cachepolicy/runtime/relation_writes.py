"""Writes of many-to-many managers, which cacheops invalidates row by row as it hears of them by signals."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Final

from cacheops.conf import settings as cacheops_settings
from django.db import router
from django.db.models import Model
from django.db.models.signals import m2m_changed

from cachepolicy.runtime.accounting import accounted_if
from cachepolicy.runtime.connection_state import nothing_served

__all__ = ["REPLACEMENTS", "writes_through"]

Upstream = Callable[..., Any]

# The model of the table between two that a manager is writing to, where cacheops hears of all it does.
writes_through: ContextVar[type[Model] | None] = ContextVar("cachepolicy_many_to_many", default=None)


def _many_to_many(upstream: Upstream) -> Upstream:
    """Makes the manager of a many-to-many field; cacheops hears of what it does by signals."""

    @functools.wraps(upstream)
    def create_forward_many_to_many_manager(superclass: Any, rel: Any, reverse: Any) -> Any:
        manager = upstream(superclass, rel, reverse)
        for name in ("_add_items", "_remove_items", "clear"):
            setattr(manager, name, _told_of(getattr(manager, name)))
        return manager

    return create_forward_many_to_many_manager


def _told_of(upstream: Upstream) -> Upstream:
    @functools.wraps(upstream)
    def operation(self: Any, *args: Any, **kwargs: Any) -> Any:
        # Of a symmetrical relation the mirrored rows come without a signal.
        told = not self.symmetrical and self.through._meta.auto_created and _listens_to(self.through)
        token = writes_through.set(self.through if told else None)
        try:
            # clear() asks cacheops' handler for the rows that were there.
            with nothing_served(router.db_for_write(self.through, instance=self.instance)):
                return upstream(self, *args, **kwargs)
        finally:
            writes_through.reset(token)

    return operation


def _listens_to(through: type[Model]) -> bool:
    uid = (through._meta.app_label, through._meta.model_name)
    hears = any(key == (uid, id(through)) for key, *_ in m2m_changed.receivers)
    # Another receiver may write to the table as well, of which nobody hears.
    is_alone = sum(map(len, m2m_changed._live_receivers(through))) == 1
    return hears and is_alone and bool(cacheops_settings.CACHEOPS_ENABLED)


def _raw_delete(upstream: Upstream) -> Upstream:
    """QuerySet._raw_delete: without signals; those of a many-to-many manager go before."""

    @functools.wraps(upstream)
    def _raw_delete(self: Any, *args: Any, **kwargs: Any) -> Any:
        with accounted_if(writes_through.get() is self.model, self.model):
            return upstream(self, *args, **kwargs)

    return _raw_delete


REPLACEMENTS: Final = (
    (
        "django.db.models.fields.related_descriptors",
        "create_forward_many_to_many_manager",
        _many_to_many,
    ),
    ("django.db.models:QuerySet", "_raw_delete", _raw_delete),
)
