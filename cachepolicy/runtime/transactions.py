"""Transactions: what goes through Django's connections is watched, and what was written invalidated after the commit.

Not seen is what the driver executes past Django: its own cursors and connections. On SQLite alone its count of changes
tells that an open transaction has written.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from django.db import IntegrityError, connections
from django.db.backends.signals import connection_created
from django.db.backends.utils import CursorWrapper

from cachepolicy.runtime.connection_state import state_of
from cachepolicy.runtime.statements import READ, Statement, classify, words_of
from cachepolicy.runtime.transaction_states import in_force, transaction_states

__all__ = ["REPLACEMENTS", "install", "transaction_states"]


def _watched(execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
    """Django's execute wrapper; it stays outermost, since others are taken off from the inner end."""
    connection = context["connection"]
    state = state_of(connection)
    if state.session is None or not in_force():
        return execute(sql, params, many, context)  # Django sets a new session up
    vendor = connection.vendor
    statement = classify(sql, vendor)
    cursor = context["cursor"].cursor if vendor == "sqlite" else None
    if cursor is not None and state.cursors:
        state.cursors.pop(cursor, None)  # what it read before is over
    seen_ns = state.before(connection, statement)
    try:
        result = execute(sql, params, many, context)
    except BaseException as error:
        _failed(connection, statement, error, many)
        raise
    if statement is not READ:
        state.after(connection, statement)
    if cursor is not None and cursor.description is not None:
        state.cursors[cursor] = seen_ns
    return result


def _failed(connection: Any, statement: Statement, error: BaseException, many: bool) -> None:
    # Of several rows some may be written; MySQL's tables need not be of an engine with transactions.
    undone = isinstance(error, IntegrityError) and not many and connection.vendor in ("postgresql", "sqlite")
    state_of(connection).after(connection, statement, failed=True, harmless=undone)


@contextmanager
def _told(connection: Any, statement: Statement) -> Iterator[None]:
    """A statement is executed inside, by the driver."""
    state_of(connection).before(connection, statement)
    try:
        yield
    except BaseException as error:
        _failed(connection, statement, error, many=True)
        raise
    state_of(connection).after(connection, statement)


