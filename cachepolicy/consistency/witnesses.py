"""The smallest slice of a history that explains a finding."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .findings import Finding, JudgedRead
from .history import Operation
from .intervals import KeyCommits


@dataclass(frozen=True, slots=True)
class Witness:
    """Why a read has its finding, by indices of operations in the history.

    `read` returned, for `key`, what the write `returned` wrote (None: nobody did), although `newer` shows a newer
    state: the write that superseded it (VIOLATION, FRACTURED), the session's earlier read (NON_MONOTONIC) or own
    write (READ_YOUR_WRITES). `also`: operations whose instants the bounds rest on, beyond those; for FRACTURED
    first the write of the other row. `lower_ns` and `upper_ns`: its staleness, None where it has none.
    """

    finding: Finding
    key: str
    read: int
    returned: int | None
    newer: int | None
    also: tuple[int, ...] = ()
    lower_ns: int | None = None
    upper_ns: int | None = None

    @property
    def operations(self) -> tuple[int, ...]:
        """Every index of the slice once, in the order of the history."""
        named = (self.read, self.returned, self.newer, *self.also)
        return tuple(sorted({index for index in named if index is not None}))


def explain(history: Sequence[Operation], keys: Mapping[str, KeyCommits], judged: JudgedRead) -> Witness:
    """The witness of a judged read: what it returned, and the operations that its bounds rest on.

    `history` and `keys` are those the read was judged by. Without these operations the finding would be another.
    """
    operation = history[judged.read]
    token = operation.token if operation.rows is None else operation.rows[judged.key][1]
    commit = keys[judged.key].by_token.get(token or "") if judged.key in keys else None
    returned = newer = None
    also: list[int | None] = []
    if commit is not None:
        returned = commit.write
        if judged.finding is Finding.VIOLATION:
            newer = commit.next_write
            also = [commit.next_upper_from]
        elif judged.finding is Finding.FUTURE:
            also = [commit.lower_from]
    return Witness(
        judged.finding,
        judged.key,
        judged.read,
        returned,
        newer,
        tuple(index for index in also if index is not None and index not in (returned, newer)),
        judged.lower_ns,
        judged.upper_ns,
    )
