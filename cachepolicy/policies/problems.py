"""A problem in a policy file: where it is, what it is, and what to do about it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

__all__ = ["Origin", "Problem", "did_you_mean", "quoted"]

_LONGEST_QUOTE: Final = 60


@dataclass(frozen=True, slots=True, order=True)
class Origin:
    """A place in a policy file; line and column count from 1, and 0 means that no line says it (built in)."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One mistake; prints as `file:line:column: path: what; what to do`."""

    origin: Origin
    path: str
    what: str
    remedy: str
    # Django's system checks carry it on; it says which check found the problem.
    code: str = field(default="cachepolicy.E001", compare=False)

    @property
    def is_warning(self) -> bool:
        """Whether the policy can be in force all the same: its code says W, as in Django's checks."""
        return self.code.rpartition(".")[2].startswith("W")

    def __str__(self) -> str:
        place = f"{self.origin}: {self.path}" if self.path else str(self.origin)
        return f"{place}: {self.what}; {self.remedy}"


def quoted(text: str) -> str:
    """`text` between backticks, cut where it is too long to read, with control characters escaped."""
    shown = text if len(text) <= _LONGEST_QUOTE else f"{text[: _LONGEST_QUOTE - 1]}…"
    return "`" + "".join(char if char.isprintable() else repr(char)[1:-1] for char in shown) + "`"


def did_you_mean(word: str, candidates: Iterable[str]) -> str | None:
    """The candidate most like `word` (case folded), or None; Ratcliff and Obershelp's measure, by difflib."""
    if len(word) > _LONGEST_QUOTE:
        return None
    by_folded = {candidate.casefold(): candidate for candidate in candidates}
    matches = difflib.get_close_matches(word.casefold(), by_folded, n=1, cutoff=0.6)
    return by_folded[matches[0]] if matches else None
