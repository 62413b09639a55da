"""Numbers about the newsroom, cached as a whole."""

from __future__ import annotations

from typing import TypedDict

from django.db.models import Count

from cachepolicy import cached_as
from news.models import Category, Tag


class Row(TypedDict):
    """A category or a tag, and how many articles it has."""

    name: str
    slug: str
    count: int


class ArticleStats(TypedDict):
    """How many articles there are, by category and by tag, the largest first."""

    articles: int
    by_category: list[Row]
    by_tag: list[Row]


@cached_as("article_stats")
def article_stats() -> ArticleStats:
    """Count the articles by category and by tag."""
    by_category = _rows(Category)
    # Every article has one category.
    return {"articles": sum(row["count"] for row in by_category), "by_category": by_category, "by_tag": _rows(Tag)}


def _rows(model: type[Category] | type[Tag]) -> list[Row]:
    counted = model.objects.annotate(count=Count("articles")).order_by("-count", "name")
    # iterator() reads past the cache: over cached reads, the age of this function's value would add up with theirs.
    return [
        {"name": name, "slug": slug, "count": count}
        for name, slug, count in counted.values_list("name", "slug", "count").iterator()
    ]
