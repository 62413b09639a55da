"""The stats page: a function cached under a rule of policies.yaml."""

from __future__ import annotations

from collections import Counter

import pytest
from django.test import Client
from news.edition import stories
from news.models import Article, Category, Tag
from news.stats import article_stats

from tests.site.conftest import Unasked


def test_counts_by_category_and_by_tag_are_those_of_the_edition(edition: int) -> None:
    loaded = list(stories(edition, seed=1))
    stats = article_stats()
    assert stats["articles"] == edition
    by_category = Counter(story.category for story in loaded)
    assert {row["name"]: row["count"] for row in stats["by_category"] if row["count"]} == by_category
    by_tag = Counter(tag for story in loaded for tag in story.tags)
    assert {row["name"]: row["count"] for row in stats["by_tag"] if row["count"]} == by_tag


def test_every_category_and_tag_is_counted_even_without_articles(transactional_db: None) -> None:
    Category.objects.create(name="Letters", slug="letters")
    Tag.objects.create(name="Readers", slug="readers")
    assert article_stats() == {
        "articles": 0,
        "by_category": [{"name": "Letters", "slug": "letters", "count": 0}],
        "by_tag": [{"name": "Readers", "slug": "readers", "count": 0}],
    }


@pytest.mark.usefixtures("edition")
def test_second_call_is_served_from_the_cache(unasked: Unasked) -> None:
    first = article_stats()
    with unasked(Article), unasked(Category), unasked(Tag):
        assert article_stats() == first


def test_stats_page_shows_the_new_count_right_after_save(client: Client, edition: int) -> None:
    assert f"{edition} articles" in client.get("/stats/").content.decode()
    article = Article.objects.all()[0]
    article.pk = None
    article.slug = "one-more"
    article.save()
    assert f"{edition + 1} articles" in client.get("/stats/").content.decode()


def test_stats_page_shows_a_tags_new_name_right_after_save(client: Client, edition: int) -> None:
    tag = Tag.objects.all()[0]
    assert tag.name in client.get("/stats/").content.decode()
    tag.name = "Tides"
    tag.save()
    assert "Tides" in client.get("/stats/").content.decode()


def test_counts_follow_an_article_into_another_category_at_once(edition: int) -> None:
    article = Article.objects.all()[0]
    other = Category.objects.exclude(pk=article.category_id)[0]

    def counts() -> dict[str, int]:
        return {row["name"]: row["count"] for row in article_stats()["by_category"]}

    before, old = counts(), article.category.name
    article.category = other
    article.save()
    assert counts() == {**before, old: before[old] - 1, other.name: before[other.name] + 1}


def test_counts_follow_an_added_and_a_removed_tag_at_once(edition: int) -> None:
    article, tag = Article.objects.all()[0], Tag.objects.create(name="Tides", slug="tides")

    def count() -> int:
        return next(row["count"] for row in article_stats()["by_tag"] if row["slug"] == "tides")

    assert count() == 0
    article.tags.add(tag)
    assert count() == 1
    article.tags.remove(tag)
    assert count() == 0