def _on_commit(upstream: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(upstream)
    def _commit(self: Any) -> Any:
        if not in_force():
            return upstream(self)
        try:
            result = upstream(self)
        except BaseException:
            state_of(self).outcome_unknown(self)
            raise
        state_of(self).ended(self, committed=True, another=not self.autocommit)
        return result

    return _commit


def _on_rollback(upstream: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(upstream)
    def _rollback(self: Any) -> Any:
        result = upstream(self)
        state_of(self).ended(self, committed=False, another=not self.autocommit)
        return result

    return _rollback


def _on_close(upstream: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(upstream)
    def _close(self: Any) -> Any:
        try:
            return upstream(self)
        finally:
            state_of(self).closed()

    return _close


def _on_autocommit(upstream: Callable[..., Any]) -> Callable[..., Any]:
    """Switched on, it commits on MySQL and SQLite what is open."""

    @functools.wraps(upstream)
    def _set_autocommit(self: Any, autocommit: bool) -> Any:
        if not in_force():
            return upstream(self, autocommit)
        try:
            result = upstream(self, autocommit)
        except BaseException:
            state_of(self).outcome_unknown(self)
            raise
        state_of(self).ended(self, committed=True, another=not autocommit)
        return result

    return _set_autocommit


_HOOKS: Final = {
    "_commit": _on_commit,
    "_rollback": _on_rollback,
    "_close": _on_close,
    "_set_autocommit": _on_autocommit,
}


def _hook(backend: type) -> None:
    """On the class: what is hung on a connection itself, as faults do, is taken off again with ours."""
    for name, hooked in _HOOKS.items():
        upstream = getattr(backend, name)
        if not getattr(upstream, "of_cachepolicy", False):
            replacement = hooked(upstream)
            replacement.of_cachepolicy = True  # type: ignore[attr-defined]
            setattr(backend, name, replacement)


def _connected(connection: Any, **_: Any) -> None:
    _hook(type(connection))
    if _watched not in connection.execute_wrappers:
        connection.execute_wrappers.insert(0, _watched)
    state_of(connection).connected(connection)


def _forked() -> None:
    """What a parent has queued or holds back is the parent's to send; it may write to the session they share."""
    for connection in connections.all(initialized_only=True):
        state = state_of(connection)
        state.queue, state.unserved, state.dirty = [], 0, True


@functools.cache
def install() -> None:
    """Watch every connection, those that are open already and those that will be."""
    connection_created.connect(_connected, dispatch_uid="cachepolicy.transactions")
    for connection in connections.all(initialized_only=True):
        if connection.connection is not None:
            _connected(connection)
    os.register_at_fork(after_in_child=_forked)


# What Django's cursor leaves to the driver's and what neither writes nor leads past Django.
_HARMLESS_ATTRIBUTES: Final = """
    adapters arraysize close closed description fetchall fetchmany fetchone format itersize lastrowid messages mogrify
    name nextset pgresult query row_factory rowcount rownumber scroll scrollable setinputsizes setoutputsize status
    statusmessage tzinfo_factory warning_count withhold
"""
_HARMLESS: Final = frozenset(_HARMLESS_ATTRIBUTES.split())
_ENDS_READ: Final = frozenset({"close", "fetchall"})


def _cursor_attribute(upstream: Callable[..., Any]) -> Callable[..., Any]:
    """CursorWrapper.__getattr__: what it does not know itself reaches the driver's cursor (COPY, executescript)."""

    def __getattr__(self: Any, attr: str) -> Any:  # noqa: N807
        value = upstream(self, attr)
        if attr in _HARMLESS:
            if attr in _ENDS_READ and self.db.vendor == "sqlite":
                state_of(self.db).cursors.pop(self.cursor, None)
        elif not attr.startswith("__") and in_force():
            if callable(value):
                return functools.partial(_past_django, self.db, attr, value)
            transaction_states[self.db.alias].mark_dirty()  # `connection`, for one
        return value

    return __getattr__


def _past_django(connection: Any, attr: str, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    names = frozenset().union(*(words_of(str(each)) for each in (*args, *kwargs.values())))
    statement = Statement(writes=True, tables=names, commits=attr == "executescript")
    with _told(connection, statement):
        result = method(*args, **kwargs)
    if hasattr(result, "__exit__") and not hasattr(result, "execute"):
        return _until_left(connection, statement, result)  # psycopg's copy(), which writes inside
    return result


@contextmanager
def _until_left(connection: Any, statement: Statement, block: Any) -> Iterator[Any]:
    with _told(connection, statement), block as value:
        yield value


def _callproc(upstream: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(upstream)
    def callproc(self: Any, procname: Any, *args: Any, **kwargs: Any) -> Any:
        if not in_force():
            return upstream(self, procname, *args, **kwargs)
        with _told(self.db, classify(f"CALL {procname}", self.db.vendor)):
            return upstream(self, procname, *args, **kwargs)

    return callproc


def _without_cacheops(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """CursorWrapper's method as Django has it: cacheops' looks for words that the classified statement has told."""

    def restored(upstream: Callable[..., Any]) -> Callable[..., Any]:
        djangos: Callable[..., Any] = getattr(getattr(CursorWrapper, "_no_monkey", None), name, upstream)
        return djangos

    return restored


REPLACEMENTS: Final = (
    *(
        (module, "transaction_states", lambda _: transaction_states)
        for module in ("cacheops.transaction", "cacheops.query", "cacheops.getset")
    ),
    # Every statement is classified already, and this one raises for psycopg's Composed.
    ("cacheops.transaction", "is_sql_dirty", lambda _: lambda _: False),
    ("django.db.backends.utils:CursorWrapper", "__getattr__", _cursor_attribute),
    ("django.db.backends.utils:CursorWrapper", "execute", _without_cacheops("execute")),
    ("django.db.backends.utils:CursorWrapper", "executemany", _without_cacheops("executemany")),
    ("django.db.backends.utils:CursorWrapper", "callproc", _callproc),
)
