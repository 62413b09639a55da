"""The faults of writers that a soak plays: unseen, rolled back, killed, without an answer; True where it bit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final

from django.db import connections
from django.db.transaction import set_rollback

from cachepolicy import clock
from cachepolicy.consistency.faults import processes, transactions
from cachepolicy.consistency.history import Operation, Outcome
from cachepolicy.consistency.probe_reads import Reader
from cachepolicy.consistency.probe_table import CommitLog, Probe, key_of
from cachepolicy.consistency.probe_writes import (
    Way,
    Write,
    Writer,
    executed,
    from_outside,
    unanswered,
    unanswered_and_lost,
)
from cachepolicy.consistency.soak.board import Board

__all__ = ["WRITER_FAULTS", "FaultyWriter"]


@dataclass
class FaultyWriter:
    """A client whose writes go wrong; `reader` is what it reads with inside its transactions, which is not judged."""

    writer: Writer
    reader: Reader
    board: Board

    def play(self, name: str, number: int) -> bool:
        """Play one fault of WRITER_FAULTS on the row of this number."""
        return WRITER_FAULTS[name](self, number)

    def written(self, number: int, way: Way, outcome: str) -> bool:
        """Write, and see that it ended so."""
        return self.writer.write(number, way).outcome == outcome

    def rolled_back(self, number: int, transaction: Callable[[str], AbstractContextManager[None]]) -> bool:
        """Write, read one's own write through the cache, and roll back."""
        saw_it = False

        def way(write: Write) -> None:
            nonlocal saw_it
            with transaction(write.alias):
                with connections[write.alias].cursor() as cursor:
                    # The lock comes first: SQLite refuses it at once to a transaction that has read.
                    table = Probe._meta.db_table
                    cursor.execute(f"UPDATE {table} SET place = place WHERE number = %s", [number])
                write.by_orm(is_locked=True)
                saw_it = self.reader.read(number, "get").token == write.token

        self.writer.write(number, way)
        return saw_it

    def killed(self, number: int) -> bool:
        """Write in a process that is killed between its COMMIT and its invalidation."""
        token, alias = self.writer.next_token(), self.writer.alias

        def write() -> None:
            done = Write(alias, number, token)
            try:
                done.by_orm()
            except Exception:  # a cache that is broken keeps save() from its own read
                set_rollback(True, using=alias)
                return
            self.board.leave(done.version or 0, clock.now_ns())

        self.board.leave(0, 0)
        status = processes.killed_after_commit(write, using=alias)
        ended_ns = clock.now_ns()
        version, began_ns = self.board.left()
        if not began_ns:
            return False  # there was nothing to commit
        has_committed = CommitLog.objects.using(alias).nocache().filter(token=token).exists()
        process, session = f"{self.writer.process}, killed", f"{self.writer.session}, killed"
        outcome: Outcome = "ok" if has_committed else "fail"
        self.writer.operations.append(
            Operation(process, session, "write", key_of(number), began_ns, ended_ns, outcome, version, token, "db")
        )
        return status == -9 and has_committed


def _rolled_back(transaction: Callable[[str], AbstractContextManager[None]]) -> Callable[[FaultyWriter, int], bool]:
    return lambda writer, number: writer.rolled_back(number, transaction)


WRITER_FAULTS: Final[Mapping[str, Callable[[FaultyWriter, int], bool]]] = {
    "raw_sql": lambda writer, number: writer.written(number, executed, "ok"),
    "raw_sql_outside": lambda writer, number: writer.written(number, from_outside, "ok"),
    "rollback": _rolled_back(transactions.rolled_back),
    "rollback_savepoint": _rolled_back(transactions.rolled_back_savepoint),
    "rollback_autocommit_off": _rolled_back(transactions.rolled_back_without_atomic),
    "rollback_raw": _rolled_back(transactions.rolled_back_raw),
    "writer_killed": FaultyWriter.killed,
    "killed_in_commit": lambda writer, number: writer.written(number, unanswered, "info"),
    "killed_before_commit": lambda writer, number: writer.written(number, unanswered_and_lost, "info"),
}
