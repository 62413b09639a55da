"""A witness as a timeline in SVG: a lane for each session and for the cache, numbered as its steps are."""

from __future__ import annotations

import math
from html import escape
from itertools import pairwise
from typing import Final

from cachepolicy.consistency.report.explanation import Explanation, Step
from cachepolicy.consistency.report.summary import shown

__all__ = ["timeline"]

_LEFT, _LANE, _FIRST = 74, 30, 22
_STEP_MIN, _STEP_MAX = 26, 90
"""The least and the most that one instant is drawn after another."""
_NS_PER_MS: Final = 1_000_000


def timeline(explanation: Explanation) -> str:
    """Lanes from top to bottom, time to the right; gaps are shortened, so the instants are written below."""
    steps = explanation.steps
    actors = list(dict.fromkeys(step.actor for step in steps))
    places = _places(steps)
    width = max(places.values()) + 40
    bottom = _FIRST + _LANE * len(actors)
    size = f'style="max-width:{round(width * 1.25)}px" viewBox="0 0 {width} {bottom + 22}"'
    parts = [f'<svg class="timeline" {size} role="img" aria-label="{escape(explanation.what)}">']
    for number, actor in enumerate(actors):
        y = _FIRST + _LANE * number
        parts.append(f'<path class="axis" d="M{_LEFT - 6} {y}H{width}"/><text x="0" y="{y + 4}">{escape(actor)}</text>')
    for number, step in enumerate(steps, start=1):
        y = _FIRST + _LANE * actors.index(step.actor)
        start, end = places[step.start_ns], places[step.end_ns]
        kind = "bad" if step.is_culprit else "cache" if step.actor == "cache" else "done"
        parts.append(
            f'<g class="{kind}"><title>{escape(step.text)}</title><path class="span" d="M{start} {y}H{end}"/>'
            f'<circle cx="{start}" cy="{y}" r="9"/>'
            f'<text x="{start}" y="{y + 4}" text-anchor="middle">{number}</text></g>'
        )
    label_end = 0
    for at_ns in sorted({step.start_ns for step in steps}):
        label, x = shown(_cut(at_ns)), places[at_ns]
        half = len(label) * 3 + 4
        if x - half >= label_end:
            parts.append(f'<text x="{x}" y="{bottom + 12}" text-anchor="middle">{label}</text>')
            label_end = x + half
    return "".join(parts) + "</svg>"


def _places(steps: tuple[Step, ...]) -> dict[int, int]:
    """Where each instant is drawn, in ns: in order, a decade of a gap's length always adding the same."""
    instants = sorted({instant for step in steps for instant in (step.start_ns, step.end_ns)})
    places = {instants[0]: _LEFT + 10}
    for before, after in pairwise(instants):
        decades = math.log10(1 + (after - before) / _NS_PER_MS)
        places[after] = places[before] + min(_STEP_MAX, round(_STEP_MIN + 12 * decades))
    return places


def _cut(ns: int) -> int:
    """Three digits are enough for a label."""
    unit = int(10 ** max(0, len(str(ns)) - 3))
    return ns // unit * unit
