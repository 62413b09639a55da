"""Which tables' writes are accounted for row by row, so that a statement that names them needs no more."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from cacheops import no_invalidation
from cacheops.conf import settings as cacheops_settings
from cacheops.utils import family_has_profile
from django.db.models import Model

from cachepolicy.runtime.tables import known_tables

__all__ = ["accounted_if", "is_cacheops", "left_to_invalidate"]

_accounted: ContextVar[frozenset[str]] = ContextVar("cachepolicy_accounted", default=frozenset())
_SEPARATORS: Final = str.maketrans({'"': " ", "`": " ", ".": " "})


@contextmanager
def accounted_if(known: bool, model: type[Model]) -> Iterator[None]:
    """What statements inside write to the model's table is made up for by the caller, if he says so."""
    if not known:
        yield
        return
    token = _accounted.set(_accounted.get() | {model._meta.db_table})
    try:
        yield
    finally:
        _accounted.reset(token)


def is_cacheops(model: type[Model]) -> bool:
    """Whether cacheops is on, and has its handlers on the model; it has none on those of migrations."""
    return bool(cacheops_settings.CACHEOPS_ENABLED) and model.__module__ != "__fake__" and family_has_profile(model)


def left_to_invalidate(words: frozenset[str]) -> frozenset[str]:
    """The tables among a statement's words that must be invalidated whole."""
    if not words or no_invalidation.active:
        return frozenset()
    names = _named(words)
    return names - _accounted.get() if names else names


def _named(words: Iterable[str]) -> frozenset[str]:
    tables = known_tables()
    if _index.tables is not tables or _index.size != len(tables):
        _index.build(tables)
    by_name = _index.by_name
    return frozenset().union(*(by_name[word] for word in words if word in by_name))


class _Index:
    """Tables by their names as statements write them: in lower case, without a schema."""

    tables: object = None
    size = 0
    by_name: dict[str, set[str]] = {}

    def build(self, tables: Iterable[str]) -> None:
        by_name: dict[str, set[str]] = {}
        size = 0
        for table in tables:
            size += 1
            by_name.setdefault(table.lower(), set()).add(table)
            by_name.setdefault(table.lower().translate(_SEPARATORS).split()[-1], set()).add(table)
        self.tables, self.size, self.by_name = tables, size, by_name


_index: Final = _Index()
