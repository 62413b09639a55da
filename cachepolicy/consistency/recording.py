"""A recording: the history of one value while it is written and read, on a clock that can be moved."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

from cachepolicy import clock
from cachepolicy.consistency.checker import judge
from cachepolicy.consistency.history import Operation, Outcome
from cachepolicy.consistency.verdict import Verdict

__all__ = ["Recording"]

_MS_NS = 1_000_000


class Recording:
    """The operations on one value of which each write has a value of its own; instants in ns of `cachepolicy.clock`.

    `let_pass(ms)` moves every clock that a timeout depends on. `filled_ns` is when the value was last read so that it
    is cached from then on, `written_ns` when it was last written.
    """

    def __init__(self, let_pass: Callable[[int], object], bound_ms: int, key: str = "value") -> None:
        self.let_pass, self.bound_ms, self.key = let_pass, bound_ms, key
        self.operations: list[Operation] = []
        self.filled_ns = self.written_ns = 0

    def starts_as(self, value: Any) -> None:
        """Note the value that stands in the database before anything is done."""
        self.operations.append(Operation.initial(self.key, None, _token(value), clock.now_ns()))

    def read(self, source: Callable[[], Any], session: str = "reader") -> Any:
        """Read once and record what came; an exception of the source is recorded as a failed read, and raised."""
        invoke_ns = clock.now_ns()
        try:
            value = source()
        except Exception:
            self._record("read", session, None, invoke_ns, "fail")
            raise
        self._record("read", session, value, invoke_ns, "ok")
        return value

    def fill(self, source: Callable[[], Any]) -> Any:
        """Read so that the value is cached from now on."""
        value = self.read(source)
        self.filled_ns = clock.now_ns()
        return value

    @contextmanager
    def writing(self, value: Any, session: str = "writer") -> Iterator[None]:
        """Record a write that commits inside the block; one that raises may have, which nobody knows (`info`)."""
        invoke_ns = clock.now_ns()
        try:
            yield
        except BaseException:
            self.wrote(value, invoke_ns, "info", session)
            raise
        self.wrote(value, invoke_ns, "ok", session)

    def wrote(self, value: Any, invoke_ns: int, outcome: Outcome, session: str = "writer") -> None:
        """Record a write that began at `invoke_ns` and is over now."""
        self._record("write", session, value, invoke_ns, outcome)
        self.written_ns = clock.now_ns()

    def read_around_the_bound(self, source: Callable[[], Any]) -> None:
        """Read at once, shortly before the fill times out, and when the write is certainly older than the bound."""
        self.read(source)
        self.let_pass_until(self.filled_ns, self.bound_ms - min(500, self.bound_ms // 4))
        self.read(source)
        # Counted from the write: a value from before it would be too old for certain, so that this read decides.
        self.let_pass_until(self.written_ns, self.bound_ms + 100)
        self.read(source)

    def let_pass_until(self, since_ns: int, ms: int) -> None:
        """Move the clock so that `ms` have passed since that instant, unless they have."""
        left_ms = ms - (clock.now_ns() - since_ns) // _MS_NS
        if left_ms > 0:
            self.let_pass(left_ms)

    def verdict(self) -> Verdict:
        """Judge what was recorded; without versions, so that time alone orders the writes."""
        bound_ns = self.bound_ms * _MS_NS
        return judge(self.operations, bound_ns=bound_ns, row_lock=False, rollbacks_are_evidence=True)

    def _record(self, f: Literal["read", "write"], session: str, value: Any, invoke_ns: int, outcome: Outcome) -> None:
        self.operations.append(
            Operation(
                process="kit",
                session=session,
                f=f,
                key=self.key,
                invoke_ns=invoke_ns,
                return_ns=clock.now_ns(),
                outcome=outcome,
                version=None,
                token=None if outcome == "fail" and f == "read" else _token(value),
                via="db" if f == "write" else "cache",
            )
        )


def _token(value: Any) -> str:
    return "NULL" if value is None else str(value)
