"""Transactions: what goes through Django's connections is watched, and what was written invalidated after the commit.

Not seen is what the driver executes past Django: its own cursors and connections. On SQLite alone its count of changes
tells that an open transaction has written.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import cacheops.transaction
from django.db import DEFAULT_DB_ALIAS, IntegrityError, connections
from django.db.backends.signals import connection_created
from django.utils.connection import ConnectionDoesNotExist

from cachepolicy.runtime.connection_state import Item, state_of
from cachepolicy.runtime.statements import READ, Statement, classify, words_of

__all__ = ["REPLACEMENTS", "install", "transaction_states"]


class _TransactionState:
    """One database's, with the API of cacheops' own; it asks the connection whenever it is asked.

    cacheops calls begin(), commit() and rollback() at the ends of atomic(), which may not be those of the transaction.
    """

    def __init__(self, alias: str) -> None:
        self._alias = alias

    def _connection(self) -> Any:
        try:
            return connections[self._alias]
        except ConnectionDoesNotExist:  # Django's own, without a database, while it makes one
            return None

    def __bool__(self) -> bool:
        connection = self._connection()
        return connection is not None and state_of(connection).inside(connection)

    def is_dirty(self) -> bool:
        """Whether reads here must neither be served nor stored."""
        connection = self._connection()
        return connection is not None and state_of(connection).is_dirty(connection)

    def push(self, item: Item) -> None:
        """Invalidate after the commit."""
        if (connection := self._connection()) is not None:
            state_of(connection).push(connection, item)

    def mark_dirty(self) -> None:
        """Something was written."""
        if (connection := self._connection()) is not None and state_of(connection).inside(connection):
            state_of(connection).dirty = True

    def begin(self) -> None:
        """Nothing: the connection knows."""

    commit = rollback = begin


class _TransactionStates:
    """Stands in for cacheops' `transaction_states`."""

    def __init__(self) -> None:
        self._by_alias: dict[str, _TransactionState] = {}

    def __getitem__(self, alias: str | None) -> _TransactionState:
        name = alias or DEFAULT_DB_ALIAS
        state = self._by_alias.get(name)
        if state is None:
            state = self._by_alias[name] = _TransactionState(name)
        return state

    def is_dirty(self, dbs: Iterable[str]) -> bool:
        """Whether any of these databases is."""
        return any(self[alias].is_dirty() for alias in dbs)


transaction_states: Final = _TransactionStates()


def _in_force() -> bool:
    # Tests take the replacements out, to see what then goes wrong.
    return cacheops.transaction.transaction_states is transaction_states


def _watched(execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
    """Django's execute wrapper; it stays outermost, since others are taken off from the inner end."""
    connection = context["connection"]
    state = state_of(connection)
    if state.session is None or not _in_force():
        return execute(sql, params, many, context)  # Django sets a new session up
    statement = classify(sql, connection.vendor)
    if connection.vendor != "sqlite":
        with _told(connection, statement, many):
            return execute(sql, params, many, context)
    cursor = context["cursor"].cursor
    state.cursors.pop(cursor, None)  # what it read before is over
    with _told(connection, statement, many) as seen_ns:
        result = execute(sql, params, many, context)
    if cursor.description is not None:
        state.cursors[cursor] = seen_ns
    return result


@contextmanager
def _told(connection: Any, statement: Statement, many: bool = False) -> Iterator[int]:
    """A statement is executed inside; gives the instant of what it sees, at the earliest."""
    state = state_of(connection)
    seen_ns = state.before(connection, statement)
    try:
        yield seen_ns
    except BaseException as error:
        # Of several rows some may be written; MySQL's tables need not be of an engine with transactions.
        undone = isinstance(error, IntegrityError) and not many and connection.vendor in ("postgresql", "sqlite")
        state.after(connection, statement, failed=True, harmless=undone)
        raise
    if statement is not READ:
        state.after(connection, statement)


def _on_commit(upstream: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(upstream)
    def _commit(self: Any) -> Any:
        if not _in_force():
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
        if not _in_force():
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
    """What a parent has queued is the parent's to send."""
    for connection in connections.all(initialized_only=True):
        state = state_of(connection)
        state.queue, state.dirty, state.unserved = [], False, 0


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
        elif not attr.startswith("__") and _in_force():
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
        if not _in_force():
            return upstream(self, procname, *args, **kwargs)
        with _told(self.db, classify(f"CALL {procname}", self.db.vendor)):
            return upstream(self, procname, *args, **kwargs)

    return callproc


REPLACEMENTS: Final = (
    *(
        (module, "transaction_states", lambda _: transaction_states)
        for module in ("cacheops.transaction", "cacheops.query", "cacheops.getset")
    ),
    # Every statement is classified already, and this one raises for psycopg's Composed.
    ("cacheops.transaction", "is_sql_dirty", lambda _: lambda _: False),
    ("django.db.backends.utils:CursorWrapper", "__getattr__", _cursor_attribute),
    ("django.db.backends.utils:CursorWrapper", "callproc", _callproc),
)
