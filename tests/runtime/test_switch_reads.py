"""What is switched off is neither served nor stored, and everything else goes on: other reads, and invalidations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import cacheops
import pytest
from cacheops.redis import redis_client
from django.db.models import Max
from news.models import Article, Category, Country, Tag

from cachepolicy import allow_writes, cached, cached_as
from cachepolicy.runtime.switch import NAME, switch_off, switch_on, switched_off

pytestmark = pytest.mark.django_db(transaction=True)

# What the functions were called with; a global, since enclosed variables are part of a key.
CALLS: list[int] = []
READS: dict[str, Callable[[], Any]] = {
    "get": lambda: Category.objects.get(slug="sport").name,
    "fetch": lambda: list(Category.objects.filter(slug="sport")),
    "count": lambda: Category.objects.count(),
    "exists": lambda: Category.objects.filter(slug="sport").exists(),
    "aggregate": lambda: Category.objects.aggregate(Max("pk")),
}


@pytest.fixture(autouse=True)
def _rows() -> Iterator[None]:
    CALLS.clear()
    switch_on("*")
    Category.objects.create(name="Sport", slug="sport")
    Tag.objects.create(name="Elections", slug="elections")
    with allow_writes():
        Country.objects.create(code="FR", alpha_3="FRA", numeric="250", name="France")
    yield
    switch_on("*")


def country() -> str:
    return Country.objects.get(code="FR").name


@pytest.mark.parametrize("pattern", ["news.Category", "news.*", "*"])
@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_a_read_that_is_off_asks_the_database_each_time_and_is_cached_when_it_is_on_again(
    read: Callable[[], Any], pattern: str, django_assert_num_queries: Any
) -> None:
    first = read()
    switch_off(pattern)
    with django_assert_num_queries(2):
        assert (read(), read()) == (first, first)
    switch_on(pattern)
    read()
    with django_assert_num_queries(0):
        assert read() == first


def test_reads_of_other_models_are_still_cached(django_assert_num_queries: Any) -> None:
    switch_off("news.Tag")
    Category.objects.get(slug="sport")
    with django_assert_num_queries(0):
        Category.objects.get(slug="sport")


def test_a_read_that_joins_what_is_off_is_off_too(django_assert_num_queries: Any) -> None:
    switch_off("news.Tag")
    read = Article.objects.filter(tags__slug="elections")
    list(read.all())
    with django_assert_num_queries(1):
        list(read.all())


def test_the_copies_in_memory_are_switched_off_too(django_assert_num_queries: Any) -> None:
    country()
    switch_off("news.Country")
    with django_assert_num_queries(2):
        assert (country(), country()) == ("France", "France")


def test_writes_go_on_invalidating_while_their_reads_are_off() -> None:
    Category.objects.get(slug="sport")
    switch_off("news.Category")
    Category.objects.filter(slug="sport").get().delete()
    Category.objects.create(name="Sports", slug="sport")
    switch_on("news.Category")
    assert Category.objects.get(slug="sport").name == "Sports"


@pytest.mark.usefixtures("policies")
@pytest.mark.parametrize(
    ("decorator", "name", "pattern"),
    [
        (cached, "timed", "functions.timed"),
        (cached_as, "by_rule", "functions.by_rule"),
        (cached_as, "by_rule", "news.Tag"),
        (cached, "timed", "*"),
    ],
)
def test_a_function_that_is_off_is_called_each_time(decorator: Any, name: str, pattern: str) -> None:
    @decorator(name)
    def articles() -> int:
        CALLS.append(1)
        return Article.objects.count()

    articles()
    switch_off(pattern)
    articles()
    articles()
    assert len(CALLS) == 3
    switch_on("*")
    articles()
    articles()
    assert len(CALLS) <= 4


def test_the_switch_outlives_invalidate_all() -> None:
    switch_off("news.Category", "functions.article_stats")
    redis_client.set("something", "else")
    cacheops.invalidate_all()
    assert switched_off() == ("functions.article_stats", "news.Category")
    assert set(redis_client.keys("*")) == {NAME.encode()}
