"""The race on the kit's own table: many clients write and read it at once, in threads and processes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count, cycle
from typing import Final

from django.db import connections

from cachepolicy import clock
from cachepolicy.consistency.checker import judge
from cachepolicy.consistency.faults import processes
from cachepolicy.consistency.findings import Finding
from cachepolicy.consistency.history import History, Operation
from cachepolicy.consistency.probe_reads import Reader
from cachepolicy.consistency.probe_table import committed_tokens, filled, probe_table
from cachepolicy.consistency.probe_writes import WAYS, Writer
from cachepolicy.consistency.recorder import Recorder
from cachepolicy.consistency.results import Case, Cell
from cachepolicy.consistency.rig import Rig
from cachepolicy.consistency.scene import DidNotBite
from cachepolicy.consistency.verdict import Verdict

__all__ = ["play_concurrent_writers"]

_PLACES: Final = {0: (1, 2), 1: (3, 4)}
_NUMBERS: Final = tuple(number for numbers in _PLACES.values() for number in numbers)
_RACE_S: Final = 0.3
_LOOK_S: Final = 0.05
_PAUSE_S: Final = 0.001
_JOIN_S: Final = 30.0
_MS_NS: Final = 1_000_000
_CONTROL: Final = 20  # one read in so many goes past the cache


def play_concurrent_writers(case: Case, rig: Rig) -> Cell:
    """Play the case on the kit's own table, which is made and dropped again, and judge it with its commit log."""
    race = _Race(case, rig)
    try:
        rig.forget()
        with probe_table(case.bound_ms, case.near_ms, case.ahead_ms) as race.alias, race.recorder.listening():
            race.play()
            verdict = race.verdict()
        rig.forget()
    except DidNotBite as reason:
        verdict = race.unless_violated(f"the fault did not bite: {reason}")
    except Exception as error:
        verdict = race.unless_violated(f"could not be played: {type(error).__name__}: {error}")
    vendor = connections[race.alias].vendor
    return Cell(case, vendor, verdict, History(race.operations), tuple(race.recorder.events), tuple(race.errors))


