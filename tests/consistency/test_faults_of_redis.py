"""Each fault of Redis, alone: it injects inside its block, and afterwards the server serves and holds what it held."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
from cacheops.redis import redis_client

from cachepolicy.consistency.faults import server
from cachepolicy.consistency.rig import Rig

VALUES = {b"q:1": b"12345678", b"q:2": b"abcdefgh"}
HELD = {**VALUES, b"conj:news_tag:id=1": b"stamp", b"schemes:news_tag": b"id"}


@pytest.fixture(scope="module")
def own_rig() -> Iterator[Rig]:
    with Rig() as rig:
        yield rig


@pytest.fixture
def rig(own_rig: Rig) -> Rig:
    own_rig.forget()
    for key, value in HELD.items():
        own_rig.client().set(key, value, ex=60)
    return own_rig


@pytest.fixture
def held(rig: Rig) -> Iterator[None]:
    """After the fault the server holds what it held, takes writes, and cacheops reaches it."""
    before = server.contents(rig)
    assert len(before) == len(HELD)
    yield
    assert server.contents(rig) == before
    redis_client.set("healed", "yes")
    assert rig.client().get("healed") == b"yes"


def _client(rig: Rig) -> Any:
    return redis.Redis.from_url(rig.proxy.url)


def _connected(rig: Rig) -> socket.socket:
    connected = socket.socket(socket.AF_UNIX)
    connected.connect(urlsplit(rig.proxy.url).path)
    return connected


@pytest.mark.usefixtures("held")
def test_a_redis_that_refuses_is_not_there(rig: Rig) -> None:
    with server.refused(rig), pytest.raises(ConnectionRefusedError):
        _connected(rig)


@pytest.mark.usefixtures("held")
def test_what_is_sent_to_a_hung_redis_is_lost(rig: Rig) -> None:
    with closing(_connected(rig)) as client:
        with server.hung(rig):
            client.sendall(b"SET lost 1\r\n")
        assert client.recv(16) == b""


def test_what_is_sent_to_a_paused_redis_is_executed_later(rig: Rig) -> None:
    with closing(_connected(rig)) as client:
        with server.paused(rig):
            client.sendall(b"SET late 1\r\n")
            client.setblocking(False)
            with pytest.raises(BlockingIOError):
                client.recv(16)
        client.setblocking(True)
        assert client.recv(16) == b"+OK\r\n"
    assert rig.client().get("late") == b"1"


REFUSALS: list[tuple[Callable[[Rig], AbstractContextManager[None]], str]] = [
    (server.read_only, "READONLY"),
    (server.out_of_memory, "OOM"),
]


@pytest.mark.parametrize(("fault", "error"), REFUSALS, ids=lambda value: getattr(value, "__name__", value))
@pytest.mark.usefixtures("held")
def test_a_redis_that_takes_no_writes_serves_what_it_has(
    rig: Rig, fault: Callable[[Rig], AbstractContextManager[None]], error: str
) -> None:
    refused = server.refusals(rig, error)
    with fault(rig):
        with pytest.raises((redis.ReadOnlyError, redis.exceptions.OutOfMemoryError)):
            _client(rig).set("refused", "1")
        assert _client(rig).get("q:1") == VALUES[b"q:1"]
    assert server.refusals(rig, error) == refused + 1


@pytest.mark.usefixtures("held")
def test_an_old_dump_brings_back_what_was_deleted_and_forgets_what_was_written(rig: Rig) -> None:
    with server.old_dump(rig):
        rig.client().set("new", "1")
        rig.client().delete("q:1")


def test_a_restarted_redis_is_empty(rig: Rig) -> None:
    server.restarted_empty(rig)
    assert server.contents(rig) == {}
    redis_client.set("healed", "yes")
    assert rig.client().get("healed") == b"yes"


def test_what_finds_the_entries_is_evicted_with_or_without_what_stamps_them(rig: Rig) -> None:
    assert server.evict_invalidators(rig, stamps=False) == 1
    assert set(server.contents(rig)) == {*VALUES, b"conj:news_tag:id=1"}
    assert server.evict_invalidators(rig) == 1
    assert set(server.contents(rig)) == set(VALUES)


def test_a_redis_full_of_others_has_evicted_something(rig: Rig) -> None:
    before = server.contents(rig)
    with server.evicting(rig):
        left = server.contents(rig)
        assert before.keys() - left.keys()
        _client(rig).set("more", "1")
    after = server.contents(rig)
    assert after.keys() - {b"more"} < before.keys(), "its own keys are gone again"
    config = {**rig.client().config_get("maxmemory*")}  # type: ignore[dict-item]
    assert (config["maxmemory"], config["maxmemory-policy"]) == ("0", "noeviction")


def test_a_clock_set_back_moves_every_expiry(rig: Rig) -> None:
    client: Any = rig.client()
    client.set("without", "1")
    before = {key: client.pexpiretime(key) for key in HELD}
    assert server.clock_set_back(rig, 3_600_000) == len(HELD)
    assert {key: client.pexpiretime(key) - before[key] for key in HELD} == dict.fromkeys(HELD, 3_600_000)
    assert client.pexpiretime("without") == -1


def test_one_byte_of_every_value_flips_and_no_invalidator_changes(rig: Rig) -> None:
    assert server.corrupt_values(rig) == len(VALUES)
    client: Any = rig.client()
    for key, value in HELD.items():
        flipped = sum(a != b for a, b in zip(client.get(key), value, strict=True))
        assert flipped == (key in VALUES)
        assert client.pttl(key) > 0


def test_values_change_places_and_keep_their_expiries(rig: Rig) -> None:
    client: Any = rig.client()
    before = client.pexpiretime("q:1")
    assert server.swap_values(rig) == len(VALUES)
    assert (client.get("q:1"), client.get("q:2")) == (VALUES[b"q:2"], VALUES[b"q:1"])
    assert client.pexpiretime("q:1") == before


def test_one_value_alone_has_nothing_to_change_places_with(rig: Rig) -> None:
    rig.client().delete("q:2")
    assert server.swap_values(rig) == 0


def test_commands_are_counted(rig: Rig) -> None:
    executed = server.commands_executed(rig, "get")
    rig.client().get("q:1")
    assert server.commands_executed(rig, "get") == executed + 1
    assert server.commands_executed(rig, "nosuch") == 0
