"""What the policy means for the installed models: a row for each, and why, for one of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.db.models import Model

from cachepolicy.checks import relations
from cachepolicy.policies.durations import Duration
from cachepolicy.policies.model import OPS, ModelRule, Off, PolicySet
from cachepolicy.policies.problems import Origin, did_you_mean

__all__ = ["Row", "explain", "find_model", "rows"]


@dataclass(frozen=True, slots=True)
class Row:
    """The effective policy of one installed model; without a rule `rule` is None, and with `off` it says so.

    `as_json` has exactly these keys: label, rule, ops, timeout_ms, immutable, local_get, near, near_ms, lock,
    db_agnostic and origin. `near` is its duration as text and `near_ms` in milliseconds. Null stands for what there
    is not: rule and origin where no rule matches, timeout_ms there and with `off`, near where there is none.
    """

    label: str
    rule: str | None
    ops: tuple[str, ...]
    timeout_ms: int | None
    immutable: bool
    local_get: bool
    near: Duration | None
    lock: bool
    db_agnostic: bool
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
            "lock": self.lock,
            "db_agnostic": self.db_agnostic,
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
                immutable=rule.immutable.value,
                local_get=rule.local_get.value,
                near=rule.near.value,
                lock=rule.lock.value,
                db_agnostic=rule.db_agnostic.value,
                origin=str(rule.origin),
            )
        case Off() as off:
            return Row(label, f"{off.pattern}: off", (), None, False, False, None, False, False, str(off.origin))
        case None:
            return Row(label, None, (), None, False, False, None, False, False, None)


def _in_order(rule: ModelRule) -> tuple[str, ...]:
    return tuple(op for op in OPS if op in rule.ops.value)


def find_model(label: str) -> type[Model]:
    """The installed model `app.Model`, case folded; raises LookupError with what to write instead."""
    models = {model._meta.label: model for model in apps.get_models(include_auto_created=True)}
    for known, model in models.items():
        if known.lower() == label.lower():
            return model
    match = did_you_mean(label, models)
    raise LookupError(f"no model {label}; " + (f"did you mean {match}?" if match else "see `show` for all of them"))


def explain(policies: PolicySet, model: type[Model]) -> str:
    """Which rule won for a model and why, where each value comes from, and what its cached reads will not notice."""
    return "\n".join(_explanation(policies, model))


def _explanation(policies: PolicySet, model: type[Model]) -> Iterator[str]:
    label = model._meta.label
    rule = policies.match(label)
    yield label
    yield from _candidates(policies, label)
    if rule is None:
        yield "  not cached: no rule matches; its writes invalidate nothing"
        return
    if isinstance(rule, Off):
        yield "  not cached; its writes invalidate nothing"
        return
    ops = ", ".join(_in_order(rule)) or "none (functions may still depend on it)"
    yield "effective values"
    yield _value("ops", ops, rule.ops.origin)
    yield _value("timeout", f"{rule.timeout.value}: no cached read is older", rule.timeout.origin)
    for key in ("immutable", "local_get", "lock", "db_agnostic"):
        value = getattr(rule, key)
        yield _value(key, str(value.value).lower(), value.origin)
    if rule.near.value:
        yield _value("near", str(rule.near.value), rule.near.origin)
    blind = list(_blind_spots(policies, model))
    yield f"what will not invalidate its cached reads (they are right again within {rule.timeout.value})"
    yield from (f"  - {spot}" for spot in blind)


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


def _blind_spots(policies: PolicySet, model: type[Model]) -> Iterator[str]:
    label = model._meta.label
    yield f"raw SQL, and writes of programs that are not this project, to {model._meta.db_table}"
    yield f"{label}.objects.update(), bulk_update() and save() of F() expressions (invalidated_update() does)"
    to_one = {field.name for field in model._meta.fields}
    joined = sorted({other._meta.label for name, other in relations(model) if name in to_one})
    if joined:
        yield f"changes of {', '.join(joined)} in reads with select_related()"
    unruled = [
        f"{other._meta.label} (by {name})"
        for name, other in relations(model)
        if policies.rule_for(other._meta.label) is None and other._meta.db_table != "django_content_type"
    ]
    reverse = [
        f"{relation.related_model._meta.label} (its {relation.field.name})"
        for relation in model._meta.related_objects
        if isinstance(relation.related_model, type) and policies.rule_for(relation.related_model._meta.label) is None
    ]
    if unruled or reverse:
        yield f"any write to models without a rule, in reads that join them: {', '.join([*unruled, *reverse])}"
    if parents := [parent._meta.label for parent in model._meta.parents if not model._meta.proxy]:
        yield f"writes to the inherited part, in the table of {', '.join(parents)}"
    yield "writes in subqueries' tables: exclude() over a reverse relation, order_by() over a relation, extra(tables=…)"
