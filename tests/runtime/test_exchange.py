"""Commands on idle connections of redis-py's pool: a reply is its own command's, and a dead connection no outage."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

from cachepolicy.consistency.redis_server import RedisServer
from cachepolicy.runtime.client import Client
from cachepolicy.runtime.exchange import idle_connection
from cachepolicy.runtime.link import link


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer(tcp=True) as server:
        yield server


@pytest.fixture
def client(server: RedisServer) -> Iterator[Client]:
    client = Client.from_url(server.url)
    client.mset({"a": "of a", "b": "of b"})
    yield client
    client.close()


def number(client: Client) -> int:
    """Redis' number of the connection that a command went over."""
    return int(client.ask("CLIENT", "ID"))


def is_idle_taken(client: Client) -> bool:
    connection = idle_connection(client.connection_pool)
    if connection is not None:
        client.connection_pool._available_connections.append(connection)
    return connection is not None


def test_commands_go_over_the_connection_that_redis_py_left(client: Client) -> None:
    client.ping()
    assert is_idle_taken(client)
    assert {number(client), number(client), client.client_id()} == {number(client)}


def test_the_only_connection_is_redis_pys_too(server: RedisServer) -> None:
    client = Client.from_url(server.url, max_connections=1)
    for _ in range(2):
        assert client.values(["absent"]) == [None]
        client.pipeline(transaction=True).ping().ping().execute()
    assert len({number(client), client.client_id()}) == 1


def test_words_are_packed_as_redis_py_packs_them(client: Client) -> None:
    client.ask("MSET", "text", "\xe9", "bytes", b"\xff\r\n\x00", "int", -12, "empty", "")
    assert client.mget("text", "bytes", "int", "empty") == ["\xe9".encode(), b"\xff\r\n\x00", b"-12", b""]


def test_keys_are_in_the_encoding_of_the_settings(server: RedisServer) -> None:
    client = Client.from_url(server.url, encoding="latin-1")
    client.set("\xe9", "value")
    assert is_idle_taken(client)
    assert client.values(["\xe9"]) == [b"value"]


def test_a_refusal_is_none_of_the_connections(client: Client) -> None:
    before = number(client)
    with pytest.raises(redis.ConnectionError, match="Redis refused INCRBY: value is not an integer"):
        client.ask("INCRBY", "a", 1)
    assert (number(client), client.values(["a"])) == (before, [b"of a"])


