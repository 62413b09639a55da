"""A scene: one row goes from one version to the next while it is read, and all of it is recorded."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from django.db import connections

from cachepolicy import clock
from cachepolicy.consistency.faults import processes
from cachepolicy.consistency.history import Outcome
from cachepolicy.consistency.recorder import Recorder
from cachepolicy.consistency.recording import Recording
from cachepolicy.consistency.rig import Rig
from cachepolicy.consistency.rows import Row

__all__ = ["DidNotBite", "Scene"]

_JOIN_S = 30.0


class DidNotBite(Exception):
    """The fault did not happen as it should have, so that the scene shows nothing; says why."""


@dataclass
class Scene:
    """The stage, the row, and what was recorded; times in ns of `cachepolicy.clock`, which can be moved."""

    rig: Rig
    row: Row
    source: Callable[[], Any]
    before: Any
    after: Any
    bound_ms: int
    key: str
    # For the scenarios that need it: how a function's own cached rows are read, how another row of the table is, and
    # how the row is from another database alias.
    inner: Callable[[], Any] | None = None
    other: Callable[[], Any] | None = None
    source_on: Callable[[str], Callable[[], Any]] | None = None
    recorder: Recorder = field(default_factory=Recorder)
    errors: list[str] = field(default_factory=list)
    # Reads that came from the cache or filled it; save() reads through the cache too, which shows nothing.
    cached_reads: int = 0
    recording: Recording = field(init=False)

    def __post_init__(self) -> None:
        self.recording = Recording(self.rig.let_pass, self.bound_ms, self.key)

    @property
    def filled_ns(self) -> int:
        """When the value was last read so that it is cached from then on."""
        return self.recording.filled_ns

    @property
    def written_ns(self) -> int:
        """When the row was last written."""
        return self.recording.written_ns

    def start(self) -> None:
        """Note the row as it stands."""
        self.recording.starts_as(self.before)

    def read(self, session: str = "reader") -> Any:
        """Read once through the cache and record what came; an exception is recorded, not raised."""
        served = self.recorder.served_here()
        try:
            value = self.recording.read(self.source, session)
            self.cached_reads += self.recorder.served_here() > served
            return value
        except Exception as error:
            self.errors.append(f"{type(error).__name__}: {error}")
            return None

    def read_elsewhere(self) -> None:
        """Read once in another process, whose memory is empty: what Redis holds is what it gets."""
        parts: tuple[list[Any], ...] = (self.recording.operations, self.recorder.events, self.errors)
        known, cached_reads = [len(part) for part in parts], self.cached_reads

        def play() -> tuple[list[list[Any]], int]:
            self.read("another process")
            return [part[before:] for part, before in zip(parts, known, strict=True)], self.cached_reads - cached_reads

        found, cached = processes.answering(play).collect()
        for part, more in zip(parts, found, strict=True):
            part += more
        self.cached_reads += cached

    def fill(self) -> Any:
        """Read so that the value is cached from now on, and see that it is."""
        value = self.read_late()
        self.require(value == self.before, f"the reader found {value!r} before the write")
        self.require(not self._asks_the_database(), "what was read is not cached")
        return value

    def warm(self) -> None:
        """Read, and let that time out: the cache knows the tables from then on, as one in use does, and not the row.

        For faults at a fill that sees the past: of a table that is new to it, a cache may refuse that anyway.
        """
        self.read()
        self.rig.let_pass(self.bound_ms + 100)

    def read_late(self) -> Any:
        """Read where a fault is at the fill, so that nobody knows whether the value is cached."""
        value = self.read()
        self.recording.filled_ns = clock.now_ns()
        return value

    def _asks_the_database(self) -> bool:
        """Whether a read executes a statement on the row's table."""
        asked = False
        table = self.row.model._meta.db_table

        def wrapper(execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
            nonlocal asked
            asked = asked or table in (sql if isinstance(sql, str) else str(sql))
            return execute(sql, params, many, context)

        with connections[self.row.alias].execute_wrapper(wrapper):
            self.source()
        return asked

    @contextmanager
    def writing(self, outcome: Outcome = "ok", session: str = "writer") -> Iterator[Any]:
        """Record a write of the next version; the block must hold its COMMIT or ROLLBACK. Gives the value to write.

        Raises DidNotBite unless the row says the same as `outcome`. Of `info`, which nobody was told, the row decides;
        so the writer's session must be gone by then.
        """
        invoke_ns = clock.now_ns()
        yield self.after
        # Recorded as the row tells it, not as it was meant: reads are judged by what was committed.
        done: Outcome = "ok" if self.row.current() == self.after else "fail"
        self.recording.wrote(self.after, invoke_ns, done, session)
        meant = done if outcome == "info" else outcome
        self.require(done == meant, "the write was not committed" if meant == "ok" else "the write was not rolled back")

    def read_around_the_bound(self) -> None:
        """Read at once, shortly before the fill times out, and when the write is certainly older than the bound."""
        margin_ms = min(500, self.bound_ms // 4)
        self.read()
        self.let_pass_until(self.filled_ns, self.bound_ms - margin_ms)
        self.read()
        self.let_pass_until(self.written_ns, self.bound_ms + 100)
        self.read()

    def read_at_the_end_of(self, since_ns: int) -> None:
        """Read before a value stored at `since_ns` times out, then when nothing from before the write may be served."""
        # Twice: the later read shows more, the earlier one is still there when this machine stands still for a while.
        for ms in (self.bound_ms * 3 // 4, self.bound_ms - min(300, self.bound_ms // 8), self.bound_ms + 100):
            self.let_pass_until(since_ns, ms)
            self.read()

    def let_pass_until(self, since_ns: int, ms: int) -> None:
        """Move the clock so that `ms` have passed since that instant, unless they have."""
        self.recording.let_pass_until(since_ns, ms)

    @contextmanager
    def another_thread(self, play: Callable[[], object]) -> Iterator[None]:
        """Run `play` in a thread with database connections of its own; joined, and its errors raised, at the end."""
        failed: list[BaseException] = []

        def run() -> None:
            try:
                play()
            except BaseException as error:  # handed to the thread that joins
                failed.append(error)
            finally:
                connections.close_all()

        thread = threading.Thread(target=run, name="scene")
        thread.start()
        try:
            yield
        finally:
            thread.join(_JOIN_S)
        if thread.is_alive():
            raise DidNotBite(f"the reader did not come back within {_JOIN_S:.0f} s")
        if failed:
            raise failed[0]

    def require(self, bitten: object, why: str) -> None:
        """Raise DidNotBite saying `why` unless the fault happened."""
        if not bitten:
            raise DidNotBite(why)
