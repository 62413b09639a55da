"""Operations in one short line each, so that a test shows its history at a glance. Version 1 of key a is token a1."""

from __future__ import annotations

from typing import Any

from cachepolicy.consistency.checker import judge
from cachepolicy.consistency.history import History, Operation
from cachepolicy.consistency.verdict import Verdict

BOUND_NS = 100


def write(version: int | None, start: int, end: int, outcome: Any = "ok", key: str = "a", **other: Any) -> Operation:
    token = other.get("token", f"{key}{version}")
    return Operation("w", other.get("session", "writer"), "write", key, start, end, outcome, version, token, "db")


def read(version: int | None, start: int, end: int, key: str = "a", **other: Any) -> Operation:
    token = other.get("token", f"{key}{version}")
    via = other.get("via", "cache")
    return Operation("r", other.get("session", "reader"), "read", key, start, end, "ok", version, token, via)


def rows(start: int, end: int, session: str = "reader", via: Any = "cache", **versions: int) -> Operation:
    vector = {key: (version, f"{key}{version}") for key, version in versions.items()}
    return Operation("r", session, "read", "all", start, end, "ok", None, None, via, vector)


ROW = Operation.initial("a", 0, "a0", 10)
OTHER_ROW = Operation.initial("b", 0, "b0", 10)


def verdict(*history: Operation, bound_ns: int = BOUND_NS, eps_ns: int = 0, **other: Any) -> Verdict:
    return judge(History(history), bound_ns=bound_ns, eps_ns=eps_ns, **other)


def findings(*history: Operation, **other: Any) -> dict[str, int]:
    return {str(finding): count for finding, count in verdict(*history, **other).counts.items()}
