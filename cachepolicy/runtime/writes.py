"""Which immutable tables this thread or task may write to now."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from django.db.models import Model

__all__ = ["writes_allowed", "writing"]

_EVERYTHING: Final = frozenset({"*"})
_allowed: ContextVar[frozenset[str]] = ContextVar("cachepolicy_allowed_writes", default=frozenset())


@contextmanager
def writing(models: tuple[type[Model], ...]) -> Iterator[None]:
    """Let the block write to these models' tables; none given: to every one."""
    tables = frozenset(model._meta.db_table for model in models) or _EVERYTHING
    token = _allowed.set(_allowed.get() | tables)
    try:
        yield
    finally:
        _allowed.reset(token)


def writes_allowed(model: type[Model]) -> bool:
    """Whether the model's table may be written to here."""
    allowed = _allowed.get()
    return bool(allowed) and (model._meta.db_table in allowed or "*" in allowed)
