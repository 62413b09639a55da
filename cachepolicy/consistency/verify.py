"""Verify a policy: every rule × op × fault that applies, played on the project's own models, and judged."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

from django.apps import apps
from django.db import connections, models, router

import cachepolicy
from cachepolicy.consistency.cases import CONCURRENT_WRITERS, cases_of, joined_key
from cachepolicy.consistency.concurrent_writers import play_concurrent_writers
from cachepolicy.consistency.history import History
from cachepolicy.consistency.probe_table import Probe
from cachepolicy.consistency.readers import function_of, joined_reader, reader_of
from cachepolicy.consistency.results import Case, Cell, Report
from cachepolicy.consistency.rig import Rig
from cachepolicy.consistency.rows import NoWritableField, Row
from cachepolicy.consistency.scenarios import SCENARIOS
from cachepolicy.consistency.scene import DidNotBite, Scene
from cachepolicy.consistency.supply import NoRow
from cachepolicy.consistency.verdict import Verdict

__all__ = ["Case", "Cell", "Report", "cases_of", "not_played", "play", "verify"]

_MS_NS = 1_000_000


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
    """Play one case on the current databases and judge it; `field` is written, else the first that can be."""
    if case.why_not:
        return not_played(case, case.why_not)
    if case.fault == CONCURRENT_WRITERS:
        return play_concurrent_writers(case, rig)
    try:
        with cachepolicy.allow_writes():
            instance = instance_of(apps.get_model(case.model if case.op == "function" else case.rule))
            scene = _scene(case, rig, instance, field)
    except (NoRow, NoWritableField) as reason:
        return not_played(case, str(reason))
    row = scene.row
    try:
        with cachepolicy.allow_writes():
            row.update(scene.before)
        rig.forget()
        scene.start()
        with scene.recorder.listening():
            SCENARIOS[case.fault].play(scene)
        # Not by hits alone: a runtime may rightly refuse every one. Local gets send no signals.
        scene.require(case.op == "local_get" or scene.cached_reads, "no read came from a cache, and none was stored")
        verdict = scene.recording.verdict()
    except DidNotBite as reason:
        verdict = _unless_violated(scene, f"the fault did not bite: {reason}")
    except Exception as error:
        verdict = _unless_violated(scene, f"could not be played: {type(error).__name__}: {error}")
    try:
        with cachepolicy.allow_writes():
            row.restore()
        rig.forget()
    except Exception as error:
        # Not raised: the cells before this one stand, and an exit code of 1 would speak of a broken promise.
        verdict = _unless_violated(scene, f"the row could not be put back: {type(error).__name__}: {error}")
    database = connections[row.alias].vendor
    history = History(scene.recording.operations)
    return Cell(case, database, verdict, history, tuple(scene.recorder.events), tuple(scene.errors))


def _scene(case: Case, rig: Rig, instance: models.Model, field: str | None) -> Scene:
    joined = joined_key(type(instance), case.model) if SCENARIOS[case.fault].joined else None
    row = Row.of(getattr(instance, joined) if joined else instance, field)
    before = row.new_value()
    after = row.new_value(before)

    def source_on(alias: str) -> Callable[[], Any]:
        return _reader(case, replace(row, alias=alias), before, after)

    return Scene(
        rig=rig,
        row=row,
        source=joined_reader(instance, joined, row) if joined else source_on(row.alias),
        before=before,
        after=after,
        bound_ms=case.bound_ms,
        key=f"{case.model}:{row.pk}",
        inner=reader_of(row, "get", None, None),
        other=_other(case, row, before, after),
        source_on=source_on,
    )


def not_played(case: Case, reason: str) -> Cell:
    """The cell of a case that was not played, saying why."""
    model = Probe if case.fault == CONCURRENT_WRITERS else apps.get_model(case.model)
    database = connections[router.db_for_write(model)].vendor
    return Cell(case, database, _unknown(case, reason))


def _unless_violated(scene: Scene, reason: str) -> Verdict:
    """What a scene that did not end as it should says: a promise broken until then stays broken."""
    verdict = scene.recording.verdict()
    if verdict.status == "violated":
        scene.errors.append(reason)
        return verdict
    return Verdict("unknown", reason, scene.bound_ms * _MS_NS, 0)


def _unknown(case: Case, reason: str) -> Verdict:
    return Verdict("unknown", reason, case.bound_ms * _MS_NS, 0)


def _reader(case: Case, row: Row, before: Any, after: Any) -> Callable[[], Any]:
    if case.op != "function":
        return reader_of(row, case.op, before, after)
    # A function reads past the cache, or for `nested` through it.
    body = reader_of(row, "get", None, None) if SCENARIOS[case.fault].nested else row.current
    return function_of(case.rule.partition(".")[2], f"{case.rule} {case.fault} {row.alias} {row.pk}", body)


def _other(case: Case, row: Row, before: Any, after: Any) -> Callable[[], Any] | None:
    """The same read of another row of the table, for values that change places."""
    pks = row.model._base_manager.using(row.alias).exclude(pk=row.pk).order_by("pk").values_list("pk", flat=True)[:1]
    pk = next(iter(list(pks)), None)
    return None if pk is None else _reader(case, replace(row, pk=pk), before, after)
