"""Faults of fills: a reader that pauses between its read of the database and its store."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connections

__all__ = ["Pause", "paused_fill"]


class Pause:
    """Where the paused reader stands: `reached` when it has read the database, until `resume()`."""

    def __init__(self) -> None:
        self._reached, self._resumed = threading.Event(), threading.Event()

    def wait_until_reached(self, timeout_s: float = 10.0) -> bool:
        """Wait for the reader; False where it never came, a hit for instance."""
        return self._reached.wait(timeout_s)

    def resume(self) -> None:
        """Let the reader go on and store what it read."""
        self._resumed.set()

    def hold(self) -> None:
        """Called by the reader: stop here, once."""
        if not self._reached.is_set():
            self._reached.set()
            self._resumed.wait(30)


@contextmanager
def paused_fill(table: str, pause: Pause, using: str = "default") -> Iterator[None]:
    """In this thread, the first SELECT from `table` is executed, then its reader pauses before it has the rows.

    It pauses where the database has already decided what the rows are, so that what it stores is as old as the pause.
    """

    def wrapper(execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
        result = execute(sql, params, many, context)
        text = sql if isinstance(sql, str) else str(sql)
        if text.lstrip().upper().startswith("SELECT") and table in text:
            pause.hold()
        return result

    with connections[using].execute_wrapper(wrapper):
        yield
