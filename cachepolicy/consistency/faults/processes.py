"""Faults of processes: another program writes, a writer dies at the worst instant, a fork inside a transaction."""

from __future__ import annotations

import os
import pickle
import signal
import sqlite3
import traceback
from collections.abc import Callable
from contextlib import closing
from itertools import count
from typing import Any, Final, Generic, TypeVar

import redis
from django.db import connections
from django.db.transaction import atomic

from cachepolicy.consistency.faults.transactions import begun_deferred

__all__ = [
    "Answering",
    "ChildFailed",
    "answering",
    "forked",
    "in_another_process",
    "killed_after_commit",
    "killed_at_step",
    "past_django",
    "sql_from_outside",
    "waited_for",
    "written_by_a_fork_in_atomic",
]

T = TypeVar("T")
_CHILD_S: Final = 30  # a child that hangs is ended by the kernel, and so is the parent's wait


class ChildFailed(Exception):
    """A forked process that did not come to its end; its own words are on stderr."""


def in_another_process(play: Callable[[], None]) -> int:
    """Fork, run `play` with database connections of its own, wait; gives the exit status (negative: the signal)."""
    return waited_for(forked(play))


def forked(play: Callable[[], None], longest_s: int = _CHILD_S) -> int:
    """Fork and run `play` there with database connections of its own; gives the process id, for `waited_for`.

    The kernel ends it after `longest_s` seconds.

    Fork before threads run, not beside them: a lock that one of them holds is never released in the child.
    """
    pid = os.fork()
    if pid == 0:
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # a Ctrl-C is told by the parent, once
            signal.alarm(longest_s)
            _PARENTS.extend(connections.all(initialized_only=True))
            for connection in _PARENTS:
                connections[connection.alias] = connection.copy()
            play()
            os._exit(0)
        except BaseException:
            traceback.print_exc()  # the parent sees a status alone
            os._exit(1)
    return pid


def answering(play: Callable[[], T], longest_s: int = _CHILD_S) -> Answering[T]:
    """Fork and run `play` there, as `forked` does; gives what waits for what it returned."""
    ours, theirs = os.pipe()

    def answer() -> None:
        os.close(ours)
        with os.fdopen(theirs, "wb") as out:
            pickle.dump(play(), out)

    pid = forked(answer, longest_s)
    os.close(theirs)
    return Answering(pid, ours)


class Answering(Generic[T]):
    """A forked process that has an answer to give; call one of the two, once."""

    def __init__(self, pid: int, pipe: int) -> None:
        self._pid, self._pipe = pid, pipe

    def collect(self) -> T:
        """Wait for its answer; raises ChildFailed where it came to an end without."""
        with os.fdopen(self._pipe, "rb") as told:
            text = told.read()
        status = waited_for(self._pid)
        if status:
            raise ChildFailed(f"a process that was forked ended with status {status}")
        answer: T = pickle.loads(text)
        return answer

    def end(self) -> None:
        """Kill it: nobody wants its answer any more."""
        os.close(self._pipe)
        os.kill(self._pid, signal.SIGKILL)
        waited_for(self._pid)


def waited_for(pid: int) -> int:
    """Wait for a forked process; gives its exit status (negative: the signal that ended it)."""
    _, status = os.waitpid(pid, 0)
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


# Kept, not closed and not collected: that would end the parent's sessions on the server, since a fork shares sockets.
_PARENTS: Final[list[Any]] = []


def past_django(statement: str, parameters: list[Any], using: str = "default") -> list[tuple[Any, ...]]:
    """Execute a statement by the driver's own cursor, which neither Django's hooks nor cacheops see; gives its rows."""
    connection: Any = connections[using]
    connection.ensure_connection()
    with closing(connection.create_cursor()) as cursor:
        cursor.execute(statement, parameters)
        return list(cursor.fetchall()) if cursor.description else []


def sql_from_outside(statement: str, parameters: list[Any], using: str = "default") -> int:
    """Execute a statement from a program that knows nothing of Django's ORM; gives its exit status."""

    def play() -> None:
        past_django(statement, parameters, using)

    return in_another_process(play)


