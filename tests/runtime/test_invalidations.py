"""Invalidations: one round trip per block, none lost when Redis is away, told again before anything is served."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextvars import copy_context
from typing import Any

import pytest

from cachepolicy import clock, signals
from cachepolicy.consistency.rig import Rig
from cachepolicy.runtime import invalidations
from cachepolicy.runtime.breaker import WINDOW_MS
from cachepolicy.runtime.fills import cache_thing
from cachepolicy.runtime.link import link
from cachepolicy.runtime.places import Place
from cachepolicy.runtime.reads import Reading


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with Rig() as rig:
        yield rig


@pytest.fixture(autouse=True)
def _empty(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "_advanced_ns", clock._advanced_ns)
    rig.forget()


@pytest.fixture
def told() -> Iterator[list[tuple[str, bool, bool]]]:
    heard: list[tuple[str, bool, bool]] = []

    def hear(table: str, sent: bool, replayed: bool, **_: Any) -> None:
        heard.append((table, sent, replayed))

    signals.invalidation.connect(hear)
    yield heard
    signals.invalidation.disconnect(hear)


def read(value: Any) -> Any:
    with Reading(Place("q:1", "", {"news_tag": [{"id": 1}]})) as found:
        if found is not None:
            return found.value()
        cache_thing("", "q:1", value, {"news_tag": [{"id": 1}]}, 60)
        return value


def scripts_run(rig: Rig) -> int:
    info: Any = rig.client().info("commandstats")
    return sum(info.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("eval", "evalsha"))


def saved(*numbers: int) -> None:
    for number in numbers:
        invalidations._row("", "news_tag", {"id": str(number)})


def test_all_of_a_block_go_out_in_one_round_trip(rig: Rig) -> None:
    saved(0)
    read(1)
    before = scripts_run(rig)
    with invalidations.batch():
        saved(*range(20))
        with invalidations.batch():
            invalidations.tables(["news_article"], "default")
        assert scripts_run(rig) == before
        assert read(2) == 1
    assert scripts_run(rig) == before + 1
    assert read(3) == 3


def test_a_block_that_raises_sends_them_too() -> None:
    read(1)

    def fail() -> None:
        with invalidations.batch():
            saved(1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert read(2) == 2


def test_what_a_thread_invalidates_that_outlives_the_block_is_sent_at_once() -> None:
    read(1)
    with invalidations.batch():
        context = copy_context()
    thread = threading.Thread(target=context.run, args=(saved, 1))
    thread.start()
    thread.join()
    assert read(2) == 2


def test_a_lost_one_is_told_before_anything_is_served(rig: Rig, told: list[tuple[str, bool, bool]]) -> None:
    assert read(1) == 1
    rig.proxy.refuse()
    saved(1)
    assert told == [("news_tag", False, False)]
    assert read(2) == 2, "no hit while Redis is away"
    rig.proxy.heal()
    clock.advance(WINDOW_MS + 1)
    assert read(3) == 3
    assert ("news_tag", True, True) in told
    journal = link(invalidations.redis_client).journal
    assert (journal.lost, journal.replayed, bool(journal)) == (1, 1, False)


def test_a_lost_one_is_told_though_nobody_reads(rig: Rig, told: list[tuple[str, bool, bool]]) -> None:
    replayed = threading.Event()

    def hear(replayed: bool, event: threading.Event = replayed, **_: Any) -> None:
        if replayed:
            event.set()

    signals.invalidation.connect(hear)
    try:
        rig.proxy.refuse()
        saved(1)
        rig.proxy.heal()
        clock.advance(WINDOW_MS + 1)
        assert replayed.wait(30)
    finally:
        signals.invalidation.disconnect(hear)


def test_a_lost_invalidate_all_is_made_up_for(rig: Rig) -> None:
    assert read(1) == 1
    rig.proxy.refuse()
    invalidations._Upstream.flushdb()
    rig.proxy.heal()
    clock.advance(WINDOW_MS + 1)
    assert read(2) == 2


def test_after_healing_nothing_of_another_row_is_lost(rig: Rig) -> None:
    assert read(1) == 1
    rig.proxy.refuse()
    clock.advance(1)
    assert read(2) == 2
    rig.proxy.heal()
    clock.advance(WINDOW_MS + 1)
    assert read(3) == 1, "no invalidation was lost, so that what was stored still holds"


def test_many_rows_are_the_whole_table_so_that_redis_is_not_held_up() -> None:
    assert read(1) == 1
    with invalidations.batch():
        saved(*range(1_000, 1_050))
    assert read(2) == 1, "fifty rows are told one by one"
    with invalidations.batch():
        saved(*range(1_000, 1_051))
    assert read(3) == 3


class TimeLimit(Exception):
    """What an application may have strike anywhere."""


def test_one_that_a_time_limit_has_cut_off_is_told_before_anything_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    def strike(*_: Any) -> None:
        raise TimeLimit

    assert read(1) == 1
    with monkeypatch.context() as patch:
        patch.setattr(invalidations, "_run", strike)
        with pytest.raises(TimeLimit):
            saved(1)
    assert read(2) == 2


def test_what_strikes_under_one_prefix_loses_nothing_under_another(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    def strike(_client: Any, _here: Any, prefix: str, _items: Any) -> None:
        told.append(prefix)
        raise TimeLimit

    monkeypatch.setattr(invalidations, "_run", strike)
    with pytest.raises(TimeLimit):
        invalidations._send([invalidations._Item(prefix, "news_tag", None) for prefix in ("a", "b", "c")])
    assert sorted(told) == ["a", "b", "c"]
    pending = link(invalidations.redis_client).journal.pending()
    assert {prefix for prefix, _ in pending} >= {"a", "b", "c"}


def test_what_is_switched_off_stays_off_when_everything_is_invalidated() -> None:
    client: Any = invalidations.redis_client
    client.set("cachepolicy:off", b"news.Tag")
    client.set("q:1", b"")
    assert client.flushdb() is True
    assert client.values(["cachepolicy:off", "q:1"]) == [b"news.Tag", None]
