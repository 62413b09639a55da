"""What a reader sees, and that it is up to date after every ordinary write."""

from __future__ import annotations

import pytest
from django.test import Client
from django.utils.html import escape
from news.models import Article, Author, Category, Country, Tag

from tests.site.conftest import Unasked

pytestmark = pytest.mark.usefixtures("edition")


def page(client: Client, address: str) -> str:
    """The text of a page that must be there."""
    response = client.get(address)
    assert response.status_code == 200
    return response.content.decode()


def test_front_page_shows_the_latest_articles_of_every_category(client: Client) -> None:
    shown = page(client, "/")
    for category in Category.objects.filter(articles__isnull=False).distinct():
        assert f'href="/category/{category.slug}/">{category.name}</a>' in shown
        for article in Article.objects.filter(category=category)[:4]:
            assert f'href="{article.get_absolute_url()}">{escape(article.title)}</a>' in shown


def test_front_page_without_articles_says_how_to_load_some(client: Client) -> None:
    Article.objects.all().delete()
    assert "manage.py load_news" in page(client, "/")


def test_article_page_shows_title_author_category_and_tags(client: Client) -> None:
    article = Article.objects.all()[0]
    shown = page(client, article.get_absolute_url())
    assert f"<h1>{escape(article.title)}</h1>" in shown
    assert escape(article.author.name) in shown
    assert f'href="/country/{article.author.country_id}/"' in shown
    assert f'href="/category/{article.category.slug}/"' in shown
    tags = list(article.tags.all())
    assert tags
    for tag in tags:
        assert f'href="/tag/{tag.slug}/">{tag.name}</a>' in shown


def test_category_page_lists_its_articles_and_no_others(client: Client) -> None:
    category = Article.objects.all()[0].category
    shown = page(client, category.get_absolute_url())
    assert f"<h1>{category.name}</h1>" in shown
    for article in Article.objects.all():
        assert (f'href="{article.get_absolute_url()}"' in shown) is (article.category_id == category.pk)


def test_category_page_is_split_after_twenty_articles(client: Client) -> None:
    category = Category.objects.all()[0]
    for article in Article.objects.all():
        article.category = category
        article.save()
    first, second = page(client, category.get_absolute_url()), page(client, f"{category.get_absolute_url()}?page=2")
    assert (first.count('href="/article/'), second.count('href="/article/')) == (20, 4)


def test_country_page_lists_its_correspondents_and_what_they_wrote(client: Client) -> None:
    author = Article.objects.all()[0].author
    shown = page(client, f"/country/{author.country_id.lower()}/")
    assert f"<h1>{escape(author.country.name)}</h1>" in shown
    assert f"<li>{author.name}</li>" in shown
    for article in Article.objects.filter(author=author):
        assert f'href="{article.get_absolute_url()}"' in shown


@pytest.mark.parametrize("address", ["/article/nothing/", "/category/nothing/", "/tag/nothing/", "/country/XX/"])
def test_unknown_address_is_not_found(client: Client, address: str) -> None:
    response = client.get(address)
    assert response.status_code == 404
    assert "There is no page at this address." in response.content.decode()


def test_article_that_was_not_found_is_found_once_it_exists(client: Client) -> None:
    article = Article.objects.all()[0]
    address = "/article/just-in/"
    assert client.get(address).status_code == 404
    Article.objects.create(
        slug="just-in",
        title="Just in",
        category=article.category,
        author=article.author,
        language_id=article.language_id,
    )
    assert "<h1>Just in</h1>" in page(client, address)


def test_second_visit_of_an_article_does_not_ask_for_it_again(client: Client, unasked: Unasked) -> None:
    address = Article.objects.all()[0].get_absolute_url()
    first = page(client, address)
    with unasked(Article), unasked(Article.tags.through), unasked(Author), unasked(Country):
        assert page(client, address) == first


def test_second_visit_of_the_front_page_asks_for_no_article_again(client: Client, unasked: Unasked) -> None:
    first = page(client, "/")
    with unasked(Article), unasked(Author):
        assert page(client, "/") == first


def test_country_is_read_from_memory(client: Client, unasked: Unasked) -> None:
    page(client, "/country/KE/")
    with unasked(Country):
        assert "<h1>Kenya</h1>" in page(client, "/country/KE/")


def test_new_title_is_shown_right_after_save(client: Client) -> None:
    article = Article.objects.all()[0]
    addresses = ["/", article.get_absolute_url(), article.category.get_absolute_url()]
    for address in addresses:
        assert escape(article.title) in page(client, address)
    article.title = "Corrected: the earlier headline"
    article.save()
    for address in addresses:
        assert "Corrected: the earlier headline" in page(client, address)


def test_authors_new_name_is_shown_right_after_save(client: Client) -> None:
    article = Article.objects.all()[0]
    addresses = ["/", article.get_absolute_url(), f"/country/{article.author.country_id}/"]
    for address in addresses:
        page(client, address)
    author = article.author
    author.name = "Noor Aziz"
    author.save()
    for address in addresses:
        assert "Noor Aziz" in page(client, address)


def test_article_moves_to_its_new_category_right_after_save(client: Client) -> None:
    article = Article.objects.all()[0]
    old, new = article.category, Category.objects.exclude(pk=article.category_id)[0]
    for category in (old, new):
        page(client, category.get_absolute_url())
    article.category = new
    article.save()
    assert escape(article.title) not in page(client, old.get_absolute_url())
    assert escape(article.title) in page(client, new.get_absolute_url())


def test_added_tag_is_shown_on_the_article_and_on_the_tags_page_at_once(client: Client) -> None:
    article, tag = Article.objects.all()[0], Tag.objects.create(name="Tides", slug="tides")
    assert "Tides" not in page(client, article.get_absolute_url())
    assert escape(article.title) not in page(client, tag.get_absolute_url())
    article.tags.add(tag)
    assert "Tides" in page(client, article.get_absolute_url())
    assert escape(article.title) in page(client, tag.get_absolute_url())


def test_removed_tag_disappears_from_the_article_and_from_the_tags_page_at_once(client: Client) -> None:
    article = Article.objects.all()[0]
    tag = article.tags.all()[0]
    assert f'href="{tag.get_absolute_url()}"' in page(client, article.get_absolute_url())
    assert escape(article.title) in page(client, tag.get_absolute_url())
    article.tags.remove(tag)
    assert f'href="{tag.get_absolute_url()}"' not in page(client, article.get_absolute_url())
    assert escape(article.title) not in page(client, tag.get_absolute_url())
