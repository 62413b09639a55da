"""A proxy in front of a Redis that loses bytes, refuses connections or delays requests when told to."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from cachepolicy.exceptions import CachePolicyError

_CHUNK_BYTES = 65536
_CONTROL_TIMEOUT_S = 10.0
_SETTLING_ROUNDS = 10  # accept, transport, stream, task and read of a new connection take the loop five


class ProxyError(CachePolicyError):
    """The proxy was given an address it cannot serve, or was used while it was not running."""


@dataclass(eq=False)
class _Connection:
    """One client's connection and, unless it was opened while bytes were lost, the one to Redis behind it."""

    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    lost_bytes: bool = False


class Proxy:
    """Passes bytes between clients and the Redis at `upstream`, on a unix socket or with `tcp` on a loopback port.

    What swallow(), refuse(), delay() and heal() ask for is in effect when they return. `lost_bytes` counts what
    was swallowed, in both directions, and `cut_connections` those that refuse() and heal() closed.
    """

    def __init__(self, upstream: str, *, tcp: bool = False) -> None:
        self._upstream = urlsplit(upstream)
        if self._upstream.scheme not in ("redis", "unix"):
            raise ProxyError(f"cannot stand in front of {upstream!r}; give a redis:// or unix:// address")
        self.lost_bytes = self.cut_connections = 0
        self._tcp = tcp
        self._address: tuple[str, int] | str = ("127.0.0.1", 0)
        self._directory: Path | None = None
        self._thread: threading.Thread | None = None
        self._owner = os.getpid()
        self._loop: asyncio.AbstractEventLoop
        self._server: asyncio.Server | None = None
        self._bound: socket.socket  # keeps the address ours while nobody listens on it
        self._connections: dict[_Connection, asyncio.Task[Any] | None] = {}
        self._swallowing = False
        self._delay_s = 0.0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """The address for clients, with the upstream's database number."""
        if self._thread is None:
            raise ProxyError("the proxy has no address yet; call start() first")
        in_path = self._upstream.path.strip("/") if self._upstream.scheme == "redis" else ""
        database = parse_qs(self._upstream.query).get("db", [in_path or "0"])[0]
        if isinstance(self._address, str):
            return f"unix://{self._address}?db={database}"
        return f"redis://{self._address[0]}:{self._address[1]}/{database}"

    def start(self) -> None:
        """Listen and pass bytes, in a thread of the proxy's own."""
        if self._thread is not None:
            raise ProxyError("the proxy is running already; stop() it before start()")
        self._owner = os.getpid()
        if not self._tcp:
            self._directory = Path(tempfile.mkdtemp(prefix="cachepolicy-proxy-"))
            self._address = str(self._directory / "proxy.sock")
        self._bound = self._bind()
        self._address = self._bound.getsockname()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="redis-proxy", daemon=True)
        self._thread.start()
        self._run(self._start_passing())

    def stop(self) -> None:
        """Close every connection and end the thread; in a forked child, which has no such thread, do nothing."""
        if self._thread is None or self._owner != os.getpid():
            return
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._thread = None
        self._loop.close()
        self._bound.close()
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)

    def swallow(self) -> None:
        """Read and drop every byte of both directions, as a network does that hangs and loses what it was given."""
        self._run(self._start_swallowing())

    def refuse(self) -> None:
        """Close every connection and refuse new ones."""
        self._run(self._start_refusing())

    def delay(self, ms: float) -> None:
        """Hand on each request `ms` milliseconds late, even when its client has given up by then."""
        if ms < 0:
            raise ValueError(f"delay: ms must not be negative, not {ms}")
        self._run(self._start_passing(ms / 1000))

    def heal(self) -> None:
        """Pass bytes again; a connection that lost any, or was opened meanwhile, is closed: none arrives late."""
        self._run(self._start_passing())

    def _run(self, change: Coroutine[Any, Any, None]) -> None:
        if self._thread is None or self._owner != os.getpid():
            change.close()
            raise ProxyError("the proxy is not running in this process; call start() first")
        asyncio.run_coroutine_threadsafe(change, self._loop).result(_CONTROL_TIMEOUT_S)

    def _bind(self) -> socket.socket:
        family = socket.AF_UNIX if isinstance(self._address, str) else socket.AF_INET
        bound = socket.socket(family, socket.SOCK_STREAM)
        if isinstance(self._address, str):
            Path(self._address).unlink(missing_ok=True)
        else:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(self._address)
        return bound

    async def _start_passing(self, delay_s: float = 0.0) -> None:
        self._delay_s = delay_s
        if self._swallowing:
            await self._close_those_that_lost_bytes()
            self._swallowing = False
        await self._listen()

    async def _start_swallowing(self) -> None:
        self._delay_s = 0.0
        self._swallowing = True
        await self._listen()

    async def _start_refusing(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
            self._bound.close()
            self._bound = self._bind()  # bound but not listening: the kernel refuses
        self._swallowing = False
        await self._end(list(self._connections))

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, sock=self._bound)

    async def _close_those_that_lost_bytes(self) -> None:
        # What clients sent before this call may still lie in the kernel: let the loop read and drop it first.
        for _ in range(_SETTLING_ROUNDS):
            await asyncio.sleep(0)
        await self._end([connection for connection in self._connections if connection.lost_bytes])

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection([writer], lost_bytes=self._swallowing)
        self._connections[connection] = asyncio.current_task()
        # Cancelled by _end(): swallowed, since the streams of Python 3.11 report a cancelled handler as an error.
        with suppress(asyncio.CancelledError):
            await self._pass_bytes(connection, reader, writer)

    async def _pass_bytes(
        self, connection: _Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        pumps: list[asyncio.Task[None]] = []
        try:
            if self._swallowing:
                while data := await reader.read(_CHUNK_BYTES):
                    self.lost_bytes += len(data)
                return
            with suppress(OSError):  # Redis itself is down: close, as it would
                upstream_reader, upstream_writer = await self._connect()
                connection.writers.append(upstream_writer)
                pumps = [
                    asyncio.create_task(self._pump(connection, reader, upstream_writer, are_requests=True)),
                    asyncio.create_task(self._pump(connection, upstream_reader, writer, are_requests=False)),
                ]
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            for open_writer in connection.writers:
                open_writer.close()
            del self._connections[connection]

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._upstream.scheme == "unix":
            return await asyncio.open_unix_connection(self._upstream.path)
        return await asyncio.open_connection(self._upstream.hostname, self._upstream.port or 6379)

    async def _pump(
        self,
        connection: _Connection,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        are_requests: bool,
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(_CHUNK_BYTES):
                if are_requests and self._delay_s:
                    await asyncio.sleep(self._delay_s)
                if self._swallowing:
                    connection.lost_bytes = True
                    self.lost_bytes += len(data)
                    continue
                writer.write(data)
                await writer.drain()
        if self._swallowing and not are_requests:
            # A network that hangs does not tell the client that Redis has gone either.
            connection.lost_bytes = True
            await asyncio.Event().wait()

    async def _end(self, connections: list[_Connection]) -> None:
        self.cut_connections += len(connections)
        tasks = [task for connection in connections if (task := self._connections[connection]) is not None]
        for connection in connections:
            for writer in connection.writers:
                writer.transport.abort()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        await self._end(list(self._connections))
