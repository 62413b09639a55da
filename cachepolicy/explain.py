"""What the policy means for the installed models: a row for each; and why, for a model or a function."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.db.models import Model

from cachepolicy.model_checks import (
    concrete,
    dependencies,
    invalidates_by_row,
    refuses_writes,
    relations,
    relatives,
    table_children,
    table_parents,
)
from cachepolicy.policies.durations import Duration
from cachepolicy.policies.model import OPS, CallRule, ModelRule, Off, PolicySet
from cachepolicy.policies.problems import Origin, did_you_mean

__all__ = ["Row", "explain", "find", "rows"]


@dataclass(frozen=True, slots=True)
class Row:
    """The effective policy of one installed model; without a rule `rule` is None, and with `off` it says so.

    `immutable` says whether the ORM refuses writes: for a proxy the rule of the model that has the table decides.

    `as_json` has exactly these keys: label, rule, ops, timeout_ms, immutable, local_get, near, near_ms,
    refresh_ahead, refresh_ahead_ms, lock, db_agnostic, update and origin. `near` is its duration as text and `near_ms`
    in milliseconds; so is `refresh_ahead`. Null stands for what there is not: rule and origin where no rule matches,
    timeout_ms and update there and with `off`, near and refresh_ahead where there is none.
    """

    label: str
    rule: str | None
    ops: tuple[str, ...]
    timeout_ms: int | None
    immutable: bool
    local_get: bool
    near: Duration | None
    refresh_ahead: Duration | None
    lock: bool
    db_agnostic: bool
    update: str | None
    origin: str | None

    def as_json(self) -> dict[str, Any]:
        """The row as `show --format json` prints it."""
        return {
            "label": self.label,
            "rule": self.rule,
            "ops": list(self.ops),
            "timeout_ms": self.timeout_ms,
            "immutable": self.immutable,
            "local_get": self.local_get,
            "near": str(self.near) if self.near else None,
            "near_ms": self.near.ms if self.near else None,
            "refresh_ahead": str(self.refresh_ahead) if self.refresh_ahead else None,
            "refresh_ahead_ms": self.refresh_ahead.ms if self.refresh_ahead else None,
            "lock": self.lock,
            "db_agnostic": self.db_agnostic,
            "update": self.update,
            "origin": self.origin,
        }


def rows(policies: PolicySet) -> list[Row]:
    """A row for every installed model, sorted by label; a proxy has one of its own, as in cacheops."""
    return sorted((_row(policies, model) for model in apps.get_models()), key=lambda row: row.label)


def _row(policies: PolicySet, model: type[Model]) -> Row:
    label = model._meta.label
    match policies.match(label):
        case ModelRule() as rule:
            return Row(
                label=label,
                rule=rule.pattern,
                ops=_in_order(rule),
                timeout_ms=rule.timeout.value.ms,
                immutable=refuses_writes(policies, model),
                local_get=rule.local_get.value,
                near=rule.near.value,
                refresh_ahead=rule.refresh_ahead.value,
                lock=rule.lock.value,
                db_agnostic=rule.db_agnostic.value,
                update=rule.update.value,
                origin=str(rule.origin),
            )
        case Off() as off:
            return _uncached(label, f"{off.pattern}: off", str(off.origin))
        case None:
            return _uncached(label, None, None)


def _uncached(label: str, rule: str | None, origin: str | None) -> Row:
    return Row(label, rule, (), None, False, False, None, None, False, False, None, origin)


def _in_order(rule: ModelRule) -> tuple[str, ...]:
    return tuple(op for op in OPS if op in rule.ops.value)


def find(policies: PolicySet, name: str) -> type[Model] | CallRule:
    """The installed model `app.Model`, case folded, or the rule `functions.NAME`; LookupError says what to write."""
    models = {model._meta.label: model for model in apps.get_models(include_auto_created=True)}
    functions = {f"functions.{function}": rule for function, rule in policies.functions.items()}
    if name in functions:
        return functions[name]
    for known, model in models.items():
        if known.lower() == name.lower():
            return model
    if "." in name:
        match = did_you_mean(name, [*models, *functions])
    else:
        match = (function := did_you_mean(name, policies.functions)) and f"functions.{function}"
    kind = "function" if name.startswith("functions.") else "model"
    raise LookupError(f"no {kind} {name}; " + (f"did you mean {match}?" if match else "see `show` for all of them"))


def explain(policies: PolicySet, found: type[Model] | CallRule) -> str:
    """Which rule won and why, where each value comes from, and what the cached reads will not notice."""
    lines = _of_function(policies, found) if isinstance(found, CallRule) else _of_model(policies, found)
    return "\n".join(lines)


def _of_model(policies: PolicySet, model: type[Model]) -> Iterator[str]:
    label = model._meta.label
    rule = policies.match(label)
    yield label
    yield from _candidates(policies, label)
    if rule is None or isinstance(rule, Off):
        reason = "" if rule else ": no rule matches"
        grain = "by row, as another model on it has a rule" if invalidates_by_row(policies, model) else "as a whole"
        yield f"  not cached{reason}; its writes invalidate the table {model._meta.db_table} {grain}"
        return
    ops = ", ".join(_in_order(rule)) or "none (functions may still depend on it)"
    yield "effective values"
    yield _value("ops", ops, rule.ops.origin)
    yield _value("timeout", f"{rule.timeout.value}: no cached read is older", rule.timeout.origin)
    for key in ("immutable", "local_get", "lock", "db_agnostic"):
        value = getattr(rule, key)
        yield _value(key, str(value.value).lower(), value.origin)
    if model._meta.proxy and rule.immutable.value != refuses_writes(policies, model):
        has = "refused" if refuses_writes(policies, model) else "not refused"
        yield f"  writes are {has}: the rule of {concrete(model)._meta.label}, which has the table, decides"
    if not refuses_writes(policies, model):
        yield _value("update", rule.update.value, rule.update.origin)
    yield from _near_and_ahead(rule)
    yield "what invalidates more than the reads of one row"
    yield from (f"  - {write}" for write in _coarse_writes(policies, model, rule))
    yield f"what will not invalidate its cached reads (they are right again within {rule.timeout.value})"
    yield from (f"  - {spot}" for spot in _unseen_writes(policies, model))
    if rule.local_get.value:
        yield "  - a write in another process: copies of local_get here stay until the timeout"


def _of_function(policies: PolicySet, call: CallRule) -> Iterator[str]:
    yield f"functions.{call.name}"
    yield f"  functions.{call.name}: {call.origin}"
    yield "effective values"
    yield _value("timeout", f"{call.timeout.value}: no cached result is older", call.timeout.origin)
    yield _value("lock", str(call.lock.value).lower(), call.lock.origin)
    yield from _near_and_ahead(call)
    yield _value(
        "depends_on", ", ".join(call.depends_on.value) or "nothing: only time refreshes it", call.depends_on.origin
    )
    models = dependencies(call)
    if not models:
        return
    yield "what invalidates it: writes through Django, by raw SQL too"
    for model in models:
        label, rule = model._meta.label, policies.rule_for(model._meta.label)
        where = " inside allow_writes()" if refuses_writes(policies, model) else ""
        yield f"  - to {label}{where}, table {model._meta.db_table}  ({rule.origin if rule else 'no rule'})"
        for field in model._meta.many_to_many:
            through = field.remote_field.through
            if through is not None and through._meta.auto_created:
                yield f"  - to {label}.{field.name}, table {through._meta.db_table}"
    for relative in relatives(models):
        yield f"  - to {relative._meta.label}, table {relative._meta.db_table}, by multi-table inheritance"
    yield f"what does not (its results are right again within {call.timeout.value})"
    yield "  - writes to any other model, whatever the function reads"
    for model in models:
        yield from (f"  - {spot}" for spot in _unseen_writes(policies, model))


def _near_and_ahead(rule: ModelRule | CallRule) -> Iterator[str]:
    if near := rule.near.value:
        by = "invalidate()" if isinstance(rule, CallRule) and not rule.depends_on.value else "a write"
        what = f"{near}: {by} is seen at once in its own process, in others after {near} at the latest"
        yield _value("near", what, rule.near.origin)
    if ahead := rule.refresh_ahead.value:
        what = f"{ahead}: a read this long before the timeout, or later, has the value computed anew in the background"
        yield _value("refresh_ahead", what, rule.refresh_ahead.origin)


def _candidates(policies: PolicySet, label: str) -> Iterator[str]:
    app = label.partition(".")[0]
    won = False
    for pattern in (label, f"{app}.*", "*.*"):
        rule = policies.models.get(pattern.lower())
        if rule is None:
            yield f"  {pattern}: no rule"
        elif won:
            yield f"  {pattern}: {rule.origin}, passed over: rules do not add up, the closest one alone counts"
        else:
            won = True
            yield f"  {pattern}: {rule.origin}, wins" + (": off" if isinstance(rule, Off) else "")


def _value(key: str, value: str, origin: Origin) -> str:
    return f"  {key}: {value}  ({origin})"


def _unseen_writes(policies: PolicySet, model: type[Model]) -> Iterator[str]:
    table = model._meta.db_table
    yield f"writes to {table} past Django: of other programs, and by the driver's own cursor"
    yield f"what the database itself changes in {table}: triggers, its cascades, the bodies of procedures"
    rule = policies.rule_for(model._meta.label)
    if rule and rule.update.value == "ignore" and not refuses_writes(policies, model):
        yield f"{model._meta.label}.objects.update() and bulk_update(), by `update: ignore` ({rule.update.origin})"


def _coarse_writes(policies: PolicySet, model: type[Model], rule: ModelRule) -> Iterator[str]:
    table = model._meta.db_table
    names_no_row = rule.update.value == "invalidate" and not refuses_writes(policies, model)
    yield f"{'update(), bulk_update() and ' if names_no_row else ''}raw SQL: all reads of {table}"
    if parents := table_parents(model):
        yield f"any write to it: all reads of {table}, and of {_labels(parents)}, whose table it inherits"
    if children := table_children(model):
        yield f"any write to {_labels(children)}: all reads of {table}, in which each row has a part"
    to_one = {field.name for field in model._meta.fields}
    if joined := sorted({other._meta.label for name, other in relations(model) if name in to_one}):
        yield f"any write to {', '.join(joined)}: all reads that join it by select_related()"
    unruled = [
        f"{other._meta.label} (by {name})"
        for name, other in relations(model)
        if not invalidates_by_row(policies, other)
    ]
    unruled += [
        f"{relation.related_model._meta.label} (its {relation.field.name})"
        for relation in model._meta.related_objects
        if isinstance(relation.related_model, type) and not invalidates_by_row(policies, relation.related_model)
    ]
    if unruled:
        yield f"any write to models without a rule: all reads that join them, as {', '.join(unruled)}"


def _labels(models: list[type[Model]]) -> str:
    return ", ".join(sorted(model._meta.label for model in models))
