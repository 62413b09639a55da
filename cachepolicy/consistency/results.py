"""What a run of the kit tried, and what came of it: values without behaviour, for whoever reports them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cachepolicy.consistency.history import History
from cachepolicy.consistency.verdict import Status, Verdict

if TYPE_CHECKING:  # the recorder needs Django, and a report does not
    from cachepolicy.consistency.recorder import Event

__all__ = ["Case", "Cell", "Report"]


@dataclass(frozen=True, slots=True)
class Case:
    """One thing to try: a rule's op under a fault. `rule` is a model's label, or `functions.` and a name.

    `model` is the label of the table written to; `origin` the rule's place, `policies.yaml:12:3`; `what` describes
    the fault in a sentence. `why_not`: why it cannot be tried, so that its cell is unknown. `near_ms` and `ahead_ms`:
    the rule's `near` and `refresh_ahead`, 0 for none.
    """

    rule: str
    op: str
    fault: str
    model: str
    bound_ms: int
    origin: str
    what: str = ""
    why_not: str = ""
    near_ms: int = 0
    ahead_ms: int = 0


@dataclass(frozen=True, slots=True)
class Cell:
    """What came of a case; `errors` are exceptions that reads or writes raised because of the fault."""

    case: Case
    database: str
    verdict: Verdict
    history: History = field(default_factory=History)
    events: Sequence[Event] = ()
    errors: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """All cells of a run."""

    seed: int
    cells: Sequence[Cell]

    @property
    def status(self) -> Status:
        """`violated` if any cell is, else `unknown` if any cell is or there is none, else `ok`."""
        found = {cell.verdict.status for cell in self.cells}
        return "violated" if "violated" in found else "unknown" if "unknown" in found or not found else "ok"
