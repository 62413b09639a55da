"""Histories: what every process did to the database and read from the cache, one operation a line."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self, get_args, overload

from cachepolicy.exceptions import CachePolicyError

Function = Literal["read", "write"]
Outcome = Literal["ok", "fail", "info"]
Via = Literal["cache", "db"]

_CHOICES: dict[str, tuple[str, ...]] = {
    "f": get_args(Function),
    "outcome": get_args(Outcome),
    "via": get_args(Via),
}
_TEXTS = ("process", "session", "key")
_INSTANTS = ("invoke_ns", "return_ns")
_REQUIRED = (*_TEXTS, *_INSTANTS, *_CHOICES)
_FIELDS = frozenset({*_REQUIRED, "version", "token", "rows"})
_SHOWN_PROBLEMS = 20


class HistoryError(CachePolicyError, ValueError):
    """Lines of a history that cannot be read.

    `problems` has one text per bad line, in order, each with its 1-based line number and what to do;
    `readable` is the history of all the other lines, so that one torn line loses nothing else.
    """

    def __init__(self, problems: Sequence[str], readable: "History") -> None:
        self.problems = tuple(problems)
        self.readable = readable
        shown = list(self.problems[:_SHOWN_PROBLEMS])
        if len(self.problems) > _SHOWN_PROBLEMS:
            shown.append(f"and {len(self.problems) - _SHOWN_PROBLEMS} more lines")
        super().__init__("\n".join(shown))


@dataclass(frozen=True, slots=True)
class Operation:
    """One read or one write by one process, with the two instants between which it took effect.

    - `process` ran it; `session` is the client it was run for, whose operations follow one another.
    - `invoke_ns` ≤ `return_ns`: nanoseconds of one clock shared by all processes (`time.monotonic_ns`). For a
      write they enclose the COMMIT, and nothing need be said of the statements before it.
    - `outcome`: `ok` it took effect, `fail` it certainly did not, `info` nobody knows (the connection was cut in
      COMMIT): an `info` write may take effect at any instant from `invoke_ns` on, even after `return_ns`.
    - `version` orders the writes of a key in commit order (None: not known); `token` names one write of that
      key, never used twice.
    - `via`: `cache` when any part of the answer came out of a cache, `db` otherwise and for every write.
    - `rows`: a list read; row key → (version, token). Then `version` and `token` are None and `key` names the list.

    Raises ValueError for instants in the wrong order, an unknown word, an `ok` read or a write without a token, a
    write with rows. The record is that of Jepsen, with a call and its return in one.
    """

    process: str
    session: str
    f: Function
    key: str
    invoke_ns: int
    return_ns: int
    outcome: Outcome
    version: int | None
    token: str | None
    via: Via
    rows: Mapping[str, tuple[int | None, str]] | None = field(default=None, hash=False)

    def __post_init__(self) -> None:
        for name, words in _CHOICES.items():
            if getattr(self, name) not in words:
                raise ValueError(f"{name} is {getattr(self, name)!r}; use one of {', '.join(words)}")
        if self.return_ns < self.invoke_ns:
            raise ValueError(
                f"return_ns {self.return_ns} is before invoke_ns {self.invoke_ns}; read the clock before and after"
            )
        if self.rows is None:
            if self.token is None and (self.f == "write" or self.outcome == "ok"):
                raise ValueError(f"this {self.f} has no token; record the token it {_VERBS[self.f]}")
        elif self.f == "write":
            raise ValueError("a write has no rows; record one write per row")
        elif self.token is not None or self.version is not None:
            raise ValueError("a list read has rows and its own version or token; leave those two null")

    @classmethod
    def initial(cls, key: str, version: int | None, token: str, seen_ns: int) -> Self:
        """The row as it stood before the history began, recorded as a write.

        It committed at some instant from 0 to `seen_ns`, when it was seen in the database (ns, same clock).
        """
        return cls("initial", "initial", "write", key, min(0, seen_ns), seen_ns, "ok", version, token, "db")


_VERBS = {"read": "returned", "write": "wrote"}


class History(Sequence[Operation]):
    """An immutable sequence of operations, in any order; witnesses name operations by their index here."""

    __slots__ = ("_operations",)

    def __init__(self, operations: Iterable[Operation] = ()) -> None:
        self._operations = tuple(operations)

    @overload
    def __getitem__(self, index: int) -> Operation: ...
    @overload
    def __getitem__(self, index: slice) -> "History": ...
    def __getitem__(self, index: int | slice) -> "Operation | History":
        if isinstance(index, slice):
            return History(self._operations[index])
        return self._operations[index]

    def __len__(self) -> int:
        return len(self._operations)

    def __iter__(self) -> Iterator[Operation]:
        return iter(self._operations)

    def __eq__(self, other: object) -> bool:
        return self._operations == other._operations if isinstance(other, History) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._operations)

    def __repr__(self) -> str:
        return f"History({list(self._operations)!r})"

    def to_jsonl(self) -> str:
        """The history as JSON lines, ASCII only, one operation a line; `from_jsonl` gives it back exactly."""
        return "".join(f"{json.dumps(_to_json(operation))}\n" for operation in self._operations)

    @classmethod
    def from_jsonl(cls, text: str) -> Self:
        """The history written by `to_jsonl`, or by hand: `version`, `token` and `rows` may be left out.

        Raises HistoryError with every line that is not one whole operation: not JSON, a field unknown, missing,
        given twice or of the wrong type, or values that Operation refuses. Nothing is dropped or guessed.
        """
        # Lines end at "\n" only: str.splitlines would also cut inside a string at U+2028.
        lines = text.split("\n")
        if lines[-1] == "":
            lines.pop()
        operations: list[Operation] = []
        problems: list[str] = []
        for number, line in enumerate(lines, start=1):
            try:
                operations.append(_from_json(line))
            except ValueError as error:
                problems.append(f"line {number}: {error}")
        if problems:
            raise HistoryError(problems, History(operations))
        return cls(operations)

    def save(self, path: Path) -> None:
        """Write the history to a file as JSON lines. Raises OSError."""
        path.write_text(self.to_jsonl(), encoding="ascii")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the history that `save` wrote. Raises OSError, HistoryError."""
        # Undecodable bytes become lone surrogates, which from_jsonl refuses with the number of their line.
        with path.open(encoding="utf-8", errors="surrogateescape", newline="\n") as file:
            return cls.from_jsonl(file.read())


