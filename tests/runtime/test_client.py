"""The client: timeouts and retries that fit a cache, and a read that never fails because of Redis."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cacheops
import pytest
import redis
from django.db.transaction import atomic, on_commit
from news.models import Tag

from cachepolicy import signals
from cachepolicy.consistency.proxy import Proxy
from cachepolicy.consistency.redirect import redirected
from cachepolicy.consistency.redis_server import RedisServer
from cachepolicy.runtime.client import TIMEOUT_S, Client


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


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


def test_a_read_is_a_miss_when_redis_is_gone_and_a_hit_when_it_is_back(server: RedisServer) -> None:
    with Proxy(server.url) as proxy:
        client = Client.from_url(proxy.url)
        client.set("key", "value")
        proxy.refuse()
        with pytest.warns(RuntimeWarning, match="Redis cannot be reached, so a read is a miss: "):
            assert client.get("key") is None
        proxy.heal()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert client.get("key") == b"value"


def test_a_fill_without_stamps_is_given_up(server: RedisServer) -> None:
    client = server.client()
    script = Client.from_url(server.url).register_script("return ARGV[1]")
    assert script(args=["value"]) == b"value"
    with pytest.raises(redis.ConnectionError, match="Redis could not be reached before the function was called"):
        script(args=[None])
    client.close()


def test_waiting_for_a_lock_takes_turns_shorter_than_the_socket_timeout(server: RedisServer) -> None:
    assert Client.from_url(server.url).brpoplpush("nothing", "nothing", timeout=60) is None


@pytest.mark.django_db(transaction=True)
def test_readers_that_wait_for_a_lock_get_the_value_of_the_one_that_holds_it() -> None:
    cacheops.invalidate_all()
    entered, leave, calls = threading.Event(), threading.Event(), []

    @cacheops.cached_as(Tag, lock=True)
    def slow() -> int:
        calls.append(1)
        entered.set()
        leave.wait(10)
        return len(calls)

    results: list[int] = []
    threads = [threading.Thread(target=lambda: results.append(slow())) for _ in range(4)]
    threads[0].start()
    assert entered.wait(10)
    for thread in threads[1:]:
        thread.start()
    # Longer than one turn of waiting: let a reader take at least two.
    threads[1].join(2 * TIMEOUT_S)
    leave.set()
    for thread in threads:
        thread.join(10)
    assert (results, len(calls)) == ([1, 1, 1, 1], 1)


@pytest.mark.django_db(transaction=True)
def test_signals_tell_fills_and_invalidations_and_whether_they_reached_redis(server: RedisServer) -> None:
    told: list[tuple[str, bool]] = []

    def on_fill(key: str, stored: bool, **_: Any) -> None:
        told.append(("fill", stored))

    def on_invalidation(table: str, sent: bool, **_: Any) -> None:
        told.append((table, sent))

    signals.fill.connect(on_fill)
    signals.invalidation.connect(on_invalidation)
    try:
        tag = Tag.objects.create(name="Elections", slug="elections")
        assert told == [("news_tag", True)]
        told.clear()
        Tag.objects.get(pk=tag.pk)
        Tag.objects.get(pk=tag.pk)
        assert told == [("fill", True)]
        told.clear()
        with Proxy(os.environ["REDIS_URL"]) as proxy, redirected(proxy.url):
            proxy.refuse()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tag.save()
        # save() reads the old row first, by the cache.
        assert set(told) == {("fill", False), ("news_tag", False)}
    finally:
        signals.fill.disconnect(on_fill)
        signals.invalidation.disconnect(on_invalidation)


@pytest.mark.parametrize(
    "refusing",
    [
        lambda redis_: redis_.config_set("maxmemory", "1"),
        lambda redis_: redis_.replicaof("127.0.0.1", "1"),
    ],
)
@pytest.mark.django_db(transaction=True)
def test_a_redis_that_is_full_or_read_only_costs_no_page_and_no_on_commit_hook(refusing: Any) -> None:
    ran: list[str] = []

    @cacheops.cached_as(Tag, timeout=5)
    def names() -> list[str]:
        return [tag.name for tag in Tag.objects.order_by("name")]

    with RedisServer() as own, redirected(own.url), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        refusing(own.client())
        with atomic():
            tag = Tag.objects.create(name="Elections", slug="elections")
            on_commit(lambda: ran.append("hook"))
        tag.save()
        assert (Tag.objects.get(pk=tag.pk).name, names(), ran) == ("Elections", ["Elections"], ["hook"])


def test_the_wait_for_a_lock_is_shorter_than_a_short_socket_timeout(server: RedisServer) -> None:
    client = Client.from_url(f"{server.url}&socket_timeout=0.1")
    assert client.brpoplpush("nothing", "nothing", timeout=60) is None


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
