"""Figures: what was measured, by what was asked of whom; times as medians, everything else as counts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import median
from typing import Any, NamedTuple

__all__ = ["Figures", "Key", "as_number"]


class Key(NamedTuple):
    """What was measured, of which contender."""

    name: str
    contender: str


@dataclass
class Figures:
    """All samples of a run: times in ns, and other figures with their unit."""

    times: dict[Key, list[float]] = field(default_factory=lambda: defaultdict(list))
    counts: dict[Key, list[float]] = field(default_factory=lambda: defaultdict(list))
    units: dict[str, str] = field(default_factory=dict)

    def took(self, name: str, contender: str, *ns: float) -> None:
        """Note how long it took, once or several times."""
        self.times[Key(name, contender)] += ns

    def forget_first(self, name: str, contender: str) -> None:
        """Drop the first sample, which found nothing warm."""
        del self.times[Key(name, contender)][0]

    def counted(self, name: str, contender: str, value: float, unit: str) -> None:
        """Note a figure that is no time."""
        self.counts[Key(name, contender)].append(value)
        self.units[name] = unit

    def median_us(self, name: str, contender: str) -> float | None:
        """The median time, or None for what was not measured."""
        found = self.times.get(Key(name, contender))
        return median(found) / 1_000 if found else None

    def count(self, name: str, contender: str) -> float | None:
        """The median of a figure, or None for what was not counted."""
        found = self.counts.get(Key(name, contender))
        return median(found) if found else None

    def measures(self) -> Iterator[dict[str, Any]]:
        """The times for programs."""
        for (name, contender), ns in self.times.items():
            yield {"name": name, "contender": contender, "median_us": round(median(ns) / 1_000, 3), "n": len(ns)}

    def others(self) -> Iterator[dict[str, Any]]:
        """The other figures for programs."""
        for (name, contender), values in self.counts.items():
            value = round(median(values), 3)
            yield {"name": name, "contender": contender, "value": value, "unit": self.units[name], "n": len(values)}


def as_number(value: float) -> str:
    """A figure as people read it: more digits do not come back in the next run."""
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.2g}" if value < 1 else f"{value:.1f}"
