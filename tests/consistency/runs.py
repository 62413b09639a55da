"""Runs of the kit as literals, for the tests of its reports; instants in ms."""

from __future__ import annotations

from typing import Any

from cachepolicy.consistency.checker import judge
from cachepolicy.consistency.history import History, Operation
from cachepolicy.consistency.recorder import Event
from cachepolicy.consistency.results import Case, Cell, Report
from cachepolicy.consistency.verdict import Verdict

MS_NS = 1_000_000
ROW = Operation.initial("row", None, "old", 1000 * MS_NS)


def done(f: Any, session: str, token: str, start_ms: int, end_ms: int, outcome: Any = "ok") -> Operation:
    start_ns, end_ns = (1000 + start_ms) * MS_NS, (1000 + end_ms) * MS_NS
    via: Any = "cache" if f == "read" else "db"
    return Operation("kit", session, f, "row", start_ns, end_ns, outcome, None, token, via)


def event(at_ms: float, kind: Any, about: str = "shop_price") -> Event:
    return Event(int((1000 + at_ms) * MS_NS), kind, about)


def cell(op: str, fault: str, *operations: Operation, events: Any = (), rule: str = "shop.Price", **other: Any) -> Cell:
    """A cell of a rule that promises 60 s; without operations it could not be played, because of `reason`."""
    case = Case(rule, op, fault, "shop.Price", 60_000, other.get("origin", "policies.yaml:12:3"), f"What {fault} does.")
    history = History((ROW, *operations) if operations else ())
    verdict = judge(history, bound_ns=60_000 * MS_NS, row_lock=False, rollbacks_are_evidence=True)
    if not operations:
        verdict = Verdict("unknown", other["reason"], 60_000 * MS_NS, 0)
    return Cell(case, "sqlite", verdict, history, events, other.get("errors", ()))


def stale(op: str = "get") -> Cell:
    """A reader stores what it read before a write, and so it is read for longer than was promised."""
    return cell(
        op,
        "stale_set",
        done("read", "reader", "old", 1, 30_000),
        done("write", "writer", "new", 2, 5),
        done("read", "reader", "old", 89_000, 89_001),
        events=[
            event(1.5, "miss"),
            event(3, "invalidation"),
            event(4, "invalidation"),
            event(29_999, "fill", "q:1"),
            event(89_000.5, "hit"),
        ],
    )


def kept(op: str = "get", fault: str = "none", rule: str = "shop.Price") -> Cell:
    return cell(op, fault, done("write", "writer", "new", 2, 5), done("read", "reader", "new", 6, 7), rule=rule)


def dirty() -> Cell:
    return cell(
        "get",
        "rollback",
        done("write", "writer", "never", 1, 4, "fail"),
        done("read", "reader", "never", 5, 6),
        events=[event(3, "fill", "q:1"), event(5.5, "hit")],
        errors=["TimeoutError: gave\nup"],
    )


def unplayed() -> Cell:
    return cell("get", "redis_hung", reason="the fault did not bite: no invalidation was lost", rule="functions.<b>&co")


def run(*cells: Cell) -> Report:
    return Report(7, cells)
