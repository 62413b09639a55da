"""Verify a policy: every rule × op × fault that applies, played on the project's own models, and judged."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

from django.apps import apps
from django.db import connections, models, router

import cachepolicy
from cachepolicy.consistency.checker import judge
from cachepolicy.consistency.results import Case, Cell, Report
from cachepolicy.consistency.rig import Rig
from cachepolicy.consistency.rows import NoWritableField, Row, reader_of
from cachepolicy.consistency.scenarios import SCENARIOS, Scenario
from cachepolicy.consistency.scene import DidNotBite, Scene
from cachepolicy.consistency.supply import NoRow
from cachepolicy.consistency.verdict import Verdict
from cachepolicy.policies.model import OPS, PolicySet

__all__ = ["Case", "Cell", "Report", "cases_of", "not_played", "play", "verify"]

_MS_NS = 1_000_000


def cases_of(
    policies: PolicySet,
    *,
    seed: int,
    models_: Sequence[str] = (),
    ops: Sequence[str] = (),
    faults: Sequence[str] = (),
) -> list[Case]:
    """Every case of a policy, in an order that the seed gives; the filters name labels, ops and faults."""
    cases = [
        *_model_cases(policies, seed),
        *_function_cases(policies),
    ]
    chosen = [
        case
        for case in cases
        if (not models_ or case.model.lower() in {label.lower() for label in models_})
        and (not ops or case.op in ops)
        and (not faults or case.fault in faults)
    ]
    random.Random(seed).shuffle(chosen)
    return chosen


def _model_cases(policies: PolicySet, seed: int) -> Iterator[Case]:
    for model in apps.get_models():
        label = model._meta.label
        rule = policies.rule_for(label)
        if rule is None or model._meta.proxy or not model._meta.managed:
            continue
        ops: list[str] = [op for op in OPS if op in rule.ops.value]
        if rule.local_get.value:
            ops = ["local_get", *(op for op in ops if op != "get")]
        for scenario in SCENARIOS.values():
            if scenario.nested or (rule.immutable.value and scenario.by_orm):
                continue
            for op in _drawn(
                [op for op in ops if not (scenario.of_redis and op == "local_get")], scenario, label, seed
            ):
                yield Case(label, op, scenario.name, label, rule.timeout.value.ms, str(rule.origin), scenario.what)


def _function_cases(policies: PolicySet) -> Iterator[Case]:
    for rule in policies.functions.values():
        if not rule.depends_on.value:
            continue
        label = apps.get_model(rule.depends_on.value[0])._meta.label
        inner = policies.rule_for(label)
        for scenario in SCENARIOS.values():
            if inner is None or (inner.immutable.value and scenario.by_orm):
                continue
            if scenario.nested and "get" not in inner.ops.value:
                continue
            name = f"functions.{rule.name}"
            origin = str(rule.origin)
            yield Case(name, "function", scenario.name, label, rule.timeout.value.ms, origin, scenario.what)


def _drawn(ops: list[str], scenario: Scenario, label: str, seed: int) -> list[str]:
    if not scenario.slow or not ops:
        return ops
    # Of the seed and the case alone, so that a filter on the command line does not change which op it is.
    drawn = random.Random(zlib.crc32(f"{seed} {label} {scenario.name}".encode()))
    return [drawn.choice(ops)]


def verify(
    cases: Iterable[Case],
    *,
    seed: int,
    instance_of: Callable[[type[models.Model]], models.Model],
    on_cell: Callable[[Cell], None] | None = None,
    rig: Rig | None = None,
) -> Report:
    """Play every case on the current databases; `instance_of` gives a saved row of a model that may be written to.

    Without a `rig` of the caller's it brings up its own.
    """
    cells = []
    with Rig() if rig is None else nullcontext(rig) as stage:
        for case in cases:
            cell = play(case, stage, instance_of)
            cells.append(cell)
            if on_cell is not None:
                on_cell(cell)
    return Report(seed, cells)


def play(
    case: Case, rig: Rig, instance_of: Callable[[type[models.Model]], models.Model], field: str | None = None
) -> Cell:
    """Play one case on the current databases and judge it; `field` names the one that is written, else one is chosen."""
    model = apps.get_model(case.model)
    try:
        with cachepolicy.allow_writes():
            row = Row.of(instance_of(model), field)
    except (NoRow, NoWritableField) as reason:
        return not_played(case, str(reason))
    rig.forget()
    database = connections[row.alias].vendor
    before, after = row.new_value(), row.new_value()
    with cachepolicy.allow_writes():
        row.update(before)
    rig.forget()
    scene = Scene(
        rig=rig,
        row=row,
        source=_reader(case, row, before, after),
        before=before,
        after=after,
        bound_ms=case.bound_ms,
        key=f"{case.model}:{row.pk}",
        inner=_inner(case, row),
        other=_other(case, row, before, after),
    )
    scene.start()
    try:
        with scene.recorder.listening():
            SCENARIOS[case.fault].play(scene)
        verdict = judge(scene.operations, bound_ns=case.bound_ms * _MS_NS, row_lock=False, rollbacks_are_evidence=True)
    except DidNotBite as reason:
        verdict = _unknown(case, f"the fault did not bite: {reason}")
    except Exception as error:
        verdict = _unknown(case, f"could not be played: {type(error).__name__}: {error}")
    finally:
        row.restore()
    return Cell(case, database, verdict, scene.history(), tuple(scene.recorder.events), tuple(scene.errors))


def not_played(case: Case, reason: str) -> Cell:
    """The cell of a case that was not played, saying why."""
    database = connections[router.db_for_write(apps.get_model(case.model))].vendor
    return Cell(case, database, _unknown(case, reason))


def _unknown(case: Case, reason: str) -> Verdict:
    return Verdict("unknown", reason, case.bound_ms * _MS_NS, 0)


# What the function of a case reads, by the case: a key may hold no closure, and a name finds it here.
_BODIES: dict[str, Callable[[], Any]] = {}


def _body(name: str) -> Any:
    """The one function that is cached for the kit; its argument says what it reads."""
    return _BODIES[name]()


def _function(case: Case, row: Row) -> Callable[[], Any]:
    """A function under the rule of the case that reads the row: past the cache, or through it for `nested`."""
    name = f"{case.rule} {case.fault} {row.pk}"
    _BODIES[name] = reader_of(row, "get", None, None) if SCENARIOS[case.fault].nested else row.current
    function = cachepolicy.cached_as(case.rule.partition(".")[2])(_body)
    return lambda: function(name)


def _reader(case: Case, row: Row, before: Any, after: Any) -> Callable[[], Any]:
    return _function(case, row) if case.op == "function" else reader_of(row, case.op, before, after)


def _inner(case: Case, row: Row) -> Callable[[], Any] | None:
    return reader_of(row, "get", None, None) if case.op == "function" else None


def _other(case: Case, row: Row, before: Any, after: Any) -> Callable[[], Any] | None:
    """The same read of another row of the table, for values that change places."""
    pks = row.model._base_manager.using(row.alias).exclude(pk=row.pk).order_by("pk").values_list("pk", flat=True)[:1]
    pk = next(iter(list(pks)), None)
    return None if pk is None else _reader(case, replace(row, pk=pk), before, after)
