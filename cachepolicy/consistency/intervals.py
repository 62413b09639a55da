"""When each write of a history can have committed, and when its value can have been superseded.

The bounds are tight: some legal assignment of commit instants reaches each of them.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from itertools import pairwise
from typing import Final

from .history import Operation

NEVER_NS: Final = 1 << 62
"""Later than every instant: the upper bound of a commit nobody saw return, or of a value never superseded."""


class Fate(Enum):
    """What became of a write: `UNRESOLVED` is an `info` write that no commit log speaks of."""

    COMMITTED = auto()
    ABORTED = auto()
    UNRESOLVED = auto()


@dataclass(slots=True)
class Commit:
    """What a history says about the commit of one write. Instants in ns, inclusive, eps already added.

    `write` is the operation's index. It committed in [`lower_ns`, `upper_ns`]; its value was superseded not before
    `next_lower_ns` and not after `next_upper_ns` (NEVER_NS: perhaps never). `next_write` is the first write that
    certainly superseded it. A bound may rest on another operation: `lower_from` is the one that began at
    lower_ns, `upper_from` the one that returned at upper_ns, `next_upper_from` likewise for next_upper_ns.
    a is certainly older than b if and only if `a.newest_rank < b.oldest_rank`.
    """

    write: int
    version: int | None
    fate: Fate
    lower_ns: int
    upper_ns: int
    lower_from: int
    upper_from: int
    next_lower_ns: int = NEVER_NS
    next_upper_ns: int = NEVER_NS
    next_write: int | None = None
    next_upper_from: int | None = None
    oldest_rank: int = 0
    newest_rank: int = 0


@dataclass(slots=True)
class KeyCommits:
    """The commits of one key by token, and what its reads were exposed to.

    `superseded_ns`: by then (ns) the oldest version had certainly been superseded. `aborted_ns`: the first
    instant (ns) at which a write that did not commit had certainly begun.
    """

    by_token: dict[str, Commit] = field(default_factory=dict)
    superseded_ns: int = NEVER_NS
    aborted_ns: int = NEVER_NS


def commit_intervals(
    history: Iterable[Operation],
    *,
    eps_ns: int,
    committed_tokens: Collection[str] | None = None,
    row_lock: bool = True,
) -> tuple[Mapping[str, KeyCommits], tuple[str, ...]]:
    """The commits of every key, and the refusals: why this history cannot be judged at all.

    `eps_ns` ≥ 0 is how far two clock readings of the same instant may differ. `committed_tokens` is the commit log,
    read after the last write: an `info` write committed if and only if its token is in it. With `row_lock` the
    versions of a key are its commit order; without, versions order nothing and only time does. The bounds are
    the least solution of: committed within [invoke − eps, return + eps], in that order.
    """
    log = None if committed_tokens is None else frozenset(committed_tokens)
    keys: dict[str, KeyCommits] = {}
    refusals: list[str] = []
    for index, operation in enumerate(history):
        if operation.f != "write" or operation.token is None:
            continue
        commits = keys.setdefault(operation.key, KeyCommits())
        known = commits.by_token.get(operation.token)
        where = f"key {operation.key!r}: operation"
        if known is not None:
            refusals.append(f"{where}s {known.write} and {index} wrote one token; give every write its own")
            continue
        if operation.outcome == "fail" and log is not None and operation.token in log:
            refusals.append(f"{where} {index} failed, but the commit log has its token; record it as info")
            continue
        fate = _fate(operation, log)
        lower_ns = operation.invoke_ns - eps_ns
        # An info write has no upper bound: the server may carry out a COMMIT after its client has gone.
        upper_ns = operation.return_ns + eps_ns if operation.outcome == "ok" else NEVER_NS
        commits.by_token[operation.token] = Commit(
            index, operation.version, fate, lower_ns, upper_ns, lower_from=index, upper_from=index
        )
    for key, commits in keys.items():
        if not row_lock:
            _by_time(commits)
        elif (refusal := _by_version(commits, eps_ns)) is not None:
            refusals.append(f"key {key!r}: {refusal}")
        aborted = (commit.lower_ns for commit in commits.by_token.values() if commit.fate is Fate.ABORTED)
        commits.aborted_ns = min((lower_ns + 2 * eps_ns for lower_ns in aborted), default=NEVER_NS)
    return keys, tuple(refusals)


def _fate(operation: Operation, log: frozenset[str] | None) -> Fate:
    if operation.outcome == "ok":
        return Fate.COMMITTED
    if operation.outcome == "fail":
        return Fate.ABORTED
    if log is None:
        return Fate.UNRESOLVED
    return Fate.COMMITTED if operation.token in log else Fate.ABORTED


def _by_version(commits: KeyCommits, eps_ns: int) -> str | None:
    """Bound the commits of a key whose versions are its commit order; the refusal, if there is no such order."""
    versioned: list[tuple[int, Commit]] = []
    for commit in commits.by_token.values():
        if commit.fate is not Fate.COMMITTED:
            continue
        if commit.version is None:
            return (
                f"operation {commit.write} committed without a version; "
                "record the version, or judge with row_lock=False"
            )
        versioned.append((commit.version, commit))
    versioned.sort(key=lambda pair: pair[0])
    versions = [version for version, _ in versioned]
    chain = [commit for _, commit in versioned]
    for older, newer in pairwise(chain):
        if older.version == newer.version:
            return (
                f"operations {older.write} and {newer.write} both committed version {older.version}; "
                "let the database count under the row lock, or judge with row_lock=False"
            )
        if older.lower_ns > newer.lower_ns:
            newer.lower_ns, newer.lower_from = older.lower_ns, older.lower_from
    for older, newer in zip(chain[-2::-1], chain[:0:-1], strict=True):
        if newer.upper_ns < older.upper_ns:
            older.upper_ns, older.upper_from = newer.upper_ns, newer.upper_from
    for rank, commit in enumerate(chain):
        commit.oldest_rank = commit.newest_rank = rank
        if commit.lower_ns > commit.upper_ns:
            return (
                f"version {commit.version} cannot have committed: not before operation {commit.lower_from} began, "
                f"nor after operation {commit.upper_from} returned, which is earlier even with eps_ns={eps_ns}; "
                "the clocks differ by more, or versions were not given in commit order"
            )
    for older, newer in pairwise(chain):
        older.next_lower_ns, older.next_upper_ns = newer.lower_ns, newer.upper_ns
        older.next_write, older.next_upper_from = newer.write, newer.upper_from
    if len(chain) > 1:
        commits.superseded_ns = chain[1].upper_ns
    _admit_unresolved(commits, chain, versions)
    return None


def _admit_unresolved(commits: KeyCommits, chain: list[Commit], versions: list[int]) -> None:
    """Let each unresolved write supersede its predecessor, for the upper bounds of staleness only."""
    anywhere_ns = NEVER_NS
    for commit in commits.by_token.values():
        if commit.fate is not Fate.UNRESOLVED:
            continue
        if commit.version is None:
            anywhere_ns = min(anywhere_ns, commit.lower_ns)
            continue
        rank = bisect_left(versions, commit.version)
        after = chain[rank] if rank < len(chain) else None
        if after is not None and (after.version == commit.version or after.upper_ns < commit.lower_ns):
            # The next writer was given the same version again, or had returned before this one began its
            # COMMIT: under the row lock either shows that this one was rolled back.
            commit.fate = Fate.ABORTED
        elif rank > 0:
            before = chain[rank - 1]
            before.next_lower_ns = min(before.next_lower_ns, max(before.lower_ns, commit.lower_ns))
    if anywhere_ns < NEVER_NS:
        for commit in chain:
            commit.next_lower_ns = min(commit.next_lower_ns, max(commit.lower_ns, anywhere_ns))


def _by_time(commits: KeyCommits) -> None:
    """Bound the commits of a key without commit order: w succeeds v if it began after v had returned."""
    possible = sorted(
        (commit for commit in commits.by_token.values() if commit.fate is not Fate.ABORTED),
        key=lambda commit: commit.lower_ns,
    )
    chain = [commit for commit in possible if commit.fate is Fate.COMMITTED]
    lowers = [commit.lower_ns for commit in chain]
    first_upper: list[Commit] = chain[:]
    for rank in range(len(chain) - 2, -1, -1):
        if first_upper[rank + 1].upper_ns < chain[rank].upper_ns:
            first_upper[rank] = first_upper[rank + 1]
    for commit in chain:
        commit.oldest_rank, commit.newest_rank = commit.lower_ns, commit.upper_ns
        # Strictly after: a write that began in the very ns v returned may have committed before it.
        rank = bisect_right(lowers, commit.upper_ns)
        if rank < len(chain):
            successor = first_upper[rank]
            commit.next_write = commit.next_upper_from = successor.write
            commit.next_upper_ns = successor.upper_ns
            commits.superseded_ns = min(commits.superseded_ns, successor.upper_ns)
    latest_upper_ns = -NEVER_NS
    for rank, commit in enumerate(possible):
        if latest_upper_ns >= commit.lower_ns:
            # A write that began before this one may still have committed just after it.
            commit.next_lower_ns = commit.lower_ns
        elif rank + 1 < len(possible):
            commit.next_lower_ns = possible[rank + 1].lower_ns
        latest_upper_ns = max(latest_upper_ns, commit.upper_ns)
