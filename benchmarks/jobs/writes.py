"""Writes: a save with many dependents, a transaction of saves, and its round trips to Redis."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import redis
from django.conf import settings
from django.db.transaction import atomic

from benchmarks.newspaper.models import Article
from benchmarks.styles import style

__all__ = ["forget", "round_trips", "save", "transaction"]

_SAVES: Final = 20
_WARM_UP: Final = 5
# Not all dependents are read; the others are what a fill leaves behind, copied: the entry, and wherever it is a member.
_PLANT = """
local n, entry = tonumber(ARGV[1]), KEYS[1]
for i = 1, n do redis.call('COPY', entry, entry .. ':' .. i) end
for k = 2, #KEYS do
    if redis.call('TYPE', KEYS[k]).ok == 'set' and redis.call('SISMEMBER', KEYS[k], entry) == 1 then
        for i = 1, n do redis.call('SADD', KEYS[k], entry .. ':' .. i) end
    end
end
"""


def save(dependents: int) -> int:
    """How long a save takes, in ns, when so many entries depend on its row."""
    article, *others = _articles()
    _plant(article, dependents)
    # Planting leaves Redis rehashing and the processor's caches cold. These are of other categories.
    for other in others[:_WARM_UP]:
        style().save(other)
    article.views += 1
    begin = time.perf_counter_ns()
    style().save(article)
    return time.perf_counter_ns() - begin


def transaction() -> int:
    """How long twenty saves in a transaction take, in ns; each of the rows was read before."""
    articles = _read_articles()
    begin = time.perf_counter_ns()
    with atomic():
        for article in articles:
            style().save(article)
    return time.perf_counter_ns() - begin


def round_trips() -> int:
    """How often the same transaction sends something to Redis, reads included."""
    articles = _read_articles()
    with _counting() as sent, atomic():
        for article in articles:
            style().save(article)
    return len(sent)


def forget() -> None:
    """Empty the contender's Redis, so that a hundred thousand entries do not weigh on the others."""
    _client().flushdb()


def _articles() -> list[Article]:
    return list(Article.objects.order_by("pk")[:_SAVES])


def _read_articles() -> list[Article]:
    articles = _articles()
    for article in articles:
        style().read("get", article.pk)
        article.views += 1
    return articles


def _plant(article: Article, dependents: int) -> None:
    """Leave nothing in Redis but so many entries that depend on the category of the article, and one on its key."""
    forget()
    style().read("get", article.pk)
    pks = Article.objects.filter(category_id=article.category_id).values_list("pk", flat=True)
    read = min(dependents, settings.BENCHMARK_DEPENDENTS_READ)
    for n in range(read - 1):
        list(pks[n : n + 1])
    known = set(_entries())
    list(pks[read : read + 1])
    if (planted := set(_entries()) - known) and dependents > read:
        (entry,) = planted
        keys = _client().keys()
        _client().eval(_PLANT, len(keys) + 1, entry, *keys, dependents - read)


def _entries() -> Iterator[bytes]:
    pattern = settings.BENCHMARK_ENTRIES
    return _client().scan_iter(pattern, count=1_000) if pattern else iter(())


def _client() -> Any:
    return redis.Redis.from_url(settings.BENCHMARK_REDIS)


@contextmanager
def _counting() -> Iterator[list[None]]:
    """A list that grows by one whenever redis-py sends something, a pipeline being one thing."""
    sent: list[None] = []
    upstream = redis.connection.AbstractConnection.send_packed_command

    def send(self: Any, *args: Any, **options: Any) -> Any:
        sent.append(None)
        return upstream(self, *args, **options)

    redis.connection.AbstractConnection.send_packed_command = send
    try:
        yield sent
    finally:
        redis.connection.AbstractConnection.send_packed_command = upstream
