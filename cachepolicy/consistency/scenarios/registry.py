"""The register of scenarios: each a fault by name, how it is played, and what it can be played on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from cachepolicy.consistency.scene import Scene

__all__ = ["SCENARIOS", "Scenario", "scenario"]


@dataclass(frozen=True, slots=True)
class Scenario:
    """A fault by name, and how it is played.

    `by_orm`: it writes through the ORM, so an immutable table has no such scenario. `slow`: it waits for a client's
    timeout or restarts a server, so a rule plays it on one op, which the seed draws. `nested`: for functions that read
    cached rows. `joined`: for a get with select_related(), whose joined row is written. `of_redis`: what it does to
    Redis cannot touch a copy in the process's memory. `shows_values`: its ops must show which of many versions they
    read, which count and exists cannot. `of_near`: its bound is the rule's `near`, so it is for rules that have one.
    `longest_ms`: the longest bound it is played on, since it waits for it to pass. `vendors`: the databases it exists
    on, empty for all.
    """

    name: str
    play: Callable[[Scene], None]
    what: str
    by_orm: bool = True
    slow: bool = False
    nested: bool = False
    joined: bool = False
    of_redis: bool = False
    shows_values: bool = False
    of_near: bool = False
    longest_ms: int | None = None
    vendors: frozenset[str] = frozenset()


SCENARIOS: Final[dict[str, Scenario]] = {}


def scenario(name: str, **traits: Any) -> Callable[[Callable[[Scene], None]], Callable[[Scene], None]]:
    """Register a function as the scenario of this name; its docstring says what happens."""

    def add(play: Callable[[Scene], None]) -> Callable[[Scene], None]:
        SCENARIOS[name] = Scenario(name, play, (play.__doc__ or "").strip(), **traits)
        return play

    return add
