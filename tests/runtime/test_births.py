"""Births: a value is as old as the oldest thing that was read for it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextvars import copy_context

import pytest

from cachepolicy import clock
from cachepolicy.runtime import births

MS = 1_000_000


@pytest.fixture(autouse=True)
def _nothing_open() -> Iterator[None]:
    yield
    while (computation := births.open_computation()) is not None:
        births.finish(computation)


def test_it_is_born_when_it_is_asked_for() -> None:
    before_ns = clock.now_ns()
    computation = births.begin("k")
    assert before_ns <= computation.born_ns <= clock.now_ns()
    assert computation.since_ns == computation.born_ns


def test_a_cached_value_read_inside_lowers_every_one_that_is_open() -> None:
    outer, inner = births.begin("outer"), births.begin("inner")
    births.lowered(outer.born_ns - 40 * MS)
    assert outer.born_ns == outer.started_ns - 40 * MS == inner.born_ns
    assert inner.since_ns == inner.started_ns


def test_a_younger_value_lowers_nothing() -> None:
    computation = births.begin("k")
    births.lowered(computation.born_ns + MS)
    assert computation.born_ns == computation.started_ns


def test_what_was_read_before_does_not_lower_what_is_asked_for_later() -> None:
    births.finish(births.begin("earlier"))
    births.lowered(0)
    assert births.begin("k").born_ns > 0


def test_a_frozen_snapshot_lowers_the_birth_and_what_refuses_it() -> None:
    computation = births.begin("k")
    births.statement("default", computation.started_ns - 30 * MS, dirty=False)
    assert computation.born_ns == computation.since_ns == computation.started_ns - 30 * MS


def test_a_lagging_replica_is_older_by_its_lag(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(births.conf, "max_lag_ns", lambda alias: 5_000 * MS if alias == "replica" else 0)
    computation = births.begin("k")
    births.statement("default", None, dirty=False)
    assert computation.born_ns == computation.started_ns
    births.statement("replica", None, dirty=False)
    assert computation.started_ns - 5_000 * MS <= computation.born_ns < computation.started_ns - 4_000 * MS
    assert computation.since_ns == computation.born_ns


def test_a_dirty_transaction_taints_everything_that_is_open() -> None:
    outer, inner = births.begin("outer"), births.begin("inner")
    births.statement("default", None, dirty=True)
    assert outer.refusal == inner.refusal == "read inside a transaction that has written"


def test_a_thread_that_carries_the_context_lowers_it_and_one_that_does_not_leaves_it() -> None:
    computation = births.begin("k")
    threads = [
        threading.Thread(target=births.lowered, args=(computation.started_ns - 10 * MS,)),
        threading.Thread(target=copy_context().run, args=(births.lowered, computation.started_ns - 5 * MS)),
    ]
    for thread in threads:
        thread.start()
        thread.join()
    assert computation.born_ns == computation.started_ns - 5 * MS


def test_its_birth_in_redis_time_errs_to_the_past() -> None:
    computation = births.begin("k")
    computation.redis_ns = 10**18
    assert computation.redis_us(computation.started_ns) <= 10**15
    earlier_us = computation.redis_us(computation.started_ns - 1_000 * MS)
    assert 10**15 - 1_001_000 < earlier_us < 10**15 - 1_000_000


def test_what_nobody_came_back_to_is_forgotten_and_never_stored() -> None:
    first = births.begin("0")
    for number in range(1, 40):
        births.begin(str(number))
        births.prune(32)
    assert births.found("0") is None
    assert births.found("39") is not None
    assert first.refusal == "too many were open at once"
    assert births.found("8") is not None
