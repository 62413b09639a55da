"""One run of `verify`: its cases played on databases and a Redis of its own, timed and watched; its exit code."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from typing import Final, TextIO, TypeVar

from cachepolicy.consistency.databases import throwaway_databases
from cachepolicy.consistency.results import Case, Cell, Report
from cachepolicy.consistency.rig import Rig
from cachepolicy.consistency.selection import Selection
from cachepolicy.consistency.supply import hook, row_of
from cachepolicy.consistency.verify import not_played, verify
from cachepolicy.exceptions import CachePolicyError
from cachepolicy.policies.durations import Duration

__all__ = ["CouldNotRun", "Session", "entered", "exit_code"]

T = TypeVar("T")
_BAR: Final = 24


class CouldNotRun(CachePolicyError):
    """A run that could not begin: nothing to try, no server, no database; says what to do."""


@dataclass
class Session:
    """A run to be made: what to try, the seed of its order, and the time after which no further case is begun."""

    selection: Selection
    seed: int
    budget: Duration | None = None
    err: TextIO = field(default_factory=lambda: sys.stderr)

    def run(self) -> Report:
        """Play the cases; raises CouldNotRun. What the budget left out is in the report too, as `unknown`."""
        print(f"seed {self.seed} (the same run again: --seed {self.seed})", file=self.err)
        end_s = time.monotonic() + self.budget.ms / 1000 if self.budget else None
        try:
            cases = self.selection.cases(self.seed)
            hook()
        except CachePolicyError as error:
            raise CouldNotRun(str(error)) from error
        with ExitStack() as stage:
            # The kit's Redis first: what migrations invalidate does not concern the project's own server.
            rig = entered(stage, Rig(), "the kit's own Redis server did not start")
            entered(stage, throwaway_databases(), "the test database could not be made")
            bar = _Bar(len(cases), self.err)
            try:
                report = verify(_until(end_s, cases), seed=self.seed, instance_of=row_of, on_cell=bar, rig=rig)
            except Exception as error:
                raise CouldNotRun(f"the run broke off: {type(error).__name__}: {error}") from error
            finally:
                bar.clear()
        return self._with_what_was_left_out(report, cases[len(report.cells) :])

    def _with_what_was_left_out(self, report: Report, left_out: list[Case]) -> Report:
        if not left_out:
            return report
        tried = len(report.cells)
        print(
            f"the time budget of {self.budget} was used up after {tried} of {tried + len(left_out)} cells; "
            f"{len(left_out)} were not tried, and count as unknown",
            file=self.err,
        )
        reason = f"not tried: the time budget of {self.budget} was used up"
        return Report(report.seed, [*report.cells, *(not_played(case, reason) for case in left_out)])


def exit_code(report: Report, *, allow_unknown: bool, err: TextIO) -> int:
    """0 kept, 1 violated, 2 unknown; with `allow_unknown` a note on `err` and 0, if anything at all was shown kept."""
    found = Counter(cell.verdict.status for cell in report.cells)
    if found["violated"] or not found["unknown"]:
        return 1 if found["violated"] else 0
    if not allow_unknown:
        return 2
    if not found["ok"]:
        print("every cell is unknown: nothing was shown, so --allow-unknown does not help", file=err)
        return 2
    print(f"{found['unknown']} of {len(report.cells)} cells are unknown; --allow-unknown lets that pass", file=err)
    return 0


def entered(stage: ExitStack, part: AbstractContextManager[T], failed: str) -> T:
    """Enter a part of the stage; raises CouldNotRun with `failed` where that does not work."""
    try:
        return stage.enter_context(part)
    except Exception as error:
        # Whatever drivers and migrations raise: nothing was tried, which must not look like a broken promise.
        raise CouldNotRun(f"{failed}: {type(error).__name__}: {error}") from error


def _until(end_s: float | None, cases: Iterable[Case]) -> Iterator[Case]:
    for case in cases:
        if end_s is not None and time.monotonic() >= end_s:
            return
        yield case


class _Bar:
    """How far the run is, on a terminal; nowhere else."""

    def __init__(self, total: int, err: TextIO) -> None:
        self._total, self._done, self._err = total, 0, err
        self._shown = err.isatty()

    def __call__(self, cell: Cell) -> None:
        self._done += 1
        if self._shown:
            filled = "#" * (_BAR * self._done // self._total)
            doing = f"{cell.case.rule} {cell.case.op} {cell.case.fault}"[:44]
            self._err.write(f"\r\x1b[K[{filled:<{_BAR}}] {self._done}/{self._total} {doing}")
            self._err.flush()

    def clear(self) -> None:
        """Leave the line empty for what comes next."""
        if self._shown:
            self._err.write("\r\x1b[K")
            self._err.flush()
