"""A queryset's result has one key, no other queryset has it, and a queryset without one is read all the same."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from importlib import import_module
from typing import Any

import cacheops
import cacheops.query
import pytest
from django.db import connection, connections, models
from django.db.models import Count, F, Max, OuterRef, Q, QuerySet, Subquery, Sum, Value
from django.db.models.expressions import RawSQL
from news.models import Article, Category, Tag

from cachepolicy.policies.loader import parse_policies
from cachepolicy.runtime import dependencies, queryset_keys
from cachepolicy.runtime.places import place_of
from cachepolicy.runtime.queryset_keys import cache_key
from tests.runtime.replacing import put_in_place

pytestmark = pytest.mark.django_db


def key(queryset: Any) -> str:
    return cache_key(queryset, prefix=False)


@pytest.fixture(autouse=True)
def _ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours in place, whether or not the project has it installed."""
    put_in_place(monkeypatch, queryset_keys.REPLACEMENTS)


@pytest.fixture
def plain() -> Iterator[None]:
    """cacheops as it comes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(QuerySet, "_cache_key", cacheops.query.QuerySetMixin._cache_key)
        yield


def crafted() -> tuple[Any, Any]:
    """Two querysets that ask for different rows; without quotes around their texts they read alike."""
    quote = connection.ops.quote_name
    between = f" AND {quote('news_article')}.{quote('title')} = "
    asked = [(f"a{between}b", "c"), ("a", f"b{between}c")]
    one, other = (Article.objects.order_by().filter(slug=slug, title=title) for slug, title in asked)
    return one, other


def test_plain_cacheops_confuses_crafted_texts(plain: None) -> None:
    one, other = (queryset._cache_key(prefix=False) for queryset in crafted())
    assert one == other


def test_crafted_texts_have_keys_of_their_own() -> None:
    one, other = (queryset._cache_key(prefix=False) for queryset in crafted())
    assert one != other


DIFFERENT: list[Any] = [
    Article.objects.all(),
    Article.objects.filter(title="1"),
    Article.objects.filter(title="None"),
    Article.objects.filter(pk=1),
    Article.objects.annotate(n=Value(1)),
    Article.objects.annotate(n=Value("1")),
    Article.objects.annotate(n=Value(Decimal(1))),
    Article.objects.annotate(n=Value(None, output_field=models.TextField())),
    Article.objects.none(),
    Tag.objects.none(),
    Article.objects.values("author_id"),
    Article.objects.values("author__pk"),
    Article.objects.values_list("author_id"),
    Article.objects.values_list("author_id", flat=True),
    Article.objects.values_list("author_id", named=True),
    Article.objects.values_list("author__pk", named=True),
    Article.objects.only("title"),
    Article.objects.select_related("author"),
    Article.objects.select_related("author__country"),
    Article.objects.filter(pk=1)[:1],
    Article.objects.filter(pk=1)[:2],
]


def test_no_two_querysets_share_a_key() -> None:
    assert len({key(queryset) for queryset in DIFFERENT}) == len(DIFFERENT)


def test_the_same_question_has_the_same_key() -> None:
    assert key(Article.objects.filter(pk=1)) == key(Article.objects.filter(pk=1)) == key(Article.objects.filter(id=1))
    queryset = Article.objects.filter(pk=1)
    assert key(queryset) == key(queryset.all()) == key(queryset.prefetch_related("tags"))


def test_databases_and_timeouts_have_keys_of_their_own(settings: Any) -> None:
    asked = Article.objects.filter(pk=1)
    shorter = asked.cache(timeout=3)  # type: ignore[attr-defined]
    keys = {key(Article.objects.filter(pk=1)), key(shorter)}
    other = Category.objects.filter(articles=1)
    keys.add(key(other))
    settings.CACHEPOLICY = parse_policies(b"version: 1\nmodels: {news.Article: {ops: [get], timeout: 1s}}")
    keys |= {key(Article.objects.filter(pk=1)), key(Category.objects.filter(articles=1))}
    assert len(keys) == 5, "a rule of any table that is read counts"


def test_databases_have_keys_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connections.settings, "other", connections.settings["default"])
    keys = {key(Article.objects.using(alias).filter(pk=1)) for alias in ("default", "other")}
    keys |= {key(Article.objects.using(alias).none()) for alias in ("default", "other")}
    assert len(keys) == 4


def test_a_key_is_the_same_in_every_process() -> None:
    program = (
        "import os, django; os.environ['DJANGO_SETTINGS_MODULE'] = 'newsroom.settings'; django.setup();"
        "from news.models import Article; from cachepolicy.runtime.queryset_keys import cache_key;"
        "asked = Article.objects.filter(slug__in=['a', 'b'], pk=1).select_related('author', 'category');"
        "print(cache_key(asked, prefix=False))"
    )
    path = os.pathsep.join(path for path in sys.path if path)
    environments = [{**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": seed} for seed in "12"]
    runs = [
        subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, env=each)
        for each in environments
    ]
    assert runs[0].stdout == runs[1].stdout
    assert runs[0].stdout.startswith(b"q:")


class Opaque:
    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError("no")


def test_a_read_whose_parameters_have_no_key_goes_to_the_database(django_assert_num_queries: Any) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("registers an adapter of SQLite's driver")
    sqlite3.register_adapter(Opaque, lambda _: "elections")
    for name in ("Elections", "Votes"):
        Tag.objects.create(name=name, slug=name.lower())
    asked = Tag.objects.order_by("slug").annotate(n=RawSQL("%s", (Opaque(),))).cache()  # type: ignore[attr-defined]
    for _ in range(2):
        with django_assert_num_queries(1):
            assert [tag.slug for tag in asked.all()] == ["elections", "votes"]
        with django_assert_num_queries(1):
            assert asked.filter(n="elections").count() == 2
        with django_assert_num_queries(1):
            assert asked.aggregate(most=Max("n")) == {"most": "elections"}
        with django_assert_num_queries(1):
            assert asked.filter(n="elections").exists()
    assert cacheops.cached_as(asked)(lambda: 1)() == 1
    assert key(asked) != key(asked), "a key that nobody asks for, where someone else wants one"


AGGREGATES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"n": Max("pk")}, {"n": Max("revision")}),
    ({"n": Count("pk", filter=Q(title="1"))}, {"n": Count("pk", filter=Q(title="2"))}),
    ({"n": Max(Value(1))}, {"n": Max(Value("1"))}),
    ({"n": Sum(F("pk") + 1)}, {"n": Sum(F("pk") + 2)}),
    ({"n": Max("pk")}, {"m": Max("pk")}),
]


@pytest.mark.parametrize(("one", "other"), AGGREGATES)
def test_aggregates_have_keys_of_their_own(one: dict[str, Any], other: dict[str, Any]) -> None:
    def extra(aggregates: dict[str, Any]) -> str:
        queryset = Article.objects.all()
        resolved = {name: each.resolve_expression(queryset.query, summarize=True) for name, each in aggregates.items()}
        return queryset_keys.aggregates_key(queryset, resolved)

    assert extra(one) == extra(one) != extra(other)


def test_what_an_aggregate_reads_is_a_dependency() -> None:
    newest = Max(Subquery(Article.objects.filter(category=OuterRef("pk")).values("pk")[:1]))
    for aggregate, tables in ((newest, ("news_article", "news_category")), (Max("pk"), ("news_category",))):
        place = place_of(Category.objects.all(), "aggregate", {"n": aggregate})
        assert place is not None
        assert place.tables == tables


def test_every_replacement_names_something_of_upstreams() -> None:
    for owner, attribute, _ in (*queryset_keys.REPLACEMENTS, *dependencies.REPLACEMENTS):
        module, _, name = owner.partition(":")
        target = import_module(module)
        assert hasattr(getattr(target, name) if name else target, attribute)
