"""The scenes: what goes right, and what goes wrong, between a write and the reads that follow it."""

from __future__ import annotations

import re
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, cast

from django.db import connection
from django.db.models import Model
from django.db.transaction import atomic, set_rollback
from news.models import Article, Author, Category, Country

from cachepolicy import ImmutableTableError, clock
from cachepolicy.consistency.recording import Recording
from cachepolicy.runtime.breaker import WINDOW_MS
from demo.stage import Stage

__all__ = ["SCENES", "Scene"]

_POLL_S: Final = 0.02


@dataclass(frozen=True, slots=True)
class Scene:
    """A name, the rule whose promise is at stake, and the play; it returns what happened, in a sentence."""

    name: str
    rule: str
    play: Callable[[Stage, Recording], str]


SCENES: Final[list[Scene]] = []


def _scene(name: str, rule: str) -> Callable[[Callable[[Stage, Recording], str]], Callable[[Stage, Recording], str]]:
    def add(play: Callable[[Stage, Recording], str]) -> Callable[[Stage, Recording], str]:
        SCENES.append(Scene(name, rule, play))
        return play

    return add


@_scene("a hit", "news.Article")
def _hit(stage: Stage, recording: Recording) -> str:
    article, page = _article(stage, recording, 0)
    _rename(recording, article)
    recording.fill(page)
    for _ in range(20):
        recording.read(page)
    return "20 page views after the first came from the cache"


@_scene("save()", "news.Article")
def _save(stage: Stage, recording: Recording) -> str:
    article, page = _article(stage, recording, 1)
    recording.fill(page)
    for _ in range(5):
        _rename(recording, article)
        recording.read(page)
    return "each of 5 saves was on the page at once: save() invalidates"


@_scene("a join, filtered by", "news.Article")
def _join(stage: Stage, recording: Recording) -> str:
    author = _uncached(Author).filter(articles__isnull=False).order_by("pk")[0]
    elsewhere = _uncached(Country).filter(authors__isnull=True)[0]
    title = _uncached(Article).filter(author=author)[0].title
    here, gone = _token(), _token()
    path = author.country.get_absolute_url()

    def source() -> str:
        return here if title in stage.website.page(path) else gone

    recording.starts_as(here)
    recording.fill(source)
    with recording.writing(gone):
        author.country = elsewhere
        author.save()
    recording.read(source)
    return "articles filtered by their author's country: a saved author invalidates them"


@_scene("a join, select_related()", "news.Article")
def _select_related(_: Stage, recording: Recording) -> str:
    author = _uncached(Author).filter(articles__isnull=False).order_by("pk")[1]
    pk = _uncached(Article).filter(author=author)[0].pk

    def source() -> str:
        return Article.objects.select_related("author").get(pk=pk).author.name

    recording.starts_as(author.name)
    recording.fill(source)
    token = _token()
    with recording.writing(token):
        author.name = token
        author.save()
    recording.read(source)
    return "the author inside a cached article was saved, and the article went with it"


@_scene("rollback inside atomic()", "news.Article")
def _rollback(stage: Stage, recording: Recording) -> str:
    article, page = _article(stage, recording, 2)
    recording.fill(page)
    token = _token()
    began_ns = clock.now_ns()
    with atomic():
        article.title = token
        article.save()
        recording.read(page)
        Article.objects.get(pk=article.pk)
        set_rollback(True)
    recording.wrote(token, began_ns, "fail")
    recording.read(page)
    _rename(recording, _uncached(Article).get(pk=article.pk))
    recording.read(page)
    return "a concurrent reader never saw the title that was rolled back"


@_scene("raw SQL in the process", "news.Article")
def _raw_sql(stage: Stage, recording: Recording) -> str:
    article, page = _article(stage, recording, 3)
    recording.fill(page)
    token = _token()
    with recording.writing(token), connection.cursor() as cursor:
        cursor.execute("UPDATE news_article SET title = %s WHERE id = %s", [token, article.pk])
    recording.read(page)
    return "Django's cursors are watched: the table it wrote was invalidated"


