"""The newspaper's rows, the same in every database; run by name, this module makes the tables and fills them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

import django

__all__ = ["ARTICLES", "CATEGORIES", "fill"]

ARTICLES: Final = 5_000
CATEGORIES: Final = 20
_AUTHORS: Final = 50
_FIRST: Final = datetime(2024, 1, 1, tzinfo=UTC)
_SENTENCE: Final = "The minister said that the figures would be published in due course. "


def fill() -> None:
    """Fill empty tables."""
    from benchmarks.newspaper.models import Article, Author, Category

    Category.objects.bulk_create(Category(id=n, name=f"Section {n}") for n in range(1, CATEGORIES + 1))
    Author.objects.bulk_create(
        Author(id=n, name=f"Author {n}", email=f"author{n}@example.com") for n in range(1, _AUTHORS + 1)
    )
    Article.objects.bulk_create(
        Article(
            id=n,
            title=f"Story {n}: what became of it",
            slug=f"story-{n}",
            body=_SENTENCE * (4 + n % 5),
            category_id=n % CATEGORIES + 1,
            author_id=n % _AUTHORS + 1,
            views=n * 7 % 1_000,
            published=_FIRST + timedelta(minutes=n),
        )
        for n in range(1, ARTICLES + 1)
    )


if __name__ == "__main__":
    django.setup()
    from django.core.management import call_command
    from django.db import connection

    call_command("migrate", run_syncdb=True, verbosity=0)
    fill()
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
