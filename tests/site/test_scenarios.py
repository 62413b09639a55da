"""The promise, kept by the runtime: the newsroom under every fault, on every database."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from django.core.management import call_command
from django.db import connection
from django.test.utils import override_settings
from news.loading import load_news

from cachepolicy import conf, load_policies
from cachepolicy.consistency.cases import cases_of
from cachepolicy.consistency.checker import judge
from cachepolicy.consistency.findings import Finding
from cachepolicy.consistency.results import Cell
from cachepolicy.consistency.rig import Rig
from cachepolicy.consistency.scenarios import SCENARIOS
from tests.scenes import played as played_case

pytestmark = pytest.mark.django_db(transaction=True)

SEED = 7
MODELS = ["news.Article", "news.Category", "news.Country", "functions.article_stats"]
OPS = ["get", "aggregate", "local_get", "function"]

# Nothing in this process, or nothing at all, tells the cache of these writes: the timeout bounds them.
BOUNDED = {"raw_sql_outside", "writer_killed", "redis_old_dump", "real_clock"}
# A row of an immutable table lies in memory for its timeout, whatever is written past the ORM.
IN_MEMORY = {"raw_sql", "stale_set_raw", "swapped_bytes", "corrupt_bytes"}
# Written past Django while a read is underway, or read in the past on purpose.
LATE = {"stale_set_raw", "frozen_snapshot", "lagging_replica", "late_store", "nested"}
LATE |= {"redis_clock_set_back", "corrupt_bytes", "swapped_bytes", "concurrent_writers", "race", "redis_full_of_others"}
# Another process saves: copies in this one's memory are told nothing of it.
ELSEWHERE = {"fork_in_atomic", "saved_elsewhere"}
# In memory as well: as long as the timeout; and for a while, and computed anew halfway to it. What each is tried on.
NEAR = {"near": ["functions.article_stats"], "refresh_ahead": ["news.Article"]}


@pytest.fixture(scope="module")
def played(django_db_setup: None, django_db_blocker: object) -> list[Cell]:
    """Every fault on a few rules: bounds of 2 s, 60 s and 1 h; get, aggregate, a local get, a function.

    And those that are quickly played on a get and a function of which processes keep copies.
    """
    cells: list[Cell] = []
    with django_db_blocker.unblock(), Rig() as rig:  # type: ignore[attr-defined]
        load_news(6)
        cases = cases_of(conf.policies(), seed=SEED, models_=MODELS, ops=OPS)
        # A slow fault is played on one op of a rule, which the seed draws: here one that is not among the OPS.
        cases += cases_of(conf.policies(), seed=SEED, models_=["news.Category"], faults=["real_clock"])
        cells += [played_case(case, rig) for case in cases]
        for environment, rules in NEAR.items():
            with in_environment(environment):
                cases = cases_of(conf.policies(), seed=SEED, models_=rules, ops=["get", "function"])
                cells += [played_case(case, rig) for case in cases if not SCENARIOS[case.fault].slow]
        call_command("flush", verbosity=0, interactive=False)
    return cells


@pytest.fixture
def rig(transactional_db: None) -> Iterator[Rig]:
    """The rig, and a newsroom to play on."""
    with Rig() as rig:
        load_news(2)
        yield rig


@contextmanager
def in_environment(name: str) -> Iterator[None]:
    """An overlay of the newsroom's policy is in force."""
    with override_settings(CACHEPOLICY=load_policies(conf.policies().file, name)):
        yield


def test_every_fault_that_this_database_knows_is_tried(played: list[Cell]) -> None:
    without_server = {"killed_in_commit", "killed_before_commit"} if connection.vendor == "sqlite" else set()
    assert {cell.case.fault for cell in played} >= set(SCENARIOS) - without_server - {"concurrent_writers"}
    near = {cell.case.fault for cell in played if cell.case.near_ms}
    assert near >= {name for name, found in SCENARIOS.items() if not found.slow} - without_server


def test_the_promise_is_kept_under_every_fault(played: list[Cell]) -> None:
    broken = [(cell.case, cell.verdict.reason) for cell in played if cell.verdict.status != "ok"]
    assert broken == []
    assert [(cell.case, cell.errors) for cell in played if cell.errors] == []


def test_hardly_a_read_is_left_undecided(played: list[Cell]) -> None:
    counts = Counter[Finding]()
    for cell in played:
        counts.update(cell.verdict.counts)
    assert counts[Finding.INDETERMINATE] <= sum(counts.values()) // 1_000


@pytest.mark.parametrize("fault", sorted(set(SCENARIOS) - BOUNDED - LATE))
def test_a_write_of_this_process_is_seen_at_once(played: list[Cell], fault: str) -> None:
    for cell in played:
        if cell.case.fault == fault and not (cell.case.op == "local_get" and fault in IN_MEMORY):
            bound_ns = cell.case.near_ms * 1_000_000 if fault in ELSEWHERE else 0
            judged = judge(list(cell.history), bound_ns=bound_ns, row_lock=False, rollbacks_are_evidence=True)
            assert judged.status == "ok", cell.case


def test_what_another_process_saves_is_seen_within_near_and_no_sooner(played: list[Cell]) -> None:
    found = [cell for cell in played if cell.case.fault == "saved_elsewhere"]
    assert {cell.case.near_ms for cell in found} >= {10_000, 60_000}
    assert all(cell.case.bound_ms == cell.case.near_ms for cell in found)
    for cell in found:
        judged = judge(list(cell.history), bound_ns=0, row_lock=False, rollbacks_are_evidence=True)
        assert judged.status == "violated", f"{cell.case}: nothing was kept in memory"


def test_finds_a_copy_that_is_kept_for_longer_than_near(rig: Rig) -> None:
    with in_environment("near"):
        [case] = cases_of(conf.policies(), seed=SEED, models_=["news.Article"], ops=["get"], faults=["saved_elsewhere"])
        assert played_case(replace(case, bound_ms=10_000), rig).verdict.status == "violated"


@pytest.mark.parametrize("fault", sorted(BOUNDED))
def test_where_nobody_tells_the_cache_the_timeout_bounds_it(played: list[Cell], fault: str) -> None:
    found = [cell for cell in played if cell.case.fault == fault and cell.case.bound_ms >= 60_000]
    for cell in found or [cell for cell in played if cell.case.fault == fault]:
        judged = judge(list(cell.history), bound_ns=0, row_lock=False, rollbacks_are_evidence=True)
        assert judged.status == "violated", f"{cell.case}: no read was stale at all"


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
