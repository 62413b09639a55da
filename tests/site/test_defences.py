"""Each defence of the runtime, switched off by name: the kit turns red for the fault that it guards against."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Final

import pytest
from django.db import connection
from news.loading import load_news

from cachepolicy.consistency.checker import judge
from cachepolicy.consistency.faults import replicas
from cachepolicy.consistency.findings import Finding
from cachepolicy.consistency.results import Case, Cell
from cachepolicy.consistency.rig import Rig
from cachepolicy.consistency.scenarios import SCENARIOS
from tests.defence_scenes import staged
from tests.defences import DEFENCES, without
from tests.scenes import played

pytestmark = pytest.mark.django_db(transaction=True)

# What the kit says without the defence: a finding, or for those that keep reads from being stale at all, or from
# raising, what it says of the same history with a bound of nothing.
VIOLATION, DIRTY, PHANTOM, STALE, RAISES = "VIOLATION", "DIRTY", "PHANTOM", "stale within the bound", "a read raises"

_RULES: Final = {"function": "functions.article_stats"}
_BOUNDS_MS: Final = {"news.Category": 2_000}


@dataclass(frozen=True)
class Guard:
    """A fault, the defences that hold it, each of them alone, and what is found without them."""

    defences: tuple[str, ...]
    fault: str
    found: str
    op: str = "get"
    rule: str = "news.Article"

    def case(self) -> Case:
        """The fault, played on the rule's op."""
        joined = self.fault == "select_related"
        rule = _RULES.get(self.op, self.rule)
        model = "news.Category" if joined else self.rule
        return Case(rule, self.op, self.fault, model, _BOUNDS_MS.get(rule, 60_000), "")

    def __str__(self) -> str:
        return f"{' and '.join(self.defences)}: {self.fault} on {self.op}"


def _guard(names: str, fault: str, found: str, op: str = "get", rule: str = "news.Article") -> Guard:
    return Guard(tuple(names.split(" + ")), fault, found, op, rule)


GUARDS: Final = (
    # 1. Entry. Of two rows' entries the stamps differ, too; of two calls of a function they do not.
    _guard("seal", "swapped_bytes", PHANTOM, "function"),
    _guard("seal bound to the key", "swapped_bytes", PHANTOM, "function"),
    _guard("seal + stamps", "swapped_bytes", PHANTOM),
    _guard("seal", "bit_flips", PHANTOM, "function"),
    _guard("unreadable is a miss", "corrupt_bytes", RAISES),
    _guard("unreadable is a miss", "corrupt_bytes", RAISES, "function"),
    # 2. Birth.
    _guard("age of what is read inside", "nested", VIOLATION, "function"),
    _guard("age of a frozen snapshot", "frozen_snapshot", VIOLATION),
    _guard("age of a frozen snapshot", "frozen_snapshot", VIOLATION, "function"),
    _guard("lag of a replica", "lagging_replica", VIOLATION),
    _guard("lag of a replica", "lagging_replica", VIOLATION, "function"),
    _guard("birth before the read", "stale_set_raw", VIOLATION),
    _guard("birth before the read", "stale_set_raw", VIOLATION, "function"),
    # 3. TTL. Redis drops an entry in time, and if it did not, the entry itself would tell its age.
    _guard("age in the TTL + deadline", "stale_set_raw", VIOLATION),
    _guard("age in the TTL + deadline", "late_store", VIOLATION),
    _guard("clamp of call sites", "call_site_asks_for_a_day", VIOLATION),
    _guard("clamp of call sites", "function_without_a_timeout", VIOLATION),
    # 4. Lease: without it a value is as old as its timeout at most, since its birth goes with it.
    _guard("lease", "stale_set", STALE),
    _guard("lease", "stale_set", STALE, "function"),
    _guard("lease", "late_store_invalidated", STALE),
    _guard("stamps", "queryset_update", STALE),
    _guard("records whole or void", "schemes_evicted", STALE),
    # 5. Deadline, by two clocks; and Redis' own mark of its clock.
    _guard("deadline", "kept_too_long", VIOLATION),
    _guard("deadline by Redis' clock + deadline by the wall's clock", "kept_too_long", VIOLATION),
    _guard("deadline + generation", "redis_clock_set_back", VIOLATION),
    _guard("deadline by Redis' clock", "wall_clock_set_back", VIOLATION),
    _guard("deadline by the wall's clock", "redis_clock_set_back_unseen", VIOLATION),
    # 6. Transactions. SQLite counts what a session writes, besides.
    _guard("classifier + count of changes", "rollback", DIRTY),
    _guard("classifier + count of changes", "rollback_savepoint", DIRTY),
    _guard("classifier + count of changes", "rollback_autocommit_off", DIRTY),
    _guard("classifier + count of changes", "rollback_raw", DIRTY),
    _guard("classifier + count of changes", "rollback_unseen", DIRTY),
    _guard("classifier + count of changes", "rollback_raw", DIRTY, "function"),
    _guard("tables of statements", "raw_sql", STALE),
    _guard("tables of statements", "queryset_update", STALE),
    _guard("unanswered commits", "killed_in_commit", STALE),
    # 7. Failure.
    _guard("journal", "redis_refused", STALE),
    _guard("journal", "redis_hung", STALE),
    _guard("journal", "redis_read_only", STALE),
    _guard("journal", "redis_full", STALE),
    # 8 and 9. Dependencies, keys, what comes from memory, fresh reads.
    _guard("tables beside the conditions", "select_related", STALE),
    _guard("typed keys", "crafted_parameters", PHANTOM),
    _guard("parents outside", "parent_edited_in_memory", PHANTOM, "fetch", "news.Category"),
    _guard("fresh old row", "old_row_in_the_cache", STALE, "fetch"),
)
REDUNDANT: Final = [guard for guard in GUARDS if len(guard.defences) > 1]


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with Rig() as rig, staged():
        yield rig


