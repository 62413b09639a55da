"""Findings between reads: a session that goes back in time, and lists whose rows were never current together."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from .findings import Finding, matches
from .history import Operation
from .intervals import NEVER_NS, Commit, Fate, KeyCommits
from .witnesses import Witness


def find_session_anomalies(history: Sequence[Operation], keys: Mapping[str, KeyCommits]) -> Iterator[Witness]:
    """Reads older than what their session had already read (NON_MONOTONIC) or written (READ_YOUR_WRITES).

    Per session and key: a read is compared with the reads, and the `ok` writes, that had returned when it began. The
    instants of a session are compared without eps, because a session is one client that waits for its answers.
    The two session guarantees are those of Terry et al. (PDIS 1994).
    """
    # Lists of indices, not of tuples: a million tuples would cost more in garbage collection than all the rest.
    reads: dict[tuple[str, str], list[int]] = defaultdict(list)
    writes: dict[tuple[str, str], list[int]] = defaultdict(list)
    for index, operation in enumerate(history):
        if operation.outcome != "ok":
            continue
        if operation.f == "write":
            writes[operation.session, operation.key].append(index)
        elif operation.rows is None:
            reads[operation.session, operation.key].append(index)
        else:
            for key in operation.rows:
                reads[operation.session, key].append(index)
    for (session, key), indices in reads.items():
        if key not in keys:
            continue
        by_token = keys[key].by_token
        later = _in_place(history, key, by_token, indices)
        yield from _find_older(history, key, Finding.NON_MONOTONIC, later, later)
        if (session, key) in writes:
            own = _in_place(history, key, by_token, writes[session, key])
            yield from _find_older(history, key, Finding.READ_YOUR_WRITES, own, later)


def _in_place(
    history: Sequence[Operation], key: str, by_token: Mapping[str, Commit], indices: Iterable[int]
) -> dict[int, Commit]:
    """Operation → the commit it wrote or returned, for those that have a place among the commits of the key."""
    commits = {}
    for index in indices:
        operation = history[index]
        version, token = (operation.version, operation.token) if operation.rows is None else operation.rows[key]
        commit = by_token.get(token or "")
        if commit is not None and commit.fate is Fate.COMMITTED and matches(commit, version):
            commits[index] = commit
    return commits


def _find_older(
    history: Sequence[Operation],
    key: str,
    finding: Finding,
    earlier: Mapping[int, Commit],
    later: Mapping[int, Commit],
) -> Iterator[Witness]:
    by_return = sorted(earlier, key=lambda index: history[index].return_ns)
    done = 0
    newest: int | None = None
    newest_rank = -NEVER_NS
    for index in sorted(later, key=lambda index: history[index].invoke_ns):
        start_ns = history[index].invoke_ns
        while done < len(by_return) and history[by_return[done]].return_ns <= start_ns:
            if earlier[by_return[done]].oldest_rank > newest_rank:
                newest = by_return[done]
                newest_rank = earlier[newest].oldest_rank
            done += 1
        if newest is not None and later[index].newest_rank < newest_rank:
            write = earlier[newest].write
            yield Witness(finding, key, index, later[index].write, newest, () if write == newest else (write,))


def find_fractured_reads(history: Iterable[Operation], keys: Mapping[str, KeyCommits]) -> Iterator[Witness]:
    """List reads of which one row had certainly been superseded before another was committed.

    Then no instant exists at which the list was the state of the database: Adya's and Elle's read skew.
    """
    for index, operation in enumerate(history):
        if operation.rows is None or operation.outcome != "ok":
            continue
        youngest: Commit | None = None
        oldest: Commit | None = None
        oldest_key = operation.key
        for key in operation.rows:
            if key not in keys or not (found := _in_place([operation], key, keys[key].by_token, (0,))):
                continue
            commit = found[0]
            if youngest is None or commit.lower_ns > youngest.lower_ns:
                youngest = commit
            if oldest is None or commit.next_upper_ns < oldest.next_upper_ns:
                oldest, oldest_key = commit, key
        if youngest is not None and oldest is not None and youngest.lower_ns > oldest.next_upper_ns:
            proofs = (youngest.write, youngest.lower_from, oldest.next_upper_from)
            also = tuple(dict.fromkeys(proof for proof in proofs if proof not in (None, oldest.next_write)))
            yield Witness(
                Finding.FRACTURED,
                oldest_key,
                index,
                oldest.write,
                oldest.next_write,
                tuple(proof for proof in also if proof is not None),
            )
