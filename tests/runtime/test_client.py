"""The client: timeouts and retries that fit a cache, and a Redis that is gone costs neither a page nor a write."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cacheops
import pytest
import redis
from cacheops.redis import redis_client
from django.db.transaction import atomic, on_commit
from news.models import Tag
from redis.sentinel import Sentinel

from cachepolicy import clock, signals
from cachepolicy.consistency.recorder import Recorder
from cachepolicy.consistency.redis_server import RedisServer
from cachepolicy.consistency.rig import Rig
from cachepolicy.runtime import client, invalidations, switch
from cachepolicy.runtime.breaker import WINDOW_MS
from cachepolicy.runtime.client import TIMEOUT_S, Client
from cachepolicy.runtime.journal import EVERYTHING, RETRY_MS
from cachepolicy.runtime.link import Link, link


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with Rig() as rig:
        yield rig


@pytest.fixture
def stage(rig: Rig, transactional_db: None) -> Iterator[Rig]:
    rig.forget()
    yield rig
    rig.proxy.heal()


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    recorder = Recorder()
    with recorder.listening():
        yield recorder


@pytest.fixture
def unwatched(monkeypatch: pytest.MonkeyPatch) -> None:
    """No thread replays in the background: what a read does itself is seen."""
    monkeypatch.setattr(invalidations, "_replay_later", lambda *_: None)


@contextmanager
def failing(rig: Rig) -> Iterator[None]:
    """Redis refuses connections inside; after it the breaker's window is over."""
    rig.proxy.refuse()
    try:
        yield
    finally:
        rig.proxy.heal()
        clock.advance(WINDOW_MS)


def here() -> Link:
    return link(redis_client)


def tag(name: str = "Elections") -> Any:
    return Tag.objects.create(name=name, slug=name.lower())


def cached_name() -> str:
    return str(Tag.objects.get(slug="elections").name)


@pytest.mark.parametrize("made", [lambda: Client(), lambda: Client.from_url("redis://127.0.0.1:6379/3")])
def test_timeouts_are_explicit_and_retries_none(made: Any) -> None:
    options = made().connection_pool.connection_kwargs
    assert (options["socket_timeout"], options["socket_connect_timeout"]) == (TIMEOUT_S, TIMEOUT_S)
    assert options["retry"]._retries == 0
    assert options["protocol"] == 2


@pytest.mark.parametrize(
    "made",
    [
        lambda: Client(socket_timeout=2.0),
        lambda: Client.from_url("redis://127.0.0.1/0?socket_timeout=2"),
        lambda: Client.from_url("redis://127.0.0.1/0", socket_timeout=2),
    ],
)
def test_what_the_settings_say_wins(made: Any) -> None:
    assert made().connection_pool.connection_kwargs["socket_timeout"] == 2.0


def test_a_pool_of_ones_own_is_left_alone() -> None:
    pool = redis.ConnectionPool(host="127.0.0.1")
    assert Client(connection_pool=pool).connection_pool is pool
    assert "socket_timeout" not in pool.connection_kwargs


# Reads


