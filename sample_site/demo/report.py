"""What the demo prints: a row for each scene, or JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from cachepolicy import Duration
from cachepolicy.consistency.verdict import Verdict

__all__ = ["Result", "as_json", "as_text", "result"]

Word = Literal["kept", "broken", "unknown"]


@dataclass(frozen=True, slots=True)
class Result:
    """One scene as it went; `measured_ms` is the greatest staleness that any of its reads can have had."""

    name: str
    rule: str
    bound: Duration
    measured_ms: float | None
    reads: int
    verdict: Word
    note: str


def result(name: str, rule: str, bound: Duration, verdict: Verdict, note: str) -> Result:
    """What a scene's verdict says: kept only when every read was certainly within the bound."""
    upper_ns = verdict.worst_upper_ns
    word: Word = "unknown"
    if verdict.status == "violated":
        word, note = "broken", verdict.reason
    elif verdict.status == "ok" and upper_ns is not None and upper_ns <= verdict.bound_ns:
        word = "kept"
    elif verdict.status == "unknown":
        note = verdict.reason
    measured_ms = None if upper_ns is None else round(upper_ns / 1_000_000, 1)
    return Result(name, rule, bound, measured_ms, verdict.reads, word, note)


def as_json(results: Sequence[Result]) -> str:
    """The results for programs; milliseconds."""
    scenes = [
        {
            "name": result.name,
            "rule": result.rule,
            "bound_ms": result.bound.ms,
            "measured_ms": result.measured_ms,
            "verdict": result.verdict,
        }
        for result in results
    ]
    return json.dumps({"scenes": scenes}, indent=2)


_HEAD: Final = ("scene", "rule", "bound", "measured", "reads", "verdict")


def as_text(results: Sequence[Result]) -> str:
    """A table for people, with what happened below each row."""
    lines = [_HEAD] + [
        (
            result.name,
            result.rule,
            f"{result.bound.ms:,} ms",
            "-" if result.measured_ms is None else f"{result.measured_ms:,.1f} ms",
            str(result.reads),
            result.verdict,
        )
        for result in results
    ]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEAD))]
    right = {2, 3, 4}
    rows = [
        "  ".join(
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    ]
    body = [
        text for row, result in zip(rows[1:], results, strict=True) for text in (row.rstrip(), f"    {result.note}")
    ]
    return "\n".join([rows[0].rstrip(), *body])
