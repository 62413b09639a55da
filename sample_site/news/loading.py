"""Fill the newsroom's tables: what is there already, by its natural key, stays as it is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from django.db import models, transaction
from django.utils.text import slugify

from cachepolicy import allow_writes
from news.edition import Story, newsroom, stories
from news.models import Article, Author, Category, Country, Language, Tag
from news.reference import countries, languages

Row = TypeVar("Row", bound=models.Model)


@transaction.atomic
def load_news(articles: int = 300, seed: int = 1) -> dict[str, int]:
    """Add the reference data and an edition of the newsroom; return how many rows of each table are new."""
    added: dict[str, int] = {}
    with allow_writes(Country, Language):
        added["countries"] = _add_missing(Country, "code", countries())
        added["languages"] = _add_missing(Language, "code", languages())
    room = newsroom()
    added["categories"] = _add_missing(
        Category, "slug", [Category(name=name, slug=slugify(name)) for name in room.categories]
    )
    added["tags"] = _add_missing(Tag, "slug", [Tag(name=name, slug=slugify(name)) for name in room.tags])
    added["authors"] = _add_missing(
        Author, "name", [Author(name=name, country_id=country) for name, country in room.authors.items()]
    )
    added["articles"] = _add_articles(list(stories(articles, seed)))
    return added


def _add_missing(model: type[Row], key: str, rows: Iterable[Row]) -> int:
    # iterator() reads past the cache, here and below: what to write must not depend on what was true a while ago.
    known = set(model._default_manager.values_list(key, flat=True).iterator())
    missing = [row for row in rows if getattr(row, key) not in known]
    model._default_manager.bulk_create(missing)
    return len(missing)


def _add_articles(edition: list[Story]) -> int:
    categories = {category.name: category for category in Category.objects.iterator()}
    authors = {author.name: author for author in Author.objects.iterator()}
    tags = {tag.name: tag for tag in Tag.objects.iterator()}
    known = set(Article.objects.values_list("slug", flat=True).iterator())
    missing = [story for story in edition if story.slug not in known]
    created = Article.objects.bulk_create(
        Article(
            slug=story.slug,
            title=story.title,
            body=story.body,
            category_id=categories[story.category].pk,
            author_id=authors[story.author].pk,
            language_id=story.language,
            published=story.published,
        )
        for story in missing
    )
    through = Article.tags.through
    through._default_manager.bulk_create(
        through(article_id=article.pk, tag_id=tags[name].pk)
        for article, story in zip(created, missing, strict=True)
        for name in story.tags
    )
    return len(created)
