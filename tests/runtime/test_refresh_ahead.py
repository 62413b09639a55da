"""refresh_ahead: a hot value is computed anew before it ends, once, by a thread; nobody waits for it."""

from __future__ import annotations

import contextvars
import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import cacheops.redis
import pytest
import redis
from django.db import connection, connections, transaction
from django.db.models.functions import ExtractHour, Now
from django.test import override_settings
from django.urls import get_script_prefix, set_script_prefix
from django.utils import timezone, translation
from news.models import Article, Category, Tag

from cachepolicy import cached, cached_as, clock, fresh, signals
from cachepolicy.runtime import answers, births
from tests.runtime.in_force import in_force

pytestmark = pytest.mark.django_db(transaction=True)

POLICIES = """\
version: 1
max_staleness: 60s
models:
  news.Category: {ops: all, timeout: 60s, refresh_ahead: 10s}
  news.Tag: {ops: all, timeout: 60s, refresh_ahead: 10s, near: 60s}
  news.Article: {ops: [], timeout: 60s}
functions:
  stats: {depends_on: [news.Category], timeout: 60s, refresh_ahead: 10s}
  near: {depends_on: [news.Category], timeout: 60s, refresh_ahead: 10s, near: 60s}
  locked: {depends_on: [news.Category], timeout: 60s, refresh_ahead: 10s, lock: true}
  timed: {timeout: 60s, refresh_ahead: 10s}
"""
# What the functions of a test do and have done; globals, since what encloses variables is not computed ahead.
CALLS: list[Any] = []
DO: list[Callable[[], Any]] = []
TENANT: contextvars.ContextVar[str] = contextvars.ContextVar("tenant", default="")


def call(*args: Any) -> int:
    CALLS.append((*args, threading.current_thread().name))
    for do in DO:
        do()
    return len(CALLS)


@pytest.fixture(autouse=True)
def _in_force(transactional_db: None) -> Iterator[None]:
    answers._begun_in_child()  # the last test's clock went ahead of this one's
    with in_force(POLICIES):
        yield
    for name in (CALLS, DO):
        name.clear()
    done()


def done() -> None:
    """Wait for the threads that compute."""
    for thread in threading.enumerate():
        if thread.name == "cachepolicy-refresh":
            thread.join(30)
            assert not thread.is_alive()


class Gate:
    """Where computing waits until it is told to go on."""

    def __init__(self) -> None:
        self.reached, self.opened = threading.Event(), threading.Event()

    def __call__(self) -> None:
        if threading.current_thread().name == "cachepolicy-refresh":
            self.reached.set()
            assert self.opened.wait(30)


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.opened.set()
    done()


def stats() -> Any:
    @cached_as("stats")
    def function(*args: Any) -> int:
        return call(*args)

    return function


def test_shortly_before_its_end_a_value_is_computed_anew_and_nobody_waits(gate: Gate) -> None:
    function = stats()
    assert function() == 1
    clock.advance(49_000)
    assert function() == 1
    done()
    assert len(CALLS) == 1
    clock.advance(2_000)
    DO.append(gate)
    for _ in range(5):
        assert function() == 1
    assert gate.reached.wait(30)
    assert function() == 1
    gate.opened.set()
    done()
    assert [name for (name,) in CALLS] == [threading.current_thread().name, "cachepolicy-refresh"]
    assert function() == 2
    clock.advance(48_000)
    assert function() == 2
    assert len(CALLS) == 2


