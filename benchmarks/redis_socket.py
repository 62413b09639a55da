"""A Redis client of two commands on a bare socket: as fast as Python gets, and nothing else."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

__all__ = ["RedisSocket"]

_CHUNK = 65_536


class RedisSocket:
    """One connection to a loopback port."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._socket = socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 6379), timeout=5)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._ask(b"*2\r\n$6\r\nSELECT\r\n" + _bulk(parts.path.strip("/").encode()))

    def set(self, key: bytes, value: bytes) -> None:
        """Store a value."""
        self._ask(b"*3\r\n$3\r\nSET\r\n" + _bulk(key) + _bulk(value))

    def get(self, key: bytes) -> bytes:
        """The value of a key that is there."""
        self._socket.sendall(b"*2\r\n$3\r\nGET\r\n" + _bulk(key))
        answer = self._socket.recv(_CHUNK)
        start = answer.index(b"\r\n") + 2
        end = start + int(answer[1 : start - 2])
        while len(answer) < end + 2:
            answer += self._socket.recv(_CHUNK)
        return answer[start:end]

    def _ask(self, command: bytes) -> None:
        self._socket.sendall(command)
        answer = self._socket.recv(_CHUNK)
        if answer != b"+OK\r\n":
            raise RuntimeError(f"Redis answered {answer!r}")


def _bulk(value: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(value), value)