def test_a_read_is_a_miss_while_redis_is_gone_and_a_hit_after_the_window(
    stage: Rig, recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    tag()
    assert [cached_name(), cached_name(), recorder.count("hit")] == ["Elections", "Elections", 1]
    with failing(stage), caplog.at_level(logging.WARNING, "cachepolicy"):
        assert [cached_name(), cached_name(), recorder.count("hit")] == ["Elections", "Elections", 1]
    assert [message.partition(": ")[0] for message in caplog.messages] == [
        "Redis cannot be reached, so reads go to the database"
    ]
    assert [cached_name(), recorder.count("hit")] == ["Elections", 2]


def test_a_redis_that_came_back_is_asked_again_only_after_the_window(stage: Rig, recorder: Recorder) -> None:
    tag()
    cached_name()
    stage.proxy.refuse()
    cached_name()
    stage.proxy.heal()
    clock.advance(WINDOW_MS - 500)
    assert [cached_name(), recorder.count("hit")] == ["Elections", 0]
    clock.advance(500)
    assert [cached_name(), recorder.count("hit")] == ["Elections", 1]


def test_a_hung_redis_costs_one_timeout_per_window(stage: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []
    upstream: Callable[..., Any] = redis.Redis.execute_command
    monkeypatch.setattr(
        redis.Redis, "execute_command", lambda *args, **kw: sent.append(args[1]) or upstream(*args, **kw)
    )
    exchange = client.exchange
    monkeypatch.setattr(client, "exchange", lambda *args: sent.append("exchange") or exchange(*args))
    here().breaker.succeeded()
    stage.proxy.swallow()
    for window in (1, 2):
        for number in range(20):
            saved = tag(f"Elections{window}-{number}")
            assert Tag.objects.get(pk=saved.pk) == saved
        assert len(sent) == window, sent
        clock.advance(WINDOW_MS)


# Writes


@pytest.mark.parametrize(
    "refusing",
    [
        lambda server: server.client().config_set("maxmemory", "1"),
        lambda server: server.client().replicaof("127.0.0.1", "1"),
    ],
)
def test_a_redis_that_is_full_or_read_only_costs_no_page_and_no_on_commit_hook(
    refusing: Callable[[RedisServer], object], transactional_db: None
) -> None:
    ran: list[str] = []

    @cacheops.cached_as(Tag, timeout=5)
    def names() -> list[str]:
        return [tag.name for tag in Tag.objects.order_by("name")]

    with Rig() as own:
        refusing(own.server)
        with atomic():
            saved = tag()
            on_commit(lambda: ran.append("hook"))
        saved.save()
        assert (cached_name(), names(), ran) == ("Elections", ["Elections"], ["hook"])
        assert here().journal.lost


def test_a_lost_invalidation_is_journalled_counted_and_replayed_before_a_hit_is_served(
    stage: Rig, recorder: Recorder, unwatched: None
) -> None:
    saved = tag()
    cached_name()
    with failing(stage):
        saved.name = "Votes"
        saved.save()
    assert ("", "news_tag") in here().journal.pending()
    assert (here().journal.lost, here().journal.replayed) == (1, 0)
    assert recorder.count("invalidation lost") == 2, "of the row as it was, and as it is"
    assert cached_name() == "Votes", "replayed by this read, and only then served"
    assert (bool(here().journal), here().journal.replayed) == (False, 1)
    assert [cached_name(), recorder.count("hit")] == ["Votes", 1]


def test_nothing_is_served_while_an_invalidation_cannot_be_replayed(
    stage: Rig, recorder: Recorder, unwatched: None
) -> None:
    saved = tag()
    cached_name()
    with failing(stage):
        saved.name = "Votes"
        saved.save()
    client: Any = stage.client()
    client.replicaof("127.0.0.1", "1")  # it answers reads, and takes no invalidation
    try:
        assert [cached_name(), cached_name(), recorder.count("hit")] == ["Votes", "Votes", 0]
        assert here().journal
    finally:
        client.replicaof("NO", "ONE")
    clock.advance(RETRY_MS)
    assert [cached_name(), cached_name(), recorder.count("hit")] == ["Votes", "Votes", 1]


def test_a_process_that_reads_nothing_replays_all_the_same(stage: Rig) -> None:
    told = threading.Event()

    def on_invalidation(sent: bool, replayed: bool, **_: Any) -> None:
        # Of this test's: an earlier one's thread may still have something to tell.
        if (sent, replayed, bool(here().journal)) == (True, True, False):
            told.set()

    saved = tag()
    cached_name()
    signals.invalidation.connect(on_invalidation)
    try:
        with failing(stage):
            saved.save()
            assert here().journal
        assert told.wait(10)
    finally:
        signals.invalidation.disconnect(on_invalidation)
    assert (here().journal.lost, here().journal.replayed) == (1, 1)


def test_a_lost_invalidate_all_is_made_up_for(stage: Rig, recorder: Recorder, unwatched: None) -> None:
    tag()
    cached_name()
    with failing(stage):
        cacheops.invalidate_all()
    assert EVERYTHING in here().journal.pending()
    assert [cached_name(), recorder.count("hit")] == ["Elections", 0]
    assert not here().journal


def test_signals_tell_reads_fills_and_invalidations_and_what_became_of_them(stage: Rig, unwatched: None) -> None:
    told: list[tuple[Any, ...]] = []

    def on_read(key: str, hit: bool, age_ms: float | None, **_: Any) -> None:
        told.append(("read", hit, age_ms is not None and 0 <= age_ms < 10_000))

    def on_fill(key: str, stored: bool, reason: str, **_: Any) -> None:
        told.append(("fill", stored, reason))

    def on_invalidation(table: str, sent: bool, replayed: bool, **_: Any) -> None:
        told.append((table, sent, replayed))

    def heard() -> list[tuple[Any, ...]]:
        since, told[:] = told[:], []
        return since

    signals.read.connect(on_read)
    signals.fill.connect(on_fill)
    signals.invalidation.connect(on_invalidation)
    try:
        saved = tag()
        assert heard() == [("news_tag", True, False)]
        cached_name()
        cached_name()
        assert heard() == [("read", False, False), ("fill", True, ""), ("read", True, True)]
        with failing(stage):
            saved.save()
            cached_name()
        lost = "Redis has not been told of every write yet"
        told_of_save = heard()
        assert ("news_tag", False, False) in told_of_save
        assert told_of_save[-2:] == [("read", False, False), ("fill", False, lost)]
        clock.advance(RETRY_MS)
        cached_name()
        assert heard() == [("news_tag", True, True), ("read", False, False), ("fill", True, "")]
    finally:
        signals.read.disconnect(on_read)
        signals.fill.disconnect(on_fill)
        signals.invalidation.disconnect(on_invalidation)


# What is of the client alone


def test_values_are_bytes_whatever_the_client_decodes(rig: Rig) -> None:
    client = Client.from_url(rig.server.url, decode_responses=True)
    client.set("text", "\xe9")
    rig.client().set("bytes", b"\xff")
    assert client.values(["text", "bytes", "absent"]) == ["\xe9".encode(), b"\xff", None]


def test_flushdb_empties_the_database_but_for_the_off_switch(rig: Rig) -> None:
    client = Client.from_url(rig.server.url)
    client.set("key", "value")
    client.set(switch.NAME, "news.Tag")
    client.flushdb()
    assert (client.keys(), client.values([switch.NAME])) == ([switch.NAME.encode()], [b"news.Tag"])
    client.delete(switch.NAME)
    client.set("key", "value")
    client.flushdb()
    assert client.keys() == []


def test_a_refusal_is_no_outage(rig: Rig) -> None:
    client = Client.from_url(rig.server.url)
    client.set("text", "value")
    with pytest.raises(redis.ConnectionError, match="Redis refused INCRBY: value is not an integer"):
        client.incr("text")
    assert client.get("text") == b"value", "nothing waits for a window"


def test_a_policy_that_nothing_keeps_is_refused_at_the_first_read(tmp_path: Path) -> None:
    (tmp_path / "policies.yaml").write_text("version: 1\nmodels:\n  auth.User: {ops: all, timeout: 1s}\n")
    (tmp_path / "settings.py").write_text(
        "import cachepolicy\n"
        "SECRET_KEY = 'x'\n"
        "INSTALLED_APPS = ['django.contrib.auth', 'django.contrib.contenttypes', 'cacheops']\n"
        "DATABASES = {'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': ':memory:'}}\n"
        "globals().update(cachepolicy.settings('policies.yaml'))\n"
    )
    program = "import django; django.setup(); from django.contrib.auth.models import User; User.objects.count()"
    root = str(Path(__file__).parent.parent.parent)
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": root, "DJANGO_SETTINGS_MODULE": "settings"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.rstrip().endswith(
        'the settings of a cache policy are in force, but nothing keeps it: add "cachepolicy" to INSTALLED_APPS, '
        'after "cacheops"'
    )


def test_sentinel_is_waited_for_no_longer_than_any_redis() -> None:
    sentinel = Sentinel([("127.0.0.1", 1)], password="x")
    client: Any = sentinel.master_for("cache", redis_class=Client)
    for pool in (client.connection_pool, sentinel.sentinels[0].connection_pool):
        options = pool.connection_kwargs
        assert (options["socket_timeout"], options["socket_connect_timeout"]) == (TIMEOUT_S, TIMEOUT_S)
        assert options["retry"]._retries == 0


def test_what_sentinels_settings_say_wins() -> None:
    sentinel = Sentinel([("127.0.0.1", 1)], sentinel_kwargs={"socket_timeout": 3.0}, socket_timeout=2.0)
    client: Any = sentinel.master_for("cache", redis_class=Client)
    assert client.connection_pool.connection_kwargs["socket_timeout"] == 2.0
    assert sentinel.sentinels[0].connection_pool.connection_kwargs["socket_timeout"] == 3.0