def killed_after_commit(write: Callable[[], None], using: str = "default") -> int:
    """Run `write` in a process that is killed when, its COMMIT answered, it turns to Redis; gives the status, -9."""

    def play() -> None:
        connection: Any = connections[using]
        redis_connection: Any = redis.connection.AbstractConnection
        upstream_commit, upstream_send = connection._commit, redis_connection.send_packed_command
        committing = []

        def commit() -> None:
            committing.append(True)
            upstream_commit()

        def send(connection: Any, *args: Any, **options: Any) -> None:
            if committing:
                os.kill(os.getpid(), signal.SIGKILL)
            upstream_send(connection, *args, **options)

        connection._commit = commit
        redis_connection.send_packed_command = send
        with atomic(using=using):
            write()

    return in_another_process(play)


def killed_at_step(write: Callable[[], None], number: int, using: str = "default") -> tuple[int, str]:
    """Run `write` in a process that is killed at its step of this number, from 0; gives the status and the step's name.

    A step is before or after each statement, each COMMIT and switch of autocommit, and each command to Redis and its
    answer. A writer with fewer of them comes through: the status is 0 and the name is empty. So all of them are played
    by counting on.
    """
    ours, theirs = os.pipe()

    def play() -> None:
        passed = count()

        def step(name: str) -> None:
            if next(passed) == number:
                os.write(theirs, name.encode())
                os.kill(os.getpid(), signal.SIGKILL)

        connection: Any = connections[using]
        _step_around_commits(connection, step)
        _step_around_redis(step)
        with connection.execute_wrapper(_stepping(step)):
            write()

    pid = forked(play)
    os.close(theirs)
    with os.fdopen(ours) as told:
        name = told.read()
    return waited_for(pid), name


def _step_around_commits(connection: Any, step: Callable[[str], None]) -> None:
    """Of the driver's connection, so that whoever waits for the COMMIT in Django is told after it."""
    upstream, upstream_autocommit = connection.get_new_connection, connection._set_autocommit

    class Stepping(sqlite3.Connection):
        def commit(self) -> None:
            step("before COMMIT")
            super().commit()
            step("after COMMIT")

    def get_new_connection(parameters: dict[str, Any]) -> Any:
        if connection.vendor == "sqlite":
            return upstream({**parameters, "factory": Stepping})
        driver = upstream(parameters)
        commit = driver.commit

        def stepping() -> None:
            step("before COMMIT")
            commit()
            step("after COMMIT")

        driver.commit = stepping
        return driver

    def set_autocommit(autocommit: bool) -> None:
        step(f"before autocommit {'on' if autocommit else 'off'}")  # BEGIN, as servers' drivers have it
        upstream_autocommit(autocommit)
        step(f"after autocommit {'on' if autocommit else 'off'}")

    connection.get_new_connection = get_new_connection
    connection.ensure_connection()
    connection._set_autocommit = set_autocommit


def _step_around_redis(step: Callable[[str], None]) -> None:
    redis_connection: Any = redis.connection.AbstractConnection
    upstream_send, upstream_read = redis_connection.send_packed_command, redis_connection.read_response

    def send(connection: Any, command: Any, *args: Any, **options: Any) -> None:
        packed = b"".join(part if isinstance(part, bytes) else part.encode() for part in command)
        name = packed.split(b"\r\n", 3)[2].decode()  # as in *2, $3, GET, …
        step(f"before Redis is sent {name}")
        upstream_send(connection, command, *args, **options)
        step(f"after Redis was sent {name}")

    def read(*args: Any, **options: Any) -> Any:
        answer = upstream_read(*args, **options)
        step("after Redis answered")
        return answer

    redis_connection.send_packed_command, redis_connection.read_response = send, read


def _stepping(step: Callable[[str], None]) -> Callable[..., Any]:
    def wrapper(execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
        verb = str(sql).split(None, 1)[0]
        step(f"before {verb}")
        result = execute(sql, params, many, context)
        step(f"after {verb}")
        return result

    return wrapper


def written_by_a_fork_in_atomic(write: Callable[[], None], using: str = "default") -> int:
    """Run `write` in a process forked inside atomic(), with a connection of its own; gives the exit status."""
    # Deferred, so that SQLite's transaction of the parent does not keep the child from writing.
    with begun_deferred(using), atomic(using=using):
        return in_another_process(write)
