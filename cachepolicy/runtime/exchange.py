"""A command and its reply on a connection that lies idle in redis-py's pool, past its locks, retries and metrics.

They cost three times what sending and reading does. redis-py does all else: it connects, reconnects, re-authenticates,
speaks RESP3, asks Sentinel. Only a connection that its plain pool holds open, and that has nothing to say, is taken
here; where there is none the caller goes redis-py's road, which leaves one.
"""

from __future__ import annotations

import _socket
import os
import select
from typing import Any, Final

import redis

__all__ = ["exchange", "idle_connection"]

_ATTRIBUTE: Final = "cachepolicy_ear"


class _Ear:
    """Hears whether the server closed a socket, or sent what nobody asked for; redis-py takes eight times as long."""

    __slots__ = ("poll", "socket")

    def __init__(self, connection: Any) -> None:
        self.socket = connection._sock
        poll = select.poll()
        poll.register(self.socket, select.POLLIN)
        self.poll = poll.poll


def idle_connection(pool: Any) -> Any:
    """An open connection of a pool with nothing left to read, the caller's until exchange() is over; None without."""
    idle = getattr(pool, "_available_connections", None)
    # A redis-py of other insides is slower, and no error.
    if type(pool) is not redis.ConnectionPool or type(idle) is not list:
        return None
    # A fork's pool still holds its parent's connections, until redis-py is asked for one.
    if pool.pid != os.getpid():
        return None
    try:
        connection = idle.pop()  # atomic, and not counted as in use: what redis-py does for that takes a lock
    except IndexError:
        return None
    if _is_fit(connection):
        return connection
    idle.append(connection)
    return None


def exchange(pool: Any, connection: Any, words: tuple[bytes | str | int, ...]) -> Any:
    """Send a command and give its reply as bytes; raises what redis-py does."""
    try:
        connection.send_packed_command((_packed(connection.encoder, words),))
        reply = connection.read_response(disable_decoding=True)
    except redis.ResponseError:
        pool._available_connections.append(connection)
        raise
    except BaseException as error:
        # A reply that was not read, after a time limit of the application's or a Ctrl-C, would be the next command's.
        connection.disconnect()
        pool._available_connections.append(connection)
        if isinstance(error, (ValueError, AttributeError)):
            # Another thread has closed the pool's connections meanwhile: what redis-py reads from is gone.
            raise redis.ConnectionError(f"the connection was closed while it was in use: {error}") from error
        raise
    pool._available_connections.append(connection)
    return reply


def _is_fit(connection: Any) -> bool:
    ear: _Ear | None = getattr(connection, _ATTRIBUTE, None)
    if ear is None or ear.socket is not connection._sock:
        if not _is_plain(connection):
            return False
        ear = _Ear(connection)
        setattr(connection, _ATTRIBUTE, ear)
    return not ear.poll(0)


def _is_plain(connection: Any) -> bool:
    """Whether it is open, and redis-py does nothing of a command for it that is not done here."""
    return (
        isinstance(connection, redis.connection.AbstractConnection)
        and connection.protocol == 2
        and connection.credential_provider is None
        and getattr(connection.retry, "_retries", None) == 0
        # Not gevent's, whose poll() belongs to one thread; nor is there poll() on Windows.
        and isinstance(getattr(connection, "_sock", None), _socket.socket)
        and hasattr(select, "poll")
    )


def _packed(encoder: Any, words: tuple[bytes | str | int, ...]) -> bytes:
    packed = [b"*%d\r\n" % len(words)]
    for word in words:
        data = word if isinstance(word, bytes) else str(word).encode(encoder.encoding, encoder.encoding_errors)
        packed += (b"$%d\r\n" % len(data), data, b"\r\n")
    return b"".join(packed)