def test_many_readers_have_one_refresh(gate: Gate) -> None:
    function = stats()
    function()
    clock.advance(51_000)
    DO.append(gate)
    barrier, found = threading.Barrier(8), []

    def read() -> None:
        barrier.wait(30)
        found.append(function())
        connections.close_all()

    readers = [threading.Thread(target=read) for _ in range(8)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert found == [1] * 8
    assert gate.reached.wait(30)
    assert len(CALLS) == 2
    gate.opened.set()


def test_while_another_process_computes_this_one_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    function = stats()
    function()
    clock.advance(51_000)
    key = next(each.decode() for each in cacheops.redis.redis_client.keys("as:*"))
    cacheops.redis.redis_client.set(f"{key}:ahead", "another's")
    assert (function(), function()) == (1, 1)
    done()
    assert len(CALLS) == 1
    cacheops.redis.redis_client.delete(f"{key}:ahead")
    assert function() == 1
    assert len(CALLS) == 1, "it was left to others, for a while"
    clock.advance(2_600)
    assert function() == 1
    done()
    assert function() == 2
    assert not cacheops.redis.redis_client.exists(f"{key}:ahead")


def test_a_value_that_comes_too_late_is_not_served_past_its_end(gate: Gate) -> None:
    function = stats()
    function()
    clock.advance(51_000)
    DO.append(gate)
    assert function() == 1
    assert gate.reached.wait(30)
    clock.advance(9_100)
    DO.clear()
    assert function() == 3, "the old one has ended, and its reader computes"
    gate.opened.set()
    done()
    assert function() in (2, 3)
    clock.advance(50_500)
    assert function() != 2, "which was born before"


def test_a_failure_is_logged_tried_again_later_and_the_value_ends_as_it_would(caplog: Any) -> None:
    def fail() -> None:
        raise ValueError("today")

    function = stats()
    function()
    clock.advance(51_000)
    DO.append(fail)
    with caplog.at_level(logging.ERROR, "cachepolicy"):
        for _ in range(3):
            assert function() == 1
            done()
    assert len(CALLS) == 2
    assert [record.message for record in caplog.records] == [
        "a value could not be computed ahead of its end; readers get the one there is until then"
    ]
    clock.advance(2_600)
    assert function() == 1
    done()
    assert len(CALLS) == 3
    clock.advance(6_500)
    with pytest.raises(ValueError, match="today"):
        function()


@pytest.mark.parametrize("failure", [SystemExit, KeyboardInterrupt])
def test_what_ends_the_thread_does_not_end_refreshing(failure: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def end() -> None:
        if threading.current_thread().name == "cachepolicy-refresh":
            raise failure

    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    function = stats()
    function()
    clock.advance(51_000)
    DO.append(end)
    function()
    done()
    DO.clear()
    clock.advance(2_600)
    function()
    done()
    assert function() == 3


def test_a_redis_connection_that_is_closed_under_the_thread_does_not_end_refreshing(
    monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    def closed(*_: Any) -> None:
        raise ValueError("I/O operation on closed file")  # redis-py's, where another thread disconnects its pool

    function = stats()
    function()
    clock.advance(51_000)
    with monkeypatch.context() as patch:
        patch.setattr(answers, "unlock", closed)
        function()
        done()
    assert not answers._refreshes.running
    assert [record.levelname for record in caplog.records] == ["ERROR"]


def test_a_time_limit_that_strikes_in_a_reader_does_not_end_refreshing(monkeypatch: pytest.MonkeyPatch) -> None:
    class TimeLimit(BaseException):
        pass

    def strike(*_: Any, **__: Any) -> None:
        raise TimeLimit

    function = stats()
    function()
    clock.advance(51_000)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", strike)
        with pytest.raises(TimeLimit):
            function()
    assert not answers._refreshes.running


def test_where_no_thread_can_be_started_readers_get_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(*_: Any) -> None:
        raise RuntimeError("can't start new thread")

    function = stats()
    function()
    clock.advance(51_000)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        assert function() == 1
    assert not answers._refreshes.running


def test_where_redis_goes_away_meanwhile_readers_get_what_they_have_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise redis.ConnectionError

    function = stats()
    function()
    clock.advance(51_000)
    with monkeypatch.context() as patch:
        patch.setattr(type(cacheops.redis.redis_client), "set", away)
        assert function() == 1
    done()
    assert len(CALLS) == 1


def test_a_write_meanwhile_refuses_the_new_value(gate: Gate) -> None:
    function = stats()
    function()
    clock.advance(51_000)
    DO.append(gate)
    function()
    assert gate.reached.wait(30)
    DO.clear()
    refused: list[str] = []
    signals.fill.connect(told := lambda reason, **_: refused.append(reason))
    try:
        Category.objects.create(name="a", slug="a")
        gate.opened.set()
        done()
    finally:
        signals.fill.disconnect(told)
    assert refused == ["a row was invalidated"]
    assert function() == 3


def test_the_thread_has_connections_of_its_own_and_closes_them() -> None:
    seen: list[Any] = []

    def look() -> None:
        Category.objects.nocache().count()
        seen.append(connections["default"])

    function = stats()
    function()
    clock.advance(51_000)
    DO.append(look)
    function()
    done()
    assert len(seen) == 1
    assert seen[0] is not connections["default"]
    assert seen[0].connection is None or seen[0].is_in_memory_db()


def test_it_is_computed_in_the_readers_language_time_zone_urls_and_context() -> None:
    def look() -> None:
        zone = timezone.get_current_timezone_name()
        CALLS.append((translation.get_language(), zone, get_script_prefix(), TENANT.get()))

    function = stats()
    function()
    clock.advance(51_000)
    DO.append(look)
    token = TENANT.set("b")
    set_script_prefix("/paper/")
    try:
        with translation.override("fr"), timezone.override("Europe/Paris"):
            function()
    finally:
        set_script_prefix("/")
        TENANT.reset(token)
    done()
    assert CALLS[-1] == ("fr", "Europe/Paris", "/paper/", "b")


def test_rows_of_a_readers_day_are_those_of_its_time_zone(django_assert_num_queries: Any) -> None:
    def days() -> list[Any]:
        return list(Category.objects.annotate(hour=ExtractHour(Now())).values_list("hour", flat=True))

    Category.objects.create(name="a", slug="a")
    with timezone.override("Asia/Tokyo"):
        first = days()
        clock.advance(51_000)
        days()
        done()
        with django_assert_num_queries(0):
            assert (days()[0] - first[0]) % 24 <= 1


def test_it_is_no_part_of_what_the_reader_is_computing(gate: Gate) -> None:
    function = stats()
    function()
    clock.advance(51_000)
    DO.append(lambda: CALLS.append(births.open_computation().parent))  # type: ignore[union-attr]
    outer = births.begin("outer")
    try:
        function()
        done()
    finally:
        births.finish(outer)
    assert CALLS[-1] is None
    assert outer.refusal is None


@pytest.mark.parametrize("how", ["written", "fresh"])
def test_nothing_is_computed_ahead_for_who_reads_the_database(how: str) -> None:
    function = stats()
    function()
    clock.advance(51_000)
    threads: list[Any] = []
    if how == "written":
        with suppress(ZeroDivisionError), transaction.atomic():
            Category.objects.create(name="a", slug="a")
            function()
            threads += [each for each in threading.enumerate() if each.name == "cachepolicy-refresh"]
            raise ZeroDivisionError
    else:
        with fresh():
            function()
            threads += [each for each in threading.enumerate() if each.name == "cachepolicy-refresh"]
    assert not threads
    assert [name for (name,) in CALLS] == [threading.current_thread().name] * 2


def test_a_clean_transactions_reader_has_it_computed_from_what_is_committed() -> None:
    function = stats()
    function()
    clock.advance(51_000)
    with transaction.atomic():
        assert function() == 1
        done()
        assert function() == 2


def test_near_copies_end_when_it_is_due() -> None:
    @cached_as("near")
    def function() -> int:
        return call()

    function()
    clock.advance(49_900)
    assert function() == 1
    assert len(CALLS) == 1
    clock.advance(200)
    function()
    done()
    assert function() == 2
    assert len(CALLS) == 2


def test_a_fork_does_not_wait_for_its_parents_threads(gate: Gate) -> None:
    function = stats()
    function()
    clock.advance(51_000)
    DO.append(gate)
    function()
    assert gate.reached.wait(30)
    if (pid := os.fork()) == 0:
        try:
            with answers._refreshes.lock:
                os._exit(0 if not answers._refreshes.running else 1)
        finally:
            os._exit(2)
    assert os.waitpid(pid, 0)[1] == 0
    assert answers._refreshes.running


def test_what_the_caller_does_to_its_arguments_meanwhile_is_not_in_the_value(gate: Gate) -> None:
    @cached_as("stats")
    def total(numbers: list[int]) -> int:
        call()
        return sum(numbers)

    numbers = [1, 2]
    assert total(numbers) == 3
    clock.advance(51_000)
    DO.append(gate)
    assert total(numbers) == 3
    assert gate.reached.wait(30)
    numbers.append(100)
    gate.opened.set()
    done()
    assert len(CALLS) == 2
    assert total([1, 2]) == 3


def test_an_unsaved_edit_of_a_row_meanwhile_is_not_in_the_value(gate: Gate) -> None:
    @cached_as("stats")
    def shouted(row: Category) -> str:
        call()
        return row.name.upper()

    row = Category.objects.create(name="a", slug="a")
    shouted(row)
    clock.advance(51_000)
    DO.append(gate)
    shouted(row)
    assert gate.reached.wait(30)
    row.name = "edited"
    gate.opened.set()
    done()
    assert shouted(Category._base_manager.get(pk=row.pk)) == "A"


def test_an_enclosed_variable_that_changes_meanwhile_is_not_in_the_value() -> None:
    enclosed = 1

    @cached_as("stats")
    def function() -> int:
        call()
        return enclosed

    assert function() == 1
    clock.advance(51_000)
    assert function() == 1
    enclosed = 2
    done()
    enclosed = 1
    assert function() == 1


def test_what_cannot_be_copied_is_computed_by_who_reads_it_at_its_end() -> None:
    class Request:
        def cache_key(self) -> str:
            return "one"

        def __deepcopy__(self, _: Any) -> Any:
            raise TypeError("a stream")

    function = stats()
    function(Request())
    clock.advance(51_000)
    for _ in range(3):
        assert function(Request()) == 1
    done()
    clock.advance(9_100)
    assert function(Request()) == 2


def test_lists_counts_and_aggregates_are_computed_ahead_too(django_assert_num_queries: Any) -> None:
    Category.objects.create(name="a", slug="a")
    reads: list[Callable[[], Any]] = [
        lambda: [row.name for row in Category.objects.all()],
        lambda: [row.name for row in Category.objects.order_by("pk")[:3]],
        Category.objects.count,
        lambda: Category.objects.filter(name="a").exists(),
        lambda: Category.objects.get(slug="a").name,
    ]
    for read in reads:
        first = read()
        clock.advance(51_000)
        with django_assert_num_queries(0):
            assert read() == first
        done()
        clock.advance(30_000)
        with django_assert_num_queries(0):
            assert read() == first


def test_a_queryset_that_changes_in_place_meanwhile_is_read_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "ab":
        Category.objects.create(name=name, slug=name)
    objects: Any = Category.objects
    assert len(objects.filter(slug__in=["a", "b"])) == 2
    clock.advance(51_000)
    queryset = objects.filter(slug__in=["a", "b"]).inplace()
    begun, go = threading.Event(), threading.Event()
    upstream = answers._compute

    def later(*args: Any) -> None:
        begun.set()
        assert go.wait(30)
        upstream(*args)

    monkeypatch.setattr(answers, "_compute", later)
    assert len(queryset) == 2
    assert begun.wait(30)
    queryset.filter(name="a")
    go.set()
    done()
    assert len(objects.filter(slug__in=["a", "b"])) == 2


def test_where_the_prefix_goes_by_the_reader_nothing_is_computed_by_another_thread() -> None:
    tenant = threading.local()
    tenant.name = "a"
    with override_settings(CACHEOPS_PREFIX=lambda _query: getattr(tenant, "name", "")):
        function = stats()
        function()
        clock.advance(51_000)
        function()
        done()
        assert [name for (name,) in CALLS] == [threading.current_thread().name]


def test_nothing_is_computed_ahead_that_nobody_reads_or_that_has_no_rule_for_it() -> None:
    @cached(timeout="60s")
    def function() -> int:
        return call()

    function()
    len(Article.objects.cache())  # type: ignore[attr-defined]
    clock.advance(51_000)
    function()
    len(Article.objects.cache())  # type: ignore[attr-defined]
    assert not [each for each in threading.enumerate() if each.name == "cachepolicy-refresh"]


def test_a_call_sites_timeout_has_its_own_end() -> None:
    objects: Any = Tag.objects
    len(objects.cache(timeout=4))
    clock.advance(1_500)
    len(objects.cache(timeout=4))
    done()
    clock.advance(1_000)
    queries = len(connection.queries_log)
    len(objects.cache(timeout=4))
    done()
    assert len(connection.queries_log) == queries


def test_of_many_values_a_few_are_computed_at_once(gate: Gate) -> None:
    function = stats()
    for number in range(6):
        function(number)
    clock.advance(51_000)
    DO.append(gate)
    for _ in range(2):
        for number in range(6):
            assert function(number) == number + 1
    assert len(answers._refreshes.running) == answers._MOST_REFRESHES
    gate.opened.set()
    done()
    assert not answers._refreshes.running
