"""The policy as values: frozen, validated, every effective value with the line that says it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Generic, TypeAlias, TypeVar

from cachepolicy.policies.durations import Duration
from cachepolicy.policies.problems import Origin

__all__ = ["OPS", "UPDATES", "CallRule", "Database", "ModelRule", "Off", "PolicySet", "Sourced"]

T = TypeVar("T")

# The reads cacheops can cache, in the order of its documentation.
OPS: Final = ("get", "fetch", "count", "aggregate", "exists")
# What writes that name no rows mean for a table's cached reads.
UPDATES: Final = ("invalidate", "ignore")


@dataclass(frozen=True, slots=True)
class Sourced(Generic[T]):
    """An effective value and the place that gave it."""

    value: T
    origin: Origin


@dataclass(frozen=True, slots=True)
class Off:
    """A pattern whose models are not cached at all."""

    pattern: str
    origin: Origin


@dataclass(frozen=True, slots=True)
class ModelRule:
    """How the reads of the models that match `pattern` are cached."""

    pattern: str
    origin: Origin
    timeout: Sourced[Duration]
    ops: Sourced[frozenset[str]]
    lock: Sourced[bool]
    db_agnostic: Sourced[bool]
    immutable: Sourced[bool]
    local_get: Sourced[bool]
    near: Sourced[Duration | None]
    refresh_ahead: Sourced[Duration | None]
    update: Sourced[str]


@dataclass(frozen=True, slots=True)
class CallRule:
    """How a function, a view or a template fragment is cached; `depends_on` names the models that invalidate it."""

    section: str
    name: str
    origin: Origin
    timeout: Sourced[Duration]
    depends_on: Sourced[tuple[str, ...]]
    lock: Sourced[bool]
    near: Sourced[Duration | None]
    refresh_ahead: Sourced[Duration | None]
    vary: Sourced[tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Database:
    """What is declared of one of Django's DATABASES: a value read there may be `max_lag` behind."""

    alias: str
    origin: Origin
    max_lag: Sourced[Duration]


Rule: TypeAlias = "ModelRule | Off"


@dataclass(frozen=True, slots=True)
class PolicySet:
    """Everything a policy file says for one environment; `overlaid` has what it says for each, by name.

    `models` is keyed by pattern in lower case, since Django's labels are compared so; `calls` by section
    (`functions`, `views`, `fragments`), then by name; `databases` by alias.
    """

    file: str
    environment: str | None = None
    max_staleness: Sourced[Duration] | None = None
    models: Mapping[str, Rule] = field(default_factory=lambda: MappingProxyType({}))
    calls: Mapping[str, Mapping[str, CallRule]] = field(default_factory=lambda: MappingProxyType({}))
    databases: Mapping[str, Database] = field(default_factory=lambda: MappingProxyType({}))
    overlaid: Mapping[str, PolicySet] = field(default_factory=dict, repr=False, compare=False)

    def __reduce__(self) -> tuple[Any, ...]:
        # A mapping proxy can be neither pickled nor deep-copied.
        calls = {section: dict(rules) for section, rules in self.calls.items()}
        return _restored, (
            self.file,
            self.environment,
            self.max_staleness,
            dict(self.models),
            calls,
            dict(self.databases),
            dict(self.overlaid),
        )

    def match(self, label: str) -> Rule | None:
        """The entry that wins for a model `app.Model`: its own name, then `app.*`, then `*.*`, as cacheops resolves."""
        folded = label.lower()
        app = folded.partition(".")[0]
        for pattern in (folded, f"{app}.*", "*.*"):
            if (rule := self.models.get(pattern)) is not None:
                return rule
        return None

    def rule_for(self, label: str) -> ModelRule | None:
        """The rule that caches a model `app.Model`, or None where it has none or is `off`."""
        rule = self.match(label)
        return rule if isinstance(rule, ModelRule) else None

    def max_lag_ms(self, alias: str) -> int:
        """How far the database `alias` may lag behind; 0 where nothing is declared."""
        database = self.databases.get(alias)
        return database.max_lag.value.ms if database else 0

    @property
    def functions(self) -> Mapping[str, CallRule]:
        """The rules of `functions:` by name."""
        return self.calls.get("functions", MappingProxyType({}))


def _restored(
    file: str,
    environment: str | None,
    max_staleness: Sourced[Duration] | None,
    models: dict[str, Rule],
    calls: dict[str, dict[str, CallRule]],
    databases: dict[str, Database],
    overlaid: dict[str, PolicySet],
) -> PolicySet:
    frozen = MappingProxyType({section: MappingProxyType(rules) for section, rules in calls.items()})
    return PolicySet(
        file, environment, max_staleness, MappingProxyType(models), frozen, MappingProxyType(databases), overlaid
    )
