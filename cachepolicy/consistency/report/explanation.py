"""Why a cell is violated: each witness told as steps, with what the cache did in between."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Final

from cachepolicy.consistency.checker import PROMISE
from cachepolicy.consistency.findings import Finding
from cachepolicy.consistency.history import Operation
from cachepolicy.consistency.report.summary import shown
from cachepolicy.consistency.results import Cell
from cachepolicy.consistency.witnesses import Witness

if TYPE_CHECKING:
    from cachepolicy.consistency.recorder import Event

__all__ = ["Explanation", "Step", "explanations", "start_ns"]


@dataclass(frozen=True, slots=True)
class Step:
    """Something that happened, from `start_ns` to `end_ns` since the scene began; `actor` did it."""

    start_ns: int
    end_ns: int
    actor: str
    text: str
    is_culprit: bool = False


@dataclass(frozen=True, slots=True)
class Explanation:
    """A finding that broke the promise: what is wrong, and how it came to it, in order."""

    finding: Finding
    what: str
    steps: tuple[Step, ...]


def explanations(cell: Cell) -> list[Explanation]:
    """One explanation for each kind of finding that broke the promise: of the stalest read, or else the first."""
    found = []
    for finding in Finding:
        witnesses = [w for w in cell.verdict.witnesses if w.finding is finding and finding in PROMISE]
        if witnesses:
            witness = max(witnesses, key=lambda w: w.lower_ns or 0)
            found.append(Explanation(finding, _what(cell, witness), tuple(_steps(cell, witness))))
    return found


def start_ns(history: Sequence[Operation]) -> int:
    """When the scene began: the first operation's beginning; of the row as it stood, when it was seen."""
    return min((op.return_ns if op.process == "initial" else op.invoke_ns for op in history), default=0)


def _what(cell: Cell, witness: Witness) -> str:
    read = cell.history[witness.read]
    value = _value(read, witness.key)
    promised = shown(cell.verdict.bound_ns)
    return {
        Finding.VIOLATION: f"{read.session} read {value}, which had been superseded for at least "
        f"{shown(witness.lower_ns)}; at most {promised} is promised",
        Finding.DIRTY: f"{read.session} read {value}, which was never committed",
        Finding.PHANTOM: f"{read.session} read {value}, which nobody wrote to {witness.key}",
        Finding.FUTURE: f"{read.session} read {value} before it can have been committed",
        Finding.FRACTURED: f"{read.session} read rows that were never current together",
    }[witness.finding]


def _value(operation: Operation, key: str) -> str:
    token = operation.token if operation.rows is None else operation.rows.get(key, (None, None))[1]
    return "no value" if token is None else repr(token)


def _steps(cell: Cell, witness: Witness) -> list[Step]:
    history, read = cell.history, cell.history[witness.read]
    indices = set(witness.operations)
    events = [event for event in cell.events if event.at_ns <= read.return_ns]
    fill, filler = _fill(history, events, witness)
    if filler is not None:
        indices.add(filler)
    newer = None if witness.newer is None else history[witness.newer]
    sent = [e for e in events if newer and e.kind.startswith("invalidation") and e.at_ns >= newer.invoke_ns]
    zero_ns = start_ns(history)
    steps = [_operation_step(cell, witness, index, zero_ns, not sent) for index in indices]
    steps += _event_steps([*([fill] if fill else []), *sent], zero_ns)
    return sorted(steps, key=lambda step: (step.start_ns, step.end_ns))


def _fill(history: Sequence[Operation], events: Sequence[Event], witness: Witness) -> tuple[Event | None, int | None]:
    """The fill that most likely stored what was read, and the operation in which it happened, by index.

    An event does not tell the value. One inside an operation that had this value in hand comes first, be it a store
    that its client gave up (Redis may still carry it out): others may be of other queries on the row.
    """
    read = history[witness.read]
    stores = [event for event in events if event.kind.startswith("fill") and event.at_ns < read.invoke_ns]
    for fill in reversed(stores):
        for index, operation in enumerate(history):
            is_inside = operation.invoke_ns <= fill.at_ns <= operation.return_ns and operation.process != "initial"
            if is_inside and _value(operation, witness.key) == _value(read, witness.key):
                return fill, index
    return next((event for event in reversed(stores) if event.kind == "fill"), None), None


def _operation_step(cell: Cell, witness: Witness, index: int, zero_ns: int, is_silent: bool) -> Step:
    operation = cell.history[index]
    value = _value(operation, witness.key)
    start, end = max(0, operation.invoke_ns - zero_ns), max(0, operation.return_ns - zero_ns)
    if operation.process == "initial":
        return Step(0, 0, "database", f"the row holds {value}")
    if operation.f == "write":
        text = f"writes {value} and {_OUTCOMES[operation.outcome]}"
        if index == witness.newer:
            text += ", superseding what is read below" + ("; no invalidation follows" if is_silent else "")
        return Step(start, end, operation.session, text)
    heard = {e.kind for e in cell.events if operation.invoke_ns <= e.at_ns <= operation.return_ns}
    via = "from the cache" if "hit" in heard else "from the database, after a miss" if "miss" in heard else ""
    text = f"reads {value} {via}".rstrip()
    if index == witness.read:
        age = f", superseded at least {shown(witness.lower_ns)} before" if witness.lower_ns else ""
        return Step(start, end, operation.session, f"{text}{age}: {witness.finding}", is_culprit=True)
    return Step(start, end, operation.session, text)


_OUTCOMES: Final = {"ok": "commits", "fail": "rolls back", "info": "nobody knows whether it committed"}


def _event_steps(events: Sequence[Event], zero_ns: int) -> Iterator[Step]:
    ordered = sorted(events, key=lambda event: event.at_ns)
    for (kind, about), group in groupby(ordered, key=lambda event: (event.kind, event.about)):
        same = list(group)
        times = f", {len(same)} times" if len(same) > 1 else ""
        text = {
            "fill": "stores a value",
            "fill lost": "does not confirm a store, which may still be carried out",
            "invalidation": f"is told to invalidate {about}{times}",
            "invalidation lost": f"never hears of it: the invalidation of {about} is lost{times}",
        }[kind]
        yield Step(same[0].at_ns - zero_ns, same[-1].at_ns - zero_ns, "cache", text)
