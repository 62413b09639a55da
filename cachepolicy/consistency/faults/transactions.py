"""Faults of transactions: what is rolled back, and what is read from a snapshot of the past."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connections
from django.db.transaction import atomic, set_rollback

__all__ = ["frozen_snapshot", "rolled_back", "rolled_back_raw", "rolled_back_savepoint", "rolled_back_without_atomic"]


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
    """The block reads the database as it stands at the start: a transaction of REPEATABLE READ, or SQLite's own."""
    connection = connections[using]
    if connection.vendor == "sqlite":
        # Not atomic(): a project may begin its transactions IMMEDIATE, which would keep the writer out.
        with connection.cursor() as cursor:
            cursor.execute("BEGIN DEFERRED")
            try:
                cursor.execute("SELECT count(*) FROM sqlite_master").fetchone()
                yield
            finally:
                cursor.execute("COMMIT")
        return
    if connection.vendor == "mysql":
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            cursor.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT")
            try:
                yield
            finally:
                cursor.execute("COMMIT")
        return
    with atomic(using=using):
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            cursor.execute("SELECT 1")
        yield
