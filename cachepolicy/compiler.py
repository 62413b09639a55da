"""PolicySet → the CACHEOPS settings: pure, and the one place that spells cacheops' names."""

from __future__ import annotations

from typing import Any, Final

from cachepolicy.policies.durations import Duration
from cachepolicy.policies.model import ModelRule, Off, PolicySet
from cachepolicy.policies.problems import Problem

__all__ = ["CACHEOPS_VERSION", "Bound", "compile_policies", "unsupported"]

# The version whose internals were read and measured; another one is a startup error.
CACHEOPS_VERSION: Final = "7.2"
_UNSUPPORTED: Final = "cachepolicy.E005"


class Bound(int):
    """A rule's timeout on its way through cacheops: whole seconds for cacheops, rounded up; `ms` is what is kept."""

    ms: int

    def __new__(cls, timeout: Duration) -> Bound:
        """The bound of a rule's timeout."""
        bound = super().__new__(cls, -(-timeout.ms // 1_000))
        bound.ms = timeout.ms
        return bound

    def __reduce__(self) -> tuple[type[Bound], tuple[Duration]]:
        return Bound, (Duration(self.ms),)


def compile_policies(policies: PolicySet) -> dict[str, Any]:
    """The Django settings that make cacheops cache by these policies."""
    return {
        "CACHEOPS": {
            # Only cacheops reads these; defaults are filled in already, so that each rule stands by itself.
            pattern: None if isinstance(rule, Off) else _profile(rule)
            for pattern, rule in policies.models.items()
        },
        "CACHEOPS_DEFAULTS": {},
        # The runtime stands in for what cacheops does with it: entries that know what they depend on.
        "CACHEOPS_INSIDEOUT": True,
        "CACHEOPS_DEGRADE_ON_FAILURE": True,
        "CACHEOPS_CLIENT_CLASS": "cachepolicy.runtime.client.Client",
        "CACHEOPS_SERIALIZER": "cachepolicy.runtime.entry.Serializer",
    }


def _profile(rule: ModelRule) -> dict[str, Any]:
    return {
        "ops": set(rule.ops.value),
        "timeout": Bound(rule.timeout.value),
        "lock": rule.lock.value,
        "local_get": rule.local_get.value,
        "db_agnostic": rule.db_agnostic.value,
    }


def unsupported(policies: PolicySet) -> list[Problem]:
    """What the language can say and this version's runtime cannot keep yet: each is a startup error, never silence.

    In every environment: what cannot be kept in production is a problem in CI already.
    """
    problems = []
    for section, calls in policies.calls.items():
        for call in calls.values():
            if section != "functions":
                what = f"this version caches no {section} yet"
                remedy = "remove the rule; cache the function behind it by `functions`"
                problems.append(Problem(call.origin, f"{section}.{call.name}", what, remedy, _UNSUPPORTED))
    problems += [problem for overlaid in policies.overlaid.values() for problem in unsupported(overlaid)]
    # A rule of the base is one problem, not one for each environment that has it.
    return sorted({(problem.origin, problem.what): problem for problem in reversed(problems)}.values())
