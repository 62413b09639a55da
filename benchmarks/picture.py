"""A picture of the reads, as SVG: who was asked, what was asked, and how long it took; drawn from a run's JSON.

python -m benchmarks.picture .cache/bench.json docs/benchmarks.svg
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Any, Final

from benchmarks.contenders import READS
from benchmarks.figures import as_number

__all__ = ["drawn"]

_NAMES, _COLUMN, _ROW, _EDGE, _HEAD = 196, 88, 27, 14, 62
_WIDTH: Final = _EDGE + _NAMES + len(READS) * _COLUMN + _EDGE
# It brings its own background: a page may be dark where its reader's system is light.
_STYLE: Final = """
text { font: 13px system-ui, "Segoe UI", Roboto, Helvetica, Arial, sans-serif; fill: #1f2328 }
.number { text-anchor: end; font-variant-numeric: tabular-nums }
.title, .best { font-weight: 700 }
.limit, .note { fill: #6e7781 }
.note { font-size: 12px }
.page { fill: #ffffff; stroke: #d0d7de }
.ours { fill: #ddf4ff }
.bar { fill: #afb8c1 }
.bar.of-ours { fill: #0969da }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .limit, .note { fill: #8d96a0 }
  .page { fill: #0d1117; stroke: #30363d }
  .ours { fill: #122d4d }
  .bar { fill: #484f58 }
  .bar.of-ours { fill: #4493f8 }
}
"""


def drawn(measures: Iterable[Mapping[str, Any]]) -> str:
    """The picture of a run's measures; raises ValueError where no read was measured."""
    times = {(each["contender"], each["name"]): each["median_us"] for each in measures if each["name"] in READS}
    contenders = sorted(dict.fromkeys(contender for contender, _ in times), key=_rank)
    if not contenders:
        raise ValueError("there is nothing to draw: no reads were measured")
    height = _HEAD + len(contenders) * _ROW + 50
    size = f'viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
        f"<title>How long a hit takes</title><style>{_STYLE}</style>",
        f'<rect class="page" x=".5" y=".5" width="{_WIDTH - 1}" height="{height - 1}" rx="6"/>',
        _text(_EDGE, 26, "title", "A hit, median in µs"),
        *(_text(_right(column), 52, "number", question) for column, question in enumerate(READS)),
        *(line for row, contender in enumerate(contenders) for line in _row(times, contender, _HEAD + row * _ROW)),
        _text(_EDGE, height - 28, "note", "Shorter bars are faster, each column by itself; bold is its fastest."),
        _text(
            _EDGE, height - 11, "note", "In grey what any cache must do at least: no age is checked, no write heard of."
        ),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _rank(contender: str) -> int:
    """Others, ours, limits; each in the order of the run."""
    return 2 if contender.startswith("limit: ") else int(contender.startswith("cachepolicy"))


def _row(times: Mapping[tuple[str, str], float], contender: str, top: int) -> Iterator[str]:
    rank = _rank(contender)
    if rank == 1:
        yield f'<rect class="ours" x="1" y="{top}" width="{_WIDTH - 2}" height="{_ROW}"/>'
    kind = ("", "title", "limit")[rank]
    yield _text(_EDGE, top + 16, kind, contender)
    for column, question in enumerate(READS):
        value = times.get((contender, question))
        if value is None:
            continue
        rivals = [us for (other, asked), us in times.items() if asked == question and _rank(other) < 2]
        best = " best" if rank < 2 and value == min(rivals) else ""
        yield _text(_right(column), top + 16, f"number{' limit' * (rank == 2)}{best}", as_number(value))
        if rank < 2:
            length = (_COLUMN - 18) * value / max(rivals)
            of_ours = " of-ours" * (rank == 1)
            place = f'x="{_right(column) - length:.1f}" y="{top + 21}" width="{length:.1f}" height="3"'
            yield f'<rect class="bar{of_ours}" {place}/>'


def _right(column: int) -> int:
    return _EDGE + _NAMES + (column + 1) * _COLUMN


def _text(x: int, y: int, kind: str, text: str) -> str:
    return f'<text x="{x}" y="{y}" class="{kind}">{escape(text)}</text>'


if __name__ == "__main__":
    _, _source, _target = sys.argv
    Path(_target).write_text(drawn(json.loads(Path(_source).read_text())["measures"]))
