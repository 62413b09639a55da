"""The report: tables for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Final

from benchmarks.bars import Ratio
from benchmarks.contenders import READS
from benchmarks.figures import Figures, Key, as_number
from benchmarks.measures import DEPENDENTS

__all__ = ["as_json", "as_text"]

_TABLES: Final = {
    "a hit, µs": {question: question for question in READS},
    "a miss that stores, and saves, µs": {
        "miss + store, get": "miss, get",
        "miss + store, 20 rows": "miss, 20 rows",
        **{f"save, {number} dependents": f"save, {number:,}" for number in DEPENDENTS},
        "transaction of 20 saves": "20 saves",
        "transaction of 20 saves, Redis round trips": "round trips",
    },
    "a stampede of 50, µs": {
        "stampede of 50, cold": "cold",
        "stampede of 50, cold: computed": "computed",
        "stampede of 50, ahead": "ahead",
        "stampede of 50, ahead: computed": "computed",
        "stampede of 50, ahead: waited": "waited",
    },
    "a page of five questions": {
        "page, sync": "sync, µs",
        "page, sync, throughput": "pages/s",
        "page, gevent": "gevent, µs",
        "page, gevent, throughput": "pages/s",
    },
    "memory per entry, bytes": {"memory per entry, redis": "in Redis", "memory per entry, process": "in process"},
    "startup, µs": {"startup, 500 rules": "500 rules", "loading 500 rules": "their file"},
}


def as_json(figures: Figures, ratios: Iterable[Ratio]) -> str:
    """The run for programs: times, other figures, ratios."""
    return json.dumps(
        {
            "measures": list(figures.measures()),
            "counts": list(figures.others()),
            "ratios": [ratio.for_programs() for ratio in ratios],
        },
        indent=1,
    )


def as_text(figures: Figures, ratios: Iterable[Ratio]) -> str:
    """The run for people; compare within it only, absolute times are the machine's."""
    parts = [part for title, columns in _TABLES.items() if (part := _table(figures, title, columns))]
    return "\n\n".join([*parts, "\n".join(_bars(ratios))])


def _table(figures: Figures, title: str, columns: dict[str, str]) -> str:
    contenders = dict.fromkeys(key.contender for key in (*figures.times, *figures.counts) if key.name in columns)
    if not contenders:
        return ""
    width = max(len(contender) for contender in (*contenders, title)) + 1
    lines = [f"{title:{width}}" + "".join(f"{head:>14}" for head in columns.values())]
    for contender in contenders:
        cells = (_cell(figures, Key(name, contender)) for name in columns)
        lines.append(f"{contender:{width}}" + "".join(f"{cell:>14}" for cell in cells))
    return "\n".join(lines)


def _cell(figures: Figures, key: Key) -> str:
    value = figures.median_us(*key)
    if value is None:
        value = figures.count(*key)
    return "" if value is None else as_number(value)


def _bars(ratios: Iterable[Ratio]) -> Iterator[str]:
    yield f"{'bars':86}{'value':>8}  {'bar':>6}"
    for ratio in ratios:
        sign = "≥" if ratio.side == "at least" else "≤"
        value = "absent" if ratio.value is None else f"{ratio.value:.2f}"
        verdict = {True: "ok", False: "MISSED", None: ""}[ratio.ok]
        yield f"{ratio.name:86}{value:>8} {sign} {ratio.bar:<6g} {verdict}".rstrip()
