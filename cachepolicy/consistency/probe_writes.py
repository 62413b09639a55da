"""Writers of the kit's own table: each way in which a write commits, is rolled back, or leaves nobody knowing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final

from django.db import DatabaseError, OperationalError, connections
from django.db.transaction import atomic, set_rollback

from cachepolicy import clock
from cachepolicy.consistency.faults.processes import past_django
from cachepolicy.consistency.faults.transactions import killed_in_commit
from cachepolicy.consistency.history import Operation, Outcome
from cachepolicy.consistency.probe_table import CommitLog, Probe, key_of

__all__ = [
    "WAYS",
    "Way",
    "Write",
    "Writer",
    "executed",
    "from_outside",
    "rolled_back",
    "saved",
    "unanswered",
    "unanswered_and_lost",
]

_BEGIN: Final = {"sqlite": "BEGIN IMMEDIATE"}
_SERVERS: Final = frozenset({"postgresql", "mysql"})


@dataclass
class Write:
    """One write while it is carried out; `began_ns` and `ended_ns` enclose its COMMIT as far as it has come."""

    alias: str
    number: int
    token: str
    version: int | None = None
    began_ns: int | None = None
    ended_ns: int | None = None

    def by_orm(self, *, is_locked: bool = False) -> None:
        """Inside a transaction: write as a project does, by save(); `is_locked`: the transaction has the row's lock."""
        rows = Probe.objects.using(self.alias).nocache()
        # Django refuses select_for_update() in a transaction that it does not know of.
        row = (rows if is_locked else rows.select_for_update()).get(pk=self.number)
        row.version += 1
        row.token = self.token
        row.save(using=self.alias)
        self.version = row.version
        CommitLog.objects.using(self.alias).create(token=self.token)

    def by_cursor(self) -> None:
        """Inside a transaction: write by SQL of a cursor of Django's."""
        with connections[self.alias].cursor() as cursor:
            for statement, parameters in self.statements():
                cursor.execute(statement, parameters)
                if statement.startswith("SELECT"):
                    self.version = cursor.fetchone()[0]

    def statements(self) -> list[tuple[str, list[Any]]]:
        """The write in SQL; the version is read under the lock that the UPDATE took, as not every database returns."""
        probe, log = Probe._meta.db_table, CommitLog._meta.db_table
        return [
            (f"UPDATE {probe} SET version = version + 1, token = %s WHERE number = %s", [self.token, self.number]),
            (f"SELECT version FROM {probe} WHERE number = %s", [self.number]),
            (f"INSERT INTO {log} (token) VALUES (%s)", [self.token]),
        ]

    @contextmanager
    def committing(self) -> Iterator[None]:
        """Inside the block the COMMIT of this thread's session is timed."""
        connection: Any = connections[self.alias]
        upstream, patched = connection._commit, connection.__dict__.get("_commit")

        def commit() -> None:
            self.began_ns = clock.now_ns()
            upstream()
            self.ended_ns = clock.now_ns()

        connection._commit = commit
        try:
            with atomic(using=self.alias, durable=True):
                yield
        finally:
            del connection._commit
            if patched is not None:
                connection._commit = patched


Way = Callable[[Write], None]


def saved(write: Write) -> None:
    """Written through the ORM."""
    with write.committing():
        write.by_orm()


def executed(write: Write) -> None:
    """Written by a cursor's SQL in atomic()."""
    with write.committing():
        write.by_cursor()


def from_outside(write: Write) -> None:
    """Written past Django, as another program does."""
    connection: Any = connections[write.alias]
    past_django(_BEGIN.get(connection.vendor, "BEGIN"), [], write.alias)
    try:
        for statement, parameters in write.statements():
            for row in past_django(statement, parameters, write.alias):
                write.version = row[0]
    except BaseException:
        past_django("ROLLBACK", [], write.alias)
        raise
    write.began_ns = clock.now_ns()
    past_django("COMMIT", [], write.alias)
    write.ended_ns = clock.now_ns()


def rolled_back(write: Write) -> None:
    """Written through the ORM and rolled back."""
    with write.committing():
        write.by_orm()
        set_rollback(True, using=write.alias)


def unanswered(write: Write) -> None:
    """Committed, but nobody is told."""
    with _cut(write, committed=True), write.committing():
        write.by_orm()


def unanswered_and_lost(write: Write) -> None:
    """Not committed, but nobody is told."""
    with _cut(write, committed=False), write.committing():
        write.by_orm()


WAYS: Final[Mapping[str, Way]] = {
    way.__name__: way for way in (saved, executed, from_outside, rolled_back, unanswered, unanswered_and_lost)
}


@contextmanager
def _cut(write: Write, *, committed: bool) -> Iterator[None]:
    """The connection is cut at the COMMIT; SQLite has none, so there the answer alone is taken away."""
    connection: Any = connections[write.alias]
    if connection.vendor in _SERVERS:
        try:
            with killed_in_commit(write.alias, committed=committed):
                yield
        finally:
            connection.close()
        return
    upstream = connection._commit

    def commit() -> None:
        if committed:
            upstream()
        raise OperationalError("the answer to COMMIT was lost")

    connection._commit = commit
    try:
        yield
    finally:
        del connection._commit


@dataclass
class Writer:
    """A client that writes and records what it did; of one thread. No two may have one session and one series."""

    process: str
    session: str
    alias: str
    series: str = ""
    operations: list[Operation] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    _tokens: Iterator[int] = field(default_factory=count)

    def next_token(self) -> str:
        """A token that nobody has written."""
        return f"{self.session}{self.series}.{next(self._tokens)}"

    def write(self, number: int, way: Way) -> Operation:
        """Write the row of this number; an error is noted, not raised, and the instants tell how far the write came."""
        write = Write(self.alias, number, self.next_token())
        invoke_ns = clock.now_ns()
        try:
            with _begun_as_a_writer(self.alias):
                way(write)
        except DatabaseError:
            pass  # how a write may end: locked, cut off
        except Exception as error:
            self.errors.append(f"{type(error).__name__}: {error}")
        return_ns = clock.now_ns()
        outcome: Outcome = "ok" if write.ended_ns else "info" if write.began_ns else "fail"
        operation = Operation(
            self.process,
            self.session,
            "write",
            key_of(number),
            write.began_ns or invoke_ns,
            write.ended_ns or return_ns,
            outcome,
            write.version,
            write.token,
            "db",
        )
        self.operations.append(operation)
        return operation


@contextmanager
def _begun_as_a_writer(using: str) -> Iterator[None]:
    """Let SQLite's transactions take the write lock as they begin, and wait for it: later it would fail at once."""
    connection: Any = connections[using]
    if connection.vendor != "sqlite":
        yield
        return
    connection.ensure_connection()
    configured = connection.transaction_mode
    connection.transaction_mode = "IMMEDIATE"
    try:
        yield
    finally:
        connection.transaction_mode = configured
