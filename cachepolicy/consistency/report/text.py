"""A report for people and for the logs of CI: plain lines."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from cachepolicy.consistency.report.explanation import Explanation, explanations
from cachepolicy.consistency.report.summary import Row, counted, headline, listed, replay, rows_of, shown, totals
from cachepolicy.consistency.results import Report

__all__ = ["as_text", "told"]

_MS_NS = 1_000_000


def as_text(report: Report) -> str:
    """The verdict, a line per rule and fault, why each one that is not ok is not, and the counts."""
    rows = rows_of(report.cells)
    lines = [headline(report), "The promise: no cached read is older than its rule's timeout.", ""]
    for _, group in groupby(rows, key=lambda row: row.case.rule):
        lines += [*_rule(list(group)), ""]
    for row in rows:
        if row.status != "ok":
            lines += [*_details(row, report.seed), ""]
    return "\n".join([*lines, totals(report)]) + "\n"


def told(explanation: Explanation) -> list[str]:
    """An explanation in lines; instants in ms since the scene began."""
    instants = [f"{step.start_ns / _MS_NS:.3f} ms" for step in explanation.steps]
    width = max(map(len, instants), default=0)
    actors = max((len(step.actor) for step in explanation.steps), default=0)
    steps = [
        f"  {instant:>{width}}  {step.actor:<{actors}}  {step.text}"
        for instant, step in zip(instants, explanation.steps, strict=True)
    ]
    return [f"{explanation.finding}: {explanation.what}", *steps]


def _rule(rows: list[Row]) -> Iterator[str]:
    first = rows[0].case
    yield f"{first.rule} promises {shown(rows[0].bound_ns)} ({first.origin})"
    faults = max(len(row.case.fault) for row in rows)
    databases = {row.database for row in rows}
    for row in rows:
        on = f"  {row.database}" if len(databases) > 1 else ""
        status = row.status if row.status == "ok" else row.status.upper()
        stalest = f"stalest {shown(row.worst_lower_ns):<10}"
        yield f"  {status:<8}  {row.case.fault:<{faults}}{on}  {stalest}  ({' '.join(row.ops)})"


def _details(row: Row, seed: int) -> Iterator[str]:
    case, cell = row.case, row.cell
    yield f"{row.status.upper()} {case.rule} {case.op} under {case.fault} on {row.database}: {cell.verdict.reason}"
    if case.what:
        yield f"  fault: {case.what}"
    if others := [op for op in row.ops if op != case.op]:
        yield f"  {row.status} as well: {listed(others)}"
    for explanation in explanations(cell):
        yield from (f"  {line}" for line in told(explanation))
    if row.errors:
        yield f"  {counted(len(row.errors), 'error')}, the first: {' '.join(row.errors[0].split())}"
    yield f"  replay: {replay(case, seed)}"
