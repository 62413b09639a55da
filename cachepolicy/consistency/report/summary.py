"""What every report says of a run: cells that agree in one row, counts, amounts of time, how to play a cell again."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from cachepolicy.consistency.results import Case, Cell, Report
from cachepolicy.consistency.verdict import Status

__all__ = ["GRAVEST_FIRST", "Row", "counted", "gravest", "headline", "listed", "replay", "rows_of", "shown", "totals"]

GRAVEST_FIRST: Final[tuple[Status, ...]] = ("violated", "unknown", "ok")
_MS_NS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Row:
    """The cells of one rule under one fault, on one database, whose ops came to one verdict; at least one."""

    cells: tuple[Cell, ...]

    @property
    def case(self) -> Case:
        """The case of the cell with the stalest read, which stands for the others."""
        return self.cell.case

    @property
    def cell(self) -> Cell:
        """The cell with the stalest read."""
        return max(self.cells, key=lambda cell: cell.verdict.worst_lower_ns or 0)

    @property
    def database(self) -> str:
        """The vendor's name."""
        return self.cell.database

    @property
    def status(self) -> Status:
        """The verdict that they agree on."""
        return self.cell.verdict.status

    @property
    def ops(self) -> tuple[str, ...]:
        """Their ops, sorted."""
        return tuple(sorted(cell.case.op for cell in self.cells))

    @property
    def bound_ns(self) -> int:
        """The rule's timeout in ns."""
        return self.case.bound_ms * _MS_NS

    @property
    def worst_lower_ns(self) -> int | None:
        """How stale the stalest read certainly was, in ns; None without any that has a staleness."""
        return max((worst for cell in self.cells if (worst := cell.verdict.worst_lower_ns) is not None), default=None)

    @property
    def reads(self) -> int:
        """Cached reads."""
        return sum(cell.verdict.reads for cell in self.cells)

    @property
    def relevant_reads(self) -> int:
        """Those that could have been wrong."""
        return sum(cell.verdict.relevant_reads for cell in self.cells)

    @property
    def errors(self) -> tuple[str, ...]:
        """What reads and writes raised."""
        return tuple(error for cell in self.cells for error in cell.errors)


def rows_of(cells: Iterable[Cell]) -> list[Row]:
    """The cells in rows, sorted by rule, fault, database and then the gravest verdict first."""

    def place(cell: Cell) -> tuple[str, str, str, int]:
        return (cell.case.rule, cell.case.fault, cell.database, GRAVEST_FIRST.index(cell.verdict.status))

    ordered = sorted(cells, key=lambda cell: (*place(cell), cell.case.op))
    return [Row(tuple(group)) for _, group in groupby(ordered, place)]


def gravest(rows: Iterable[Row]) -> Status:
    """The gravest verdict of at least one row."""
    return min((row.status for row in rows), key=GRAVEST_FIRST.index)


def headline(report: Report) -> str:
    """The verdict in a sentence."""
    number = len(report.cells)
    found = Counter(cell.verdict.status for cell in report.cells)
    if not number:
        return "UNKNOWN: nothing was tried."
    if found["violated"]:
        return f"VIOLATED: {found['violated']} of {counted(number, 'cell')} broke the promise."
    if found["unknown"]:
        return f"UNKNOWN: {found['unknown']} of {counted(number, 'cell')} showed nothing either way; no other broke it."
    return f"OK: the promise was kept in {'the one cell' if number == 1 else f'all {number} cells'}."


def totals(report: Report) -> str:
    """What was tried and how often, in a line."""
    found = Counter(cell.verdict.status for cell in report.cells)
    rows = [Row((cell,)) for cell in report.cells]
    verdicts = ", ".join(f"{found[status]} {status}" for status in reversed(GRAVEST_FIRST))
    reads, relevant = sum(row.reads for row in rows), sum(row.relevant_reads for row in rows)
    return "; ".join(
        [
            f"{counted(len(rows), 'cell')}: {verdicts}",
            f"{counted(reads, 'cached read')}, {relevant} of which could have been wrong",
            counted(sum(len(row.errors) for row in rows), "error"),
            f"seed {report.seed}",
        ]
    )


def replay(case: Case, seed: int) -> str:
    """The command that plays this case again."""
    names = ("--model", case.model, "--op", case.op, "--fault", case.fault, "--seed", str(seed))
    return shlex.join(("python", "manage.py", "cachepolicy", "verify", *names))


def shown(ns: int | None) -> str:
    """Nanoseconds for people, cut (not rounded up) to three decimals of s, ms or µs; `–` for None."""
    if ns is None:
        return "–"
    if ns == 0:
        return "0 s"
    unit_ns, unit = next(
        (pair for pair in ((1000 * _MS_NS, "s"), (_MS_NS, "ms"), (1000, "µs")) if ns >= pair[0]), (1, "ns")
    )
    thousandths = ns * 1000 // unit_ns
    return f"{thousandths // 1000}.{thousandths % 1000:03}".rstrip("0").rstrip(".") + f" {unit}"


def counted(number: int, noun: str) -> str:
    """`1 cell`, `2 cells`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def listed(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))