@pytest.mark.parametrize("interrupted", ["send_packed_command", "read_response"])
@pytest.mark.parametrize("interruption", [KeyboardInterrupt, TimeoutError, RuntimeError])
def test_a_reply_nobody_waited_for_is_never_the_next_commands(
    server: RedisServer,
    client: Client,
    interrupted: str,
    interruption: type[BaseException],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other: Any = server.client()
    before = number(client)
    connection: Any = client.connection_pool._available_connections[0]

    def interrupting(*args: Any, **options: Any) -> None:
        if interrupted == "send_packed_command":
            type(connection).send_packed_command(connection, *args, **options)
        raise interruption

    def sending(*args: Any, **options: Any) -> None:
        type(connection).send_packed_command(connection, *args, **options)
        other.client_unpause()

    # Redis holds the replies of writes back meanwhile, so that no look at the socket finds one of them there.
    other.client_pause(60_000, all=False)
    try:
        monkeypatch.setattr(connection, interrupted, interrupting)
        with pytest.raises(interruption):
            client.ask("GETSET", "a", "of a")
        monkeypatch.undo()
        monkeypatch.setattr(connection, "send_packed_command", sending)
        assert client.ask("GETSET", "b", "of b") == b"of b"
    finally:
        other.client_unpause()
    assert number(client) != before


def test_a_connection_that_another_thread_closes_meanwhile_is_one_that_cannot_be_reached(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    number(client)
    connection: Any = client.connection_pool._available_connections[0]

    def closed_meanwhile(*args: Any, **options: Any) -> None:
        type(connection).send_packed_command(connection, *args, **options)
        connection.disconnect()

    monkeypatch.setattr(connection, "send_packed_command", closed_meanwhile)
    with pytest.raises(redis.ConnectionError):
        client.ask("GET", "a")
    monkeypatch.undo()
    link(client).breaker.succeeded()
    assert number(client) > 0


def test_a_connection_with_something_to_say_is_left_to_redis_py(client: Client) -> None:
    connection: Any = client.connection_pool.get_connection()
    connection.send_command("GET", "a")
    select.select([connection._sock], [], [], 5)
    client.connection_pool.release(connection)
    assert client.values(["b"]) == [b"of b"]


def test_what_the_server_closed_while_idle_is_no_outage(server: RedisServer, client: Client) -> None:
    other = server.client()
    for _ in range(3):
        other.client_kill_filter(_id=str(number(client)))
        assert client.values(["a"]) == [b"of a"]
        assert is_idle_taken(client)
    server.restart(keep_data=True)
    assert client.values(["a"]) == [b"of a"]
    assert link(client).breaker.allows()


def test_what_redis_py_disconnected_is_connected_by_it(client: Client) -> None:
    before = number(client)
    client.connection_pool.disconnect()
    assert not is_idle_taken(client)
    assert client.values(["a"]) == [b"of a"]
    assert number(client) != before


def test_a_fork_has_connections_of_its_own(client: Client) -> None:
    before = number(client)
    pid = os.fork()
    if pid == 0:
        os._exit(0 if not is_idle_taken(client) and number(client) != before else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert number(client) == before


def test_each_thread_is_given_its_own_replies(client: Client) -> None:
    names = [f"k{n}" for n in range(8)]
    client.mset({name: name for name in names})

    def ask(name: str) -> set[bytes | None]:
        return {value for _ in range(300) for value in client.values([name])}

    with ThreadPoolExecutor(len(names)) as threads:
        assert list(threads.map(ask, names)) == [{name.encode()} for name in names]
    assert len(client.connection_pool._available_connections) <= len(names)


@pytest.mark.parametrize(
    "options",
    [
        {"protocol": 3},
        {"retry": Retry(NoBackoff(), 1)},
        {"credential_provider": redis.UsernamePasswordCredentialProvider("app", "secret")},
    ],
)
def test_connections_that_want_more_go_redis_pys_road(server: RedisServer, options: dict[str, Any]) -> None:
    server.client().execute_command("ACL", "SETUSER", "app", "on", ">secret", "~*", "+@all")
    client = Client.from_url(server.url, **options)
    assert client.values(["absent"]) == [None]
    assert not is_idle_taken(client)
    assert client.values(["absent"]) == [None]


def test_other_pools_go_redis_pys_road(server: RedisServer) -> None:
    client = Client(connection_pool=redis.BlockingConnectionPool.from_url(server.url, protocol=2))
    assert [client.values(["absent"]), client.values(["absent"])] == [[None], [None]]
    assert idle_connection(client.connection_pool) is None
    sentinel: Any = Sentinel([("127.0.0.1", 1)]).master_for("cache", redis_class=Client)
    assert idle_connection(sentinel.connection_pool) is None


def test_a_redis_py_of_other_insides_is_slower_and_no_error(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    client.ping()
    pool: Any = client.connection_pool
    for holder, name in ((pool, "_available_connections"), (pool._available_connections[0], "_sock")):
        assert is_idle_taken(client)
        with monkeypatch.context() as patch:
            patch.setattr(holder, name, None)
            assert not is_idle_taken(client)


def test_gevents_sockets_go_redis_pys_road(server: RedisServer) -> None:
    program = (
        "import gevent.monkey; gevent.monkey.patch_all()\n"
        "import sys\n"
        "from cachepolicy.runtime.client import Client\n"
        "from cachepolicy.runtime.exchange import idle_connection\n"
        "client = Client.from_url(sys.argv[1])\n"
        "print(client.values(['absent']), idle_connection(client.connection_pool), client.values(['absent']))\n"
    )
    done = subprocess.run([sys.executable, "-c", program, server.url], capture_output=True, text=True, check=True)
    assert done.stdout == "[None] None [None]\n"
