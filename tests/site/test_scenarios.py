"""What the kit finds on plain cacheops under the newsroom's compiled policy: each class of FACTS, both ways."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection, models
from django.db.models import QuerySet
from news.loading import load_news
from news.models import Article, Author, Category, Country, Tag

from cachepolicy import conf
from cachepolicy.consistency import verify
from cachepolicy.consistency.cases import cases_of
from cachepolicy.consistency.checker import judge
from cachepolicy.consistency.faults import fills, processes, server, transactions
from cachepolicy.consistency.findings import Finding
from cachepolicy.consistency.results import Case, Cell
from cachepolicy.consistency.rig import Rig
from cachepolicy.consistency.rows import Row
from cachepolicy.consistency.scenarios import SCENARIOS

pytestmark = pytest.mark.django_db(transaction=True)

SEED = 7
MODELS = ["news.Article", "news.Category", "news.Country", "functions.article_stats"]
OPS = ["get", "aggregate", "local_get", "function"]

OLDER_THAN_THE_BOUND = {
    "stale_set",
    "stale_set_raw",
    "frozen_snapshot",
    "lagging_replica",
    "late_store",
    "nested",
    "redis_clock_set_back",
}
NEVER_COMMITTED = {"rollback_autocommit_off", "rollback_raw", "rollback_unseen"}
AT_ONCE = {
    "none",
    "invalidated_update",
    "rollback",
    "rollback_savepoint",
    "killed_before_commit",
    "redis_full",
    "redis_restarted_empty",
}
BOUNDED = {
    "queryset_update",
    "raw_sql",
    "raw_sql_outside",
    "select_related",
    "writer_killed",
    "fork_in_atomic",
    "killed_in_commit",
    "redis_refused",
    "redis_hung",
    "redis_read_only",
    "redis_old_dump",
    "redis_evicting",
}
# Kept, with nothing said of how soon: Redis chooses what to evict, and bytes that changed are read as a miss or raise.
KEPT = {"redis_full_of_others", "corrupt_bytes", "swapped_bytes"}
# What a class does not reach: functions are filled with keep_fresh, a local row is born before the database is read.
SPARED = {("stale_set", "function"), ("stale_set_raw", "local_get")}


@dataclass
class Played:
    cells: list[Cell] = field(default_factory=list)
    changed_the_database: list[Case] = field(default_factory=list)

    def of(self, *faults: str) -> list[Cell]:
        found = [cell for cell in self.cells if cell.case.fault in faults]
        assert {cell.case.fault for cell in found} == set(faults)
        return found


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with Rig() as rig:
        yield rig


@pytest.fixture(scope="module")
def played(rig: Rig, django_db_setup: None, django_db_blocker: Any) -> Played:
    """Every fault on a few rules: bounds of 2 s, 60 s and 1 h; get, aggregate, a local get, a function."""
    played = Played()
    with django_db_blocker.unblock():
        load_news(6)
        before = _database()

        def keep(cell: Cell) -> None:
            played.cells.append(cell)
            if _database() != before:
                played.changed_the_database.append(cell.case)

        cases = cases_of(conf.policies(), seed=SEED, models_=MODELS, ops=OPS)
        verify.verify(cases, seed=SEED, instance_of=_first, on_cell=keep, rig=rig)
        call_command("flush", verbosity=0, interactive=False)
    return played


@pytest.fixture
def stage(rig: Rig, transactional_db: None) -> Rig:
    """The rig, and a newsroom to play on."""
    load_news(6)
    return rig


def _first(model: type[models.Model]) -> models.Model:
    return model._base_manager.order_by("pk").nocache()[0]


def _database() -> dict[str, list[Any]]:
    tables = (Article, Author, Category, Country, Tag)
    return {model.__name__: list(model._base_manager.order_by("pk").nocache().values_list()) for model in tables}


def _judged_without_a_bound(cell: Cell) -> str:
    return judge(list(cell.history), bound_ns=0, row_lock=False, rollbacks_are_evidence=True).status


def _findings(cell: Cell) -> set[str]:
    return {str(finding) for finding in cell.verdict.counts if finding is not Finding.OK}


def test_every_fault_that_this_database_knows_is_tried(played: Played) -> None:
    assert set(SCENARIOS) == OLDER_THAN_THE_BOUND | NEVER_COMMITTED | AT_ONCE | BOUNDED | KEPT
    without_server = {"killed_in_commit", "killed_before_commit"} if connection.vendor == "sqlite" else set()
    assert {cell.case.fault for cell in played.cells} == set(SCENARIOS) - without_server


def test_every_cell_is_judged(played: Played) -> None:
    assert [(cell.case, cell.verdict.reason) for cell in played.cells if cell.verdict.status == "unknown"] == []


@pytest.mark.parametrize("fault", sorted(OLDER_THAN_THE_BOUND))
def test_finds_values_older_than_the_bound(played: Played, fault: str) -> None:
    for cell in played.of(fault):
        if (fault, cell.case.op) not in SPARED:
            assert (cell.verdict.status, _findings(cell)) == ("violated", {"VIOLATION"}), cell.case
            assert (cell.verdict.worst_lower_ns or 0) > cell.case.bound_ms * 1_000_000


@pytest.mark.parametrize("fault", sorted(NEVER_COMMITTED))
def test_finds_values_that_were_never_committed(played: Played, fault: str) -> None:
    for cell in played.of(fault):
        assert (cell.verdict.status, _findings(cell)) == ("violated", {"DIRTY"}), cell.case
        assert cell.verdict.counts[Finding.DIRTY] == 2, "the writer's session and another one"


def test_finds_a_function_that_serves_another_ones_value(played: Played) -> None:
    found = {cell.case.op: _findings(cell) for cell in played.of("swapped_bytes") if cell.verdict.status == "violated"}
    assert found == {"function": {"PHANTOM"}}


@pytest.mark.parametrize("fault", sorted(AT_ONCE))
def test_no_false_positive_where_a_write_is_seen_at_once(played: Played, fault: str) -> None:
    if fault == "killed_before_commit" and connection.vendor == "sqlite":
        pytest.skip("SQLite has no server that could cut a connection")
    for cell in played.of(fault):
        assert (cell.verdict.status, _findings(cell)) == ("ok", set()), cell.case
        assert _judged_without_a_bound(cell) == "ok", cell.case


@pytest.mark.parametrize("fault", sorted(BOUNDED))
def test_no_false_positive_where_the_timeout_bounds_a_lost_invalidation(played: Played, fault: str) -> None:
    if fault == "killed_in_commit" and connection.vendor == "sqlite":
        pytest.skip("SQLite has no server that could cut a connection")
    for cell in played.of(fault):
        assert (cell.verdict.status, _findings(cell)) == ("ok", set()), cell.case
        if cell.case.bound_ms >= 60_000:  # in 2 s a value may be gone before a hung Redis answers again
            assert _judged_without_a_bound(cell) == "violated", f"{cell.case}: no read was stale at all"
            assert (cell.verdict.worst_lower_ns or 0) > cell.case.bound_ms * 1_000_000 // 2


@pytest.mark.parametrize(("fault", "op"), sorted(SPARED))
def test_no_false_positive_where_a_fill_is_refused_or_born_in_time(played: Played, fault: str, op: str) -> None:
    spared = [cell for cell in played.of(fault) if cell.case.op == op]
    assert [(cell.verdict.status, _findings(cell)) for cell in spared] == [("ok", set())] * len(spared) != []


@pytest.mark.parametrize("fault", sorted(KEPT))
def test_no_false_positive_where_redis_loses_values(played: Played, fault: str) -> None:
    for cell in played.of(fault):
        if (fault, cell.case.op) != ("swapped_bytes", "function"):
            assert (cell.verdict.status, _findings(cell)) == ("ok", set()), cell.case


def test_a_read_that_raises_is_told(played: Played) -> None:
    assert all(cell.errors for cell in played.of("corrupt_bytes"))
    assert [cell.errors for cell in played.of("none") if cell.errors] == []


def test_every_cell_leaves_the_database_as_it_was(played: Played) -> None:
    assert played.changed_the_database == []


def test_one_seed_gives_the_same_cases() -> None:
    policies = conf.policies()
    assert cases_of(policies, seed=SEED) == cases_of(policies, seed=SEED)
    assert cases_of(policies, seed=SEED) != cases_of(policies, seed=SEED + 1)


def test_a_filter_does_not_change_which_op_a_slow_fault_is_played_on() -> None:
    every = cases_of(conf.policies(), seed=SEED)
    hung = {case for case in every if case.fault == "redis_hung"}
    assert set(cases_of(conf.policies(), seed=SEED, faults=["redis_hung"])) == hung != set()


def test_an_immutable_table_is_written_by_raw_sql_alone() -> None:
    faults = {case.fault for case in cases_of(conf.policies(), seed=SEED, models_=["news.Country"])}
    assert "raw_sql" in faults
    assert {fault for fault in faults if SCENARIOS[fault].by_orm} == set()


def _without(*_: Any, **__: Any) -> AbstractContextManager[None]:
    return nullcontext()


def _nothing(*_: Any, **__: Any) -> int:
    return 0


def _no_kill(write: Callable[[], None], **_: Any) -> int:
    write()
    return 0


def _same_value(upstream: Callable[..., Any]) -> Callable[..., Any]:
    return lambda row, _value: upstream(row, row.current())


def _first_time_only(upstream: Callable[..., Any]) -> Callable[..., Any]:
    times: list[None] = []

    def update(row: Row, value: Any) -> None:
        times.append(None)
        if len(times) == 1:  # the kit's own preparation
            upstream(row, value)

    return update


@contextmanager
def _replica_up_to_date(using: str) -> Iterator[transactions.Replica]:
    yield transactions.Replica(using)


# Each scenario with its fault switched off: where it lies, and what stands in its place.
OFF: Mapping[str, tuple[Any, str, Any]] = {
    "none": (Row, "save", Row.update),
    "invalidated_update": (Row, "invalidated_update", Row.update),
    "queryset_update": (Row, "update", _first_time_only(Row.update)),
    "raw_sql": (Row, "sql", _same_value(Row.sql)),
    "raw_sql_outside": (processes, "sql_from_outside", _nothing),
    "select_related": (QuerySet, "select_related", lambda queryset, *_: queryset),
    "writer_killed": (processes, "killed_after_commit", _no_kill),
    "fork_in_atomic": (processes, "written_by_a_fork_in_atomic", _no_kill),
    "killed_in_commit": (transactions, "killed_in_commit", _without),
    "killed_before_commit": (transactions, "killed_in_commit", _without),
    "redis_refused": (server, "refused", _without),
    "redis_hung": (server, "hung", _without),
    "redis_read_only": (server, "read_only", _without),
    "redis_full": (server, "out_of_memory", _without),
    "redis_old_dump": (server, "old_dump", _without),
    "redis_restarted_empty": (server, "restarted_empty", _nothing),
    "redis_evicting": (server, "evict_invalidators", _nothing),
    "redis_full_of_others": (server, "evicting", _without),
    "rollback": (transactions, "rolled_back", _without),
    "rollback_savepoint": (transactions, "rolled_back_savepoint", _without),
    "rollback_autocommit_off": (transactions, "rolled_back_without_atomic", _without),
    "rollback_raw": (transactions, "rolled_back_raw", _without),
    "rollback_unseen": (transactions, "rolled_back", _without),
    "stale_set": (fills, "paused_fill", _without),
    "stale_set_raw": (fills, "paused_fill", _without),
    "frozen_snapshot": (transactions, "frozen_snapshot", _without),
    "lagging_replica": (transactions, "lagging_replica", _replica_up_to_date),
    "late_store": (server, "paused", _without),
    "nested": (verify, "reader_of", lambda row, *_: row.current),
    "redis_clock_set_back": (server, "clock_set_back", _nothing),
    "corrupt_bytes": (server, "corrupt_values", _nothing),
    "swapped_bytes": (server, "swap_values", _nothing),
}


def _case(fault: str, op: str = "get") -> Case:
    if SCENARIOS[fault].nested:
        return Case("functions.article_stats", "function", fault, "news.Article", 60_000, "")
    return Case("news.Article", op, fault, "news.Category" if SCENARIOS[fault].joined else "news.Article", 60_000, "")


@pytest.mark.parametrize("fault", SCENARIOS)
def test_a_fault_that_is_switched_off_shows_nothing(stage: Rig, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    before = _database()
    monkeypatch.setattr(*OFF[fault])
    cell = verify.play(_case(fault), stage, _first)
    assert cell.verdict.status == "unknown"
    assert cell.verdict.reason.startswith("the fault did not bite: ")
    monkeypatch.undo()
    assert _database() == before


def test_a_read_that_no_rule_caches_shows_nothing(stage: Rig) -> None:
    cell = verify.play(_case("queryset_update", op="aggregate"), stage, _first)
    assert (cell.verdict.status, cell.verdict.reason) == (
        "unknown",
        "the fault did not bite: what was read is not cached",
    )
