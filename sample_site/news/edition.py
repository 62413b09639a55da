"""An edition of the newsroom: stories composed from beats and countries, the same for the same seed."""

from __future__ import annotations

import random
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Final

from django.utils.text import slugify

from news.reference import country_name

_FILE: Final = Path(__file__).with_name("data") / "newsroom.toml"
_NEWEST: Final = datetime(2026, 6, 30, 18, tzinfo=UTC)
_MINUTES_BETWEEN_STORIES: Final = 170


@dataclass(frozen=True, slots=True)
class Beat:
    """A kind of story that could happen in any country."""

    category: str
    headline: str
    lead: str
    background: tuple[str, ...]
    tags: tuple[str, ...]
    language: str


@dataclass(frozen=True, slots=True)
class Newsroom:
    """What the newsroom writes about, and who writes."""

    categories: tuple[str, ...]
    tags: tuple[str, ...]
    authors: dict[str, str]
    beats: tuple[Beat, ...]
    countries: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Story:
    """An article before it has a row; everything it points to is named by its natural key."""

    slug: str
    title: str
    body: str
    category: str
    author: str
    tags: tuple[str, ...]
    language: str
    published: datetime


@cache
def newsroom() -> Newsroom:
    """Read newsroom.toml."""
    content: dict[str, Any] = tomllib.loads(_FILE.read_text(encoding="utf-8"))
    categories: list[dict[str, Any]] = content["categories"]
    beats = [
        Beat(
            category=category["name"],
            headline=beat["headline"],
            lead=beat["lead"],
            background=tuple(beat.get("background", category["background"])),
            tags=tuple(beat["tags"]),
            language=beat.get("language", "en"),
        )
        for category in categories
        for beat in category["beats"]
    ]
    return Newsroom(
        categories=tuple(category["name"] for category in categories),
        tags=tuple(sorted({tag for category in categories for tag in category["tags"]})),
        authors=dict(content["authors"]),
        beats=tuple(beats),
        countries=tuple(content["countries"]),
    )


def stories(count: int, seed: int) -> Iterator[Story]:
    """The first `count` stories of an edition; a larger count adds to the smaller one's, it changes none of them."""
    room = newsroom()
    pairs = [(beat, country) for beat in room.beats for country in room.countries]
    random.Random(seed).shuffle(pairs)
    for number in range(count):
        # More stories than pairs: the beat happens in that country again, under another address.
        round_, position = divmod(number, len(pairs))
        yield _story(*pairs[position], number, round_, seed)


def _story(beat: Beat, country: str, number: int, round_: int, seed: int) -> Story:
    dice = random.Random(f"{seed}/{number}")
    name = country_name(country, beat.language)
    title = beat.headline.format(country=name)
    background = dice.sample(beat.background, k=min(3, len(beat.background)))
    paragraphs = [beat.lead.format(country=name), " ".join(background[:2]), *background[2:]]
    return Story(
        slug=slugify(title) + (f"-{round_ + 1}" if round_ else ""),
        title=title,
        body="\n\n".join(paragraphs),
        category=beat.category,
        author=dice.choice(tuple(newsroom().authors)),
        tags=beat.tags,
        language=beat.language,
        published=_NEWEST - timedelta(minutes=number * _MINUTES_BETWEEN_STORIES + dice.randrange(90)),
    )
