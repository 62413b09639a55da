"""What the cache told while a scene was played: reads with hits, fills, invalidations sent and lost."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from cacheops.signals import cache_read

from cachepolicy import clock, signals

__all__ = ["Event", "Recorder"]

Kind = Literal["hit", "miss", "fill", "fill lost", "invalidation", "invalidation lost"]


@dataclass(frozen=True, slots=True)
class Event:
    """One thing the cache did; `at_ns` on the clock of the history, `about` the table, key or function concerned."""

    at_ns: int
    kind: Kind
    about: str


class Recorder:
    """Collects events from every thread of this process while `listening`."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._lock = threading.Lock()
        self._served: Counter[int] = Counter()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Listen to cacheops' and our signals inside the block."""
        heard = [
            (cache_read, self._on_read),
            (signals.fill, self._on_fill),
            (signals.invalidation, self._on_invalidation),
        ]
        for signal, receiver in heard:
            signal.connect(receiver, weak=False)
        try:
            yield
        finally:
            for signal, receiver in heard:
                signal.disconnect(receiver)

    def count(self, kind: Kind) -> int:
        """How many events of this kind there were."""
        return sum(event.kind == kind for event in self.events)

    def served_here(self) -> int:
        """How many hits and fills this thread has had so far."""
        return self._served[threading.get_ident()]

    def _add(self, kind: Kind, about: str) -> None:
        with self._lock:
            self._served[threading.get_ident()] += kind in ("hit", "fill")
            self.events.append(Event(clock.now_ns(), kind, about))

    def _on_read(self, sender: Any, func: Any, hit: bool, **_: Any) -> None:
        about = func.__qualname__ if func is not None else sender._meta.label
        self._add("hit" if hit else "miss", about)

    def _on_fill(self, key: str, stored: bool, **_: Any) -> None:
        self._add("fill" if stored else "fill lost", key)

    def _on_invalidation(self, table: str, sent: bool, **_: Any) -> None:
        self._add("invalidation" if sent else "invalidation lost", table)
