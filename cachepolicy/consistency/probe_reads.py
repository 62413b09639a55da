"""Readers of the kit's own table: by each op through the cache, and past it as a control."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import cachepolicy
from cachepolicy import clock, conf
from cachepolicy.consistency.history import Operation, Outcome, Via
from cachepolicy.consistency.probe_table import Probe, key_of

__all__ = ["READ_OPS", "Reader"]

READ_OPS: Final = ("get", "fetch", "function")

Found = list[tuple[int, int, str]]


def _of_row(number: int, alias: str) -> tuple[int, int, str]:
    """What is cached as a function: the row as the database has it."""
    row = Probe.objects.using(alias).nocache().get(pk=number)
    return row.number, row.version, row.token


def _of_cached_row(number: int, alias: str) -> tuple[int, int, str]:
    """What is cached as a function: the row as the cache has it, so that ages add up."""
    row = Probe.objects.using(alias).get(pk=number)
    return row.number, row.version, row.token


# A decorated function for each list of rows, so that a write invalidates the functions of its own list alone; and for
# each rule, since a function keeps the bounds that it was decorated under.
_FUNCTIONS: Final[dict[tuple[object, str, int, bool], Callable[..., Any]]] = {}


def _function(alias: str, place: int, *, nested: bool) -> Callable[[int, str], tuple[int, int, str]]:
    name = (conf.policies().rule_for(Probe._meta.label), alias, place, nested)
    if name not in _FUNCTIONS:
        sample = Probe.objects.using(alias).filter(place=place)
        _FUNCTIONS[name] = cachepolicy.cached_as(sample)(_of_cached_row if nested else _of_row)
    return _FUNCTIONS[name]


@dataclass
class Reader:
    """A client that reads and records what came; of one thread. `places` are the numbers of the rows of each list."""

    process: str
    session: str
    alias: str
    places: Mapping[int, tuple[int, ...]]
    operations: list[Operation] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    _place_of: dict[int, int] = field(init=False)

    def __post_init__(self) -> None:
        self._place_of = {number: place for place, numbers in self.places.items() for number in numbers}

    def read(self, number: int, op: str, *, nested: bool = False) -> Operation:
        """Read the row of this number through the cache by an op of READ_OPS; `fetch` reads its whole list."""
        place = self._place_of[number]
        if op == "fetch":
            return self._record(f"list:{place}", lambda: self._fetched(place), "cache", self.places[place])
        if op == "function":
            function = _function(self.alias, place, nested=nested)
            return self._record(key_of(number), lambda: [function(number, self.alias)], "cache")
        return self._record(key_of(number), lambda: [_of_cached_row(number, self.alias)], "cache")

    def read_past_the_cache(self, number: int) -> Operation:
        """Read the row as the database has it: a control, which is right whatever the cache does."""
        return self._record(key_of(number), lambda: [_of_row(number, self.alias)], "db")

    def _fetched(self, place: int) -> Found:
        return [(row.number, row.version, row.token) for row in Probe.objects.using(self.alias).filter(place=place)]

    def _record(
        self, key: str, source: Callable[[], Found], via: Via, listed: tuple[int, ...] | None = None
    ) -> Operation:
        """Read and record what came; `listed` are the numbers that a list should have."""
        version, token, rows = None, None, None
        outcome: Outcome = "ok"
        invoke_ns = clock.now_ns()
        try:
            found = source()
        except Exception as error:
            outcome = "fail"
            self.errors.append(f"{type(error).__name__}: {error}")
        return_ns = clock.now_ns()
        if outcome == "ok" and listed is None:
            _, version, token = found[0]
        elif outcome == "ok":
            by_number = {number: (version, token) for number, version, token in found}
            # A row that another list was answered with is not one of this list's: that token nobody wrote.
            rows = {key_of(number): by_number.get(number, (None, "no row")) for number in listed or ()}
        operation = Operation(
            self.process, self.session, "read", key, invoke_ns, return_ns, outcome, version, token, via, rows
        )
        self.operations.append(operation)
        return operation
