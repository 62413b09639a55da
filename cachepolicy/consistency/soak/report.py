"""What a soak says of itself: for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from cachepolicy.consistency.findings import Finding
from cachepolicy.consistency.report.summary import shown
from cachepolicy.consistency.soak.run import Soak, SoakReport

__all__ = ["as_json", "as_text"]

_MS_NS: Final = 1_000_000
_ERRORS: Final = 5  # of many kinds, the most frequent


def as_json(report: SoakReport) -> str:
    """The soak as one JSON object; times in ms, and in s what it took."""
    return (
        json.dumps(
            {
                "seed": report.soak.seed,
                "verdict": report.status,
                "database": report.database,
                "reads": report.counts["reads"],
                "cached_reads": report.counts["cached"],
                "hits": report.counts["hits"],
                "relevant_reads": report.relevant_reads,
                "decisive_reads": report.decisive_reads,
                "writes": report.writes,
                "faults": dict(sorted(report.faults.items())),
                "faults_without_effect": dict(sorted(report.blunt.items())),
                "bound_ms": report.soak.bound_ms,
                "near_ms": report.soak.near_ms,
                "refresh_ahead_ms": report.soak.ahead_ms,
                # Whole ns in ms, so that a program which compares it with the bound comes to the verdict's conclusion.
                "worst_lower_ms": report.worst_lower_ns / _MS_NS,
                "findings": {str(finding): report.findings[finding] for finding in Finding},
                "indeterminate": report.findings[Finding.INDETERMINATE],
                "errors": dict(report.errors.most_common(_ERRORS)),
                "reasons": report.doubts,
                "seconds": round(report.seconds, 3),
            },
            indent=2,
        )
        + "\n"
    )


def as_text(report: SoakReport) -> str:
    """The verdict in a sentence, the counts, and how the first broken promises came about."""
    counts, found = report.counts, report.findings
    reads = f"{counts['cached']} cached reads with {report.faults.total()} faults"
    headline = {
        "ok": f"OK: the promise was kept in {reads}.",
        "violated": f"VIOLATED: the promise was broken in {reads}.",
        "unknown": f"UNKNOWN: {'; '.join(report.doubts)}.",
    }[report.status]
    ops = {name.removeprefix("op "): number for name, number in counts.items() if name.startswith("op ")}
    rate = counts["reads"] / report.seconds if report.seconds else 0
    lines = [
        headline,
        f"The promise: no cached read is older than {shown(report.soak.bound_ms * _MS_NS)}, or was never committed.",
        *_tiers(report.soak),
        "",
        f"  reads     {counts['reads']} ({_listed(ops)}); {counts['cached']} cached, {counts['hits']} of them hits",
        f"  stalest   {shown(report.worst_lower_ns)}; {report.decisive_reads} reads could have been older than allowed",
        f"  findings  {_listed({str(finding): found[finding] for finding in Finding if found[finding]})}",
        f"  faults    {_listed(report.faults)}",
    ]
    if report.blunt:
        lines.append(f"            without effect, and not counted: {_listed(report.blunt)}")
    lines.append(f"  writes    {report.writes}")
    if report.errors:
        lines.append(f"  raised    {report.errors.total()}: {_listed(dict(report.errors.most_common(_ERRORS)))}")
    lines += [f"  {report.database}, seed {report.soak.seed}, {report.seconds:.0f} s, {rate:.0f} reads/s"]
    return "\n".join([*lines, *(f"\n{told}" for told in report.explained.values())]) + "\n"


def _tiers(soak: Soak) -> list[str]:
    near = f"Processes kept copies in memory for {shown(soak.near_ms * _MS_NS)}." if soak.near_ms else ""
    ahead = f"Values were computed anew {shown(soak.ahead_ms * _MS_NS)} ahead of their end." if soak.ahead_ms else ""
    return [line for line in (near, ahead) if line]


def _listed(counts: Mapping[str, int]) -> str:
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return ", ".join(f"{name} {number}" for name, number in ordered) or "none"
