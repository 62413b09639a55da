from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from cachepolicy.consistency.proxy import Proxy, ProxyError
from cachepolicy.consistency.redis_server import RedisServer


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer(tcp=True) as running:
        yield running


@pytest.fixture(params=["unix", "tcp"])
def proxy(request: pytest.FixtureRequest, server: RedisServer) -> Iterator[Proxy]:
    server.client().flushall()
    tcp = request.param == "tcp"
    with Proxy(server.port_url if tcp else server.url, tcp=tcp) as running:
        yield running


def client_of(proxy: Proxy, *, timeout_s: float = 5.0) -> redis.Redis:
    return redis.Redis.from_url(proxy.url, socket_timeout=timeout_s, retry=Retry(NoBackoff(), 0))


def ping_seconds(client: redis.Redis) -> float:
    begin = time.monotonic()
    client.ping()
    return time.monotonic() - begin


def test_passes_what_it_is_given(proxy: Proxy, server: RedisServer) -> None:
    value = bytes(range(256)) * 4096
    client_of(proxy).set("k", value)
    assert server.client().get("k") == value
    assert client_of(proxy).get("k") == value


def test_keeps_the_database_number_of_its_upstream(server: RedisServer) -> None:
    with Proxy(server.url.replace("db=0", "db=3")) as proxy:
        client_of(proxy).set("in-three", 1)
    assert redis.Redis.from_url(server.port_url.replace("/0", "/3")).get("in-three") == b"1"


def test_swallowed_requests_get_no_answer_and_are_never_executed(proxy: Proxy, server: RedisServer) -> None:
    known, fresh = client_of(proxy, timeout_s=0.2), client_of(proxy, timeout_s=0.2)
    known.ping()
    proxy.swallow()
    with pytest.raises(redis.TimeoutError):
        known.set("k", "lost")
    with pytest.raises(redis.TimeoutError):
        fresh.set("k", "lost")
    proxy.heal()
    assert client_of(proxy).get("k") is None
    assert proxy.lost_bytes > 0
    assert server.client().get("k") is None


def test_a_waiting_client_learns_at_heal_that_its_bytes_are_lost(proxy: Proxy, server: RedisServer) -> None:
    client = client_of(proxy)
    client.ping()
    proxy.swallow()
    errors: list[BaseException] = []

    def write() -> None:
        try:
            client.set("k", "lost")
        except redis.RedisError as error:
            errors.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    while proxy.lost_bytes == 0:
        time.sleep(0.001)
    proxy.heal()
    writer.join()
    assert isinstance(errors[0], redis.ConnectionError)
    assert server.client().get("k") is None


def test_bytes_sent_just_before_heal_are_lost_too(proxy: Proxy, server: RedisServer) -> None:
    for _ in range(50):
        proxy.swallow()
        connection = client_of(proxy).connection_pool.make_connection()
        connection._connect().sendall(b"SET k lost\r\n")  # type: ignore[attr-defined]
        proxy.heal()
    assert client_of(proxy).ping()
    assert server.client().get("k") is None


def test_a_connection_that_lost_nothing_survives_the_heal(proxy: Proxy) -> None:
    client = client_of(proxy)
    before = client.client_id()
    proxy.swallow()
    proxy.heal()
    assert client.client_id() == before


def test_a_hung_network_hides_that_redis_has_gone() -> None:
    with RedisServer() as server, Proxy(server.url) as proxy:
        client = client_of(proxy, timeout_s=0.2)
        client.ping()
        proxy.swallow()
        server.kill()
        with pytest.raises(redis.TimeoutError):
            client.ping()


def test_a_redis_that_has_gone_closes_the_connection() -> None:
    with RedisServer() as server, Proxy(server.url) as proxy:
        client = client_of(proxy)
        client.ping()
        server.kill()
        with pytest.raises(redis.ConnectionError):
            client.ping()
        server.start()
        assert client.ping()


def test_refuses_known_and_new_clients_until_healed(proxy: Proxy) -> None:
    known = client_of(proxy)
    known.ping()
    proxy.refuse()
    with pytest.raises(redis.ConnectionError):
        known.ping()
    with pytest.raises(redis.ConnectionError, match="refused"):
        client_of(proxy).ping()
    proxy.heal()
    assert known.ping()
    assert client_of(proxy).ping()


def test_delays_each_request_by_the_given_time(proxy: Proxy) -> None:
    client = client_of(proxy)
    client.ping()
    proxy.delay(30)
    assert ping_seconds(client) >= 0.030
    proxy.heal()
    assert min(ping_seconds(client) for _ in range(20)) < 0.030


def test_a_delayed_request_is_executed_even_when_its_client_gave_up(proxy: Proxy, server: RedisServer) -> None:
    client = client_of(proxy, timeout_s=0.2)
    client.ping()
    proxy.delay(300)
    with pytest.raises(redis.TimeoutError):
        client.set("k", "late")
    client.close()
    proxy.heal()
    deadline = time.monotonic() + 5
    while server.client().get("k") is None and time.monotonic() < deadline:
        time.sleep(0.002)
    assert server.client().get("k") == b"late"


def test_refuses_an_address_that_is_no_redis() -> None:
    with pytest.raises(ProxyError) as refusal:
        Proxy("http://localhost/")
    assert str(refusal.value) == ("cannot stand in front of 'http://localhost/'; give a redis:// or unix:// address")


def test_a_proxy_that_is_not_running_says_so(server: RedisServer) -> None:
    with pytest.raises(ProxyError) as refusal:
        Proxy(server.url).swallow()
    assert str(refusal.value) == "the proxy is not running in this process; call start() first"
