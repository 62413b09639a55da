"""What the processes of a round tell one another while it is played: counts in shared memory, one writer a slot."""

from __future__ import annotations

import mmap
import time
from typing import Final

__all__ = ["Board"]

_POLL_S: Final = 0.002
_BYTES: Final = 8


class Board:
    """Made before the processes are forked; each client has a slot of its own, so that nothing needs a lock."""

    def __init__(self, readers: int, players: int) -> None:
        self._readers, self._players = readers, players
        slots = 3 * readers + players + 2
        # Shared by every process that is forked from here on.
        self._slots = memoryview(mmap.mmap(-1, slots * _BYTES)).cast("Q")

    def has_read(self, reader: int, reads: int, cached: int) -> None:
        """Told by a reader after each read: how many it has made so far, and how many of them were cached."""
        self._slots[reader] = reads
        self._slots[2 * self._readers + reader] = cached

    def has_ended(self, reader: int) -> None:
        """Told by a reader: it reads no more."""
        self._slots[self._readers + reader] = 1

    def has_played(self, player: int) -> None:
        """Told by whoever plays faults: they are all played."""
        self._slots[3 * self._readers + player] = 1

    @property
    def reads(self) -> int:
        """How many reads all readers have made so far."""
        return sum(self._slots[: self._readers])

    @property
    def cached(self) -> int:
        """How many of them came from the cache or were stored in it."""
        return sum(self._slots[2 * self._readers : 3 * self._readers])

    @property
    def is_read(self) -> bool:
        """Whether anyone still reads."""
        return not all(self._slots[self._readers : 2 * self._readers])

    @property
    def all_played(self) -> bool:
        """Whether every fault is played."""
        return all(self._slots[3 * self._readers : 3 * self._readers + self._players])

    def wait_for_reads(self, reads: int) -> bool:
        """Wait until so many reads are made; False where the readers end before."""
        while self.reads < reads:
            if not self.is_read:
                return False
            time.sleep(_POLL_S)
        return True

    def leave(self, version: int, at_ns: int) -> None:
        """Told by a writer that is about to be killed: the version it writes, and when its COMMIT begins."""
        self._slots[-2], self._slots[-1] = version, at_ns

    def left(self) -> tuple[int, int]:
        """What the killed writer left."""
        return self._slots[-2], self._slots[-1]