@pytest.fixture
def stage(rig: Rig, transactional_db: None) -> Rig:
    """The rig, and a newsroom to play on."""
    load_news(4)
    return rig


def _played(guard: Guard, stage: Rig) -> Cell:
    vendors = SCENARIOS[guard.fault].vendors
    if vendors and connection.vendor not in vendors:
        pytest.skip(f"{connection.vendor} does not know this fault")
    return played(guard.case(), stage)


def _found(cell: Cell, guard: Guard) -> set[str]:
    """What the kit found that the promise, or the guard's own aim, forbids."""
    assert cell.verdict.status != "unknown", cell.verdict.reason
    forbidden = set(Finding) - {Finding.OK, Finding.INDETERMINATE}
    found = {str(finding) for finding, count in cell.verdict.counts.items() if count and finding in forbidden}
    if guard.found == STALE and cell.verdict.status != "violated":
        judged = judge(list(cell.history), bound_ns=0, row_lock=False, rollbacks_are_evidence=True)
        found = {STALE} if judged.status == "violated" else set()
    return found | ({RAISES} if cell.errors else set())


@pytest.mark.parametrize("guard", GUARDS, ids=str)
def test_with_the_defence_the_promise_is_kept_and_without_it_the_kit_turns_red(stage: Rig, guard: Guard) -> None:
    assert _found(_played(guard, stage), guard) == set()
    with without(*guard.defences):
        assert _found(_played(guard, stage), guard) == {guard.found}


@pytest.mark.parametrize("guard", REDUNDANT, ids=str)
def test_of_two_defences_that_hold_one_fault_each_holds_it_alone(stage: Rig, guard: Guard) -> None:
    if "count of changes" in guard.defences and connection.vendor != "sqlite":
        pytest.skip("SQLite alone counts changes")
    for name in guard.defences:
        with without(name):
            assert _found(_played(guard, stage), guard) == set(), f"without {name}"


@pytest.mark.parametrize("op", ["get", "function"])
def test_what_a_replica_of_a_declared_lag_gives_is_cached_for_what_is_left_of_the_timeout(stage: Rig, op: str) -> None:
    cell = _played(Guard((), "lagging_replica", VIOLATION, op), stage)
    assert cell.verdict.status == "ok"
    judged = judge(list(cell.history), bound_ns=0, row_lock=False, rollbacks_are_evidence=True)
    # Of the read that filled the cache, and of one more: it was stored.
    assert judged.counts[Finding.VIOLATION] == 2


@pytest.mark.parametrize("op", ["get", "function"])
def test_a_replica_whose_lag_is_not_declared_is_found(stage: Rig, monkeypatch: pytest.MonkeyPatch, op: str) -> None:
    monkeypatch.setattr(replicas, "declared_lag", lambda *_: nullcontext())
    cell = _played(Guard((), "lagging_replica", VIOLATION, op), stage)
    assert _found(cell, Guard((), "", VIOLATION)) == {VIOLATION}


def test_every_defence_guards_something() -> None:
    assert {name for guard in GUARDS for name in guard.defences} == set(DEFENCES)
