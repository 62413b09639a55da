"""Leases: a fill is stored only if nothing it depends on was invalidated since its reader asked for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cachepolicy import clock, signals
from cachepolicy.consistency.rig import Rig
from cachepolicy.runtime import births, invalidations, reads
from cachepolicy.runtime.fills import cache_thing
from cachepolicy.runtime.freshness import fresh
from cachepolicy.runtime.link import link
from cachepolicy.runtime.places import Place
from cachepolicy.runtime.reads import LOCK_MS, Reading

ARTICLE = {"news_article": [{"id": 1}]}
BY_CATEGORY = {"news_article": [{"category_id": 5, "is_published": True}]}
ALL = {"news_article": [{}]}
JOINED = {"news_article": [{"id": 1}], "news_tag": [{}]}


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with Rig() as rig:
        yield rig


@pytest.fixture(autouse=True)
def _empty(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "_advanced_ns", clock._advanced_ns)
    monkeypatch.setattr(clock, "_redis_back_us", clock._redis_back_us)
    rig.forget()


@pytest.fixture
def refusals() -> Iterator[list[str]]:
    reasons: list[str] = []

    def hear(reason: str, **_: Any) -> None:
        reasons.append(reason)

    signals.fill.connect(hear)
    yield reasons
    signals.fill.disconnect(hear)


def read(conditions: dict[str, Any], value: Any, meanwhile: Callable[[], object] = int, key: str = "q:1") -> Any:
    """A cached read whose computation gives `value`, and meanwhile something happens."""
    with Reading(Place(key, "", conditions)) as found:
        if found is not None:
            return found.value()
        meanwhile()
        cache_thing("", key, value, conditions, 60)
        return value


def saved(pk: int = 1, **fields: Any) -> None:
    invalidations._row("", "news_article", {"id": str(pk), **{name: str(value) for name, value in fields.items()}})


def whole_table() -> None:
    invalidations.tables(["news_article"], "default")


@pytest.mark.parametrize("conditions", [ARTICLE, ALL, JOINED, BY_CATEGORY])
def test_what_was_read_is_served_until_it_is_invalidated(conditions: dict[str, Any]) -> None:
    assert [read(conditions, 1), read(conditions, 2)] == [1, 1]
    saved(category_id=5, is_published=True)
    assert [read(conditions, 3), read(conditions, 4)] == [3, 3]
    whole_table()
    assert [read(conditions, 5), read(conditions, 6)] == [5, 5]


@pytest.mark.parametrize(
    ("conditions", "write"),
    [
        (ARTICLE, saved),
        (ALL, saved),
        (ALL, lambda: saved(77)),
        (JOINED, lambda: invalidations._row("", "news_tag", {"id": "9"})),
        (BY_CATEGORY, lambda: saved(category_id=5, is_published=True)),
        (ARTICLE, whole_table),
        (JOINED, lambda: invalidations.tables(["news_tag"], "default")),
        (ARTICLE, lambda: invalidations.redis_client.flushdb()),
    ],
)
def test_a_fill_that_a_write_has_overtaken_is_refused(
    conditions: dict[str, Any], write: Callable[[], None], refusals: list[str]
) -> None:
    read(conditions, 0)  # the schemes are known
    whole_table()
    assert read(conditions, 1, write) == 1
    assert read(conditions, 2) == 2
    assert refusals[1] != ""
    assert refusals[2] == ""


def test_a_fill_whose_scheme_was_unknown_at_the_write_is_refused() -> None:
    read(ARTICLE, 0, key="q:0")
    read(BY_CATEGORY, 1, lambda: saved(category_id=5, is_published=True))
    assert read(BY_CATEGORY, 2) == 2


def test_a_fill_is_refused_though_another_one_made_the_scheme_known_after_the_write() -> None:
    def overtaken() -> None:
        saved(category_id=5, is_published=True)
        read(BY_CATEGORY, 9, key="q:other")

    read(ARTICLE, 0, key="q:0")
    read(BY_CATEGORY, 1, overtaken)
    assert read(BY_CATEGORY, 2) == 2


def test_a_fill_is_refused_though_another_one_has_made_the_stamp_anew_since_the_write() -> None:
    def overtaken() -> None:
        saved()
        read(ARTICLE, 9, key="q:other")

    read(ARTICLE, 0, key="q:0")
    read(ARTICLE, 1, overtaken)
    assert read(ARTICLE, 2) == 2


def test_another_rows_write_refuses_nothing(refusals: list[str]) -> None:
    read(ARTICLE, 0, key="q:0")
    assert read(ARTICLE, 1, lambda: saved(2)) == 1
    assert read(ARTICLE, 2) == 1
    assert refusals == ["", ""]


def test_another_fill_in_between_refuses_nothing() -> None:
    assert read(ARTICLE, 1, lambda: read(ARTICLE, 9, key="q:other")) == 1
    assert read(ARTICLE, 2) == 1


@pytest.mark.parametrize("lost", ["stamp:*", "epoch:*", "known:*", "marks:*", "cachepolicy:generation"])
def test_whatever_redis_has_evicted_nothing_stale_is_served_or_stored(rig: Rig, lost: str) -> None:
    def evicted_and_written() -> None:
        client: Any = rig.client()
        client.unlink(*client.scan_iter(lost))
        saved()

    assert read(ARTICLE, 1) == 1
    evicted_and_written()
    assert read(ARTICLE, 2) == 2
    whole_table()
    read(ARTICLE, 3, evicted_and_written)
    assert read(ARTICLE, 4) == 4
    read(ARTICLE, 5)
    assert read(ARTICLE, 6) == read(ARTICLE, 7), "it heals"


def test_a_restart_between_the_read_and_the_fill_refuses_it(rig: Rig) -> None:
    def restarted() -> None:
        saved()
        rig.server.restart(keep_data=False)

    read(ARTICLE, 0, key="q:0")
    read(ARTICLE, 1, restarted)
    clock.advance(60_000)  # a connection was lost
    assert read(ARTICLE, 2) == 2


def test_a_fill_nobody_asked_for_is_refused(refusals: list[str]) -> None:
    cache_thing("", "q:1", 1, ARTICLE, 60)
    assert refusals == ["nobody asked for it first, so that its age is unknown"]
    assert read(ARTICLE, 2) == 2


def test_a_fill_gets_what_is_left_of_its_bound_in_milliseconds(rig: Rig) -> None:
    client: Any = rig.client()
    read(ARTICLE, 1, lambda: clock.advance(50))
    # The shifted clock is only ours: Redis counts what is left of it.
    assert 59_000 < client.pttl("q:1") <= 60_000 - 50


def test_a_fill_that_took_longer_than_its_bound_is_returned_and_not_stored(refusals: list[str]) -> None:
    assert read(ARTICLE, 1, lambda: clock.advance(60_000)) == 1
    assert refusals == ["older than its timeout"]


def test_a_hit_is_no_older_than_its_bound_though_redis_has_kept_it(rig: Rig) -> None:
    client: Any = rig.client()
    read(ARTICLE, 1)
    client.persist("q:1")
    clock.advance(59_000)
    assert read(ARTICLE, 2) == 1
    clock.advance(1_100)
    assert read(ARTICLE, 3) == 3


def test_redis_clock_set_back_makes_nothing_younger(rig: Rig) -> None:
    client: Any = rig.client()
    read(ARTICLE, 1)
    client.persist("q:1")
    clock.set_redis_back(3_600_000)
    clock.advance(61_000)
    assert read(ARTICLE, 2) == 2
    assert read(ARTICLE, 3) == read(ARTICLE, 4), "the clock it was set to is gone by from then on"


def test_a_process_that_comes_after_redis_clock_was_set_back_goes_by_the_walls(rig: Rig) -> None:
    client: Any = rig.client()
    read(ARTICLE, 1)
    client.persist("q:1")
    client.unlink("cachepolicy:clock")  # nothing was stored for long, so that the set-back cannot be seen
    clock.set_redis_back(50_000)
    clock.advance(61_000)
    link(invalidations.redis_client).clock.__init__()  # type: ignore[misc]
    assert read(ARTICLE, 2) == 2


def test_one_of_many_readers_computes_under_a_lock() -> None:
    computed: list[int] = []
    started = threading.Barrier(8)

    def reader() -> None:
        started.wait()
        with Reading(Place("q:1", "", ARTICLE), lock=True) as found:
            if found is None:
                computed.append(1)
                time.sleep(0.05)
                cache_thing("", "q:1", 1, ARTICLE, 60)

    read(ARTICLE, 0, key="q:0")
    threads = [threading.Thread(target=reader) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert computed == [1]


class Time:
    """Stands in for the module `time` in reads: passes where a reader sleeps, and lets things happen meanwhile."""

    def __init__(self, meanwhile: Callable[[], object] = int) -> None:
        self.passed, self.meanwhile = 0.0, meanwhile

    def monotonic(self) -> float:
        return self.passed

    def sleep(self, seconds: float) -> None:
        self.passed += seconds
        self.meanwhile()


def _waits(monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[], object] = int) -> Time:
    stand_in = Time(meanwhile)
    monkeypatch.setattr(reads, "time", stand_in)
    return stand_in


def test_readers_of_a_hot_table_do_not_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting, computing, together = threading.Semaphore(0), threading.Barrier(7), []

    def reader() -> None:
        with Reading(Place("q:1", "", ARTICLE), lock=True) as found:
            assert found is None
            computing.wait(60)  # raises unless all seven compute at once
            together.append(1)

    class Signalling(Time):
        waiters: set[int] = set()

        def sleep(self, _seconds: float) -> None:
            if threading.get_ident() not in self.waiters:
                self.waiters.add(threading.get_ident())
                waiting.release()
            time.sleep(0.001)

    monkeypatch.setattr(reads, "time", Signalling())
    read(ARTICLE, 0, key="q:0")
    threads = [threading.Thread(target=reader) for _ in range(7)]
    with Reading(Place("q:1", "", ARTICLE), lock=True):
        for thread in threads:
            thread.start()
        for _ in threads:
            assert waiting.acquire(timeout=60)
        saved()
        cache_thing("", "q:1", 1, ARTICLE, 60)
    for thread in threads:
        thread.join()
    assert len(together) == 7


@pytest.mark.parametrize("successor", [None, "another:another"])
def test_who_waited_for_a_fill_that_was_refused_computes_at_once(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, successor: str | None
) -> None:
    client: Any = rig.client()
    polls: list[int] = []

    def refused() -> None:
        polls.append(1)
        if successor is None:
            client.delete("q:1:lock")
        else:
            client.set("q:1:lock", successor)

    _waits(monkeypatch, refused)
    client.set("q:1:lock", "one:one")
    with Reading(Place("q:1", "", ARTICLE), lock=True) as found:
        assert found is None
    assert polls == [1]
    assert client.get("q:1:lock") == (successor and successor.encode()), "another's lock is left alone"


def test_who_waits_gets_what_the_holder_stores(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    client: Any = rig.client()

    def stored() -> None:
        read(ARTICLE, 1)
        client.delete("q:1:lock")

    _waits(monkeypatch, stored)
    client.set("q:1:lock", "one:one")
    with Reading(Place("q:1", "", ARTICLE), lock=True) as found:
        assert found is not None
        assert found.value() == 1


def test_one_waiter_takes_over_from_a_dead_holder_and_the_rest_wait_for_it(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    client: Any = rig.client()
    client.set("q:1:lock", "dead:dead")
    stand_in = _waits(monkeypatch)
    with Reading(Place("q:1", "", ARTICLE), lock=True) as found:
        assert found is None
        assert 2 <= stand_in.passed < 2.1
        assert client.get("q:1:lock").startswith(b"dead:")
        assert client.get("q:1:lock") != b"dead:dead"
        assert client.pttl("q:1:lock") > 0
        cache_thing("", "q:1", 1, ARTICLE, 60)
    assert client.exists("q:1:lock") == 0


def test_a_lock_that_was_taken_over_is_waited_for_again(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    client: Any = rig.client()
    client.set("q:1:lock", "dead:dead")
    taken: list[float] = []

    def taken_over() -> None:
        if stand_in.passed >= 1 and not taken:
            taken.append(stand_in.passed)
            client.set("q:1:lock", "dead:successor")

    stand_in = _waits(monkeypatch, taken_over)
    with Reading(Place("q:1", "", ARTICLE), lock=True) as found:
        assert found is None
    assert stand_in.passed >= taken[0] + 2


def test_nobody_waits_for_ever_however_often_a_lock_is_taken_over(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    client: Any = rig.client()
    client.set("q:1:lock", "slow:0")
    stand_in = _waits(monkeypatch, lambda: client.set("q:1:lock", f"slow:{stand_in.passed}"))
    with Reading(Place("q:1", "", ARTICLE), lock=True) as found:
        assert found is None
    assert LOCK_MS <= 1000 * stand_in.passed < LOCK_MS + 100
    assert client.exists("q:1:lock") == 1, "it computes without the lock"


def test_a_reader_that_wants_it_fresh_waits_for_nobody(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.client().set("q:1:lock", "one:one")
    stand_in = _waits(monkeypatch)
    with fresh(), Reading(Place("q:1", "", ARTICLE), lock=True) as found:
        assert found is None
    assert stand_in.passed == 0


def test_a_dead_holder_of_a_lock_is_not_waited_for_for_ever(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    _waits(monkeypatch)
    rig.client().set("q:1:lock", "of the dead", px=100 * LOCK_MS)
    with Reading(Place("q:1", "", ARTICLE), lock=True) as found:
        assert found is None
        cache_thing("", "q:1", 1, ARTICLE, 60)
    assert read(ARTICLE, 2) == 1, "a reader without a lock is not held up, and reads no marker of a lock"


def test_a_lock_is_released_when_the_computation_raises(rig: Rig) -> None:
    with pytest.raises(ZeroDivisionError), Reading(Place("q:1", "", ARTICLE), lock=True):
        raise ZeroDivisionError
    assert rig.client().exists("q:1:lock") == 0


def test_a_read_that_is_broken_off_leaves_nothing_open(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def strike(*_: Any) -> None:
        raise TimeoutError  # a time limit of the application's

    def cut_off() -> None:
        with pytest.raises(TimeoutError), Reading(Place("q:1", "", ARTICLE), lock=True):
            pass
        assert births.open_computation() is None, "it would age whatever this thread reads from here on"

    rig.client().set("q:1:lock", "one:one")
    _waits(monkeypatch, strike)
    cut_off()
    assert read(ARTICLE, 1) == 1
    monkeypatch.setattr(reads, "unseal", strike)
    cut_off()
