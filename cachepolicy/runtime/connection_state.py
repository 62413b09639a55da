"""What a connection's transaction has done so far: dirty or clean, since when, and what to invalidate at its end."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final
from weakref import WeakKeyDictionary, WeakSet

from cacheops import no_invalidation
from cacheops.conf import settings as cacheops_settings
from django.db import connections

from cachepolicy import clock
from cachepolicy.runtime import births, drivers, invalidations
from cachepolicy.runtime.accounting import left_to_invalidate
from cachepolicy.runtime.statements import Statement

__all__ = ["ConnectionState", "Item", "nothing_served", "state_of", "suspects"]

_log: Final = logging.getLogger("cachepolicy")

# A row as cacheops calls it, or whole tables.
Item = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]] | frozenset[str]

# A session keeps its isolation level when a pool hands it on.
_unsettled: Final[WeakSet[Any]] = WeakSet()
_uncommitted: Final[WeakSet[Any]] = WeakSet()
# The states that may be dirty, in all threads: where there is none, a read from memory need not look for its own.
suspects: Final[WeakSet[ConnectionState]] = WeakSet()


class _Suspicious:
    """An attribute of a state that makes it a suspect."""

    def __set_name__(self, _owner: type, name: str) -> None:
        self._name = f"_{name}"

    def __get__(self, state: Any, _owner: type) -> Any:
        return getattr(state, self._name)

    def __set__(self, state: Any, value: Any) -> None:
        setattr(state, self._name, value)
        if not _may_be_dirty(state):
            suspects.discard(state)
        if _may_be_dirty(state):  # again: threads may share a connection, and another may have written meanwhile
            suspects.add(state)


def _may_be_dirty(state: Any) -> bool:
    return state._dirty or state._unserved or state._uncommitted or state._changes is not None


class ConnectionState:
    """Kept on the connection, so that every thread has its own, as Django's connections are.

    `session`: the driver's connection, None while Django opens one. `began_ns`: the transaction's first statement.
    `begun`: a BEGIN went through a cursor. `uncertain`: only the driver knows whether one is open, and does not say.
    `changes`: how many rows the session had written when it began. `queue`: what to invalidate after its commit.
    `unserved`: how many blocks let nothing be served or stored. `cursors`: reads that may not be finished, and the
    instants they see.
    """

    __slots__ = (
        "__weakref__", "_changes", "_dirty", "_uncommitted", "_unserved", "began_ns", "begun", "cursors",
        "queue", "savepoints", "session", "stands_still", "uncertain",
    )  # fmt: skip

    changes, dirty, uncommitted, unserved = _Suspicious(), _Suspicious(), _Suspicious(), _Suspicious()

    def __init__(self) -> None:
        self._changes, self._dirty, self._uncommitted, self._unserved = None, False, False, 0
        self.session: Any = None
        self.queue: list[Item] = []
        self.stands_still = True
        self.cursors: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
        self._clean()

    def _clean(self) -> None:
        self.began_ns: int | None = None
        self.begun = self.uncertain = self.dirty = False
        self.savepoints: list[tuple[str, bool, int]] = []
        self.changes = None

    def connected(self, connection: Any) -> None:
        """Another session stands behind the connection."""
        self.ended(connection, committed=True)  # nothing is left, or its end was not seen
        self.session = connection.connection
        self.stands_still = drivers.snapshot_stands_still(connection) or self.session in _unsettled
        self.uncommitted = drivers.reads_uncommitted(connection) or self.session in _uncommitted
        self.cursors.clear()

    def closed(self) -> None:
        """The session is over, and what it had not committed is undone."""
        self.session = None
        self.uncommitted = False
        self.queue = []
        self.cursors.clear()
        self._clean()

    def inside(self, connection: Any) -> bool:
        """Whether a transaction is open; one that has ended unseen ends here."""
        if connection.connection is None:
            return False
        if connection.in_atomic_block or not connection.autocommit:
            return True
        told = drivers.in_transaction(connection)
        if told is None:
            return self.begun or self.uncertain
        if not told and (self.queue or self.dirty or self.begun):
            self.ended(connection, committed=True)
        return told

    def is_dirty(self, connection: Any) -> bool:
        """Whether reads on the connection may see what is not committed, or what the cache has not been told yet."""
        if self._unserved or self._uncommitted:
            return True
        return self.inside(connection) and self._has_written(connection)

    def _has_written(self, connection: Any) -> bool:
        return self.dirty or (self.changes is not None and drivers.changes(connection) != self.changes)

    def before(self, connection: Any, statement: Statement) -> int:
        """A statement is about to be executed; gives the instant of what it will see, at the earliest."""
        now_ns = clock.now_ns()
        inside = self.inside(connection)
        if self.began_ns is None and (inside or statement.control or statement.uncertain or statement.savepoint[0]):
            self.began_ns = now_ns
            if self.changes is None:
                self.changes = drivers.changes(connection)
        snapshot_ns = self.began_ns if inside and self.stands_still else None
        if self.cursors:
            # A read that SQLite has not finished keeps its snapshot for those beside it.
            snapshot_ns = min([now_ns if snapshot_ns is None else snapshot_ns, *self.cursors.values()])
        dirty = self.uncommitted or (inside and (statement.writes or self._has_written(connection)))
        births.statement(connection.alias, snapshot_ns, dirty)
        return now_ns if snapshot_ns is None else snapshot_ns

    def after(self, connection: Any, statement: Statement, *, failed: bool = False, harmless: bool = False) -> None:
        """A statement has been executed, or has `failed`, then certainly without effect only where it is `harmless`."""
        if statement.unsettles:
            self._unsettle(connection, statement)
        if statement.writes and not harmless:
            self._written(connection, left_to_invalidate(statement.tables))
        if statement.commits or (failed and statement.control == "commit"):
            self.savepoints.clear()
            self._run(connection, list(self.queue))
        if statement.savepoint[0] and not failed:
            self._savepoint(connection, *statement.savepoint)
        if statement.control == "begin":
            self.begun = not failed
        elif statement.control and not failed and not drivers.in_transaction(connection):
            self.ended(connection, committed=statement.control == "commit")
        if not self.inside(connection):
            self._clean()

    def _written(self, connection: Any, tables: frozenset[str]) -> None:
        if self.inside(connection):
            self.dirty = True
            if tables:
                self.queue.append(tables)
            if not self.uncertain:
                return
        if tables:
            self._run(connection, [tables])

    def _unsettle(self, connection: Any, statement: Statement) -> None:
        self.stands_still = True
        with contextlib.suppress(TypeError):  # SQLite's connections, which are in no pool
            _unsettled.add(connection.connection)
        if statement.uncommitted and connection.vendor != "postgresql":
            self.uncommitted = True
            with contextlib.suppress(TypeError):
                _uncommitted.add(connection.connection)
        if statement.uncertain and drivers.in_transaction(connection) is None:
            self.uncertain = True

    def _savepoint(self, connection: Any, step: str, name: str) -> None:
        if step == "set":
            self.savepoints.append((name, self._has_written(connection), len(self.queue)))
            return
        places = [place for place, (each, _, _) in enumerate(self.savepoints) if each == name]
        if not places:
            return
        _, dirty, queued = self.savepoints[places[-1]]
        if step == "back":
            del self.savepoints[places[-1] + 1 :], self.queue[queued:]
            self.dirty, self.changes = dirty, drivers.changes(connection)
        else:
            del self.savepoints[places[-1] :]

    def push(self, connection: Any, item: Item) -> None:
        """Invalidate after the commit; at once where no transaction is open."""
        inside = self.inside(connection)
        if inside:
            self.queue.append(item)
        if not inside or self.uncertain:
            self._run(connection, [item])

    def ended(self, connection: Any, *, committed: bool, another: bool = False) -> None:
        """The transaction is over; `another` begins with the next statement."""
        queue, self.queue = self.queue, []
        self._clean()
        if another:
            self.changes = drivers.changes(connection)
        if committed:
            self._run(connection, queue)

    def outcome_unknown(self, connection: Any) -> None:
        """A COMMIT failed, perhaps after it took effect, perhaps to be tried again."""
        self._run(connection, list(self.queue))

    def _run(self, connection: Any, queue: Iterable[Item]) -> None:
        """Invalidate in one round trip; never raises. What one item fails at is no other's business."""
        rows, tables = [], set[str]()
        for item in queue:
            if isinstance(item, frozenset):
                tables |= item
            else:
                rows.append(item)
        if not rows and not tables:
            return
        # Where the commit stands inside `no_invalidation`, what was written outside is meant all the same.
        depth, no_invalidation.state.depth = no_invalidation.state.depth, 0
        try:
            with invalidations.batch():
                for call, args, kwargs in rows:
                    try:
                        call(*args, **kwargs)
                        if not cacheops_settings.CACHEOPS_ENABLED:
                            tables |= _table_of(call)
                    except Exception:
                        _log.exception("an invalidation failed; its whole table is invalidated instead")
                        tables |= _table_of(call)
                if tables:
                    invalidations.tables(tables, using=connection.alias)
        except Exception:
            _log.exception("invalidations after a commit failed: cached reads may be as old as their timeouts")
        finally:
            no_invalidation.state.depth = depth


def _table_of(call: Any) -> set[str]:
    model = getattr(call, "model", None)  # an argument of cacheops' function
    return set() if model is None else {model._meta.concrete_model._meta.db_table}


def state_of(connection: Any) -> ConnectionState:
    """The state that a connection carries."""
    state: ConnectionState | None = connection.__dict__.get("_cachepolicy")
    if state is None:
        state = connection._cachepolicy = ConnectionState()
    return state


@contextmanager
def nothing_served(alias: str) -> Iterator[None]:
    """Reads of a database come from it inside, since invalidations that are due may not have been sent yet."""
    state = state_of(connections[alias])
    state.unserved += 1
    try:
        yield
    finally:
        state.unserved = max(state.unserved - 1, 0)  # a fork inside has reset it
