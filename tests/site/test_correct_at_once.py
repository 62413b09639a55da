"""Writes that cacheops sees: the next cached read shows them at once, with no timeout to wait for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cacheops
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from news.models import Article, Author, Category, Tag

from cachepolicy.consistency.faults.processes import past_django

Write = Callable[["Rows"], object]
Read = Callable[["Rows"], Any]


@dataclass
class Rows:
    """What the plays write to."""

    article: Article
    tag: Tag
    category: Category
    author: Author


@pytest.fixture
def rows(edition: int) -> Rows:
    article = Article.objects.select_related(None).nocache()[0]  # type: ignore[attr-defined]
    category = Category.objects.nocache().get(pk=article.category_id)  # type: ignore[attr-defined]
    author = Author.objects.nocache().get(pk=article.author_id)  # type: ignore[attr-defined]
    return Rows(article, Tag.objects.create(name="Unused", slug="unused"), category, author)


def _titles(rows: Rows) -> list[str]:
    return [article.title for article in Article.objects.filter(category=rows.category)]


def _titles_by_slug(rows: Rows) -> list[str]:
    return [article.title for article in Article.objects.filter(category__slug="renamed")]


def _count(rows: Rows) -> int:
    return Article.objects.filter(category=rows.category).count()


def _tagged(rows: Rows) -> list[str]:
    return [article.title for article in Article.objects.filter(tags=rows.tag)]


def _tag_names(rows: Rows) -> list[str]:
    return [tag.name for tag in Tag.objects.filter(slug__startswith="new")]


def _author_by_key(rows: Rows) -> str:
    return Article.objects.get(pk=rows.article.pk).author.name


def _prefetched(rows: Rows) -> list[str]:
    articles = Article.objects.filter(pk=rows.article.pk).prefetch_related("tags")
    return sorted(tag.name for article in articles for tag in article.tags.all())


def _set(row: Any, field: str, value: Any) -> None:
    setattr(row, field, value)
    row.save()


PLAYS: dict[str, tuple[Read, Write]] = {
    "save()": (_titles, lambda rows: _set(rows.article, "title", "Saved")),
    "create()": (_tag_names, lambda _: Tag.objects.create(name="New", slug="new")),
    "bulk_create()": (_tag_names, lambda _: Tag.objects.bulk_create([Tag(name="New", slug="new")])),
    "delete()": (_count, lambda rows: rows.article.delete()),
    "QuerySet.delete()": (_titles, lambda rows: Article.objects.filter(pk=rows.article.pk).delete()),
    "invalidated_update()": (
        _titles,
        lambda rows: Article.objects.filter(pk=rows.article.pk).invalidated_update(title="Updated"),  # type: ignore[attr-defined]
    ),
    "an m2m's add()": (_tagged, lambda rows: rows.article.tags.add(rows.tag)),
    "an m2m's clear()": (_prefetched, lambda rows: rows.article.tags.clear()),
    "a row behind a foreign key": (_author_by_key, lambda rows: _set(rows.author, "name", "Renamed")),
    "a row joined by a filter": (_titles_by_slug, lambda rows: _set(rows.category, "slug", "renamed")),
    "a prefetched row": (_prefetched, lambda rows: _set(rows.article.tags.all()[0], "name", "Renamed")),
    "a foreign key that leads elsewhere": (
        _count,
        lambda rows: _set(rows.article, "category", Category.objects.exclude(pk=rows.category.pk)[0]),
    ),
}


@pytest.mark.parametrize("play", PLAYS)
def test_the_next_read_shows(rows: Rows, play: str) -> None:
    read, write = PLAYS[play]
    before = read(rows)
    with CaptureQueriesContext(connection) as queries:
        assert read(rows) == before
    assert len(queries) == 0, "what is not cached shows nothing"
    write(rows)
    after = read(rows)
    assert after != before
    assert after == _past_the_cache(read, rows)


def _past_the_cache(read: Read, rows: Rows) -> Any:
    cacheops.invalidate_all()
    return read(rows)


def test_what_one_play_misses_is_seen_by_this_test(rows: Rows) -> None:
    """A write past Django sends no invalidation: had it been one of the plays, it would have failed."""
    before = _titles(rows)
    past_django("UPDATE news_article SET title = 'Unseen' WHERE id = %s", [rows.article.pk])
    assert _titles(rows) == before
    assert _past_the_cache(_titles, rows) != before
