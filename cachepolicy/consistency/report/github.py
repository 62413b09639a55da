"""A report for GitHub Actions: annotations at the rules' lines in the policy file."""

from __future__ import annotations

import re
from itertools import groupby

from cachepolicy.annotations import Level, annotation
from cachepolicy.consistency.report.summary import Row, counted, gravest, listed, replay, rows_of, shown
from cachepolicy.consistency.results import Report

__all__ = ["as_github"]


def as_github(report: Report) -> str:
    """A line for each rule that is not kept: an error where it is violated, a warning where it is unknown."""
    groups = groupby(rows_of(report.cells), key=lambda row: row.case.rule)
    rules = [list(rows) for _, rows in groups]
    return "".join(f"{_annotation(rows, report.seed)}\n" for rows in rules if gravest(rows) != "ok")


def _annotation(rows: list[Row], seed: int) -> str:
    status = gravest(rows)
    found = [row for row in rows if row.status == status]
    worst = max(found, key=lambda row: row.worst_lower_ns or 0)
    case = worst.case
    faults = sorted({row.case.fault for row in found})
    message = f"{case.rule} is {status} under {counted(len(faults), 'fault')}: {listed(faults)}"
    if status == "violated" and (worst_ns := worst.worst_lower_ns or 0) > worst.bound_ns:
        message += f"; a read was at least {shown(worst_ns)} stale, {shown(worst.bound_ns)} are promised"
    elif status == "unknown":
        message += f"; {worst.cell.verdict.reason}"
    level: Level = "error" if status == "violated" else "warning"
    message += f"; {replay(case, seed)}"
    place = re.fullmatch(r"(.+):([0-9]+):([0-9]+)", case.origin)
    if place is None:
        return annotation(level, message, file=case.origin)
    return annotation(level, message, file=place[1], line=int(place[2]), column=int(place[3]))
