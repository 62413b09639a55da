"""A scenario whose fault is switched off shows nothing: it ends in `unknown`, never in `ok`, and says why."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import pytest
from django.db import models
from django.db.models import QuerySet
from news.loading import load_news
from news.models import Article, Category

from cachepolicy.consistency import verify
from cachepolicy.consistency.faults import fills, processes, replicas, server, transactions
from cachepolicy.consistency.results import Case
from cachepolicy.consistency.rig import Rig
from cachepolicy.consistency.rows import Row
from cachepolicy.consistency.scenarios import SCENARIOS, concurrent, late_fills
from cachepolicy.consistency.scene import Scene
from tests.plain_cacheops import plain_cacheops


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with Rig() as rig:
        yield rig


@pytest.fixture
def stage(rig: Rig, transactional_db: None) -> Rig:
    """The rig, and a newsroom to play on."""
    load_news(2)
    return rig


def _first(model: type[models.Model]) -> models.Model:
    return model._base_manager.order_by("pk").nocache()[0]


def _rows() -> list[Any]:
    return [row for model in (Article, Category) for row in model._base_manager.order_by("pk").nocache().values_list()]


def _without(*_: Any, **__: Any) -> AbstractContextManager[None]:
    return nullcontext()


def _nothing(*_: Any, **__: Any) -> int:
    return 0


def _no_kill(write: Callable[[], None], **_: Any) -> int:
    write()
    return 0


def _same_value(upstream: Callable[..., Any]) -> Callable[..., Any]:
    return lambda row, _value: upstream(row, row.current())


def _write_unseen(row: Row, value: Any) -> None:
    processes.past_django(*row.sql(value), using=row.alias)


def _first_time_only(upstream: Callable[..., Any]) -> Callable[..., Any]:
    times: list[None] = []

    def update(row: Row, value: Any) -> None:
        times.append(None)
        if len(times) == 1:  # the kit's own preparation
            upstream(row, value)

    return update


@contextmanager
def _replica_up_to_date(using: str) -> Iterator[replicas.Replica]:
    yield replicas.Replica(using, lambda: None)


# Each scenario with its fault switched off: where it lies, what stands in its place, and how that is noticed.
OFF: Mapping[str, tuple[Any, str, Any, str]] = {
    "none": (Row, "save", _write_unseen, "no invalidation was sent"),
    "invalidated_update": (Row, "invalidated_update", _write_unseen, "no invalidation was sent"),
    "queryset_update": (Row, "update", _first_time_only(Row.update), "the write was not committed"),
    "raw_sql": (Row, "sql", _same_value(Row.sql), "the write was not committed"),
    "raw_sql_outside": (processes, "sql_from_outside", _nothing, "the write was not committed"),
    "select_related": (
        QuerySet,
        "select_related",
        lambda queryset, *_: queryset,
        "the reader found None before the write",
    ),
    "writer_killed": (processes, "killed_after_commit", _no_kill, "the writer was not killed: status 0"),
    "fork_in_atomic": (processes, "written_by_a_fork_in_atomic", _no_kill, "this process wrote, and no fork"),
    "killed_in_commit": (transactions, "killed_in_commit", _without, "the COMMIT was answered"),
    "killed_before_commit": (transactions, "killed_in_commit", _without, "the COMMIT was answered"),
    "redis_refused": (server, "refused", _without, "no invalidation was lost"),
    "redis_hung": (server, "hung", _without, "no invalidation was lost"),
    "redis_read_only": (server, "read_only", _without, "no invalidation was lost"),
    "redis_full": (server, "out_of_memory", _without, "Redis refused nothing"),
    "redis_old_dump": (server, "old_dump", _without, "Redis did not come back with what it had dumped"),
    "redis_restarted_empty": (server, "restarted_empty", _nothing, "Redis came back with something"),
    "redis_evicting": (server, "evict_invalidators", _nothing, "there was nothing to evict"),
    "redis_full_of_others": (server, "evicting", _without, "nothing of the scene was evicted"),
    "rollback": (transactions, "rolled_back", _without, "the write was not rolled back"),
    "rollback_savepoint": (transactions, "rolled_back_savepoint", _without, "the write was not rolled back"),
    "rollback_autocommit_off": (transactions, "rolled_back_without_atomic", _without, "the write was not rolled back"),
    "rollback_raw": (transactions, "rolled_back_raw", _without, "the write was not rolled back"),
    "rollback_unseen": (transactions, "rolled_back", _without, "the write was not rolled back"),
    "stale_set": (fills, "paused_fill", _without, "the reader did not read the database"),
    "stale_set_raw": (fills, "paused_fill", _without, "the reader did not read the database"),
    "frozen_snapshot": (
        transactions,
        "frozen_snapshot",
        _without,
        "the reader did not read the row as it was before the write",
    ),
    "lagging_replica": (
        replicas,
        "lagging_replica",
        _replica_up_to_date,
        "the reader did not read the row as it was before the write",
    ),
    "late_store": (server, "paused", _without, "the reader did not give up its store"),
    "nested": (
        verify,
        "reader_of",
        lambda row, *_: row.current,
        "the reader did not read the row as it was before the write",
    ),
    "redis_clock_set_back": (server, "clock_set_back", _nothing, "nothing in Redis had an expiry"),
    "corrupt_bytes": (server, "corrupt_values", _nothing, "no cached value changed"),
    "swapped_bytes": (server, "swap_values", _nothing, "no cached value changed"),
    "race": (concurrent, "_reading_process", lambda *_: list, "the other process did not read"),
    "real_clock": (processes, "sql_from_outside", _nothing, "the write was not committed"),
    "saved_elsewhere": (processes, "in_another_process", _nothing, "the write was not committed"),
}


def _case(fault: str, op: str = "get") -> Case:
    if SCENARIOS[fault].nested:
        return Case("functions.article_stats", "function", fault, "news.Article", 60_000, "")
    return Case("news.Article", op, fault, "news.Category" if SCENARIOS[fault].joined else "news.Article", 60_000, "")


@pytest.mark.parametrize("fault", SCENARIOS)
def test_a_fault_that_is_switched_off_shows_nothing(stage: Rig, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    before = _rows()
    module, name, instead, reason = OFF[fault]
    monkeypatch.setattr(module, name, instead)
    cell = verify.play(_case(fault), stage, _first)
    assert (cell.verdict.status, cell.verdict.reason) == ("unknown", f"the fault did not bite: {reason}")
    monkeypatch.undo()
    assert _rows() == before


def test_a_read_that_no_rule_caches_shows_nothing(stage: Rig) -> None:
    cell = verify.play(_case("queryset_update", op="aggregate"), stage, _first)
    assert (cell.verdict.status, cell.verdict.reason) == (
        "unknown",
        "the fault did not bite: what was read is not cached",
    )


def test_a_model_whose_reads_never_come_from_the_cache_shows_nothing(
    stage: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "_reader", lambda _case, row, *_: row.current)
    for fault in ("rollback", "stale_set", "frozen_snapshot"):
        cell = verify.play(_case(fault), stage, _first)
        assert (cell.verdict.status, cell.verdict.reason) == (
            "unknown",
            "the fault did not bite: no read came from a cache, and none was stored",
        )


def test_a_promise_seen_broken_stays_broken_when_the_scene_ends_badly(
    stage: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def plays_on(scene: Scene) -> None:
        late_fills.stale_set(scene)
        scene.require(False, "what came after")

    monkeypatch.setitem(SCENARIOS, "stale_set", replace(SCENARIOS["stale_set"], play=plays_on))
    with plain_cacheops():
        cell = verify.play(_case("stale_set"), stage, _first)
    assert cell.verdict.status == "violated"
    assert cell.errors == ("the fault did not bite: what came after",)


def test_a_row_that_cannot_be_put_back_leaves_the_other_cells_standing(
    stage: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(row: Row) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(Row, "restore", fail)
    cell = verify.play(_case("none"), stage, _first)
    assert (cell.verdict.status, cell.verdict.reason) == ("unknown", "the row could not be put back: RuntimeError: no")


def test_a_server_that_was_killed_comes_back_for_the_next_scene(stage: Rig) -> None:
    stage.server.kill()
    assert verify.play(_case("none"), stage, _first).verdict.status == "ok"


def test_no_value_is_given_out_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    values = iter([1, 1, 2, 1, 3])
    monkeypatch.setattr(Row, "_random_value", lambda _: next(values))
    row = Row(Article, 1, Article._meta.get_field("revision"), {}, "default")
    assert [row.new_value(), row.new_value(), row.new_value()] == [1, 2, 3]


def test_a_case_that_cannot_be_tried_says_why(stage: Rig) -> None:
    cell = verify.play(replace(_case("none"), why_not="news.X is a proxy"), stage, _first)
    assert (cell.verdict.status, cell.verdict.reason) == ("unknown", "news.X is a proxy")
