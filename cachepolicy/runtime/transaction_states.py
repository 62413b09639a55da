"""cacheops' view of the transactions: is one open, is it dirty, and what shall be invalidated after its commit."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import cacheops.transaction
from django.db import DEFAULT_DB_ALIAS, connections
from django.utils.connection import ConnectionDoesNotExist

from cachepolicy.runtime.connection_state import Item, state_of, suspects

__all__ = ["in_force", "transaction_states"]


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
        if not suspects:
            return False
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

    def any_is_dirty(self) -> bool:
        """Whether any database is that this thread has a connection to."""
        if not suspects:
            return False
        for connection in connections.all(initialized_only=True):
            state = connection.__dict__.get("_cachepolicy")
            if state is not None and state.is_dirty(connection):
                return True
        return False


transaction_states: Final = _TransactionStates()


def in_force() -> bool:
    """Whether the runtime is installed."""
    # Tests take the replacements out, to see what then goes wrong.
    return cacheops.transaction.transaction_states is transaction_states
