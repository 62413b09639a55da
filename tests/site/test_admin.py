"""The editors' desk."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils.html import escape
from news.models import Article

pytestmark = pytest.mark.usefixtures("edition")

TABLES = ["article", "author", "category", "country", "language", "tag"]


@pytest.fixture
def desk(client: Client) -> Client:
    """A client that is logged in as an editor."""
    client.force_login(User.objects.create_superuser("editor"))
    return client


def test_editor_logs_in_and_finds_the_articles(client: Client) -> None:
    User.objects.create_superuser("editor", password="correct horse")
    to_login = client.get("/admin/news/article/")
    assert to_login.status_code == 302
    response = client.post(
        to_login.headers["Location"], {"username": "editor", "password": "correct horse"}, follow=True
    )
    assert response.status_code == 200
    assert escape(Article.objects.all()[0].title) in response.content.decode()


@pytest.mark.parametrize("table", TABLES)
def test_every_table_has_a_list_that_can_be_searched(desk: Client, table: str) -> None:
    response = desk.get(f"/admin/news/{table}/", {"q": "a"}, follow=True)
    assert response.status_code == 200
    assert f"/admin/news/{table}/" in response.content.decode()


def test_change_made_by_an_editor_is_a_revision_that_readers_see_at_once(desk: Client) -> None:
    article = Article.objects.all()[0]
    desk.get(article.get_absolute_url())
    form = {
        "title": "Corrected: the earlier headline",
        "slug": article.slug,
        "body": article.body,
        "category": article.category_id,
        "author": article.author_id,
        "language": article.language_id,
        "tags": [tag.pk for tag in article.tags.all()],
        "published_0": f"{article.published:%Y-%m-%d}",
        "published_1": f"{article.published:%H:%M:%S}",
    }
    assert desk.post(f"/admin/news/article/{article.pk}/change/", form).status_code == 302
    shown = desk.get(article.get_absolute_url()).content.decode()
    assert "<h1>Corrected: the earlier headline</h1>" in shown
    assert "revision 2" in shown


@pytest.mark.parametrize(("table", "row"), [("country", "KE"), ("language", "en")])
def test_reference_data_can_be_looked_at_but_not_written(desk: Client, table: str, row: str) -> None:
    assert desk.get(f"/admin/news/{table}/{row}/change/").status_code == 200
    assert desk.post(f"/admin/news/{table}/{row}/change/", {"name": "Elsewhere"}).status_code == 403
    assert desk.post(f"/admin/news/{table}/{row}/delete/", {"post": "yes"}).status_code == 403
    assert desk.get(f"/admin/news/{table}/add/").status_code == 403
