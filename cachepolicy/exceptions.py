"""What can go wrong: every error cachepolicy raises on purpose derives from CachePolicyError."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cachepolicy.policies.problems import Problem

__all__ = [
    "CacheKeyError",
    "CachePolicyError",
    "ImmutableTableError",
    "PolicyError",
    "SwitchError",
    "SwitchUnreachableError",
    "UnreadableError",
    "UnsupportedFunctionError",
]


class CachePolicyError(Exception):
    """The root of the errors raised by cachepolicy."""


class PolicyError(CachePolicyError, ValueError):
    """A policy file, or the use of a policy by name, has problems; `problems` holds every one, sorted."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        lines = "\n".join(f"  {problem}" for problem in self.problems)
        super().__init__(f"{count} in the cache policy:\n{lines}")

    def __reduce__(self) -> tuple[type[PolicyError], tuple[tuple[Problem, ...]]]:
        # By default an exception is unpickled from its message: pytest-xdist and process pools would lose this one.
        return type(self), (self.problems,)


class UnreadableError(PolicyError):
    """A policy file that cannot be read at all: absent, a directory, no permission."""


class CacheKeyError(CachePolicyError, TypeError):
    """An argument of a cached function has no unambiguous cache key."""


class UnsupportedFunctionError(CachePolicyError, TypeError):
    """A function that cannot be cached: async, or a generator."""


class ImmutableTableError(CachePolicyError):
    """The ORM was asked to write to a table that its policy declares immutable."""


class SwitchError(CachePolicyError):
    """What was to be switched off or on has no such name here, or is kept off by something wider."""


class SwitchUnreachableError(SwitchError):
    """The off switch is in Redis, which cannot be reached."""
