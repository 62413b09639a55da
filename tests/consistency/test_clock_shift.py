from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from cachepolicy.consistency.clock_shift import ClockShiftError, shift_expiries
from cachepolicy.consistency.redis_server import RedisServer


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as running:
        yield running


@pytest.fixture
def client(server: RedisServer) -> redis.Redis:
    client = server.client()
    client.flushall()
    return client


def test_a_timeout_of_60_s_holds_at_59_s_and_not_past_60(client: redis.Redis) -> None:
    client.set("k", "v", px=60_000)
    assert shift_expiries(client, 59_000) == 1
    assert client.get("k") == b"v"
    assert shift_expiries(client, 1_001) == 1
    assert client.get("k") is None


@pytest.mark.parametrize("ms", [1, 999, 3_600_000])
def test_every_expiry_moves_by_exactly_the_given_time(client: redis.Redis, ms: int) -> None:
    far: Any = client.time()[0] * 1000 + 86_400_000
    expiries = {f"k{n}": far + n for n in range(2_500)}
    pipeline = client.pipeline()
    for key, expiry in expiries.items():
        pipeline.set(key, "v", pxat=expiry)
    pipeline.execute()
    assert shift_expiries(client, ms) == len(expiries)
    pipeline = client.pipeline()
    for key in expiries:
        pipeline.pexpiretime(key)
    assert pipeline.execute() == [expiry - ms for expiry in expiries.values()]


def test_deletes_what_would_have_expired_and_counts_it(client: redis.Redis) -> None:
    client.set("short", "v", px=10_000)
    client.set("long", "v", px=600_000)
    assert shift_expiries(client, 60_000) == 2
    assert client.keys() == [b"long"]


def test_leaves_keys_without_expiry_alone(client: redis.Redis) -> None:
    client.set("k", "v")
    assert shift_expiries(client, 10**9) == 0
    assert client.ttl("k") == -1


def test_leaves_other_databases_alone(client: redis.Redis, server: RedisServer) -> None:
    other = redis.Redis.from_url(server.url.replace("db=0", "db=1"))
    other.set("k", "v", px=1_000)
    shift_expiries(client, 60_000)
    assert other.get("k") == b"v"


@pytest.mark.parametrize("decode_responses", [False, True])
def test_shifts_keys_that_are_no_text(client: redis.Redis, server: RedisServer, decode_responses: bool) -> None:
    client.set(b"\xff\x00\n", "v", px=10_000)
    decoding = redis.Redis.from_url(server.url, decode_responses=decode_responses)
    assert shift_expiries(decoding, 60_000) == 1
    assert client.dbsize() == 0


@given(ages=st.lists(st.integers(min_value=2_000, max_value=10**9), max_size=30), ms=st.integers(1, 10**9))
def test_keeps_exactly_the_keys_that_outlive_the_shift(server: RedisServer, ages: list[int], ms: int) -> None:
    client = server.client()
    client.flushall()
    # 1 s either side of the edge, for the real time this test itself takes
    ages = [age for age in ages if abs(age - ms) > 1_000]
    for n, age in enumerate(ages):
        client.set(f"k{n}", "v", px=age)
    assert shift_expiries(client, ms) == len(ages)
    assert client.dbsize() == sum(age > ms for age in ages)


@pytest.mark.parametrize("ms", [0, -1])
def test_time_goes_forward_only(client: redis.Redis, ms: int) -> None:
    with pytest.raises(ValueError, match="ms must be greater than 0") as refusal:
        shift_expiries(client, ms)
    assert str(refusal.value) == f"shift_expiries: ms must be greater than 0, not {ms}: time goes forward only"


def test_a_server_without_pexpiretime_is_named_as_too_old() -> None:
    with RedisServer("--rename-command", "PEXPIRETIME", "") as old:
        old.client().set("k", "v", px=10_000)
        with pytest.raises(ClockShiftError) as refusal:
            shift_expiries(old.client(), 1)
    assert str(refusal.value) == (
        "shift_expiries: this server has no PEXPIRETIME; it takes Redis 7 or later, or Valkey"
    )
