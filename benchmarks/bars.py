"""The bars: ratios of medians of one run, and what each must reach."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

from benchmarks.figures import Figures
from benchmarks.measures import DEPENDENTS

__all__ = ["Ratio", "ratios"]

_LIMIT: Final = "limit: dict + shallow copy"
_NEAR: Final = "cachepolicy near"
_PEER: Final = "cachalot, Redis"


@dataclass(frozen=True, slots=True)
class Ratio:
    """A ratio beside its bar; without a value one side of it was not measured, or is not there yet."""

    name: str
    value: float | None
    bar: float
    side: Literal["at least", "at most"]

    @property
    def ok(self) -> bool | None:
        """Whether the bar is reached; None without a value."""
        if self.value is None:
            return None
        return self.value >= self.bar if self.side == "at least" else self.value <= self.bar

    def for_programs(self) -> dict[str, Any]:
        """The ratio as JSON has it."""
        value = None if self.value is None else round(self.value, 3)
        return {"name": self.name, "value": value, "bar": self.bar, "side": self.side, "ok": self.ok}


def ratios(figures: Figures) -> list[Ratio]:
    """Every bar with what this run makes of it."""
    return list(_ratios(figures))


def _ratios(figures: Figures) -> Iterator[Ratio]:
    def times(name: str, slow: str, fast: str, bar: float) -> Ratio:
        """How many times as fast as `slow` the contender `fast` is."""
        value = _quotient(figures.median_us(name, slow), figures.median_us(name, fast))
        return Ratio(f"{name}: {fast}, times as fast as {slow}", value, bar, "at least")

    def share(name: str, ours: str, other: str, bar: float) -> Ratio:
        """How much of the time of `other` the contender `ours` takes."""
        value = _quotient(figures.median_us(name, ours), figures.median_us(name, other))
        return Ratio(f"{name}: {ours}, time by that of {other}", value, bar, "at most")

    def count(name: str, contender: str, bar: float) -> Ratio:
        return Ratio(f"{name}, {contender}", figures.count(name, contender), bar, "at most")

    yield times("get", "cacheops", _NEAR, 60)
    yield times("get", _PEER, _NEAR, 90)
    yield share("get", _NEAR, _LIMIT, 4)
    yield times("20 rows", "cacheops", _NEAR, 2.5)
    yield times("20 rows", _PEER, _NEAR, 3.5)
    for question in ("count", "exists", "aggregate"):
        yield times(question, "cacheops", _NEAR, 2)
        yield times(question, "no cache, SQLite", _NEAR, 1)
    yield times("function", "cacheops", _NEAR, 8)
    for question in ("get", "20 rows", "count", "exists", "aggregate", "function"):
        yield times(question, "cacheops", "cachepolicy", 1)
    for ours in ("cachepolicy", _NEAR):
        for question in ("get", "20 rows"):
            yield share(f"miss + store, {question}", ours, "cacheops INSIDEOUT", 1.15)
        saves = [f"save, {dependents} dependents" for dependents in DEPENDENTS]
        for name in saves:
            yield share(name, ours, _PEER, 1.5)
        taken = [taken for name in saves if (taken := figures.median_us(name, ours)) is not None]
        flat = max(taken) / min(taken) if len(taken) == len(saves) else None
        yield Ratio(f"save: {ours}, slowest by fastest number of dependents", flat, 1.2, "at most")
        yield count("transaction of 20 saves, Redis round trips", ours, 1)
        yield share("transaction of 20 saves", ours, "cacheops", 0.9)
    yield times("page, sync", "no cache", _NEAR, 2.5)
    yield times("page, sync", "cacheops", _NEAR, 2)
    yield share("startup, 500 rules", "cachepolicy", "cacheops", 1.25)
    yield count("stampede of 50, ahead: computed", "cachepolicy", 1)
    yield count("stampede of 50, ahead: waited", "cachepolicy", 0)


def _quotient(dividend: float | None, divisor: float | None) -> float | None:
    return None if dividend is None or divisor is None else dividend / divisor
