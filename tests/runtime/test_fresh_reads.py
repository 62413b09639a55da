"""Inside fresh() every kind of cached read goes to the database, and outside the same read is served from the cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db.models import Max
from news.models import Article, Category, Country, Tag

from cachepolicy import allow_writes, cached, cached_as, fresh

pytestmark = pytest.mark.django_db(transaction=True)

# What the functions were called with; a global, since enclosed variables are part of a key.
CALLS: list[int] = []
READS: dict[str, Callable[[], Any]] = {
    "get": lambda: Category.objects.get(slug="sport").name,
    "first": lambda: Category.objects.first(),
    "fetch": lambda: list(Category.objects.filter(slug="sport")),
    "count": lambda: Category.objects.count(),
    "exists": lambda: Category.objects.filter(slug="sport").exists(),
    "aggregate": lambda: Category.objects.aggregate(Max("pk")),
    "local_get": lambda: Country.objects.get(code="FR").name,
}


@pytest.fixture(autouse=True)
def _rows() -> None:
    CALLS.clear()
    Category.objects.create(name="Sport", slug="sport")
    Tag.objects.create(name="Elections", slug="elections")
    with allow_writes():
        Country.objects.create(code="FR", alpha_3="FRA", numeric="250", name="France")


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_a_cached_read_asks_the_database_inside_fresh(read: Callable[[], Any], django_assert_num_queries: Any) -> None:
    first = read()
    with django_assert_num_queries(1), fresh():
        assert read() == first
    with django_assert_num_queries(0):
        assert read() == first


@pytest.mark.parametrize("read", [pytest.param(READS[op], id=op) for op in READS if op != "local_get"])
def test_what_a_fresh_read_finds_is_stored(read: Callable[[], Any], django_assert_num_queries: Any) -> None:
    with fresh():
        found = read()
    with django_assert_num_queries(0):
        assert read() == found


def test_a_row_is_refreshed_from_the_database(django_assert_num_queries: Any) -> None:
    sport = Category.objects.get(slug="sport")
    sport.refresh_from_db()
    with django_assert_num_queries(1):
        sport.refresh_from_db()


@pytest.mark.usefixtures("policies")
@pytest.mark.parametrize("decorator", [cached, cached_as], ids=["cached", "cached_as"])
def test_a_cached_function_is_called_inside_fresh(decorator: Any) -> None:
    @decorator({cached: "timed", cached_as: "by_rule"}[decorator])
    def articles() -> int:
        CALLS.append(1)
        return Article.objects.count()

    articles()
    with fresh():
        articles()
    assert len(CALLS) == 2
    articles()
    assert len(CALLS) == 2


@pytest.mark.usefixtures("policies")
def test_a_function_decorated_by_both_is_never_served_from_the_cache() -> None:
    @fresh()
    @cached_as("by_rule")
    def articles() -> int:
        CALLS.append(1)
        return Article.objects.count()

    assert (articles(), articles(), len(CALLS)) == (0, 0, 2)
