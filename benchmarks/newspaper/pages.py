"""A page of five questions, and its address."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.utils.html import escape

from benchmarks.newspaper.reads import PAGE
from benchmarks.styles import style


def page(request: HttpRequest, n: int) -> HttpResponse:  # noqa: ARG001 - Django's signature
    """An article, its author, and what its category has."""
    article, author, rows, count, totals = (style().read(question, n) for question in PAGE)
    items = "".join(f"<li>{escape(row.title)} ({row.views})</li>" for row in rows)
    return HttpResponse(
        f"<h1>{escape(article.title)}</h1><p>{escape(author.name)}</p><div>{escape(article.body)}</div>"
        f"<h2>{count} in this section, {totals['views']} views, newest {totals['newest']:%Y-%m-%d}</h2><ul>{items}</ul>"
    )


urlpatterns = [path("<int:n>/", page)]
