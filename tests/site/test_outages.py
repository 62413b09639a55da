"""Redis refused, hung, read-only, full, restarted: nothing raises, it costs a timeout a window, nothing lost is served.

CACHEPOLICY_OUTAGE_OPERATIONS says how many reads, saves and atomic() blocks each outage has; `pytest -s` shows numbers.
"""

from __future__ import annotations

import os
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Final

import pytest
import redis
from cacheops.redis import redis_client
from django.db import connection, transaction
from news.loading import load_news
from news.models import Article, Category

import cachepolicy
from cachepolicy import clock, signals
from cachepolicy.consistency.faults import server
from cachepolicy.consistency.rig import Rig
from cachepolicy.runtime import client
from cachepolicy.runtime.breaker import WINDOW_MS
from cachepolicy.runtime.link import link

pytestmark = pytest.mark.django_db(transaction=True)

OPERATIONS: Final = int(os.environ.get("CACHEPOLICY_OUTAGE_OPERATIONS", "60"))
WINDOWS: Final = max(2, min(20, OPERATIONS // 500))
_ROWS: Final = 20
_MOST_WINDOWS: Final = 20
_WINDOW_NS: Final = WINDOW_MS * 1_000_000


@dataclass
class Sockets:
    """What really went to Redis: commands, those that were not answered, and how many timeouts they cost."""

    sent: int = 0
    unanswered: int = 0
    timeouts: int = 0

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Watch every thread of this process."""
        connections: Any = redis.connection.AbstractConnection
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(redis.Redis, "execute_command", self._sending(redis.Redis.execute_command))
            patch.setattr(client, "exchange", self._sending(client.exchange))
            for name in ("connect_check_health", "read_response", "send_packed_command"):
                patch.setattr(connections, name, self._waiting(getattr(connections, name)))
            yield

    def _sending(self, upstream: Callable[..., Any]) -> Callable[..., Any]:
        def execute_command(*args: Any, **options: Any) -> Any:
            self.sent += 1
            try:
                return upstream(*args, **options)
            except (redis.ConnectionError, redis.TimeoutError):
                self.unanswered += 1
                raise

        return execute_command

    def _waiting(self, upstream: Callable[..., Any]) -> Callable[..., Any]:
        def wait(*args: Any, **options: Any) -> Any:
            try:
                return upstream(*args, **options)
            except redis.TimeoutError as error:
                if not hasattr(error, "counted"):  # on its way out through the others
                    error.counted = True  # type: ignore[attr-defined]
                    self.timeouts += 1
                raise

        return wait


@cachepolicy.cached_as("article_stats")
def headline(pk: int) -> str:
    """A function of the newsroom's policy."""
    return str(Article.objects.nocache().get(pk=pk).title)  # type: ignore[attr-defined]


class Newsroom:
    """Articles that only this process writes, so that it knows what each read must give."""

    def __init__(self) -> None:
        rows = Article._base_manager.order_by("pk").nocache()[:_ROWS]  # type: ignore[attr-defined]
        self.titles: dict[int, str] = {row.pk: row.title for row in rows}
        self.errors = Counter[str]()
        self.wrong = self.hooks = self.saved = 0

    def do(self, operation: Callable[[int, int], object], number: int) -> None:
        """One operation, of the article whose turn it is; an exception is counted."""
        pk = list(self.titles)[number % len(self.titles)]
        try:
            operation(pk, number)
        except Exception as error:
            self.errors[f"{operation.__name__} raised {traceback.format_exception_only(error)[-1].strip()}"] += 1

    def read(self, pk: int, number: int) -> None:
        """By each of the ways in turn."""
        expected = self.titles[pk]
        match number // len(self.titles) % 5:
            case 0:
                found = Article.objects.get(pk=pk).title
            case 1:
                found = next(row.title for row in Article.objects.filter(pk=pk))
            case 2:
                found = expected if Article.objects.filter(pk=pk, title=expected).count() == 1 else ""
            case 3:
                found = expected if Article.objects.filter(pk=pk, title=expected).exists() else ""
            case _:
                found = headline(pk)
        self.wrong += found != expected

    def save(self, pk: int, _number: int) -> None:
        """Model.save(), of a row that was read through the cache."""
        article = Article.objects.get(pk=pk)
        article.title = self._new_title()
        article.save()
        self.titles[pk] = article.title

    def atomic(self, pk: int, _number: int) -> None:
        """A transaction with a save, a cursor's write and a hook of the application's."""
        title = self._new_title()
        with transaction.atomic():
            category = Category.objects.get(pk=Article.objects.get(pk=pk).category_id)
            category.save()
            with connection.cursor() as cursor:
                cursor.execute("UPDATE news_article SET title = %s WHERE id = %s", [title, pk])
            transaction.on_commit(self._hook)
        self.titles[pk] = title

    def _hook(self) -> None:
        self.hooks += 1

    def _new_title(self) -> str:
        self.saved += 1
        return f"title {self.saved}"


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with Rig() as rig:
        yield rig


@pytest.fixture
def newsroom(rig: Rig, transactional_db: None) -> Newsroom:
    load_news(_ROWS)
    rig.forget()
    return Newsroom()


@contextmanager
def _restarted(rig: Rig) -> Iterator[None]:
    """The server is killed, and comes back with nothing."""
    server.restarted_empty(rig)
    yield


@contextmanager
def _restarted_later(rig: Rig) -> Iterator[None]:
    """The server is killed, is away meanwhile, and is back at the end with what it held when it was killed."""
    with server.refused(rig):
        rig.client().save()
        rig.server.kill()
        rig.server.start()
        yield


OUTAGES: Final[dict[str, Callable[[Rig], AbstractContextManager[None]]]] = {
    "refused": server.refused,
    "hung": server.hung,
    "read-only": server.read_only,
    "full": server.out_of_memory,
    "restarted empty": _restarted,
    "restarted with its data": _restarted_later,
}
UNREACHABLE: Final = {"refused", "hung", "restarted with its data"}


def _filled(newsroom: Newsroom) -> None:
    for number in range(5 * _ROWS):
        newsroom.do(newsroom.read, number)


def _hits() -> tuple[list[int], Callable[..., None]]:
    hits: list[int] = []

    def hear(hit: bool, **_: Any) -> None:
        hits.append(1) if hit else None

    return hits, hear


@pytest.mark.parametrize("name", OUTAGES)
def test_nothing_raises_and_an_outage_costs_one_timeout_a_window(rig: Rig, newsroom: Newsroom, name: str) -> None:
    _filled(newsroom)
    sockets, began_ns = Sockets(), clock.now_ns()
    with OUTAGES[name](rig), sockets.watched():
        for operation in (newsroom.read, newsroom.save, newsroom.atomic):
            for number in range(OPERATIONS):
                newsroom.do(operation, number)
                if number % (OPERATIONS // WINDOWS) == 0:
                    clock.advance(WINDOW_MS)
    windows = (clock.now_ns() - began_ns) / _WINDOW_NS
    journal = link(redis_client).journal
    print(  # noqa: T201 - for `pytest -s`
        f"\n{name}: {OPERATIONS} reads, saves and atomic() each; {windows:.1f} windows; {sockets.sent} commands sent, "
        f"{sockets.unanswered} unanswered, {sockets.timeouts} timeouts; {journal.lost} invalidations lost"
    )
    assert (newsroom.errors, newsroom.wrong) == (Counter(), 0)
    assert (newsroom.saved, newsroom.hooks) == (2 * OPERATIONS, OPERATIONS)
    assert sockets.timeouts <= sockets.unanswered <= windows + 1
    if name in UNREACHABLE:
        assert sockets.sent == sockets.unanswered > WINDOWS
        assert (sockets.timeouts > 0) == (name == "hung")


@pytest.mark.parametrize("name", OUTAGES)
def test_nothing_is_served_after_healing_that_was_invalidated_meanwhile(
    rig: Rig, newsroom: Newsroom, name: str
) -> None:
    hits, hear = _hits()
    signals.read.connect(hear)
    try:
        for _ in range(max(1, OPERATIONS // 1_000)):
            rig.forget()
            _filled(newsroom)
            with OUTAGES[name](rig):
                for number in range(_ROWS):
                    newsroom.do(newsroom.save if number % 2 else newsroom.atomic, number)
            journal = link(redis_client).journal
            lost = journal.lost
            assert lost or name == "restarted empty"
            _filled(newsroom)  # at once, while it may not have been told yet
            for _ in range(_MOST_WINDOWS):
                clock.advance(WINDOW_MS)
                _filled(newsroom)
                if not journal:  # a thread may be telling Redis while this one reads
                    break
            assert (bool(journal), journal.replayed > 0) == (False, lost > 0)
            _filled(newsroom)
            hits.clear()
            _filled(newsroom)
            assert len(hits) > 4 * _ROWS, "it heals"
    finally:
        signals.read.disconnect(hear)
    assert (newsroom.errors, newsroom.wrong) == (Counter(), 0)


def test_without_an_outage_nothing_is_lost(rig: Rig, newsroom: Newsroom) -> None:
    sockets = Sockets()
    with sockets.watched():
        for operation in (newsroom.read, newsroom.save, newsroom.atomic):
            for number in range(_ROWS):
                newsroom.do(operation, number)
    assert (newsroom.errors, newsroom.wrong, newsroom.hooks) == (Counter(), 0, _ROWS)
    assert (sockets.unanswered, sockets.timeouts, link(redis_client).journal.lost) == (0, 0, 0)
    assert sockets.sent > _ROWS
