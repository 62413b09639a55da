"""Layers → the PolicySet of one environment: defaults filled in, ceilings applied, promises checked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

from cachepolicy.policies import schema
from cachepolicy.policies.durations import Duration
from cachepolicy.policies.layers import MAX_PROBLEMS, Entry, Given, Layer, TooMany
from cachepolicy.policies.model import UPDATES, CallRule, Database, ModelRule, Off, PolicySet, Rule, Sourced
from cachepolicy.policies.problems import Origin, Problem, did_you_mean

__all__ = ["resolve"]

_GENERAL: Final = "cachepolicy.E001"
_OVER_CEILING: Final = "cachepolicy.E002"
_NEEDS_IMMUTABLE: Final = "cachepolicy.E003"
BUILT_IN: Final = Origin("built in")


def resolve(
    file: str, base: Layer, overlays: dict[str, Layer], environment: str | None, faulty: frozenset[str] = frozenset()
) -> tuple[PolicySet, list[Problem]]:
    """The policy of `environment` (None: the file without overlay), and what it promises that cannot be kept.

    `faulty`: the paths at which something is wrong already, so that nothing more is said there.
    """
    layer = base if environment is None else base.overlaid_by(overlays[environment])
    resolution = _Resolution(file, layer, environment, faulty)
    try:
        return resolution.result(), resolution.problems
    except TooMany:
        return PolicySet(file, environment), resolution.problems


class _Resolution:
    def __init__(self, file: str, layer: Layer, environment: str | None, faulty: frozenset[str]) -> None:
        self._file, self._layer, self._environment = file, layer, environment
        self._faulty = {prefix for path in faulty for prefix in _prefixes(path)}
        self.problems: list[Problem] = []
        self._models: dict[str, Rule] = {}
        self._bounds: dict[str, Given] = {}
        self._broken: set[str] = set()

    def result(self) -> PolicySet:
        for folded, entry in self._layer.sections.get("models", {}).items():
            rule = Off(entry.name, entry.origin) if entry.off else self._model_rule(entry)
            if rule is None:
                self._broken.add(folded)
            else:
                self._models[folded] = rule
        ceiling = self._layer.max_staleness
        bare = PolicySet(self._file, models=MappingProxyType(self._models))
        calls = {section: self._call_rules(section, bare) for section in schema.CALL_SECTIONS}
        return PolicySet(
            file=self._file,
            environment=self._environment,
            max_staleness=Sourced(ceiling.value, ceiling.origin) if ceiling else None,
            models=MappingProxyType(self._models),
            calls=MappingProxyType(calls),
            databases=MappingProxyType(dict(self._databases())),
        )

    def _databases(self) -> Iterator[tuple[str, Database]]:
        for alias, entry in self._layer.sections.get("databases", {}).items():
            max_lag = entry.values.get("max_lag")
            if max_lag is None and not self._is_faulty(entry):
                remedy = "give it one, as in {max_lag: 5s}, or remove it"
                self._problem(entry.origin, entry.path, "this database has no max_lag", remedy)
            if max_lag is not None and max_lag.value is not None:
                yield alias, Database(alias, entry.origin, _sourced(max_lag, None))

    def _call_rules(self, section: str, models: PolicySet) -> Mapping[str, CallRule]:
        entries = self._layer.sections.get(section, {})
        rules = {name: self._call_rule(section, entry, models) for name, entry in entries.items()}
        return MappingProxyType({name: rule for name, rule in rules.items() if rule is not None})

    def _model_rule(self, entry: Entry) -> ModelRule | None:
        values = {**self._layer.defaults, **entry.values}

        def effective(key: str, built_in: Any) -> Sourced[Any]:
            return _sourced(values.get(key), built_in)

        def unread(key: str) -> bool:
            return key in values and values[key].value is None

        timeout = self._timeout(entry)
        if timeout is None:
            return None
        immutable, local_get = effective("immutable", False), effective("local_get", False)
        ops = effective("ops", frozenset())
        if local_get.value and not immutable.value and not unread("immutable"):
            what = "`local_get` is never invalidated, so it needs a table that never changes"
            remedy = "add `immutable: true`, or use `near` for a table that does change"
            self._problem(local_get.origin, entry.values["local_get"].path, what, remedy, _NEEDS_IMMUTABLE)
        if local_get.value and "get" not in ops.value and not unread("ops"):
            what, remedy = "`local_get` serves the op get, which this rule does not cache", "add get to `ops`"
            self._problem(local_get.origin, entry.values["local_get"].path, what, remedy)
        if immutable.value:
            self._refuse_update(entry)
        bound = self._bounded(timeout, exempt=immutable.value or unread("immutable"))
        self._bounds[entry.name.lower()] = bound
        return ModelRule(
            pattern=entry.name,
            origin=entry.origin,
            timeout=_sourced(bound, None),
            ops=ops,
            lock=effective("lock", False),
            db_agnostic=effective("db_agnostic", False),
            immutable=immutable,
            local_get=local_get,
            near=self._near(entry, values.get("near"), bound),
            refresh_ahead=self._refresh_ahead(entry, values.get("refresh_ahead"), bound),
            update=effective("update", UPDATES[0]),
        )

    def _refuse_update(self, entry: Entry) -> None:
        update = entry.values.get("update")
        # What the base says of a table that an overlay makes immutable was not written for that.
        if update is None or update.value is None or update.overlaid < entry.values["immutable"].overlaid:
            return
        what = "`update` says nothing of an immutable table: the ORM refuses update() there"
        self._problem(update.origin, update.path, what, "remove it; allow_writes() invalidates the whole table")

    def _near(self, entry: Entry, near: Given | None, bound: Given) -> Sourced[Duration | None]:
        if near is None or near.value is None or near.value <= bound.value:
            return _sourced(near, None)
        if self._was_written_for(entry, near):
            what = f"`near` {near.value} is longer than the rule's timeout {bound.value}"
            self._problem(near.origin, near.path, what, "shorten it: a copy in memory keeps the same promise")
        return _sourced(bound, None)

    def _refresh_ahead(self, entry: Entry, ahead: Given | None, bound: Given) -> Sourced[Duration | None]:
        if ahead is None or ahead.value is None or ahead.value < bound.value:
            return _sourced(ahead, None)
        if self._was_written_for(entry, ahead):
            what = f"`refresh_ahead` {ahead.value} is not shorter than the rule's timeout {bound.value}"
            remedy = "shorten it: it says how long before the timeout a value is computed anew"
            self._problem(ahead.origin, ahead.path, what, remedy)
        half_ms = bound.value.ms // 2
        return Sourced(Duration(half_ms) if half_ms else None, bound.origin)

    def _was_written_for(self, entry: Entry, given: Given) -> bool:
        """Whether a value that is too long is a mistake: a default, or the base's under an overlay, shrinks instead."""
        return given in entry.values.values() and (given.overlaid or self._environment is None)

    def _timeout(self, entry: Entry) -> Given | None:
        given = entry.values.get("timeout") or self._layer.defaults.get("timeout")
        if given is None and not self._is_faulty(entry):
            self._problem(entry.origin, entry.path, "this rule has no timeout", "give it one, or give `defaults` one")
        return given if given and given.value is not None else None

    def _is_faulty(self, entry: Entry) -> bool:
        """Whether something is wrong with it already; what follows from that is not told as well."""
        return entry.path in self._faulty

    def _call_rule(self, section: str, entry: Entry, models: PolicySet) -> CallRule | None:
        depends_on = entry.values.get("depends_on")
        labels = depends_on.value if depends_on and depends_on.value else ()
        rules = [rule for label in labels if (rule := self._dependency(label, depends_on, models))]
        if rules and "timeout" not in entry.values:
            # As cacheops does for cached_as: the shortest promise among the tables it reads.
            bound = min((self._bounds[rule.pattern.lower()] for rule in rules), key=lambda bound: bound.value)
        elif (given := self._timeout(entry)) is not None:
            exempt = bool(rules) and all(rule.immutable.value for rule in rules)
            bound = self._bounded(given, exempt=exempt)
        else:
            return None
        return CallRule(
            section=section,
            name=entry.name,
            origin=entry.origin,
            timeout=_sourced(bound, None),
            depends_on=_sourced(depends_on, ()),
            lock=_sourced(entry.values.get("lock"), False),
            near=self._near(entry, entry.values.get("near"), bound),
            refresh_ahead=self._refresh_ahead(entry, entry.values.get("refresh_ahead"), bound),
            vary=_sourced(entry.values.get("vary"), ()),
        )

    def _dependency(self, label: str, depends_on: Given | None, models: PolicySet) -> ModelRule | None:
        match models.match(label):
            case ModelRule() as rule:
                return rule
            case Off():
                what, remedy = "is off", "write {ops: []} instead of off"
            case None if {label.lower(), f"{label.lower().partition('.')[0]}.*", "*.*"} & self._broken:
                return None
            case None:
                what, remedy = "has no rule", f"add `{label}: {{ops: []}}` to models"
                # By the name alone: the app, which is right, would make any short name look alike.
                app, _, name = label.partition(".")
                own = [
                    rule.pattern[len(app) + 1 :]
                    for rule in models.models.values()
                    if rule.pattern.startswith(f"{app}.")
                ]
                if match := did_you_mean(name, own):
                    remedy = f"did you mean {app}.{match}? Otherwise {remedy}"
        assert depends_on is not None
        what = f"{label} {what}, and only a model with a rule can be depended on"
        self._problem(depends_on.origin, depends_on.path, what, remedy)
        return None

    def _bounded(self, timeout: Given, *, exempt: bool) -> Given:
        """The shorter of timeout and ceiling; only an overlay's ceiling may shorten, and only what the base says."""
        ceiling = self._layer.max_staleness
        if ceiling is None or ceiling.value is None or exempt or timeout.value <= ceiling.value:
            return timeout
        # Of two values of the base an environment tells nothing new: it may have made the table mutable, for tests.
        if timeout.overlaid >= ceiling.overlaid and (self._environment is None or timeout.overlaid):
            over = f"max_staleness, {ceiling.value} in line {ceiling.origin.line}"
            what = f"the timeout {timeout.value} is longer than {over}"
            remedy = "shorten it, or raise max_staleness; only an immutable table may promise longer"
            self._problem(timeout.origin, timeout.path, what, remedy, _OVER_CEILING)
        return ceiling

    def _problem(self, origin: Origin, path: str, what: str, remedy: str, code: str = _GENERAL) -> None:
        self.problems.append(Problem(origin, path, what, remedy, code))
        self._faulty.update(_prefixes(path))
        if len(self.problems) > MAX_PROBLEMS:
            raise TooMany


def _sourced(given: Given | None, built_in: Any) -> Sourced[Any]:
    if given is None or given.value is None:
        return Sourced(built_in, BUILT_IN)
    return Sourced(given.value, given.origin)


def _prefixes(path: str) -> list[str]:
    """The path and the paths of all that it lies in."""
    parts = path.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts) + 1)]
