"""What each read of a history shows: how stale it was, at least and at most, and so what to call it."""

from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import NamedTuple

from .history import Operation
from .intervals import NEVER_NS, Commit, Fate, KeyCommits

_NO_COMMITS = KeyCommits()


class Finding(StrEnum):
    """What a read shows. Every judged read has exactly one of the first six; the last three may come on top.

    - `OK`: certainly within the bound. `VIOLATION`: certainly older. `INDETERMINATE`: the instants cannot tell, or
      it returned an `info` write of which nobody knows whether it committed.
    - `PHANTOM`: nobody wrote that value, or not with that version. `DIRTY`: its write never committed. `FUTURE`: the
      read was over before its write can have committed.
    - `FRACTURED`: the rows of a list were never current together. `NON_MONOTONIC`: the session had already read a
      newer value. `READ_YOUR_WRITES`: the session had already written a newer value.
    """

    OK = "OK"
    VIOLATION = "VIOLATION"
    INDETERMINATE = "INDETERMINATE"
    PHANTOM = "PHANTOM"
    DIRTY = "DIRTY"
    FUTURE = "FUTURE"
    FRACTURED = "FRACTURED"
    NON_MONOTONIC = "NON-MONOTONIC"
    READ_YOUR_WRITES = "READ-YOUR-WRITES"


class JudgedRead(NamedTuple):
    """One read, judged.

    `read` is the operation's index; `key` the row that decided (of a list: the stalest, or the one never committed).
    Its staleness was at least `lower_ns` and at most `upper_ns`, both ≥ 0, None where its value has no place among
    the commits. Had it returned the oldest version known, `lower_ns` would have been `exposure_ns`: 0 means that
    this read could not have been stale. `after_abort`: it could have been DIRTY.
    """

    read: int
    key: str
    finding: Finding
    lower_ns: int | None
    upper_ns: int | None
    exposure_ns: int
    after_abort: bool


def find_reads(
    history: Iterable[Operation], keys: Mapping[str, KeyCommits], *, bound_ns: int, eps_ns: int
) -> Iterator[JudgedRead]:
    """Judge every `ok` read against a bound, in the order of the history; `keys` is from `commit_intervals`.

    A read in [s, e] of a value that was superseded in [n, m] was stale by max(0, s − m) at least and max(0, e − n) at
    most, s and e widened by eps: VIOLATION if the first exceeds the bound, OK if the second does not. This is
    Δ-atomicity (Golab, Li, Shah, PODC 2011) for writes whose order is known. A list is as stale as its stalest row.
    """
    for index, operation in enumerate(history):
        if operation.f != "read" or operation.outcome != "ok":
            continue
        start_ns = operation.invoke_ns - eps_ns
        end_ns = operation.return_ns + eps_ns
        if operation.rows is not None:
            yield _judge_list(index, operation, keys, start_ns, end_ns, bound_ns)
            continue
        commits = keys.get(operation.key, _NO_COMMITS)
        finding, lower_ns, upper_ns = _judge_value(
            commits.by_token.get(operation.token or ""), operation.version, start_ns, end_ns, bound_ns
        )
        exposure_ns = start_ns - commits.superseded_ns
        yield JudgedRead(
            index,
            operation.key,
            finding,
            lower_ns,
            upper_ns,
            exposure_ns if exposure_ns > 0 else 0,
            start_ns > commits.aborted_ns,
        )


def matches(commit: Commit, version: int | None) -> bool:
    """True unless a read of this version cannot have seen that write: then it is half of another one."""
    return version is None or commit.version is None or version == commit.version


def _judge_value(
    commit: Commit | None, version: int | None, start_ns: int, end_ns: int, bound_ns: int
) -> tuple[Finding, int | None, int | None]:
    # A known token under another version is half of one write and half of another: nobody wrote that row.
    if commit is None or not matches(commit, version):
        return Finding.PHANTOM, None, None
    if commit.fate is Fate.ABORTED:
        return Finding.DIRTY, None, None
    if commit.fate is Fate.UNRESOLVED:
        return Finding.INDETERMINATE, None, None
    if end_ns < commit.lower_ns:
        return Finding.FUTURE, None, None
    lower_ns = start_ns - commit.next_upper_ns
    upper_ns = end_ns - commit.next_lower_ns
    if lower_ns > bound_ns:
        return Finding.VIOLATION, lower_ns, upper_ns
    finding = Finding.OK if upper_ns <= bound_ns else Finding.INDETERMINATE
    return finding, lower_ns if lower_ns > 0 else 0, upper_ns if upper_ns > 0 else 0


_GRAVEST_FIRST = (Finding.PHANTOM, Finding.DIRTY, Finding.FUTURE, Finding.VIOLATION, Finding.INDETERMINATE)


def _judge_list(
    index: int,
    operation: Operation,
    keys: Mapping[str, KeyCommits],
    start_ns: int,
    end_ns: int,
    bound_ns: int,
) -> JudgedRead:
    lower_ns: int | None = 0
    upper_ns: int | None = 0
    superseded_ns = aborted_ns = NEVER_NS
    stalest = operation.key
    first: dict[Finding, str] = {}
    for key, (version, token) in (operation.rows or {}).items():
        commits = keys.get(key, _NO_COMMITS)
        finding, row_lower_ns, row_upper_ns = _judge_value(
            commits.by_token.get(token), version, start_ns, end_ns, bound_ns
        )
        first.setdefault(finding, key)
        superseded_ns = min(superseded_ns, commits.superseded_ns)
        aborted_ns = min(aborted_ns, commits.aborted_ns)
        if row_upper_ns is None or row_lower_ns is None:
            upper_ns = None
            continue
        if lower_ns is not None and row_lower_ns > lower_ns:
            lower_ns, stalest = row_lower_ns, key
        if upper_ns is not None and row_upper_ns > upper_ns:
            upper_ns = row_upper_ns
    found = next((finding for finding in _GRAVEST_FIRST if finding in first), Finding.OK)
    decided_by = first.get(found, operation.key)
    if found is Finding.VIOLATION:
        decided_by = stalest
    elif upper_ns is None:
        lower_ns = None
    exposure_ns = max(0, start_ns - superseded_ns)
    return JudgedRead(index, decided_by, found, lower_ns, upper_ns, exposure_ns, start_ns > aborted_ns)
