"""The off switch: what every process stops serving from caches within a second; invalidations go on.

One key in Redis holds what is off, as text: a line each, sorted. Processes look at it twice a second at most. It
lives as long as Redis keeps its data, and invalidate_all() leaves it.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, cast

import redis
from cacheops.redis import redis_client
from django.apps import apps
from redis.client import NEVER_DECODE

from cachepolicy import clock, conf
from cachepolicy.exceptions import SwitchError, SwitchUnreachableError
from cachepolicy.policies.problems import did_you_mean, quoted

__all__ = [
    "EVERYTHING",
    "NAME",
    "POLL_MS",
    "Switches",
    "current",
    "is_off",
    "is_off_function",
    "parse",
    "switch_off",
    "switch_on",
    "switched_off",
]

# Under no prefix: there is one switch, whichever prefixes the project's queries have.
NAME: Final = "cachepolicy:off"
EVERYTHING: Final = "*"
POLL_MS: Final = 500
_FUNCTION: Final = "functions."
_LINE: Final = r"(?a)\*|functions\.[A-Za-z_][\w.:/-]*|[A-Za-z_]\w*\.(\*|[A-Za-z_]\w*)"
# Sets the value where it is still what was read: two people may switch at once.
_REPLACE: Final = """
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
if ARGV[2] == '' then redis.call('DEL', KEYS[1]) else redis.call('SET', KEYS[1], ARGV[2]) end
return 1
"""


@dataclass(frozen=True, slots=True)
class Switches:
    """What is off: the patterns as written, and the tables and functions that they mean."""

    patterns: tuple[str, ...] = ()
    everything: bool = False
    tables: frozenset[str] = frozenset()
    functions: frozenset[str] = frozenset()

    def covers(self, tables: Iterable[str]) -> bool:
        """Whether a value that depends on these tables is switched off: by any one of them."""
        return self.everything or (bool(self.tables) and not self.tables.isdisjoint(tables))


_NOTHING: Final = Switches()
# A process that has not seen the switch yet cannot know that anything is on.
_UNKNOWN: Final = Switches((EVERYTHING,), everything=True)


class _Seen:
    """What this process saw last, and when it looked."""

    switches = _UNKNOWN
    looked_ns: int | None = None


def current(now_ns: int | None = None) -> Switches:
    """What is off now; looks into Redis when the last look is POLL_MS old, and without Redis nothing changes."""
    if now_ns is None:
        now_ns = clock.now_ns()
    # A test's clock may have been set back.
    if _Seen.looked_ns is None or not 0 <= now_ns - _Seen.looked_ns < POLL_MS * 1_000_000:
        _Seen.looked_ns = now_ns  # first, so that other threads do not wait for Redis too
        with contextlib.suppress(redis.RedisError):
            _Seen.switches = parse(_value())
    return _Seen.switches


def is_off(tables: Iterable[str]) -> bool:
    """Whether a value that depends on these tables may neither be served nor stored now."""
    return current().covers(tables)


def is_off_function(name: str) -> bool:
    """Whether the function of this rule may not be served from the cache now."""
    switches = current()
    return switches.everything or name in switches.functions


def switch_off(*patterns: str) -> tuple[str, ...]:
    """Switch off `app.Model`, `app.*`, `functions.NAME` or `*`; returns all that is off then.

    Raises SwitchError for what is no model, app or function here, SwitchUnreachableError where Redis is.
    """
    names = [_named(pattern) for pattern in patterns]
    return _replace(lambda off: {*off, *names})


def switch_on(*patterns: str) -> tuple[str, ...]:
    """Switch on these patterns with all that lies in them, and by `*` everything; returns all that is off then.

    Raises SwitchError too where a wider pattern keeps one off.
    """

    def without(off: tuple[str, ...]) -> set[str]:
        # What a deploy has removed since from the project can be switched on again.
        written = {known.lower(): known for known in off}
        names = [written.get(pattern.lower()) or _named(pattern) for pattern in patterns]
        left = {known for known in off if not any(_lies_in(known, name) for name in names)}
        for name in names:
            if wider := next((known for known in sorted(left) if _lies_in(name, known)), None):
                raise SwitchError(f"{name} is off by {wider}; switch {wider} on")
        return left

    return _replace(without)


def switched_off() -> tuple[str, ...]:
    """What is off, asked of Redis now; raises SwitchUnreachableError."""
    try:
        return parse(_value()).patterns
    except redis.RedisError as error:
        raise _unreachable(error) from error


@functools.lru_cache(maxsize=8)
def parse(value: bytes | None) -> Switches:
    """What a value of the key means; everything is off by one that this version cannot read."""
    if not value:
        return _NOTHING
    patterns = tuple(value.decode("utf-8", errors="replace").split("\n"))
    if not all(re.fullmatch(_LINE, pattern) for pattern in patterns):
        return _UNKNOWN
    functions = {pattern.removeprefix(_FUNCTION) for pattern in patterns if pattern.startswith(_FUNCTION)}
    # By the table: what is cached of a proxy's rows cannot be told from those of its model.
    tables = {
        (model._meta.concrete_model or model)._meta.db_table
        for model in apps.get_models(include_auto_created=True)
        if any(_lies_in(model._meta.label, pattern) for pattern in patterns)
    }
    return Switches(patterns, EVERYTHING in patterns, frozenset(tables), frozenset(functions))


def _lies_in(name: str, pattern: str) -> bool:
    """Whether `pattern` is `name` or wider; the names of functions count as written, those of models in any case."""
    if pattern == EVERYTHING or name == pattern:
        return True
    if name.startswith(_FUNCTION) or pattern.startswith(_FUNCTION):
        return False
    app, _, model = pattern.lower().partition(".")
    return name.lower() == pattern.lower() or (model == "*" and name.lower().partition(".")[0] == app)


def _named(pattern: str) -> str:
    """The pattern as it is stored, its model spelled as Django spells it."""
    if pattern in (EVERYTHING, "*.*"):
        return EVERYTHING
    functions = [f"{_FUNCTION}{name}" for name in conf.policies().functions]
    if pattern in functions:
        return pattern
    labels = [model._meta.label for model in apps.get_models(include_auto_created=True)]
    known = labels + sorted({f"{label.partition('.')[0]}.*" for label in labels})
    for label in known:
        if label.lower() == pattern.lower():
            return label
    candidates = {name: name for name in [*functions, *known]}
    if "." not in pattern:
        candidates = {name.partition(".")[2]: name for name in [*labels, *functions]}
    match = did_you_mean(pattern, candidates)
    remedy = f"did you mean {candidates[match]}?" if match else "name app.Model, app.*, functions.NAME or *"
    raise SwitchError(f"nothing here is called {quoted(pattern)}; {remedy}")


def _replace(change: Callable[[tuple[str, ...]], set[str]]) -> tuple[str, ...]:
    """Put `change` of what is off now in its place, at once for this process."""
    try:
        while True:
            before = _value()
            after = "\n".join(sorted(change(parse(before).patterns))).encode()
            if redis_client.eval(_REPLACE, 1, NAME, before or b"", after):
                break
    except redis.RedisError as error:
        raise _unreachable(error) from error
    _Seen.switches, _Seen.looked_ns = parse(after), clock.now_ns()
    return _Seen.switches.patterns


def _value() -> bytes | None:
    # As bytes, even where CACHEOPS_REDIS says to decode replies.
    return cast("bytes | None", redis_client.execute_command("GET", NAME, **{NEVER_DECODE: True}))


def _unreachable(error: Exception) -> SwitchUnreachableError:
    return SwitchUnreachableError(f"the off switch is in Redis, which cannot be reached: {error}")
