"""Fresh reads: inside `fresh()` nothing is served from a cache, whatever the caches hold."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Final, ParamSpec, TypeVar, cast

from asgiref.sync import iscoroutinefunction

from cachepolicy.exceptions import UnsupportedFunctionError

__all__ = ["REPLACEMENTS", "bypassed", "fresh", "is_bypassed", "is_fresh"]

P = ParamSpec("P")
R = TypeVar("R")

# How many blocks are open, not a token to go back to: blocks of generators end in any order.
_open: ContextVar[int] = ContextVar("cachepolicy_fresh", default=0)
_bypassed: ContextVar[bool] = ContextVar("cachepolicy_bypassed", default=False)


class fresh:  # noqa: N801 - as contextlib's, it is written like a function
    """Read from the database inside: `with fresh():`, or `@fresh()` on a function, async ones too.

    No tier serves a hit there: not Redis, not the process's memory, no cached function. What is read is stored in
    Redis as usual, since it is born now; so a fresh read also mends the entry for everyone else. It holds for this
    thread or task, for what it awaits, and for tasks it starts meanwhile. A queryset is read where it is evaluated,
    not where it is made.
    """

    __slots__ = ()

    def __init__(self, *wrong: object) -> None:
        if wrong:
            raise TypeError("fresh() takes no arguments; decorate with parentheses, as in @fresh()")

    def __enter__(self) -> None:
        _open.set(_open.get() + 1)

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Not below zero: an abandoned async generator is closed in another context than it was begun in.
        _open.set(max(_open.get() - 1, 0))

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """The function, reading freshly; UnsupportedFunctionError for a generator, a class, a static method."""
        _refuse_unsupported(function)
        if iscoroutinefunction(function):

            @functools.wraps(function)
            async def awaited(*args: P.args, **kwargs: P.kwargs) -> Any:
                with self:
                    return await cast(Any, function(*args, **kwargs))

            return cast("Callable[P, R]", awaited)

        @functools.wraps(function)
        def called(*args: P.args, **kwargs: P.kwargs) -> R:
            with self:
                return function(*args, **kwargs)

        return called


@contextmanager
def bypassed() -> Iterator[None]:
    """Read from the database inside, and store nothing: for a row that is about to be written."""
    token = _bypassed.set(True)
    try:
        yield
    finally:
        _bypassed.reset(token)


def is_bypassed() -> bool:
    """Whether reads of this thread or task go past the cache altogether now."""
    return _bypassed.get()


def is_fresh() -> bool:
    """Whether reads of this thread or task must come from the database now."""
    return _open.get() > 0 or _bypassed.get()


def _refuse_unsupported(function: Any) -> None:
    name = getattr(function, "__qualname__", None) or repr(function)
    if isinstance(function, (staticmethod, classmethod)):
        kind = type(function).__name__
        raise UnsupportedFunctionError(f"{name} is a {kind}; put @{kind} above @fresh(), not below it")
    if isinstance(function, type) or not callable(function):
        raise UnsupportedFunctionError(f"{name} is no function; decorate a function or a method")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        # Its body runs between the caller's lines, and would make those fresh or not by turns.
        raise UnsupportedFunctionError(f"{name} is a generator; write `with fresh():` around the reads inside it")


def _refresh_from_db(upstream: Callable[..., None]) -> Callable[..., None]:
    """Model.refresh_from_db; arefresh_from_db, deferred fields and models' own overrides end in it."""

    @functools.wraps(upstream)
    def refresh_from_db(self: Any, *args: Any, **kwargs: Any) -> None:
        with bypassed():  # its query is nobody else's: what it would store is never asked for again
            upstream(self, *args, **kwargs)

    return refresh_from_db


# What the runtime replaces for this, as (owner, attribute, upstream → ours).
REPLACEMENTS: Final = (("django.db.models:Model", "refresh_from_db", _refresh_from_db),)
