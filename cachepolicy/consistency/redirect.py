"""cacheops' one client, sent through another address for a while: to the kit's own server, or through its proxy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis
from cacheops.redis import redis_client

__all__ = ["reconnected", "redirected"]


@contextmanager
def redirected(url: str) -> Iterator[None]:
    """Let cacheops reach Redis at `url` (unix:// or redis://) inside the block, with the project's own timeouts."""
    client: Any = redis_client
    before = client.connection_pool  # the first touch makes the client
    kept = {
        name: before.connection_kwargs[name]
        for name in ("socket_timeout", "socket_connect_timeout", "retry", "protocol")
        if name in before.connection_kwargs
    }
    client.connection_pool = redis.ConnectionPool.from_url(url, **kept)
    try:
        yield
    finally:
        client.connection_pool.disconnect()
        client.connection_pool = before


def reconnected() -> None:
    """Give cacheops' client new connections: what it knew of the server, its clock and its answers, is forgotten."""
    client: Any = redis_client
    before = client.connection_pool
    client.connection_pool = redis.ConnectionPool(
        connection_class=before.connection_class, max_connections=before.max_connections, **before.connection_kwargs
    )
    before.disconnect()
