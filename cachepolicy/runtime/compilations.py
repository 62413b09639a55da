"""A queryset's SQL, compiled once where its key and its dependencies are asked for together.

A hit needs both, and compiling is a fifth of what it costs. The two share inside a block alone, in which nobody else
touches the queryset: a compilation that outlived a change of the query would give the rows of another one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from django.core.exceptions import EmptyResultSet

__all__ = ["Compiled", "beside", "compiled", "is_shared", "share", "texts_beside", "unshare"]

_SHARED: Final = "_cachepolicy_shared"


class Compiled(NamedTuple):
    """The text that goes to the database, and its parameters."""

    sql: str
    params: tuple[Any, ...]


class _Shared:
    __slots__ = ("beside", "compiled", "is_compiled", "owner")

    def __init__(self, queryset: Any) -> None:
        self.owner = id(queryset)
        self.is_compiled = False
        self.compiled: Compiled | None = None
        self.beside: list[str] = []


def compiled(queryset: Any) -> Compiled | None:
    """What the queryset asks the database; None where it knows that no row can match. Raises what Django raises."""
    shared = _shared(queryset)
    if shared is None:
        return _compile(queryset)
    if not shared.is_compiled:
        shared.compiled, shared.is_compiled = _compile(queryset), True
    return shared.compiled


def share(querysets: Iterable[Any]) -> None:
    """From here to `unshare` these querysets are compiled once; they must not change in between."""
    for queryset in querysets:
        queryset.__dict__[_SHARED] = _Shared(queryset)


def unshare(querysets: Iterable[Any]) -> None:
    """The end of what `share` began."""
    for queryset in querysets:
        queryset.__dict__.pop(_SHARED, None)


def is_shared(queryset: Any) -> bool:
    """Whether it is between `share` and `unshare`."""
    return _shared(queryset) is not None


def beside(queryset: Any, sql: str) -> None:
    """This SQL is part of what the queryset will ask, and not of its own."""
    if (shared := _shared(queryset)) is not None:
        shared.beside.append(sql)


def texts_beside(queryset: Any) -> Iterable[str]:
    """What `beside` was told."""
    shared = _shared(queryset)
    return shared.beside if shared is not None else ()


def _shared(queryset: Any) -> _Shared | None:
    found: _Shared | None = queryset.__dict__.get(_SHARED)
    # A deep copy brings its original's along.
    return found if found is not None and found.owner == id(queryset) else None


def _compile(queryset: Any) -> Compiled | None:
    try:
        sql, params = queryset.query.get_compiler(using=queryset.db).as_sql()
    except EmptyResultSet:
        return None
    return Compiled(sql, tuple(params))
