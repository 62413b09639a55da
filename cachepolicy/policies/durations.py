"""Durations: one grammar with a unit, exact to the millisecond, round-tripping."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

__all__ = ["Duration"]

_UNITS: Final = {"h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
_PATTERN: Final = re.compile("".join(rf"(?:(\d{{1,9}}){unit})?" for unit in _UNITS), re.ASCII)
_FORMS: Final = "write a whole number with a unit, as in 500ms, 30s, 5m, 1h or 1h30m"
_LONGEST_MS: Final = 8_760 * _UNITS["h"]
# The grammar as JSON Schema (ECMA 262) and editors read it.
PATTERN_FOR_SCHEMA: Final = r"^(?=[0-9])([0-9]{1,9}h)?([0-9]{1,9}m)?([0-9]{1,9}s)?([0-9]{1,9}ms)?$"


@dataclass(frozen=True, slots=True, order=True)
class Duration:
    """A span of time in whole milliseconds, from 1 ms to 8760h (a year)."""

    ms: int

    @classmethod
    def parse(cls, text: str) -> Duration:
        """Read `500ms`, `30s`, `5m`, `1h`, `1h30m`; raises ValueError saying what to write instead."""
        match = _PATTERN.fullmatch(text)
        if not text or match is None:
            raise ValueError(_remedy(text))
        ms = sum(int(count) * unit for count, unit in zip(match.groups(), _UNITS.values(), strict=True) if count)
        if ms == 0:
            raise ValueError("a duration must be longer than zero; to cache nothing, write `off` or `ops: []`")
        if ms > _LONGEST_MS:
            raise ValueError("the longest duration is 8760h (a year)")
        return cls(ms)

    def __str__(self) -> str:
        parts, rest = [], self.ms
        for unit, size in _UNITS.items():
            count, rest = divmod(rest, size)
            if count:
                parts.append(f"{count}{unit}")
        return "".join(parts)


def _remedy(text: str) -> str:
    """What to write instead of `text`; names the likely meaning, never guesses it."""
    if re.fullmatch(r"\d{1,9}", text, re.ASCII):
        return f"a bare number has no unit; write {text}s for seconds or {text}ms for milliseconds"
    if re.fullmatch(r"\d{1,9}\.\d{1,9}[a-z]{1,2}", text, re.ASCII):
        return f"fractions are not accepted; {_FORMS} (1s500ms is one and a half seconds)"
    if re.fullmatch(r"-.*", text):
        return f"a duration cannot be negative; {_FORMS}"
    if re.fullmatch(r"\d{1,9} ?(d|w|day|days)", text, re.ASCII):
        return "days are not a unit; write hours, as in 24h"
    return _FORMS
