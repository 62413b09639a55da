"""Cases: which rule × op × fault a policy gives rise to on the installed models and databases."""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, Final

from django.apps import apps
from django.db import connections, models, router

from cachepolicy.consistency.results import Case
from cachepolicy.consistency.rows import NoWritableField, writable_field
from cachepolicy.consistency.scenarios import SCENARIOS, Scenario
from cachepolicy.policies.durations import Duration
from cachepolicy.policies.model import OPS, ModelRule, PolicySet, Sourced

__all__ = ["CONCURRENT_WRITERS", "KITS_TABLE", "cases_of", "joined_key"]

# What is not tried on a rule's own models: the kit's table and the fault that is played on it.
KITS_TABLE: Final = "cachepolicy.Probe"
CONCURRENT_WRITERS: Final = "concurrent_writers"
_RACE_OPS: Final = ("get", "fetch", "function")
_RACE: Final = "Several threads and processes write the kit's own table at once, under the row lock, while others read."


def cases_of(
    policies: PolicySet,
    *,
    seed: int,
    models_: Sequence[str] = (),
    ops: Sequence[str] = (),
    faults: Sequence[str] = (),
) -> list[Case]:
    """Every case of a policy, in an order that the seed gives; the filters name labels, ops and faults."""
    labels = {label.lower() for label in models_}
    chosen = [
        case
        for case in [*_model_cases(policies, seed), *_function_cases(policies), *_race_cases(policies)]
        if (not labels or labels & {case.model.lower(), case.rule.lower()})
        and (not ops or case.op in ops)
        and (not faults or case.fault in faults)
    ]
    random.Random(seed).shuffle(chosen)
    return chosen


def joined_key(model: type[models.Model], target: str) -> str:
    """The name of the first foreign key of `model` that always leads to the table with this label."""
    return next(field.name for field in _joins(model) if field.related_model._meta.label == target)


def _joins(model: type[models.Model]) -> Iterator[models.ForeignKey[models.Model, models.Model]]:
    for field in model._meta.concrete_fields:
        if isinstance(field, models.ForeignKey) and not field.null and field.related_model is not model:
            yield field


def _model_cases(policies: PolicySet, seed: int) -> Iterator[Case]:
    for model in apps.get_models():
        label = model._meta.label
        rule = policies.rule_for(label)
        if rule is None or not rule.ops.value:
            continue
        if model._meta.proxy or not model._meta.managed:
            kind = (
                "a proxy: its rule is tried on no table" if model._meta.proxy else "not managed: it has no test table"
            )
            why_not = f"{label} is {kind}"
            yield Case(label, "-", "none", label, rule.timeout.value.ms, str(rule.origin), why_not=why_not)
            continue
        for scenario in _playable(model):
            if scenario.joined:
                yield from _joined_case(policies, model, rule, scenario)
            elif _is_tried(rule, scenario) and not scenario.nested and not (rule.immutable.value and scenario.by_orm):
                for op in _drawn(_ops(rule, scenario), scenario, label, seed):
                    yield _case(label, op, label, rule, scenario)


def _ops(rule: ModelRule, scenario: Scenario) -> list[str]:
    ops: list[str] = [op for op in OPS if op in rule.ops.value]
    if scenario.shows_values:
        ops = [op for op in ops if op not in ("count", "exists")]
    if rule.local_get.value:
        local = [] if scenario.of_redis else ["local_get"]
        return [*local, *(op for op in ops if op != "get")]
    return ops


def _is_tried(rule: Any, scenario: Scenario) -> bool:
    """Whether the scenario is one for the rule."""
    return not _is_too_long(rule, scenario) and (rule.near.value is not None or not scenario.of_near)


def _is_too_long(rule: Any, scenario: Scenario) -> bool:
    return scenario.longest_ms is not None and rule.timeout.value.ms > scenario.longest_ms


def _joined_case(policies: PolicySet, model: type[models.Model], rule: ModelRule, scenario: Scenario) -> Iterator[Case]:
    if "get" not in rule.ops.value:
        return
    for field in _joins(model):
        target: type[models.Model] = field.related_model
        written = policies.rule_for(target._meta.label)
        if written is not None and not written.immutable.value and _is_writable(target):
            yield _case(model._meta.label, "get", target._meta.label, rule, scenario)
            return


def _is_writable(model: type[models.Model]) -> bool:
    try:
        writable_field(model)
    except NoWritableField:
        return False
    return True


def _function_cases(policies: PolicySet) -> Iterator[Case]:
    for rule in policies.functions.values():
        if not rule.depends_on.value:
            continue  # a function of `cached`: time alone refreshes it, and no write is known that it should show
        model = apps.get_model(rule.depends_on.value[0])
        inner = policies.rule_for(model._meta.label)
        if inner is None:
            continue
        for scenario in _playable(model):
            if scenario.joined or (inner.immutable.value and scenario.by_orm) or not _is_tried(rule, scenario):
                continue
            if scenario.nested and "get" not in inner.ops.value:
                continue
            yield _case(f"functions.{rule.name}", "function", model._meta.label, rule, scenario)


def _race_cases(policies: PolicySet) -> Iterator[Case]:
    """The kit's own table, under the shortest and the longest timeout by which the policy caches a model's reads."""
    rules = [rule for rule in policies.models.values() if isinstance(rule, ModelRule) and rule.ops.value]
    by_bound = {rule.timeout.value: rule for rule in reversed(rules)}
    for bound in sorted({min(by_bound), max(by_bound)} if by_bound else ()):
        for op in _RACE_OPS:
            name, rule = f"{KITS_TABLE}@{bound}", by_bound[bound]
            origin, near_ms, ahead_ms = str(rule.timeout.origin), _ms(rule.near), _ms(rule.refresh_ahead)
            yield Case(name, op, CONCURRENT_WRITERS, KITS_TABLE, bound.ms, origin, _RACE, "", near_ms, ahead_ms)


def _case(name: str, op: str, model: str, rule: Any, scenario: Scenario) -> Case:
    near_ms, ahead_ms = _ms(rule.near), _ms(rule.refresh_ahead)
    bound_ms = near_ms if scenario.of_near else rule.timeout.value.ms
    return Case(name, op, scenario.name, model, bound_ms, str(rule.origin), scenario.what, "", near_ms, ahead_ms)


def _ms(given: Sourced[Duration | None]) -> int:
    return given.value.ms if given.value else 0


def _playable(model: type[models.Model]) -> list[Scenario]:
    """The scenarios that exist on the database which the model is written to."""
    vendor = connections[router.db_for_write(model)].vendor
    return [scenario for scenario in SCENARIOS.values() if not scenario.vendors or vendor in scenario.vendors]


def _drawn(ops: list[str], scenario: Scenario, label: str, seed: int) -> list[str]:
    if not scenario.slow or not ops:
        return ops
    # Of the seed and the case alone, so that a filter on the command line does not change which op it is.
    drawn = random.Random(zlib.crc32(f"{seed} {label} {scenario.name}".encode()))
    return [drawn.choice(ops)]
