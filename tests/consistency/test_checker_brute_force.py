"""The bounds against brute force: every legal assignment of commit instants to small generated histories."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

import pytest

from cachepolicy.consistency.anomalies import find_fractured_reads, find_session_anomalies
from cachepolicy.consistency.findings import Finding, find_reads
from cachepolicy.consistency.history import Operation
from cachepolicy.consistency.intervals import commit_intervals

HISTORIES = 4_000
HORIZON = 11
"""Every generated read ends before this instant, so a commit at HORIZON stands for all later ones."""

World = dict[str, int]
"""Token → the instant at which that write committed; aborted writes are absent."""


def generate(rng: random.Random, row_lock: bool) -> list[Operation]:
    operations = []
    tokens: dict[str, list[str]] = {"a": ["nobody wrote this"], "b": ["nor this"]}
    for key in "ab":
        for version in range(rng.randint(1, 3)):
            start = rng.randint(0, 6)
            end = start + rng.randint(0, 2)
            outcome: Any = rng.choice(("ok",) * 7 + ("info", "fail"))
            known = version if row_lock and (outcome == "ok" or rng.random() < 0.7) else None
            token = f"{key}{version}"
            operations.append(Operation("w", "w", "write", key, start, end, outcome, known, token, "db"))
            tokens[key] += [token] * 4
    for _ in range(3):
        start = rng.randint(0, 8)
        end = start + rng.randint(0, 1)
        if rng.random() < 0.5:
            rows = {key: (None, rng.choice(tokens[key])) for key in "ab"}
            operations.append(Operation("r", "s", "read", "all", start, end, "ok", None, None, "cache", rows))
        else:
            token = rng.choice(tokens["a"])
            operations.append(Operation("r", "s", "read", "a", start, end, "ok", None, token, "cache"))
    return operations


def worlds(history: list[Operation], key: str, eps: int, row_lock: bool) -> Iterator[World]:
    """Every legal commit assignment of a key, each instant from 0 − eps to HORIZON + eps."""
    writes = [op for op in history if op.f == "write" and op.key == key and op.outcome != "fail"]
    choices: list[list[int | None]] = []
    for write in writes:
        last = write.return_ns + eps if write.outcome == "ok" else HORIZON + eps
        choices.append(list(range(write.invoke_ns - eps, last + 1)))
        if write.outcome == "info":
            choices[-1].append(None)
    for instants in product(*choices):
        pairs = [(w, at) for w, at in zip(writes, instants, strict=True) if at is not None]
        in_order = sorted(
            ((w.version, at) for w, at in pairs if w.version is not None),
            key=lambda pair: pair[0],
        )
        if row_lock and [at for _, at in in_order] != sorted(at for _, at in in_order):
            continue
        yield {w.token or "": at for w, at in pairs}


def superseded(world: World, token: str, versions: dict[str, int | None], row_lock: bool) -> tuple[int, int]:
    """The earliest and latest instant (HORIZON² for never) at which that value can be superseded in this world."""
    never = HORIZON**2
    instant, version = world[token], versions[token]
    early = late = never
    for other, at in world.items():
        if other == token:
            continue
        theirs = versions[other]
        if row_lock and version is not None and theirs is not None:
            if theirs > version:
                early, late = min(early, at), min(late, at)
        else:
            # Commits of one instant have no order: either may be the newer one.
            early = min(early, at) if at >= instant else early
            late = min(late, at) if at > instant else late
    return early, late


@pytest.mark.parametrize("row_lock", [True, False], ids=["row_lock", "no_row_lock"])
def test_bounds_agree_with_every_legal_commit_assignment(row_lock: bool) -> None:
    rng = random.Random(20_110_606)
    seen: dict[str, int] = {}
    for _ in range(HISTORIES):
        history, eps = generate(rng, row_lock), rng.choice((0, 0, 1))
        legal = {key: list(worlds(history, key, eps, row_lock)) for key in "ab"}
        keys, refusals = commit_intervals(history, eps_ns=eps, row_lock=row_lock)
        if refusals:
            assert not all(legal.values()), (history, refusals)
            seen["refused"] = seen.get("refused", 0) + 1
            continue
        assert all(legal.values()), history
        versions = {op.token or "": op.version for op in history if op.f == "write"}
        fractured = {witness.read for witness in find_fractured_reads(history, keys)}
        for judged in find_reads(history, keys, bound_ns=(bound := rng.randint(0, 3)), eps_ns=eps):
            expected = brute_force(history, judged.read, legal, versions, eps, bound, row_lock)
            assert (judged.finding, judged.lower_ns, judged.upper_ns) == expected, (history, eps, bound, judged)
            seen[judged.finding] = seen.get(judged.finding, 0) + 1
            rows = history[judged.read].rows
            committed = all(fates(legal[key], token) == {True} for key, (_, token) in (rows or {}).items())
            if rows and committed:
                possible = together(rows, legal, versions, row_lock)
                assert (judged.read in fractured) is not possible, (history, eps, judged)
                seen["FRACTURED"] = seen.get("FRACTURED", 0) + (not possible)
    named = {"refused"} if row_lock else set()
    assert {name for name, count in seen.items() if count >= 50} >= named | {
        "OK",
        "VIOLATION",
        "INDETERMINATE",
        "PHANTOM",
        "DIRTY",
        "FUTURE",
        "FRACTURED",
    }


def fates(legal: list[World], token: str) -> set[bool]:
    return {token in world for world in legal}


def brute_force(
    history: list[Operation],
    read: int,
    legal: dict[str, list[World]],
    versions: dict[str, int | None],
    eps: int,
    bound: int,
    row_lock: bool,
) -> tuple[Finding, int | None, int | None]:
    """The finding of a read by definition: what holds in every world, at every instant of the read."""
    operation = history[read]
    values = [(operation.key, operation.token or "")]
    if operation.rows is not None:
        values = [(key, token) for key, (_, token) in operation.rows.items()]
    start, end = operation.invoke_ns - eps, operation.return_ns + eps
    if any(token not in versions for _, token in values):
        return Finding.PHANTOM, None, None
    if any(fates(legal[key], token) == {False} for key, token in values):
        return Finding.DIRTY, None, None
    settled = [(key, token) for key, token in values if fates(legal[key], token) == {True}]
    if any(min(world[token] for world in legal[key]) > end for key, token in settled):
        return Finding.FUTURE, None, None
    least = greatest = 0
    for key, token in settled:
        spans = [superseded(world, token, versions, row_lock) for world in legal[key]]
        # The rows of a list commit independently, so its stalest row decides, at least and at most.
        least = max(least, min(max(0, start - late) for _, late in spans))
        greatest = max(greatest, max(max(0, end - early) for early, _ in spans))
    unsettled = len(settled) < len(values)
    if least > bound:
        return Finding.VIOLATION, least, None if unsettled else greatest
    if unsettled:
        return Finding.INDETERMINATE, None, None
    return (Finding.OK if greatest <= bound else Finding.INDETERMINATE), least, greatest


def together(
    rows: Mapping[str, tuple[int | None, str]],
    legal: dict[str, list[World]],
    versions: dict[str, int | None],
    row_lock: bool,
) -> bool:
    """True if in some world some instant has all the rows current."""
    spans = []
    for key, (_, token) in rows.items():
        spans.append({(world[token], superseded(world, token, versions, row_lock)[1]) for world in legal[key]})
    return any(max(at for at, _ in pick) <= min(until for _, until in pick) for pick in product(*spans))


def test_session_findings_agree_with_the_definition() -> None:
    rng = random.Random(1994)
    seen: dict[Finding, int] = {Finding.NON_MONOTONIC: 0, Finding.READ_YOUR_WRITES: 0}
    for _ in range(HISTORIES):
        history = []
        for index in range(rng.randint(2, 16)):
            start, key, session = rng.randint(0, 9), rng.choice("aab"), rng.choice("sst")
            end = start + rng.randint(0, 3)
            if rng.random() < 0.5:
                # Versions follow the clock, so that no history is refused.
                history.append(
                    Operation("p", session, "write", key, start, end, "ok", start * 100 + index, f"{index}", "db")
                )
            else:
                version_of = rng.randint(0, 15)
                history.append(Operation("p", session, "read", key, start, end, "ok", None, f"{version_of}", "cache"))
        keys, refusals = commit_intervals(history, eps_ns=10)
        assert refusals == ()
        found = {(witness.finding, witness.read) for witness in find_session_anomalies(history, keys)}
        versions = {(op.key, op.token): op.version or 0 for op in history if op.f == "write"}
        expected = set()
        for index, later in enumerate(history):
            for earlier in history:
                same = (earlier.session, earlier.key) == (later.session, later.key)
                if later.f == "read" and same and earlier.return_ns <= later.invoke_ns and earlier is not later:
                    newer = versions.get((earlier.key, earlier.token), -1)
                    if newer > versions.get((later.key, later.token), newer):
                        finding = Finding.NON_MONOTONIC if earlier.f == "read" else Finding.READ_YOUR_WRITES
                        expected.add((finding, index))
        assert found == expected, history
        for finding, _ in found:
            seen[finding] += 1
    assert min(seen.values()) >= 200