@dataclass
class _Race:
    """What the clients of one case do, and what came of it."""

    case: Case
    rig: Rig
    alias: str = "default"
    operations: list[Operation] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    recorder: Recorder = field(default_factory=Recorder)
    log: frozenset[str] | None = None

    def play(self) -> None:
        """Race; then read shortly before the bound has passed, and when it certainly has."""
        self.operations += filled(self.alias, _PLACES)
        self._race()
        written_ns = max(operation.return_ns for operation in self.operations if operation.f == "write")
        self.log = committed_tokens(self.alias)
        self._let_pass_until(written_ns, self.case.bound_ms - min(500, self.case.bound_ms // 4))
        self._look()
        self._let_pass_until(written_ns, self.case.bound_ms + 100)
        self._look()
        self._require_a_race()

    def verdict(self) -> Verdict:
        """Judge everything that was done: versions are the order of commits, and the log settles what nobody knows."""
        return judge(
            self.operations,
            bound_ns=self.case.bound_ms * _MS_NS,
            committed_tokens=self.log,
            row_lock=True,
            rollbacks_are_evidence=True,
        )

    def unless_violated(self, reason: str) -> Verdict:
        """What a race that did not end as it should says: a promise broken until then stays broken."""
        verdict = self.verdict()
        if verdict.status == "violated":
            self.errors.append(reason)
            return verdict
        return Verdict("unknown", reason, self.case.bound_ms * _MS_NS, 0)

    def _race(self) -> None:
        until = time.monotonic() + _RACE_S
        # Forked before this process has threads.
        elsewhere = [
            processes.answering(lambda: self._written("writing process", 0, until)),
            processes.answering(lambda: self._read("reading process", until)),
        ]
        try:
            with self._threads(
                lambda: self._written("writing thread 1", 1, until),
                lambda: self._written("writing thread 2", 2, until),
                lambda: self._read("reading thread", until),
            ):
                self._keep(self._read("reader", until))
        finally:
            for process in elsewhere:
                self._keep(process.collect())

    def _look(self) -> None:
        """Read everything twice, here and in another process, with nobody writing."""
        until = time.monotonic() + _LOOK_S
        process = processes.answering(lambda: self._read("reading process", until))
        try:
            self._keep(self._read("reader", until))
        finally:
            self._keep(process.collect())

    def _written(self, session: str, first: int, until: float) -> _Done:
        writer = Writer("kit" if "thread" in session else session, session, self.alias)
        ways = list(WAYS.values())
        numbers = cycle(_NUMBERS[first:] + _NUMBERS[:first])
        for turn in _turns(until, at_least=len(ways)):
            writer.write(next(numbers), ways[(turn + first) % len(ways)])
            time.sleep(_PAUSE_S)
        return _Done(writer.operations, writer.errors)

    def _read(self, session: str, until: float) -> _Done:
        reader = self._reader(session, session if "process" in session else "kit")
        for turn in _turns(until, at_least=2 * len(_NUMBERS)):
            number = _NUMBERS[turn % len(_NUMBERS)]
            if turn % _CONTROL == _CONTROL - 1:
                reader.read_past_the_cache(number)
            reader.read(number, self.case.op)
        return _Done(reader.operations, reader.errors)

    def _reader(self, session: str, process: str) -> Reader:
        return Reader(process, session, self.alias, _PLACES)

    def _keep(self, done: _Done) -> None:
        self.operations += done.operations
        self.errors += done.errors

    def _let_pass_until(self, since_ns: int, ms: int) -> None:
        left_ms = ms - (clock.now_ns() - since_ns) // _MS_NS
        if left_ms > 0:
            self.rig.let_pass(left_ms)

    @contextmanager
    def _threads(self, *plays: Callable[[], _Done]) -> Iterator[None]:
        """Run each in a thread with database connections of its own; joined, and what they did kept, at the end."""
        done: list[_Done] = []
        failed: list[BaseException] = []

        def run(play: Callable[[], _Done]) -> None:
            try:
                done.append(play())
            except BaseException as error:  # handed to the thread that joins
                failed.append(error)
            finally:
                connections.close_all()

        threads = [threading.Thread(target=run, args=(play,)) for play in plays]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            for thread in threads:
                thread.join(_JOIN_S)
        if failed or any(thread.is_alive() for thread in threads):
            raise failed[0] if failed else DidNotBite(f"a thread did not come back within {_JOIN_S:.0f} s")
        for each in done:
            self._keep(each)

    def _require_a_race(self) -> None:
        writes = [operation for operation in self.operations if operation.f == "write" and operation.via == "db"]
        outcomes = {operation.outcome for operation in writes}
        writers = {operation.session for operation in writes if operation.outcome == "ok"} - {"initial"}
        _require(outcomes == {"ok", "fail", "info"}, f"the writes ended in {', '.join(sorted(outcomes))} alone")
        _require(len(writers) == 3, f"{len(writers)} of 3 writers committed anything")
        _require(self.recorder.count("hit"), "no read was a hit")
        control = self.verdict().control
        wrong = {str(finding): number for finding, number in control.items() if finding is not Finding.OK}
        _require(not wrong, f"reads past the cache were wrong: {wrong}")


@dataclass(frozen=True, slots=True)
class _Done:
    """What one client did."""

    operations: Sequence[Operation]
    errors: Sequence[str]


def _turns(until: float, at_least: int) -> Iterator[int]:
    """Count until that instant, and so far at least: this machine may stand still for longer than the race takes."""
    for number in count():
        if number >= at_least and time.monotonic() >= until:
            return
        yield number


def _require(bitten: object, why: str) -> None:
    if not bitten:
        raise DidNotBite(why)
