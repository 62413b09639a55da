"""What a scene plays on: the site, the database, a clock that can be moved, and a record of all that happens."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from cachepolicy import Duration, clock, conf
from cachepolicy.consistency.checker import judge
from cachepolicy.consistency.clock_shift import shift_expiries
from cachepolicy.consistency.history import Operation, Outcome
from cachepolicy.consistency.proxy import Proxy
from cachepolicy.consistency.redis_server import RedisServer
from cachepolicy.consistency.verdict import Verdict
from demo.website import Website

__all__ = ["Recording", "Stage", "bound_of"]

_MS_NS = 1_000_000


@dataclass
class Stage:
    """The real parts: a site in another process, its Redis, and the proxy that this process reaches Redis through."""

    website: Website
    redis: RedisServer
    proxy: Proxy

    def let_pass(self, ms: int) -> None:
        """Move every clock that a timeout depends on: the expiries in Redis and this process's own."""
        shift_expiries(self.redis.client(), ms)
        clock.advance(ms)


@dataclass
class Recording:
    """The history of one value: who wrote and read which version of it, and when."""

    stage: Stage
    bound: Duration
    process: str = "demo"
    operations: list[Operation] = field(default_factory=list)
    _filled_ns: int = 0
    _written_ns: int = 0

    def starts_as(self, token: str) -> None:
        """The value before the scene."""
        self.operations.append(Operation.initial("value", None, token, clock.now_ns()))

    def token(self) -> str:
        """A value nobody has written yet."""
        return f"v{uuid.uuid4().hex[:8]}"

    @contextmanager
    def writing(self, token: str, outcome: Outcome = "ok") -> Iterator[None]:
        """Record a write; the block must hold its COMMIT or ROLLBACK."""
        invoke_ns = clock.now_ns()
        yield
        self._record("write", "writer", token, invoke_ns, outcome)
        self._written_ns = clock.now_ns()

    def read(self, source: Callable[[], str]) -> str:
        """Read once and record what came."""
        invoke_ns = clock.now_ns()
        token = source()
        self._record("read", "reader", token, invoke_ns, "ok")
        return token

    def fill(self, source: Callable[[], str]) -> str:
        """Read so that the value is cached from now on."""
        token = self.read(source)
        self._filled_ns = clock.now_ns()
        return token

    def read_around_the_bound(self, source: Callable[[], str]) -> None:
        """Read at once, half a second before the fill times out, and when the write is older than the bound."""
        self.read(source)
        self._let_pass_until(self._filled_ns, self.bound.ms - 500)
        self.read(source)
        # Counted from the write: a value served now would be too old for certain, so that this read decides.
        self._let_pass_until(self._written_ns, self.bound.ms + 100)
        self.read(source)

    def _let_pass_until(self, since_ns: int, ms: int) -> None:
        left_ms = ms - (clock.now_ns() - since_ns) // _MS_NS
        if left_ms > 0:
            self.stage.let_pass(left_ms)

    def verdict(self) -> Verdict:
        """Judge it: DESIGN's checker, with no slack but the clock's own."""
        return judge(self.operations, bound_ns=self.bound.ms * _MS_NS, row_lock=False, rollbacks_are_evidence=True)

    def _record(self, f: str, session: str, token: str, invoke_ns: int, outcome: Outcome) -> None:
        operation = Operation(
            process=self.process,
            session=session,
            f="write" if f == "write" else "read",
            key="value",
            invoke_ns=invoke_ns,
            return_ns=clock.now_ns(),
            outcome=outcome,
            version=None,
            token=token,
            via="db" if f == "write" else "cache",
        )
        self.operations.append(operation)


def bound_of(rule: str) -> Duration:
    """The timeout of a rule: a model's label, or `functions.` and a name."""
    policies = conf.policies()
    section, _, name = rule.partition(".")
    if section == "functions":
        return policies.functions[name].timeout.value
    found = policies.rule_for(rule)
    if found is None:
        raise LookupError(f"{rule} has no rule in {policies.file}")
    return found.timeout.value
