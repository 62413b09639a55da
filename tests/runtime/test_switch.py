"""The off switch: what a pattern means, who sees it and when, and that nothing breaks it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import redis
from cacheops.redis import redis_client
from django.apps import apps

from cachepolicy import clock
from cachepolicy.consistency.proxy import Proxy
from cachepolicy.consistency.redirect import redirected
from cachepolicy.consistency.redis_server import RedisServer
from cachepolicy.exceptions import SwitchError, SwitchUnreachableError
from cachepolicy.runtime import switch
from cachepolicy.runtime.switch import (
    NAME,
    POLL_MS,
    current,
    is_off,
    is_off_function,
    parse,
    switch_off,
    switch_on,
    switched_off,
)


@pytest.fixture(autouse=True)
def _nothing_off(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    redis_client.delete(NAME)
    monkeypatch.setattr(switch._Seen, "looked_ns", None)
    yield
    redis_client.delete(NAME)
    switch._Seen.looked_ns = None


@pytest.fixture
def other(redis_server: RedisServer) -> redis.Redis:
    """Another process's connection."""
    return redis.Redis.from_url(redis_server.url)


def tables_off() -> set[str]:
    return {
        model._meta.db_table for model in apps.get_models(include_auto_created=True) if is_off([model._meta.db_table])
    }


# What a pattern means


def test_a_model_is_its_table_and_no_other() -> None:
    assert switch_off("news.article") == ("news.Article",)
    assert tables_off() == {"news_article"}
    assert is_off(["news_tag", "news_article"])
    assert not is_off([])


def test_an_app_is_all_its_tables_those_between_its_models_too() -> None:
    switch_off("news.*")
    assert {"news_article", "news_article_tags", "news_country"} <= tables_off()
    assert not tables_off() & {"auth_user", "django_content_type"}


def test_a_function_is_switched_off_by_its_rule_and_no_table_is() -> None:
    switch_off("functions.article_stats")
    assert is_off_function("article_stats")
    assert not is_off_function("Article_stats")
    assert not is_off(["news_article"])


@pytest.mark.parametrize("everything", ["*", "*.*"])
def test_everything_is_every_table_known_or_not_and_every_function(everything: str) -> None:
    assert switch_off(everything) == ("*",)
    assert is_off([])
    assert is_off(["of_no_model"])
    assert is_off_function("article_stats")


def test_nothing_is_off_at_first() -> None:
    assert not is_off(["news_article"])
    assert not is_off_function("article_stats")
    assert switched_off() == ()


def test_a_proxy_stands_for_the_table_it_shares() -> None:
    """auth.User's rows are cached under its table, whichever model reads them."""
    proxies = [model for model in apps.get_models() if model._meta.proxy]
    for proxy in proxies:
        assert proxy._meta.concrete_model._meta.db_table in parse(proxy._meta.label.encode()).tables  # type: ignore[union-attr]
    assert parse(b"admin.logentry").tables == {"django_admin_log"}


# What the key holds


def test_the_key_holds_what_is_off_sorted_a_line_each(other: redis.Redis) -> None:
    switch_off("news.Tag")
    switch_off("functions.article_stats", "NEWS.article", "auth.*")
    assert other.get(NAME) == b"auth.*\nfunctions.article_stats\nnews.Article\nnews.Tag"
    assert switched_off() == ("auth.*", "functions.article_stats", "news.Article", "news.Tag")
    assert other.ttl(NAME) == -1


def test_the_key_is_gone_when_all_is_on(other: redis.Redis) -> None:
    switch_off("news.Tag", "functions.article_stats")
    assert switch_on("*") == ()
    assert not other.exists(NAME)


@pytest.mark.parametrize(
    "value", [b"news.Article\n", b"\n", b" ", b"v2\nnews.Article", b"news.Article,news.Tag", b"\xff\xfe", b"{}", b"off"]
)
def test_by_a_value_of_another_version_everything_is_off(value: bytes, other: redis.Redis) -> None:
    other.set(NAME, value)
    assert is_off(["news_article"])
    assert is_off_function("article_stats")
    assert switched_off() == ("*",)


def test_a_value_of_another_version_is_mended_by_switching_everything_on_or_off(other: redis.Redis) -> None:
    other.set(NAME, b"v2")
    assert switch_off("news.Tag") == ("*", "news.Tag")
    other.set(NAME, b"v2")
    assert switch_on("*") == ()


def test_a_model_of_another_deploy_switches_nothing_else_off(other: redis.Redis) -> None:
    other.set(NAME, b"functions.gone\nnews.Gone\nnews.Tag")
    assert tables_off() == {"news_tag"}


# On and off


def test_a_pattern_switched_on_takes_with_it_what_lies_in_it() -> None:
    switch_off("news.*", "news.Article", "auth.User", "functions.article_stats")
    assert switch_on("news.*") == ("auth.User", "functions.article_stats")
    assert tables_off() == {"auth_user"}


def test_switching_twice_changes_nothing() -> None:
    assert switch_off("news.Tag") == switch_off("news.Tag") == ("news.Tag",)
    assert switch_on("news.Tag") == switch_on("news.Tag") == ()


