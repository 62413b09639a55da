"""A sound policy against Django's DATABASES: replicas that are not there, and those too far behind to read from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from django.conf import settings

from cachepolicy.policies.durations import Duration
from cachepolicy.policies.model import Database, ModelRule, PolicySet
from cachepolicy.policies.problems import Origin, Problem, did_you_mean

__all__ = ["database_problems"]

_NAMED: Final = 3


def database_problems(policies: PolicySet) -> list[Problem]:
    """What in a sound policy does not fit the databases; that an alias is missing is said of the policy in force only.

    Environments differ in their databases, while all of them have the same models.
    """
    found = {*_unknown_aliases(policies)}
    for each in (policies, *policies.overlaid.values()):
        found |= {problem for database in each.databases.values() for problem in _too_far_behind(each, database)}
    return sorted(found)


def _unknown_aliases(policies: PolicySet) -> Iterator[Problem]:
    for alias, database in policies.databases.items():
        if alias in settings.DATABASES:
            continue
        match = did_you_mean(alias, settings.DATABASES)
        known = ", ".join(sorted(settings.DATABASES)) or "none"
        remedy = f"did you mean {match}?" if match else f"it has {known}."
        remedy += " What only some environments have is declared in their overlays"
        what = f"settings.DATABASES has no `{alias}`, so that this lag counts nowhere"
        yield Problem(database.origin, f"databases.{alias}", what, remedy, "cachepolicy.E017")


def _too_far_behind(policies: PolicySet, database: Database) -> Iterator[Problem]:
    lag = database.max_lag
    for (timeout, origin), rules in _by_timeout(policies).items():
        if timeout > lag.value:
            continue
        named = ", ".join(rules[:_NAMED]) + (f" and {len(rules) - _NAMED} more" if len(rules) > _NAMED else "")
        where = f"{timeout} in line {origin.line}"
        what = f"max_lag {lag.value} is not below the timeout of {named}, {where}: nothing read there is ever cached"
        remedy = "lengthen that timeout, or read these from another database and silence cachepolicy.W018"
        yield Problem(lag.origin, f"databases.{database.alias}.max_lag", what, remedy, "cachepolicy.W018")


def _by_timeout(policies: PolicySet) -> dict[tuple[Duration, Origin], list[str]]:
    """The rules that cache something, by their timeout and the place that says it: one of `defaults` is told once."""
    rules = [
        (rule.timeout, rule.pattern)
        for rule in policies.models.values()
        if isinstance(rule, ModelRule) and rule.ops.value
    ]
    for section, calls in policies.calls.items():
        rules += [(call.timeout, f"{section}.{call.name}") for call in calls.values()]
    found: dict[tuple[Duration, Origin], list[str]] = {}
    for timeout, name in rules:
        found.setdefault((timeout.value, timeout.origin), []).append(name)
    return found
