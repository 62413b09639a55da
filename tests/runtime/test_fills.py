"""Fills: what may be stored and for how long; a result that cannot be stored is the caller's all the same."""

from __future__ import annotations

import logging
import threading
from typing import Any

import cacheops
import pytest
from cacheops import cache, cached_as
from cacheops.redis import redis_client
from news.models import Category, Tag

from cachepolicy import cached, clock, signals
from cachepolicy.runtime import fills

calls: list[int] = []

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def tag() -> Tag:
    return Tag.objects.create(name="Elections", slug="elections")


def pttl_of_the_only_entry(kind: str) -> int:
    (key,) = redis_client.scan_iter(f"{kind}:*", _type="string")
    return int(redis_client.pttl(key))


def test_a_result_that_cannot_be_pickled_is_returned_and_told_once(
    tag: Tag, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fills, "_warned", set())

    @cached_as(Tag)
    def rows() -> list[Any]:
        found = list(Tag.objects.nocache())
        found[0].request = threading.Lock()
        return found

    with caplog.at_level(logging.WARNING, logger="cachepolicy"):
        assert [row.pk for row in rows()] == [row.pk for row in rows()] == [tag.pk]
    (record,) = caplog.records
    assert record.getMessage().endswith(
        "policies.yaml:14:54 (news.Tag) cannot be pickled, so that it is returned and not stored: cannot pickle "
        "'_thread.lock' object; give its objects a __reduce__, or read it without a rule"
    )


@pytest.mark.parametrize("timeout", [86_400, None])
def test_a_call_sites_timeout_never_exceeds_the_rules(tag: Tag, timeout: int | None) -> None:
    list(Tag.objects.filter(pk=tag.pk).cache(timeout=timeout))
    assert 0 < pttl_of_the_only_entry("q") <= 30_000


def test_a_call_sites_shorter_timeout_holds(tag: Tag) -> None:
    list(Tag.objects.filter(pk=tag.pk).cache(timeout=5))
    assert 0 < pttl_of_the_only_entry("q") <= 5_000


@pytest.mark.parametrize("timeout", [0, -1])
def test_a_timeout_of_nothing_stores_nothing(tag: Tag, timeout: int, django_assert_num_queries: Any) -> None:
    for _ in range(2):
        with django_assert_num_queries(1):
            list(Tag.objects.filter(pk=tag.pk).cache(timeout=timeout))


def test_cacheops_own_decorators_are_bounded_by_the_rules_of_their_tables_and_by_max_staleness(tag: Tag) -> None:
    @cached_as(Tag, Category, timeout=86_400)
    def counted() -> int:
        return 1

    @cacheops.cached
    def timed() -> int:
        return 1

    counted()
    assert 0 < pttl_of_the_only_entry("as") <= 2_000
    timed()
    assert 0 < pttl_of_the_only_entry("c") <= 60_000


def test_the_simple_cache_stores_what_was_asked_for_and_nothing_else() -> None:
    told: list[str] = []

    def hear(reason: str, **_: Any) -> None:
        told.append(reason)

    signals.fill.connect(hear)
    try:
        cache.set("unasked", 1, timeout=10)
        with pytest.raises(cacheops.CacheMiss):
            cache.get("asked")
        cache.set("asked", 2, timeout=10)
    finally:
        signals.fill.disconnect(hear)
    assert told == ["nobody asked for it first, so that its age is unknown", ""]
    assert cache.get("asked") == 2


@cached(timeout="10s")
def slow() -> int:
    calls.append(1)
    if len(calls) == 1:
        clock.advance(9_000)
    return len(calls)


def test_a_simple_value_is_as_old_as_its_question() -> None:
    calls.clear()
    assert [slow(), slow()] == [1, 1]
    clock.advance(1_100)
    assert slow() == 2
