"""The pages, on plain ORM reads: which of them are cached, and for how long, policies.yaml says.

Related rows come by prefetch_related and not select_related: a row that a join brought along is cached inside the
other one, and a write to it would not be seen.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render

from news.models import Article, Author, Category, Country, Tag
from news.stats import article_stats

_PER_SECTION: Final = 4
_PER_PAGE: Final = 20


class Section(NamedTuple):
    """A category and its latest articles, as the front page shows them."""

    category: Category
    articles: list[Article]


def front_page(request: HttpRequest) -> HttpResponse:
    """The latest articles of every category."""
    sections = [
        # filter(category=…) rather than category.articles: the latter puts this category object into the cached rows.
        Section(category, list(_listed(Article.objects.filter(category=category))[:_PER_SECTION]))
        for category in Category.objects.all()
    ]
    return render(request, "news/front_page.html", {"sections": [section for section in sections if section.articles]})


def article(request: HttpRequest, slug: str) -> HttpResponse:
    """One article."""
    return render(request, "news/article.html", {"article": get_object_or_404(Article, slug=slug)})


def category(request: HttpRequest, slug: str) -> HttpResponse:
    """The articles of a category."""
    found = get_object_or_404(Category, slug=slug)
    return _article_list(request, "Category", found.name, Article.objects.filter(category=found))


def tag(request: HttpRequest, slug: str) -> HttpResponse:
    """The articles that carry a tag."""
    found = get_object_or_404(Tag, slug=slug)
    return _article_list(request, "Tag", found.name, Article.objects.filter(tags=found))


def country(request: HttpRequest, code: str) -> HttpResponse:
    """A country, the correspondents there, and what they wrote last."""
    found = get_object_or_404(Country, code=code.upper())
    context = {
        "country": found,
        "authors": Author.objects.filter(country=found),
        "articles": _listed(Article.objects.filter(author__country=found))[:_PER_PAGE],
    }
    return render(request, "news/country.html", context)


def stats(request: HttpRequest) -> HttpResponse:
    """How many articles each category and each tag has."""
    return render(request, "news/stats.html", {"stats": article_stats()})


def _listed(articles: QuerySet[Article]) -> QuerySet[Article]:
    """The articles with what a list shows of each."""
    return articles.prefetch_related("author", "category")


def _article_list(request: HttpRequest, kind: str, title: str, articles: QuerySet[Article]) -> HttpResponse:
    page = Paginator(_listed(articles), _PER_PAGE).get_page(request.GET.get("page"))
    return render(request, "news/article_list.html", {"kind": kind, "title": title, "page": page})
