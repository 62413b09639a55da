"""The faults of readers that a soak plays: what they store is no longer the committed state; True where it bit."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from django.db import connections

from cachepolicy.consistency.faults import fills, transactions
from cachepolicy.consistency.probe_reads import Reader
from cachepolicy.consistency.probe_table import Probe
from cachepolicy.consistency.probe_writes import Way, Writer, from_outside, saved

__all__ = ["READER_FAULTS", "LateReader"]

_TRIES: Final = 5
_REACHED_S: Final = 1.0


@dataclass
class LateReader:
    """A client that takes `pause_s` between the state it reads and its store; `writer` is who overtakes it.

    What `reader` finds is not judged: it does not come from a cache. What others then find is.
    """

    reader: Reader
    writer: Writer
    op: str = "get"
    pause_s: float = 0.0

    def play(self, name: str, number: int, op: str, pause_s: float) -> bool:
        """Play one fault of READER_FAULTS on the row of this number, read by this op."""
        self.op, self.pause_s = op, pause_s
        return READER_FAULTS[name](self, number)

    def overtaken(self, number: int, way: Way) -> bool:
        """Read, pause before the store, and meanwhile be overtaken by a write."""
        # Where somebody else was faster to read after the write, there is nothing to store.
        return any(self._overtaken(number, way) for _ in range(_TRIES))

    def _overtaken(self, number: int, way: Way) -> bool:
        pause = fills.Pause()

        def read() -> None:
            try:
                with fills.paused_fill(Probe._meta.db_table, pause, self.reader.alias):
                    self.reader.read(number, self.op)
            finally:
                pause.over()
                connections.close_all()

        self.writer.write(number, saved)  # so that the read is a miss
        thread = threading.Thread(target=read)
        thread.start()
        try:
            if not pause.wait_until_reached(_REACHED_S):
                return False
            overtook = self.writer.write(number, way).outcome == "ok"
            time.sleep(self.pause_s)
            return overtook
        finally:
            pause.resume()
            thread.join()

    def frozen(self, number: int) -> bool:
        """Read from a snapshot that is older than a write."""
        with transactions.frozen_snapshot(self.reader.alias):
            before = self.reader.read_past_the_cache(number).token
            self._save_in_another_thread(number)
            time.sleep(self.pause_s)
            # Again, so that the read is a miss: else it would find what others have stored since.
            self._save_in_another_thread(number)
            found = self.reader.read(number, "get").token
        return found == before and found is not None and self.writer.operations[-1].outcome == "ok"

    def _save_in_another_thread(self, number: int) -> None:
        def save() -> None:
            try:
                self.writer.write(number, saved)
            finally:
                connections.close_all()

        thread = threading.Thread(target=save)
        thread.start()
        thread.join()


READER_FAULTS: Final[Mapping[str, Callable[[LateReader, int], bool]]] = {
    "stale_set": lambda reader, number: reader.overtaken(number, saved),
    "stale_set_raw": lambda reader, number: reader.overtaken(number, from_outside),
    "frozen_snapshot": LateReader.frozen,
}
