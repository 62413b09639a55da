"""A queryset's SQL, compiled once where its key and its dependencies are asked for together.

A hit needs both, and compiling is a fifth of what it costs. The two share inside a block alone, in which nobody else
touches the queryset: a compilation that outlived a change of the query would give the rows of another one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from django.core.exceptions import EmptyResultSet

__all__ = ["Compiled", "compiled", "share", "unshare"]

_SHARED: Final = "_cachepolicy_compiled"


class Compiled(NamedTuple):
    """The text that goes to the database, and its parameters."""

    sql: str
    params: tuple[Any, ...]


def compiled(queryset: Any) -> Compiled | None:
    """What the queryset asks the database; None where it knows that no row can match. Raises what Django raises."""
    shared = queryset.__dict__.get(_SHARED)
    # A deep copy brings its original's along.
    if shared is not None and shared[0] == id(queryset):
        if len(shared) == 1:
            shared.append(_compile(queryset))
        found: Compiled | None = shared[1]
        return found
    return _compile(queryset)


def share(querysets: Iterable[Any]) -> None:
    """From here to `unshare` these querysets are compiled once; they must not change in between."""
    for queryset in querysets:
        queryset.__dict__[_SHARED] = [id(queryset)]


def unshare(querysets: Iterable[Any]) -> None:
    """The end of what `share` began."""
    for queryset in querysets:
        queryset.__dict__.pop(_SHARED, None)


def _compile(queryset: Any) -> Compiled | None:
    try:
        sql, params = queryset.query.get_compiler(using=queryset.db).as_sql()
    except EmptyResultSet:
        return None
    return Compiled(sql, tuple(params))
