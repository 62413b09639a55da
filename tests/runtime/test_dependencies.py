"""A queryset depends on every table its SQL names, and on rows only where its conditions say which."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cacheops import tree
from django.db.models import Count, Exists, F, Max, OuterRef, Q, Subquery, Window
from django.db.models.expressions import RawSQL
from django.db.models.functions import Coalesce, RowNumber
from news.models import Article, Author, Category, Country, Language, Tag

from cachepolicy import allow_writes
from cachepolicy.runtime import queryset_keys
from cachepolicy.runtime.compilations import share, unshare
from cachepolicy.runtime.dependencies import REPLACEMENTS, dnfs
from tests.projects import Project
from tests.runtime.replacing import put_in_place

WHOLE: list[dict[str, Any]] = [{}]
ARTICLE, AUTHOR, CATEGORY, COUNTRY, TAG = (model._meta.db_table for model in (Article, Author, Category, Country, Tag))
LINKS = Article.tags.through._meta.db_table

ROWS = [
    (Article.objects.filter(pk=1), {ARTICLE: [{"id": 1}]}),
    (Article.objects.filter(slug="a", category=2), {ARTICLE: [{"slug": "a", "category_id": 2}]}),
    (Article.objects.filter(pk__in=[1, 2]), {ARTICLE: [{"id": 1}, {"id": 2}]}),
    (Article.objects.filter(Q(pk=1) | Q(slug="a")), {ARTICLE: [{"id": 1}, {"slug": "a"}]}),
    (Article.objects.all(), {ARTICLE: WHOLE}),
    (Article.objects.exclude(pk=1), {ARTICLE: WHOLE}),
    (Article.objects.filter(category__slug="w"), {ARTICLE: WHOLE, CATEGORY: [{"slug": "w"}]}),
    (Tag.objects.filter(articles=1), {TAG: WHOLE, LINKS: [{"article_id": 1}]}),
    (Article.objects.filter(pk=1).annotate(Count("tags")), {ARTICLE: [{"id": 1}], LINKS: [{"article_id": 1}]}),
]


@pytest.mark.parametrize(("queryset", "expected"), ROWS)
def test_conditions_that_say_which_rows_count_are_kept(queryset: Any, expected: Any) -> None:
    assert dnfs(queryset) == expected


# What plain cacheops misses the invalidation of: (queryset, the tables it must depend on as wholes).
MISSED: list[tuple[str, Any, set[str]]] = [
    ("select_related", Article.objects.select_related("author__country").filter(pk=1), {AUTHOR, COUNTRY}),
    ("subquery in a filter", Article.objects.filter(author__in=Author.objects.filter(name="x")), {AUTHOR}),
    ("exclude over a reverse relation", Tag.objects.exclude(articles__title="x"), {ARTICLE, LINKS}),
    ("order_by over a relation", Article.objects.order_by("category__name"), {CATEGORY}),
    ("extra(tables)", Article.objects.extra(tables=[TAG]), {TAG}),
    ("nested annotation", Article.objects.annotate(n=Coalesce(Subquery(Tag.objects.values("pk")[:1]), F("pk"))), {TAG}),
    ("exists", Article.objects.filter(~Exists(Tag.objects.filter(articles=OuterRef("pk")))), {ARTICLE, TAG, LINKS}),
    ("raw SQL", Article.objects.annotate(n=RawSQL(f"SELECT name FROM {TAG.upper()} LIMIT 1", ())), {TAG}),
    ("window", Article.objects.annotate(n=Window(RowNumber())).filter(Q(n=1, slug="a") | Q(n=2, slug="a")), {ARTICLE}),
    ("no such rows joined", Author.objects.filter(articles__isnull=True), {ARTICLE}),
    ("no rows joined, by a column", Author.objects.filter(articles__author__isnull=True), {AUTHOR, ARTICLE}),
    ("letters that a collation confuses", Article.objects.filter(title="😀"), {ARTICLE}),
    ("one of two, which it takes for both", Article.objects.filter(Q(pk=1) ^ Q(slug="a")), {ARTICLE}),
    ("one text in two cases", Article.objects.filter(title="a").filter(title="A"), {ARTICLE}),
]  # fmt: skip


@pytest.mark.parametrize(("queryset", "wholes"), [case[1:] for case in MISSED], ids=[case[0] for case in MISSED])
def test_what_cacheops_overlooks_is_a_dependency_on_the_whole_table(queryset: Any, wholes: set[str]) -> None:
    found = dnfs(queryset)
    assert {table for table, disjunction in found.items() if disjunction == WHOLE} >= wholes


@pytest.mark.parametrize(("queryset", "wholes"), [case[1:] for case in MISSED], ids=[case[0] for case in MISSED])
def test_plain_cacheops_overlooks_it(queryset: Any, wholes: set[str]) -> None:
    try:
        found = tree.dnfs(queryset)
    except TypeError:
        return  # a filter that it cannot read at all
    assert any(not found.get(table) or {} not in found[table] for table in wholes)


def _any_of(count: int) -> Q:
    alternatives = Q()
    for number in range(count):
        alternatives |= Q(slug=f"s{number}", category_id=number)
    return alternatives


def _all_of(count: int) -> Q:
    conditions = Q()
    for number in range(count):
        conditions &= Q(slug=f"s{number}") | Q(category_id=number)
    return conditions


SEVEN = list(range(7))
TOO_MANY = {
    "the negation of many alternatives": Article.objects.exclude(_any_of(40)),
    "the negation of many conditions": Article.objects.exclude(_all_of(6)),
    "many conditions": Article.objects.filter(_all_of(40)),
    "lists": Article.objects.filter(pk__in=SEVEN, category__in=SEVEN, author__in=SEVEN),
    "many alternatives": Article.objects.filter(_any_of(101)),
    "a negation inside": Article.objects.filter(Q(pk=1) | ~_any_of(40)),
    "a part of a union": Article.objects.order_by().filter(_any_of(60)).union(
        Article.objects.order_by().filter(_any_of(101))
    ),
    "two parts of a union": Article.objects.order_by().filter(_any_of(60)).union(
        Article.objects.order_by().filter(pk__in=SEVEN, category__in=SEVEN)
    ),
}  # fmt: skip


@pytest.mark.parametrize("queryset", TOO_MANY.values(), ids=list(TOO_MANY))
def test_conditions_that_would_be_too_many_are_the_whole_table(queryset: Any) -> None:
    assert dnfs(queryset) == {ARTICLE: WHOLE}


@pytest.mark.parametrize("case", ["the negation of many alternatives", "many alternatives", "a negation inside"])
def test_an_empty_result_of_too_many_conditions_depends_on_the_whole_table(case: str) -> None:
    assert dnfs(TOO_MANY[case].filter(pk__in=[])) == {ARTICLE: WHOLE}


@pytest.mark.parametrize(
    ("queryset", "count"),
    [
        (Article.objects.filter(_any_of(100)), 100),
        (Article.objects.filter(pk__in=SEVEN, category__in=SEVEN), 49),
        (Article.objects.filter(~Q(~Q(pk__in=SEVEN))), 7),
        (Article.objects.filter(pk=1).exclude(Q(category=1, author=2) | Q(category=2, author=3)), 1),
        (Article.objects.filter(pk__in=SEVEN).exclude(slug__in=list("abcdefg")).exclude(title="x", body="y"), 7),
        (Article.objects.filter(pk=1, slug__in=[str(number) for number in range(1000)]), 1),
    ],
)
def test_conditions_that_are_not_too_many_say_which_rows_count(queryset: Any, count: int) -> None:
    found = dnfs(queryset)[ARTICLE]
    assert {} not in found
    assert len(found) == count


def test_values_that_are_expressions_depend_on_the_whole_table() -> None:
    assert dnfs(Article.objects.filter(pk__in=[F("category_id"), 1])) == {ARTICLE: WHOLE}


@pytest.mark.parametrize("combined", ["union", "intersection", "difference"])
def test_a_combination_depends_on_the_rows_of_its_parts(combined: str) -> None:
    one, other = (Article.objects.order_by().filter(pk=pk) for pk in (1, 2))
    assert dnfs(getattr(one, combined)(other)) == {ARTICLE: [{"id": 1}, {"id": 2}]}
    everything = Article.objects.order_by()
    assert dnfs(getattr(one, combined)(everything)) == {ARTICLE: WHOLE}


def test_a_combination_depends_on_what_its_parts_join() -> None:
    part = Article.objects.order_by().filter(pk=1)
    joined = Article.objects.order_by().filter(category__slug="x")
    found = dnfs(part.union(joined))
    assert {} in found[ARTICLE] or {"id": 1} in found[ARTICLE]
    assert set(found) == {ARTICLE, "news_category"}


def test_a_result_that_is_always_empty_depends_on_no_row() -> None:
    assert dnfs(Article.objects.none()) == {ARTICLE: []}
    assert dnfs(Article.objects.filter(pk__in=[])) == {ARTICLE: []}


def test_a_filter_that_matches_everything_is_no_condition() -> None:
    assert dnfs(Article.objects.exclude(pk__in=[])) == {ARTICLE: WHOLE}


def test_the_order_of_dependencies_is_the_same_in_every_process() -> None:
    program = (
        "import os, django; os.environ['DJANGO_SETTINGS_MODULE'] = 'newsroom.settings'; django.setup();"
        "from news.models import Article; from cachepolicy.runtime.dependencies import dnfs;"
        "q = Article.objects.filter(slug__in=list('abcdef'), category__slug='x').select_related('author');"
        "print(dnfs(q))"
    )
    path = os.pathsep.join(path for path in sys.path if path)
    environments = [{**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": seed} for seed in "123"]
    runs = [subprocess.run([sys.executable, "-c", program], capture_output=True, env=each) for each in environments]
    assert len({run.stdout for run in runs}) == 1
    assert runs[0].stdout


def test_a_queryset_is_compiled_once_where_its_parts_share(monkeypatch: pytest.MonkeyPatch) -> None:
    queryset = Article.objects.filter(pk=1)
    compiled: list[Any] = []
    get_compiler = type(queryset.query).get_compiler
    monkeypatch.setattr(
        type(queryset.query), "get_compiler", lambda self, *a, **k: compiled.append(1) or get_compiler(self, *a, **k)
    )
    share([queryset])
    dnfs(queryset)
    dnfs(queryset)
    unshare([queryset])
    assert len(compiled) == 1
    dnfs(queryset)
    assert len(compiled) == 2
    assert "_cachepolicy_compiled" not in queryset.__dict__


def test_a_compilation_never_outlives_a_change_of_the_query() -> None:
    queryset = Article.objects.filter(pk=1)
    share([queryset])
    assert dnfs(queryset) == {ARTICLE: [{"id": 1}]}
    unshare([queryset])
    in_place = queryset.inplace()  # type: ignore[attr-defined]
    assert in_place is queryset
    in_place.filter(author__name="x")
    assert dnfs(queryset) == {ARTICLE: [{"id": 1}], AUTHOR: [{"name": "x"}]}


@pytest.fixture
def article(monkeypatch: pytest.MonkeyPatch) -> Article:
    put_in_place(monkeypatch, [*REPLACEMENTS, *queryset_keys.REPLACEMENTS])
    with allow_writes():
        country = Country.objects.create(code="FR", alpha_3="FRA", name="France")
        language = Language.objects.create(code="fr", alpha_3="fra", name="French")
    author = Author.objects.create(name="A. Author", country=country)
    category = Category.objects.create(name="World", slug="world")
    article = Article.objects.create(title="T", slug="t", category=category, author=author, language=language)
    article.tags.add(Tag.objects.create(name="Elections", slug="elections"))
    return article


def _renamed(row: Any) -> None:
    row.name = "renamed"
    row.save()


# (what is read, what is written to between two reads of it)
WRITES: dict[str, tuple[Any, Any]] = {
    "select_related": (
        lambda: [row.author.name for row in Article.objects.select_related("author").cache()],  # type: ignore[attr-defined]
        lambda row: _renamed(row.author),
    ),
    "subquery in a filter": (
        lambda: Article.objects.filter(author__in=Author.objects.filter(name="A. Author")).count(),
        lambda row: _renamed(row.author),
    ),
    "exclude over a reverse relation": (
        lambda: list(Category.objects.exclude(articles__author__name="A. Author").values("pk").cache()),  # type: ignore[attr-defined]
        lambda row: _renamed(row.author),
    ),
    "no row joined": (
        lambda: list(Tag.objects.filter(articles__isnull=True).values("pk").cache()),  # type: ignore[attr-defined]
        lambda row: row.delete(),
    ),
    "a text in another case": (
        lambda: Category.objects.filter(name__in=["WORLD", "World"]).exists(),
        lambda row: _renamed(row.category),
    ),
    "aggregate over a subquery": (
        lambda: Tag.objects.cache().aggregate(n=Max(Subquery(Author.objects.values("name")[:1]))),  # type: ignore[attr-defined]
        lambda row: _renamed(row.author),
    ),
}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("case", WRITES)
def test_a_write_to_what_is_read_is_seen_at_once(case: str, article: Article, django_assert_num_queries: Any) -> None:
    read, write = WRITES[case]
    before = read()
    with django_assert_num_queries(0):
        assert read() == before
    write(article)
    assert read() != before


def test_inherited_tables_depend_on_each_other(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.policies('version: 1\nmodels: {"shop.*": {ops: [get], timeout: 30s}}\n')
    ran = project.serve(
        "import json; from shop.models import Place, Cafe, Category; from cachepolicy.runtime.dependencies import dnfs;"
        "print(json.dumps([dnfs(Place.objects.filter(name='x')), dnfs(Cafe.objects.filter(name='x')),"
        "dnfs(Category.objects.filter(pk=1, parent__parent=2)), dnfs(Category.objects.filter(parent=2))]))"
    )
    assert ran.code == 0, ran.err
    assert ran.json == [
        {"shop_cafe": WHOLE, "shop_place": [{"name": "x"}]},
        {"shop_cafe": WHOLE, "shop_place": [{"name": "x"}]},
        {"shop_category": WHOLE},
        {"shop_category": [{"parent_id": 2}]},
    ]
