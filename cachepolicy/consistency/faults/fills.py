"""Faults of fills: a reader that pauses between its read of the database and its store."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

from django.db import connections

__all__ = ["Pause", "paused_fill"]

_HELD_S = 30.0


class Pause:
    """Where a reader stands: `reached` once it has read the database and waits for `resume()`."""

    def __init__(self) -> None:
        self._moved = threading.Condition()
        self.reached = False
        self._resumed = self._over = False

    def wait_until_reached(self, timeout_s: float = 10.0) -> bool:
        """Wait for the reader; False where it is through without a pause (a hit, for instance), or does not come."""
        with self._moved:
            self._moved.wait_for(lambda: self.reached or self._over, timeout_s)
            return self.reached

    def resume(self) -> None:
        """Let the reader go on and store what it read."""
        with self._moved:
            self._resumed = True
            self._moved.notify_all()

    def hold(self) -> None:
        """Called by the reader: stop here, once."""
        with self._moved:
            if not self.reached:
                self.reached = True
                self._moved.notify_all()
                self._moved.wait_for(lambda: self._resumed, _HELD_S)

    def over(self) -> None:
        """Called by the reader: it is through, so that nobody needs to wait for it."""
        with self._moved:
            self._over = True
            self._moved.notify_all()

    def wait_until_over(self, timeout_s: float = _HELD_S) -> bool:
        """Wait until the reader is through; False where it is not by then."""
        with self._moved:
            return self._moved.wait_for(lambda: self._over, timeout_s)


@contextmanager
def paused_fill(table: str, pause: Pause, using: str = "default", number: int = 1) -> Iterator[None]:
    """In this thread, the first SELECT from `table` is executed, then its reader pauses before it has the rows.

    `number` counts such SELECTs from 1; an empty `table` stands for any.

    It pauses where the database has already decided what the rows are, so that what it stores is as old as the pause.
    """

    selects = count(1)

    def wrapper(execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
        result = execute(sql, params, many, context)
        text = sql if isinstance(sql, str) else str(sql)
        if text.lstrip().upper().startswith("SELECT") and table in text and next(selects) == number:
            pause.hold()
        return result

    with connections[using].execute_wrapper(wrapper):
        yield