def _to_json(operation: Operation) -> dict[str, Any]:
    record: dict[str, Any] = {name: getattr(operation, name) for name in _REQUIRED}
    record["version"] = operation.version
    record["token"] = operation.token
    if operation.rows is not None:
        record["rows"] = dict(operation.rows)
    return record


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"field {twice!r} is given twice; keep one")
    return record


def _from_json(line: str) -> Operation:
    try:
        line.encode()
        record = json.loads(line, object_pairs_hook=_once)
    except UnicodeEncodeError as error:
        raise ValueError(f"not UTF-8 at column {error.start + 1}; save the file as UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(
            f"not JSON at column {error.colno}: {error.msg}; mend the line, or delete it if its writer was cut off"
        ) from None
    except RecursionError:
        raise ValueError("nested too deeply; write one flat object per line") from None
    if not isinstance(record, dict):
        raise ValueError(f"{type(record).__name__} instead of an object; write one object per line")
    for name in record:
        if name not in _FIELDS:
            raise ValueError(f"unknown field {name!r}; the fields are {', '.join(sorted(_FIELDS))}")
    for name in _REQUIRED:
        if name not in record:
            raise ValueError(f"no field {name!r}; add it")
    for name in (*_TEXTS, *_CHOICES):
        if not isinstance(record[name], str):
            raise ValueError(f"{name} is {record[name]!r}; write a string")
    for name in _INSTANTS:
        if not _is_int(record[name]):
            raise ValueError(f"{name} is {record[name]!r}; write whole nanoseconds")
    if not _is_version(record.get("version")):
        raise ValueError(f"version is {record['version']!r}; write a whole number or null")
    if not isinstance(record.get("token"), str | None):
        raise ValueError(f"token is {record['token']!r}; write a string or null")
    if record.get("rows") is not None:
        record["rows"] = _rows(record["rows"])
    return Operation(**{"version": None, "token": None, **record})


def _rows(rows: object) -> dict[str, tuple[int | None, str]]:
    if not isinstance(rows, dict):
        raise ValueError(f"rows is {rows!r}; write an object of row key: [version, token]")
    for key, pair in rows.items():
        if not (isinstance(pair, list) and len(pair) == 2 and _is_version(pair[0]) and isinstance(pair[1], str)):
            raise ValueError(f"row {key!r} is {pair!r}; write [version, token]")
    return {key: (version, token) for key, (version, token) in rows.items()}


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_version(value: object) -> bool:
    return value is None or _is_int(value)
