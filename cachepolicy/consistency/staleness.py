"""Staleness in tests of one's own: play one fault on a row, or watch what a test reads and writes, and judge it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from django.db import connections
from django.db.models import Model

from cachepolicy import clock, conf
from cachepolicy.consistency.history import History, Outcome
from cachepolicy.consistency.recorder import Recorder
from cachepolicy.consistency.recording import Recording
from cachepolicy.consistency.report.explanation import explanations
from cachepolicy.consistency.report.text import told
from cachepolicy.consistency.results import Case, Cell
from cachepolicy.consistency.rig import Rig
from cachepolicy.consistency.rows import Row
from cachepolicy.consistency.scenarios import SCENARIOS
from cachepolicy.consistency.selection import Selection, SelectionError
from cachepolicy.consistency.supply import row_of
from cachepolicy.consistency.verify import play
from cachepolicy.policies.durations import Duration

__all__ = ["CacheClock", "PromiseBroken", "Staleness", "Watch", "explained"]


class PromiseBroken(AssertionError):
    """A read was older than promised, or was never committed; or nothing was shown, which is no promise kept."""


@dataclass(frozen=True, slots=True)
class CacheClock:
    """The clock of the caches under test: moving it moves Redis' expiries and this process's ages at once."""

    rig: Rig

    def advance(self, duration: str | None = None, *, ms: int = 0) -> None:
        """Let `"59s"`, or `ms` milliseconds, pass without waiting; raises ValueError for anything but a duration."""
        self.rig.let_pass(Duration.parse(duration).ms if duration is not None else Duration(ms).ms)


@dataclass
class Watch:
    """What a test does to one field of one row, recorded; the block it is given for judges it at its end."""

    row: Row
    recording: Recording
    recorder: Recorder
    cached_reads: int = 0

    def read(self, play: Callable[[], Any], session: str = "reader") -> Any:
        """Call `play`, which reads the field through the cache; gives what it returned."""
        served = self.recorder.served_here()
        value = self.recording.read(play, session)
        self.cached_reads += self.recorder.served_here() > served
        return value

    def write(self, play: Callable[[Any], object], session: str = "writer", *, commits: bool = True) -> Any:
        """Call `play` with a value never written before, to write and commit it (or not: `commits=False`)."""
        value, invoke_ns = self.row.new_value(), clock.now_ns()
        outcome: Outcome = "info"  # where `play` raises nobody knows
        connection = connections[self.row.alias]
        if commits and (connection.in_atomic_block or not connection.get_autocommit()):
            raise ValueError(
                "write() inside an open transaction: let `play` commit, or pass commits=False and roll back"
            )
        try:
            play(value)
            outcome = "ok" if commits else "fail"
        finally:
            self.recording.wrote(value, invoke_ns, outcome, session)
        return value


@dataclass(frozen=True, slots=True)
class Staleness:
    """The `staleness` fixture. `on_unknown` is told of a check that showed nothing; by default that fails too."""

    rig: Rig = field(repr=False)
    seed: int = 0
    on_unknown: Callable[[str], object] | None = None

    def check(
        self,
        rule: type[Model] | str,
        *,
        field: str | None = None,
        fault: str = "none",
        op: str | None = None,
        within: str | None = None,
    ) -> None:
        """Play one fault under a rule; raises PromiseBroken where a read is older than its timeout.

        `rule` is a model, its label, or `functions.` and a name. `field` is the one written, else the first that can
        be; `op` is how it is read, else `get` where the rule caches that; `within`, a duration, stands in for the
        timeout. Raises SelectionError for what the policy does not know.
        """
        __tracebackhide__ = True
        case = self._case(rule if isinstance(rule, str) else rule._meta.label, op, fault)
        if within is not None:
            case = replace(case, bound_ms=Duration.parse(within).ms)
        self.require(play(case, self.rig, row_of, field))

    @contextmanager
    def watching(self, instance: Model, *, field: str, within: str | None = None) -> Iterator[Watch]:
        """Judge what the block reads and writes of one field; raises PromiseBroken at its end.

        It begins with an empty cache. `within`, a duration, stands in for the timeout of the model's rule.
        """
        __tracebackhide__ = True
        label = instance._meta.label
        rule = conf.policies().rule_for(label)
        if rule is None:
            raise SelectionError(f"no rule caches {label}, so there is nothing to watch; give it a rule")
        bound_ms = (rule.timeout.value if within is None else Duration.parse(within)).ms
        row = Row.of(instance, field)
        recording, recorder = Recording(self.rig.let_pass, bound_ms, f"{label}:{instance.pk}.{field}"), Recorder()
        recording.starts_as(row.current())
        watch = Watch(row, recording, recorder)
        self.rig.forget()  # a value from before would be one that nobody is seen to write
        with recorder.listening():
            yield watch
        case = Case(label, "reads", "", label, bound_ms, str(rule.origin))
        verdict = recording.verdict()
        if verdict.status == "ok":
            if not (rule.local_get.value or watch.cached_reads):
                verdict = replace(verdict, status="unknown", reason="no read came from a cache, and none was stored")
            elif not verdict.decisive_reads and all(operation.outcome == "ok" for operation in recording.operations):
                late = "no read came later than the bound after a write; move `cache_clock` before the last one"
                verdict = replace(verdict, status="unknown", reason=late)
        events = tuple(recorder.events)
        self.require(Cell(case, row.alias, verdict, History(recording.operations), events))

    def play(self, case: Case) -> Cell:
        """Play one case of the policy."""
        return play(case, self.rig, row_of)

    def require(self, *cells: Cell) -> None:
        """Raise PromiseBroken explaining every cell that is violated, or else those that are unknown."""
        __tracebackhide__ = True
        for status in ("violated", "unknown"):
            found = [explained(cell) for cell in cells if cell.verdict.status == status]
            if not found:
                continue
            if status == "unknown" and self.on_unknown is not None:
                if len(found) == len(cells):
                    self.on_unknown("\n".join(found))
                return
            raise PromiseBroken("\n\n".join(found))

    def _case(self, rule: str, op: str | None, fault: str) -> Case:
        found = [
            case
            for case in Selection([rule], [], [fault], prefix="").cases(self.seed)
            if case.rule.lower() == rule.lower()
        ]
        for case in sorted(found, key=lambda case: (case.op != "get", case.op)):
            if op in (None, case.op):
                return case
        # A slow fault is played on one op, which the seed draws; here the test has chosen another.
        is_slow = fault in SCENARIOS and SCENARIOS[fault].slow
        if op is not None and found and is_slow and Selection([rule], [op], prefix="").cases(self.seed):
            return replace(found[0], op=op)
        tried = f"fault {fault} on {rule}" + (f", op {op}" if op else "")
        raise SelectionError(f"{tried}: there is no such case; `manage.py cachepolicy verify` lists those that are")


def explained(cell: Cell) -> str:
    """What came of a cell, told for people: the verdict, the fault, and each witness step by step."""
    case, verdict = cell.case, cell.verdict
    fault = f" under {case.fault}" if case.fault else ""
    lines = [f"{verdict.status.upper()} {case.rule} {case.op}{fault}: {verdict.reason}"]
    lines += [f"  fault: {case.what}"] if case.what else []
    for explanation in explanations(cell):
        lines += [f"  {line}" for line in told(explanation)]
    return "\n".join([*lines, *(f"  error: {error}" for error in cell.errors)])
