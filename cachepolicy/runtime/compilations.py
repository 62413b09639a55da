"""A queryset's SQL, compiled once for its key and its dependencies, and on a miss for its rows.

They share inside a block alone, in which nobody else touches the queryset: a compilation that outlived a change of the
query would give the rows of another one.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from django.core.exceptions import EmptyResultSet
from django.db import connections
from django.db.models.query import ModelIterable

__all__ = ["Compiled", "as_compiled", "beside", "compiled", "forget", "is_shared", "share", "texts_beside", "unshare"]

_SHARED: Final = "_cachepolicy_shared"
_COMPILER: Final = "_cachepolicy_compiler"
_DJANGOS: Final = ModelIterable.__module__


class Compiled(NamedTuple):
    """The text that goes to the database, and its parameters."""

    sql: str
    params: tuple[Any, ...]


class _Shared:
    __slots__ = ("beside", "compiled", "compiler", "is_compiled", "owner")

    def __init__(self, queryset: Any) -> None:
        self.owner = (id(queryset), threading.get_ident())
        self.is_compiled = False
        self.compiled: Compiled | None = None
        self.compiler: Any = None
        self.beside: list[str] = []


def compiled(queryset: Any) -> Compiled | None:
    """What the queryset asks the database; None where it knows that no row can match. Raises what Django raises."""
    shared = _shared(queryset)
    if shared is None:
        return _compile(queryset)[0]
    if not shared.is_compiled:
        (shared.compiled, shared.compiler), shared.is_compiled = _compile(queryset), True
    return shared.compiled


def share(querysets: Iterable[Any]) -> None:
    """From here to `unshare` these querysets are compiled once; they must not change in between."""
    for queryset in querysets:
        queryset.__dict__[_SHARED] = _Shared(queryset)


def unshare(querysets: Iterable[Any], *, about_to_fetch: bool = False) -> None:
    """The end of what `share` began; `as_compiled` may still use the compilation if they are `about_to_fetch`."""
    for queryset in querysets:
        shared = queryset.__dict__.pop(_SHARED, None)
        if about_to_fetch and shared is not None and shared.compiled is not None:
            queryset.__dict__[_COMPILER] = (shared.compiler, shared.compiled)


@contextmanager
def as_compiled(queryset: Any) -> Iterator[None]:
    """Inside, the queryset's rows are asked for by the compilation that made its key, if there is one."""
    compiler, text = queryset.__dict__.pop(_COMPILER, (None, None))
    # A third party's way to make rows may ask for others, by a clone of the query.
    if compiler is None or queryset._iterable_class.__module__ != _DJANGOS:
        yield
        return
    if compiler.connection is not connections[compiler.using]:
        yield  # another thread's, that evaluates the same queryset
        return
    query, here = queryset.query, threading.get_ident()

    def get_compiler(*args: Any, **kwargs: Any) -> Any:
        if threading.get_ident() != here:
            return type(query).get_compiler(query, *args, **kwargs)
        query.__dict__.pop("get_compiler", None)  # once
        compiler.as_sql = as_sql
        return compiler

    def as_sql(*args: Any, **kwargs: Any) -> Any:
        # Once: what a compiler holds of itself stays until the garbage is collected, with all parameters.
        compiler.__dict__.pop("as_sql", None)
        return compiler.as_sql(*args, **kwargs) if args or kwargs else text

    query.get_compiler = get_compiler  # a clone of the query would take it along: Django's ways make none before
    try:
        yield
    finally:
        query.__dict__.pop("get_compiler", None)


def forget(queryset: Any) -> None:
    """The queryset may change from here on."""
    queryset.__dict__.pop(_COMPILER, None)


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
    # A deep copy brings its original's along, and threads may evaluate one queryset.
    return found if found is not None and found.owner == (id(queryset), threading.get_ident()) else None


def _compile(queryset: Any) -> tuple[Compiled | None, Any]:
    compiler = queryset.query.get_compiler(using=queryset.db)
    try:
        sql, params = compiler.as_sql()
    except EmptyResultSet:
        return None, None
    return Compiled(sql, tuple(params)), compiler
