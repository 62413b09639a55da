"""The questions that are measured, as the ORM asks them; each has as many variants as there are numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from django.db.models import Max, QuerySet, Sum

from benchmarks.newspaper.models import Article, Author
from benchmarks.newspaper.rows import CATEGORIES

__all__ = ["PAGE", "READS", "latest"]


def _get(n: int) -> Article:
    return Article.objects.get(pk=n)


def _author(n: int) -> Author:
    return Author.objects.get(pk=n)


def _twenty_rows(n: int) -> list[Article]:
    # A category has 250 articles: numbers below 4,600 give different slices, of 20 rows each.
    offset = n // CATEGORIES
    return list(_of_category(n)[offset : offset + 20])


def _count(n: int) -> int:
    return _of_category(n).count()


def _exists(n: int) -> bool:
    return _of_category(n).exists()


def _aggregate(n: int) -> dict[str, Any]:
    return _of_category(n).aggregate(views=Sum("views"), newest=Max("published"))


def latest(n: int) -> dict[str, Any]:
    """What a function makes of one query."""
    return {"category": n, "latest": list(_of_category(n).values("id", "title", "views")[:20])}


def _of_category(n: int) -> QuerySet[Article]:
    return Article.objects.filter(category_id=n % CATEGORIES + 1)


READS: Final[dict[str, Callable[[int], Any]]] = {
    "get": _get,
    "author": _author,
    "20 rows": _twenty_rows,
    "count": _count,
    "exists": _exists,
    "aggregate": _aggregate,
    "function": latest,
}
# What a page asks.
PAGE: Final = ("get", "author", "20 rows", "count", "aggregate")