@pytest.mark.parametrize("wider", ["news.*", "*"])
def test_what_a_wider_pattern_keeps_off_cannot_be_switched_on(wider: str) -> None:
    switch_off(wider, "news.Tag")
    with pytest.raises(SwitchError) as refused:
        switch_on("news.tag")
    assert str(refused.value) == f"news.Tag is off by {wider}; switch {wider} on"
    assert switched_off() == (wider, "news.Tag")


def test_what_a_deploy_has_removed_can_be_switched_on(other: redis.Redis) -> None:
    other.set(NAME, b"functions.gone\nnews.Gone")
    assert switch_on("news.gone") == ("functions.gone",)
    assert switch_on("functions.gone") == ()


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("news.Artcle", "nothing here is called `news.Artcle`; did you mean news.Article?"),
        ("article_stats", "nothing here is called `article_stats`; did you mean functions.article_stats?"),
        ("artcle", "nothing here is called `artcle`; did you mean news.Article?"),
        ("functions.stats", "nothing here is called `functions.stats`; did you mean functions.article_stats?"),
        ("newz.*", "nothing here is called `newz.*`; did you mean news.*?"),
        ("%", "nothing here is called `%`; name app.Model, app.*, functions.NAME or *"),
        ("news.Tag\n*", "nothing here is called `news.Tag\\n*`; did you mean news.Tag?"),
    ],
)
@pytest.mark.parametrize("way", [switch_off, switch_on])
def test_an_unknown_name_is_refused_and_nothing_switched(way: Any, pattern: str, message: str) -> None:
    with pytest.raises(SwitchError) as refused:
        way("news.Country", pattern)
    assert str(refused.value) == message
    assert switched_off() == ()


def test_two_who_switch_at_once_both_have_their_way() -> None:
    labels = [model._meta.label for model in apps.get_models()]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(switch_off, labels))
    assert switched_off() == tuple(sorted(labels))
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(switch_on, labels))
    assert switched_off() == ()


# Who sees it, and when


def test_the_process_that_switches_sees_it_at_once() -> None:
    assert not is_off(["news_tag"])
    switch_off("news.Tag")
    assert is_off(["news_tag"])
    switch_on("news.Tag")
    assert not is_off(["news_tag"])


def test_another_process_sees_it_within_a_second(other: redis.Redis) -> None:
    assert POLL_MS <= 900
    assert not is_off(["news_tag"])
    other.set(NAME, b"news.Tag")
    clock.advance(POLL_MS)
    assert is_off(["news_tag"])
    other.delete(NAME)
    clock.advance(POLL_MS)
    assert not is_off(["news_tag"])


def test_redis_is_asked_no_more_often_than_that(other: redis.Redis) -> None:
    def asked() -> int:
        return int(other.info("commandstats").get("cmdstat_get", {}).get("calls", 0))

    is_off(["news_tag"])
    before = asked()
    for _ in range(100):
        is_off(["news_tag"])
        is_off_function("article_stats")
    assert asked() == before


def test_a_clock_set_back_does_not_stop_the_looks(other: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    clock.advance(3_600_000)
    assert not is_off(["news_tag"])
    monkeypatch.undo()
    other.set(NAME, b"news.Tag")
    switch._Seen.looked_ns = clock.now_ns() + 3_600_000_000_000
    assert is_off(["news_tag"])


def test_a_fresh_process_sees_what_is_off(redis_server: RedisServer, pytestconfig: pytest.Config) -> None:
    switch_off("news.Tag")
    code = (
        "import django; django.setup()\n"
        "from cachepolicy.runtime.switch import is_off\n"
        "print(is_off(['news_tag']), is_off(['news_article']))"
    )
    path = f"{pytestconfig.rootpath}:{pytestconfig.rootpath / 'sample_site'}"
    environment = {"PYTHONPATH": path, "DJANGO_SETTINGS_MODULE": "newsroom.settings", "REDIS_URL": redis_server.url}
    ran = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=Path("/"), capture_output=True, text=True, check=False
    )
    assert (ran.stdout, ran.returncode) == ("True False\n", 0), ran.stderr


# When Redis is not there


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[Proxy]:
    with Proxy(redis_server.url) as proxy, redirected(proxy.url):
        yield proxy


def test_without_redis_what_was_seen_last_stays(proxy: Proxy) -> None:
    switch_off("news.Tag")
    proxy.refuse()
    clock.advance(60_000)
    assert tables_off() == {"news_tag"}


def test_a_process_that_has_seen_nothing_yet_takes_everything_for_off(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(switch._Seen, "switches", switch._UNKNOWN)
    proxy.refuse()
    assert is_off(["news_article"])
    assert is_off_function("article_stats")
    assert current().patterns == ("*",)


def test_without_redis_switching_is_a_named_error(proxy: Proxy) -> None:
    proxy.refuse()
    for attempt in (switched_off, lambda: switch_off("news.Tag"), lambda: switch_on("news.Tag")):
        with pytest.raises(SwitchUnreachableError, match=r"^the off switch is in Redis, which cannot be reached: "):
            attempt()
