"""The reads of a rule as a scatter in SVG: a band per fault, time to the right, staleness upwards, the bound a line."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from cachepolicy.consistency.findings import Finding, find_reads
from cachepolicy.consistency.intervals import commit_intervals
from cachepolicy.consistency.report.explanation import start_ns
from cachepolicy.consistency.report.summary import counted, shown
from cachepolicy.consistency.results import Cell

__all__ = ["Dot", "Scale", "band", "dots_of", "scale_of"]

_WIDTH, _HEIGHT = 140, 150
_LEFT, _RIGHT = 10, 130
_STRIP, _TOP, _BOUND, _ZERO = 14, 30, 62, 128
"""Heights: the reads that have no staleness, the top of the axis, its bound, its zero."""


@dataclass(frozen=True, slots=True)
class Dot:
    """A cached read: when it began since the scene did, and its staleness at least and at most; None: it has none."""

    op: str
    finding: Finding
    at_ns: int
    lower_ns: int | None
    upper_ns: int | None


@dataclass(frozen=True, slots=True)
class Scale:
    """What the bands of a rule share: its bound, the greatest staleness and the longest scene, in ns."""

    bound_ns: int
    most_ns: int
    end_ns: int

    def x(self, at_ns: int) -> int:
        """Where an instant lies."""
        return round(_LEFT + (_RIGHT - _LEFT) * min(1.0, at_ns / self.end_ns))

    def y(self, stale_ns: int) -> int:
        """Where a staleness lies: linear up to the bound, logarithmic above it, so that both 0 and the worst show."""
        ratio = stale_ns / self.bound_ns
        if ratio <= 1:
            return round(_ZERO - (_ZERO - _BOUND) * ratio)
        return round(_BOUND - (_BOUND - _TOP) * min(1.0, math.log(ratio) / math.log(self.most_ns / self.bound_ns)))


def dots_of(cell: Cell) -> list[Dot]:
    """The cached reads of a cell, judged as its verdict judged them."""
    verdict, zero_ns = cell.verdict, start_ns(cell.history)
    keys, refusals = commit_intervals(cell.history, eps_ns=verdict.eps_ns, row_lock=False)
    if refusals:
        return []
    return [
        Dot(cell.case.op, read.finding, cell.history[read.read].invoke_ns - zero_ns, read.lower_ns, read.upper_ns)
        for read in find_reads(cell.history, keys, bound_ns=verdict.bound_ns, eps_ns=verdict.eps_ns)
        if cell.history[read.read].via == "cache"
    ]


def scale_of(bound_ns: int, dots: Sequence[Dot]) -> Scale:
    """The scale on which all of a rule's reads show."""
    bound_ns = max(1, bound_ns)
    most_ns = max([2 * bound_ns, *(dot.upper_ns or 0 for dot in dots)])
    return Scale(bound_ns, most_ns, max((dot.at_ns for dot in dots), default=0) or bound_ns)


def band(dots: Sequence[Dot], scale: Scale, name: str) -> str:
    """One fault's reads. Reads that fall on one place are one mark, which names them when pointed at."""
    bound, top = shown(scale.bound_ns), shown(scale.most_ns)
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(name)}: {counted(len(dots), "read")}">'
        f'<rect class="over" y="{_TOP - 8}" width="{_WIDTH}" height="{_BOUND - _TOP + 8}"/>'
        f'<path class="axis" d="M0 {_ZERO}H{_WIDTH}"/><path class="bound" d="M0 {_BOUND}H{_WIDTH}"/>'
        f'<text x="3" y="{_TOP}">{top}</text><text x="3" y="{_BOUND - 3}">{bound}</text>'
        f'<text x="3" y="{_ZERO + 14}">0 s</text>'
        f'<text x="{_WIDTH - 3}" y="{_ZERO + 14}" text-anchor="end">{shown(_rounded(scale.end_ns))} →</text>'
        f"{''.join(_marks(dots, scale))}</svg>"
    )


def _rounded(ns: int) -> int:
    unit = int(10 ** max(0, len(str(ns)) - 3))
    return -(-ns // unit) * unit


def _marks(dots: Sequence[Dot], scale: Scale) -> Iterator[str]:
    places: defaultdict[tuple[int, int, int, Finding], list[Dot]] = defaultdict(list)
    for dot in dots:
        if dot.lower_ns is None or dot.upper_ns is None:
            low = high = _STRIP
        else:
            low, high = scale.y(dot.lower_ns), scale.y(dot.upper_ns)
        places[scale.x(dot.at_ns), low, high, dot.finding].append(dot)
    for (x, low, high, finding), same in places.items():
        ops = " ".join(sorted({dot.op for dot in same}))
        first = same[0]
        stale = "" if first.lower_ns is None else f", {shown(first.lower_ns)} to {shown(first.upper_ns)} stale"
        title = f"{finding}: {ops} at {shown(first.at_ns)}{stale}"
        range_ = f"M{x} {low}V{high}" if high < low else ""
        yield f'<path class="{_KINDS.get(finding, "bad")}" d="{range_}{_shape(finding, x, low)}">' + (
            f"<title>{escape(title)}</title></path>"
        )


_KINDS: Final = {Finding.OK: "good", Finding.INDETERMINATE: "unsure"}


def _shape(finding: Finding, x: int, y: int) -> str:
    """A ring for what is right, a square for what cannot be told, a cross for what breaks the promise."""
    if finding is Finding.OK:
        return f"M{x - 3} {y}a3 3 0 1 0 6 0a3 3 0 1 0 -6 0"
    if finding is Finding.INDETERMINATE:
        return f"M{x - 3} {y - 3}h6v6h-6z"
    return f"M{x - 4} {y - 4}l8 8M{x - 4} {y + 4}l8 -8"
