"""Faults of transactions: what is rolled back, what is read from a snapshot of the past, a COMMIT without an answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from django.db import connections
from django.db.transaction import atomic, set_rollback

__all__ = [
    "begun_deferred",
    "frozen_snapshot",
    "killed_in_commit",
    "rolled_back",
    "rolled_back_raw",
    "rolled_back_savepoint",
    "rolled_back_without_atomic",
]

# A transaction whose snapshot is taken at once and stays, as one says it that has been begun by atomic().
_FREEZE: Final = {
    "sqlite": ("SELECT count(*) FROM sqlite_master",),
    "postgresql": ("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", "SELECT 1"),
    "mysql": ("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", "START TRANSACTION WITH CONSISTENT SNAPSHOT"),
}
# How a session is named, killed, and looked for.
_SESSIONS: Final[dict[str, tuple[Callable[[Any], int], str, str]]] = {
    "postgresql": (
        lambda driver: driver.info.backend_pid,
        "SELECT pg_terminate_backend(%s)",
        "SELECT count(*) FROM pg_stat_activity WHERE pid = %s",
    ),
    "mysql": (
        lambda driver: driver.thread_id(),
        "KILL %s",
        "SELECT count(*) FROM information_schema.processlist WHERE id = %s",
    ),
}


@contextmanager
def rolled_back(using: str = "default") -> Iterator[None]:
    """What the block writes is rolled back at its end, by atomic()."""
    with atomic(using=using):
        yield
        set_rollback(True, using=using)


@contextmanager
def rolled_back_savepoint(using: str = "default") -> Iterator[None]:
    """What the block writes is rolled back to a savepoint; the transaction around it commits."""
    with atomic(using=using), atomic(using=using):
        yield
        set_rollback(True, using=using)


@contextmanager
def rolled_back_without_atomic(using: str = "default") -> Iterator[None]:
    """The block runs with autocommit off, as `set_autocommit(False)` leaves it, and is rolled back."""
    connection = connections[using]
    connection.ensure_connection()
    connection.set_autocommit(False)
    try:
        yield
    finally:
        connection.rollback()
        connection.set_autocommit(True)


@contextmanager
def rolled_back_raw(using: str = "default") -> Iterator[None]:
    """The block runs between a BEGIN and a ROLLBACK that went through a cursor."""
    with connections[using].cursor() as cursor:
        cursor.execute("BEGIN")
        try:
            yield
        finally:
            cursor.execute("ROLLBACK")


@contextmanager
def frozen_snapshot(using: str = "default") -> Iterator[None]:
    """The block reads the database as it stands at the start: an atomic() of REPEATABLE READ, or SQLite's own.

    It is the outermost transaction. Raises RuntimeError inside another atomic(), KeyError for another database.
    """
    connection = connections[using]
    with begun_deferred(using), atomic(using=using, durable=True):
        with connection.cursor() as cursor:
            for statement in _FREEZE[connection.vendor]:
                cursor.execute(statement)
        yield


@contextmanager
def killed_in_commit(using: str = "default", *, committed: bool) -> Iterator[None]:
    """The server kills the session of this thread at the block's COMMIT: before it is executed, or before its answer.

    The COMMIT raises OperationalError either way, and only another session can tell. For PostgreSQL and MySQL or
    MariaDB; raises KeyError for another database.
    """
    connection: Any = connections[using]
    session_of, kill, alive = _SESSIONS[connection.vendor]
    connection.ensure_connection()
    # The driver's own, below whatever looks at the connection's COMMIT.
    driver = connection.connection
    upstream = driver.commit

    def commit() -> None:
        if committed:
            upstream()
        session = session_of(driver)
        other = connection.copy()
        try:
            with other.cursor() as cursor:
                cursor.execute(kill, [session])
                gone = False
                while not gone:  # the server only marks the session, which ends when the server gets round to it
                    cursor.execute(alive, [session])
                    gone = cursor.fetchone() == (0,)
        finally:
            other.close()
        if not committed:
            upstream()
        driver.cursor().execute("SELECT 1")

    driver.commit = commit
    try:
        yield
    finally:
        del driver.commit


@contextmanager
def begun_deferred(using: str = "default") -> Iterator[None]:
    """Let atomic() begin SQLite's transactions as readers, though the project may begin them IMMEDIATE."""
    connection: Any = connections[using]
    connection.ensure_connection()  # what the project has configured is read as it connects
    configured = getattr(connection, "transaction_mode", None)
    if configured is None:
        yield
        return
    connection.transaction_mode = "DEFERRED"
    try:
        yield
    finally:
        connection.transaction_mode = configured
