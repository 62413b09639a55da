"""load_news: the same edition for the same seed, as often as you like."""

from __future__ import annotations

from io import StringIO

import pycountry
import pytest
from django.core.management import call_command
from django.db.models import Model
from news.edition import newsroom, stories
from news.loading import load_news
from news.models import Article, Author, Category, Country, Language, Tag

TABLES: list[type[Model]] = [Country, Language, Category, Tag, Author, Article, Article.tags.through]


def contents() -> list[list[dict[str, object]]]:
    """Every row of the newsroom, read past the cache."""
    return [list(model._default_manager.order_by("pk").values().iterator()) for model in TABLES]


def test_same_seed_gives_the_same_stories() -> None:
    assert list(stories(200, seed=7)) == list(stories(200, seed=7))


def test_another_seed_gives_other_stories() -> None:
    assert list(stories(200, seed=7)) != list(stories(200, seed=8))


def test_larger_edition_only_adds_to_a_smaller_one() -> None:
    assert list(stories(200, seed=1))[:50] == list(stories(50, seed=1))


def test_stories_have_addresses_of_their_own_however_many_there_are() -> None:
    pairs = len(newsroom().beats) * len(newsroom().countries)
    slugs = [story.slug for story in stories(2 * pairs + 10, seed=1)]
    assert len(set(slugs)) == len(slugs)


def test_stories_fit_their_columns() -> None:
    for story in stories(len(newsroom().beats) * len(newsroom().countries), seed=1):
        assert len(story.title) <= 200
        assert 0 < len(story.slug) <= 190
        assert "{" not in story.title + story.body


def test_newsroom_has_8_categories_of_5_tags_and_30_authors() -> None:
    room = newsroom()
    assert (len(room.categories), len(room.tags), len(room.authors)) == (8, 40, 30)


def test_beats_use_only_tags_and_languages_that_exist() -> None:
    room = newsroom()
    assert {tag for beat in room.beats for tag in beat.tags} <= set(room.tags)
    assert all(pycountry.languages.get(alpha_2=beat.language) for beat in room.beats)


def test_loads_every_country_and_every_language_with_a_two_letter_code(edition: int) -> None:
    assert set(Country.objects.values_list("code", flat=True)) == {c.alpha_2 for c in pycountry.countries}
    coded = {language.alpha_2 for language in pycountry.languages if hasattr(language, "alpha_2")}
    assert set(Language.objects.values_list("code", flat=True)) == coded


def test_second_load_changes_nothing(edition: int) -> None:
    before = contents()
    assert set(load_news(edition).values()) == {0}
    assert contents() == before


def test_second_load_keeps_what_an_editor_changed(edition: int) -> None:
    article = Article.objects.all()[0]
    article.title = "Corrected: the earlier headline"
    article.save()
    load_news(edition)
    assert Article.objects.get(pk=article.pk).title == "Corrected: the earlier headline"


def test_load_brings_back_a_deleted_article_with_its_tags(edition: int) -> None:
    article = Article.objects.all()[0]
    tags = set(article.tags.values_list("name", flat=True))
    article.delete()
    assert load_news(edition)["articles"] == 1
    assert set(Article.objects.get(slug=article.slug).tags.values_list("name", flat=True)) == tags


@pytest.mark.django_db(transaction=True)
def test_command_says_what_it_added() -> None:
    output = StringIO()
    call_command("load_news", articles=5, seed=2, stdout=output)
    countries, languages = Country.objects.count(), Language.objects.count()
    assert output.getvalue() == (
        f"Added {countries} countries, {languages} languages, 8 categories, 40 tags, 30 authors, 5 articles.\n"
    )
    call_command("load_news", articles=5, seed=2, verbosity=0, stdout=output)
    assert output.getvalue().count("\n") == 1
