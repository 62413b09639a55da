"""A report for programs: JSON."""

from __future__ import annotations

import json
from typing import Any

from cachepolicy.consistency.results import Cell, Report

__all__ = ["as_json"]


def as_json(report: Report) -> str:
    """The run as one JSON object: seed, verdict, and every cell in the order it was played; times in ms."""
    cells = [_cell(cell) for cell in report.cells]
    return json.dumps({"seed": report.seed, "verdict": report.status, "cells": cells}, indent=2) + "\n"


def _cell(cell: Cell) -> dict[str, Any]:
    case, verdict = cell.case, cell.verdict
    worst_ns = verdict.worst_lower_ns
    return {
        "rule": case.rule,
        "op": case.op,
        "fault": case.fault,
        "database": cell.database,
        "verdict": verdict.status,
        "bound_ms": case.bound_ms,
        # Whole ns in ms, so that a program which compares it with the bound comes to the verdict's conclusion.
        "worst_lower_ms": None if worst_ns is None else worst_ns / 1_000_000,
        "reads": verdict.reads,
        "relevant_reads": verdict.relevant_reads,
        "findings": {str(finding): count for finding, count in verdict.counts.items()},
        "reason": verdict.reason,
        "errors": list(cell.errors),
        "origin": case.origin,
    }
