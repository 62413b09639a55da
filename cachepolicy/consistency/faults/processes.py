"""Faults of processes: another program writes, a writer dies at the worst instant."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

from django.db import connections
from django.db.transaction import atomic

__all__ = ["in_another_process", "killed_after_commit", "sql_from_outside"]


def in_another_process(play: Callable[[], None]) -> int:
    """Fork, run `play` with database connections of its own, wait; gives the exit status (negative: the signal)."""
    pid = os.fork()
    if pid == 0:
        try:
            for connection in connections.all(initialized_only=True):
                # Forgotten, not closed: closing would end the parent's session on the server.
                connection.connection = None
                connection.in_atomic_block = False
                connection.run_on_commit = []
            play()
            os._exit(0)
        except BaseException:
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def sql_from_outside(statement: str, parameters: list[Any], using: str = "default") -> int:
    """Execute a statement from a program that knows nothing of Django's ORM; gives its exit status."""

    def play() -> None:
        with connections[using].cursor() as cursor:
            cursor.execute(statement, parameters)

    return in_another_process(play)


def killed_after_commit(write: Callable[[], None], using: str = "default") -> int:
    """Run `write` in a process that is killed between its COMMIT and the invalidations; gives the exit status."""

    def play() -> None:
        from cacheops.transaction import TransactionState

        def die(self: Any) -> None:
            if len(self) == 1:  # the outermost transaction: it has just been committed
                os.kill(os.getpid(), signal.SIGKILL)
            upstream(self)

        upstream = TransactionState.commit
        TransactionState.commit = die
        with atomic(using=using):
            write()

    return in_another_process(play)
