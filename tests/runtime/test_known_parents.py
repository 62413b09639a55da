"""A parent in memory never reaches the cache with its children, and is theirs by identity all the same."""

from __future__ import annotations

import pickle
import threading
from pathlib import Path
from typing import Any

import pytest
from cacheops.redis import redis_client
from news.models import Article, Author, Category, Country, Language, Tag

from cachepolicy import allow_writes
from cachepolicy.runtime import known_parents, queryset_keys
from tests.projects import Project
from tests.runtime.replacing import put_in_place

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _ours(monkeypatch: pytest.MonkeyPatch) -> None:
    put_in_place(monkeypatch, [*queryset_keys.REPLACEMENTS, *known_parents.REPLACEMENTS])


@pytest.fixture
def world() -> Category:
    with allow_writes():
        country = Country.objects.create(code="FR", alpha_3="FRA", name="France")
        language = Language.objects.create(code="fr", alpha_3="fra", name="French")
    author = Author.objects.create(name="A. Author", country=country)
    category = Category.objects.create(name="World", slug="world")
    for slug in ("one", "two"):
        Article.objects.create(title=slug, slug=slug, category=category, author=author, language=language)
    return category


def fresh(category: Category) -> Category:
    return Category.objects.nocache().get(pk=category.pk)  # type: ignore[attr-defined, no-any-return]


def test_rows_have_the_parent_they_were_asked_of_from_the_database_and_from_the_cache(
    world: Category, django_assert_num_queries: Any
) -> None:
    for queries in (1, 0):
        category = fresh(world)
        with django_assert_num_queries(queries):
            rows = list(category.articles.order_by("slug"))
            assert [row.title for row in rows] == ["one", "two"]
            assert all(row.category is category for row in rows)


def test_unsaved_edits_of_the_parent_never_reach_others(world: Category) -> None:
    edited = fresh(world)
    edited.name = "unsaved"
    assert {row.category.name for row in edited.articles.all()} == {"unsaved"}
    assert {row.category.name for row in fresh(world).articles.all()} == {"World"}
    assert {row.category.name for row in Article.objects.filter(category=world.pk)} == {"World"}
    stored = b"".join(redis_client.get(key) or b"" for key in redis_client.keys("*q:*"))
    assert b"one" in stored
    assert b"unsaved" not in stored


def test_a_parent_that_cannot_be_pickled_does_not_break_the_read(
    world: Category, django_assert_num_queries: Any
) -> None:
    for queries in (1, 0):
        category = fresh(world)
        category.request = threading.Lock()  # type: ignore[attr-defined]
        with pytest.raises(TypeError):
            pickle.dumps(category)
        with django_assert_num_queries(queries):
            assert len(category.articles.all()) == 2


def test_prefetching_over_a_relation_costs_no_extra_query(world: Category, django_assert_num_queries: Any) -> None:
    tag = Tag.objects.create(name="Elections", slug="elections")
    Article.objects.get(slug="one").tags.add(tag)
    for queries in (2, 0):
        category = fresh(world)
        rows = category.articles.order_by("slug").prefetch_related("category", "tags")
        with django_assert_num_queries(queries):
            assert [[tag.slug for tag in row.tags.all()] for row in rows] == [["elections"], []]
            assert all(row.category is category for row in rows)


def test_a_row_keeps_the_parent_that_select_related_loaded(world: Category) -> None:
    for _ in range(2):
        category = fresh(world)
        (row, _) = category.articles.select_related("category")
        assert row.category is not category
        assert row.category == category


def test_values_and_single_rows_are_what_they_were(world: Category, django_assert_num_queries: Any) -> None:
    for _ in range(2):
        category = fresh(world)
        assert list(category.articles.order_by("slug").values("slug")) == [{"slug": "one"}, {"slug": "two"}]
        assert list(category.articles.order_by("slug").values_list("slug", flat=True)) == ["one", "two"]
        assert category.articles.get(slug="one").category is category
        assert category.articles.order_by("slug").first().category is category
        assert category.articles.count() == 2
        assert list(category.articles.filter(pk=0)) == []


def test_a_queryset_of_two_parents_gives_each_row_its_own(world: Category) -> None:
    other = Category.objects.create(name="Other", slug="other")
    Article.objects.filter(slug="two").invalidated_update(category=other)  # type: ignore[attr-defined]
    for _ in range(2):
        one, two = fresh(world), fresh(other)
        rows = list((one.articles.all() | two.articles.all()).order_by("slug"))
        assert [row.category for row in rows] == [one, two]
        assert rows[0].category is one
        assert rows[1].category is two


def test_a_read_that_fails_leaves_the_queryset_as_it_was(world: Category, monkeypatch: pytest.MonkeyPatch) -> None:
    category = fresh(world)
    rows = category.articles.all()
    with monkeypatch.context() as patch:
        patch.setattr(rows.query, "get_compiler", None)
        with pytest.raises(TypeError):
            len(rows)
    assert len(rows) == 2
    assert all(row.category is category for row in rows)


def test_fields_that_point_elsewhere_than_to_the_primary_key_and_other_relations(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.policies('version: 1\nmodels: {"shop.*": {ops: all, timeout: 30s}}\n')
    project.write(
        "shop/models.py",
        """\
from django.contrib.contenttypes.fields import GenericForeignKey, GenericRelation
from django.contrib.contenttypes.models import ContentType
from django.db import models

class Note(models.Model):
    kind = models.ForeignKey(ContentType, models.CASCADE)
    number = models.PositiveIntegerField()
    about = GenericForeignKey("kind", "number")

class Shelf(models.Model):
    code = models.CharField(max_length=9, unique=True)
    name = models.CharField(max_length=9)
    notes = GenericRelation(Note, "number", "kind")

class Book(models.Model):
    shelf = models.ForeignKey(Shelf, models.CASCADE, to_field="code")

class Lamp(models.Model):
    shelf = models.OneToOneField(Shelf, models.CASCADE)
""",
    )
    from cachepolicy.consistency.redis_server import RedisServer

    with RedisServer() as server:
        project.settings(before=f"CACHEOPS_REDIS = {server.url!r}")
        ran = project.serve(
            """
import pytest
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
call_command("migrate", run_syncdb=True, verbosity=0)
from shop.models import *
from cachepolicy.runtime import known_parents, queryset_keys, seams
from tests.runtime.replacing import put_in_place
put_in_place(pytest.MonkeyPatch(), [*queryset_keys.REPLACEMENTS, *known_parents.REPLACEMENTS])
shelf = Shelf.objects.create(code="a", name="saved")
Book.objects.create(shelf=shelf), Lamp.objects.create(shelf=shelf), Note.objects.create(about=shelf)
for queries in (1, 0):
    shelf = Shelf.objects.nocache().get()
    shelf.name = "unsaved"
    with CaptureQueriesContext(connection) as asked:
        assert shelf.book_set.all()[0].shelf is shelf
    assert len(asked) == queries, asked.captured_queries
    assert shelf.lamp.shelf is shelf
    assert shelf.notes.all()[0].about == shelf
    other = Shelf.objects.nocache().get()
    assert other.lamp.shelf.name == other.book_set.get().shelf.name == "saved"
    assert other.notes.get().about.name == "saved"
print("done")
""",
        )
    assert ran.out == "done\n", ran.err