@_scene("raw SQL from outside", "news.Category")
def _outside(stage: Stage, recording: Recording) -> str:
    category = _uncached(Category).order_by("pk")[0]
    path = category.get_absolute_url()

    def page() -> str:
        return _heading(stage.website.page(path))

    recording.starts_as(page())
    # On the real clock: a fresh fill, so that the whole timeout is ahead.
    _uncached(Category).invalidated_update(name=category.name)
    recording.fill(page)
    token = _token()
    program = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], timeout=5); c.execute(*[sys.argv[2], sys.argv[3:]])"
    )
    statement = "UPDATE news_category SET name = ? WHERE id = ?"
    database = str(connection.settings_dict["NAME"])
    with recording.writing(token):
        command = [sys.executable, "-c", f"{program}; c.commit()", database, statement, token, str(category.pk)]
        subprocess.run(command, check=True)
    deadline = time.monotonic() + 2 * recording.bound_ms / 1000
    while recording.read(page) != token and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    return "another program wrote; played on the real clock, reading every 20 ms"


@_scene("an invalidation lost, Redis hung at the write", "news.Article")
def _lost(stage: Stage, recording: Recording) -> str:
    article, page = _article(stage, recording, 4)
    recording.fill(page)
    stage.proxy.swallow()
    began_s = time.monotonic()
    try:
        _rename(recording, article)
    finally:
        waited_s = time.monotonic() - began_s
        stage.proxy.heal()
    recording.read(page)
    recording.let_pass(WINDOW_MS)
    stage.wait_until_all_is_told()
    recording.read(page)
    return f"save() waited {waited_s:.1f} s, and went through; Redis was told when it answered again"


@_scene("an immutable table's local_get", "news.Country")
def _local_get(_: Stage, recording: Recording) -> str:
    def source() -> str:
        return Country.objects.get(code="FR").name

    recording.starts_as(source())
    recording.fill(source)
    country = _uncached(Country).get(code="FR")
    try:
        country.save()
    except ImmutableTableError:
        refused = "the ORM refuses to write it"
    else:
        refused = "the ORM wrote to it, which it should have refused"
    token = _token()
    with recording.writing(token), connection.cursor() as cursor:
        cursor.execute("UPDATE news_country SET name = %s WHERE code = 'FR'", [token])
    recording.read_around_the_bound(source)
    return f"{refused}; raw SQL did, and the copy in memory ended with its timeout"


@_scene("a function of cached_as", "functions.article_stats")
def _function(stage: Stage, recording: Recording) -> str:
    def page() -> str:
        found = re.search(r"(\d+) articles", stage.website.page("/stats/"))
        return found.group(1) if found else "nothing"

    count = int(page())
    recording.starts_as(str(count))
    recording.fill(page)
    doomed = list(_uncached(Article).order_by("-pk")[:2])
    with recording.writing(str(count - 1)):
        doomed[0].delete()
    recording.fill(page)
    with recording.writing(str(count - 2)), atomic(), connection.cursor() as cursor:
        cursor.execute("DELETE FROM news_article_tags WHERE article_id = %s", [doomed[1].pk])
        cursor.execute("DELETE FROM news_article WHERE id = %s", [doomed[1].pk])
    recording.read(page)
    return "article_stats() was right at once after delete(), and after raw SQL"


def _token() -> str:
    """A value nobody has written yet."""
    return f"v{uuid.uuid4().hex[:8]}"


def _uncached(model: type[Model]) -> Any:
    """The rows as the database has them; the stubs of Django do not know cacheops' methods."""
    return cast(Any, model._default_manager).nocache()


def _article(stage: Stage, recording: Recording, index: int) -> tuple[Article, Callable[[], str]]:
    """An article for one scene alone, and how to read its title from its page."""
    article = _uncached(Article).order_by("pk")[index]
    path = article.get_absolute_url()

    def page() -> str:
        return _heading(stage.website.page(path))

    recording.starts_as(article.title)
    return article, page


def _rename(recording: Recording, article: Article) -> None:
    token = _token()
    article.title = token
    with recording.writing(token):
        article.save()


def _heading(page: str) -> str:
    found = re.search(r"<h1>(.*?)</h1>", page)
    return found.group(1) if found else "nothing"
