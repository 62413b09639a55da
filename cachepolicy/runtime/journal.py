"""The journal: invalidations that Redis was not told, by table, until it has been.

A lost row becomes its whole table: that is at most one line per table, however long the outage, and replaying it twice
does no harm.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Final

from cachepolicy import clock

__all__ = ["EVERYTHING", "RETRY_MS", "Journal"]

RETRY_MS: Final = 250
# Stands for prefix and table where invalidate_all() was lost; no table is called so.
EVERYTHING: Final = ("*", "*")


class Journal:
    """Lost invalidations of this process; `lost` and `replayed` count them since it started."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tables: dict[tuple[str, str], int] = {}
        self._number = 0
        self.lost = self.replayed = 0
        self._next_try_ns = 0
        # Whether a thread replays in the background.
        self.is_watched = False

    def __bool__(self) -> bool:
        return bool(self._tables)

    def add(self, prefix: str, tables: Iterable[str]) -> None:
        """Note invalidations that were lost."""
        with self._lock:
            for table in tables:
                self._number += 1
                self._tables[prefix, table] = self._number
                self.lost += 1

    def add_everything(self) -> None:
        """Note that invalidate_all() was lost."""
        self.add(*EVERYTHING[:1], EVERYTHING[1:])

    def may_be_tried(self) -> bool:
        """Whether to replay now: a Redis that refuses to be told is asked a few times a second, not at each read."""
        with self._lock:
            now_ns = clock.now_ns()
            if now_ns < self._next_try_ns:
                return False
            self._next_try_ns = now_ns + RETRY_MS * 1_000_000
            return True

    def watch(self) -> bool:
        """Whether the caller is the one to watch it in the background."""
        with self._lock:
            was_watched, self.is_watched = self.is_watched, True
        return not was_watched

    def pending(self) -> dict[tuple[str, str], int]:
        """Prefix and table of what Redis has not been told, with the number of its last loss."""
        with self._lock:
            return dict(self._tables)

    def told(self, entries: dict[tuple[str, str], int]) -> None:
        """Redis knows these now; what was lost again meanwhile stays."""
        with self._lock:
            for key, number in entries.items():
                if self._tables.get(key) == number:
                    del self._tables[key]
                    self.replayed += 1
