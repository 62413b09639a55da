"""The kit's own Redis behind a proxy, cacheops pointed at it, and one clock that can be moved."""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

import redis

from cachepolicy import clock
from cachepolicy.consistency.clock_shift import shift_expiries
from cachepolicy.consistency.proxy import Proxy
from cachepolicy.consistency.redirect import reconnected, redirected
from cachepolicy.consistency.redis_server import RedisServer

__all__ = ["Rig"]


class Rig:
    """A context manager: inside it every cached read of this process goes through `proxy` to `server`, both ours."""

    def __init__(self) -> None:
        self.server = RedisServer("--maxmemory-policy", "noeviction")
        self.proxy: Proxy
        self._parts = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as parts:
            parts.enter_context(self.server)
            self.proxy = parts.enter_context(Proxy(self.server.url))
            parts.enter_context(redirected(self.proxy.url))
            self._parts = parts.pop_all()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._parts.close()

    def client(self) -> redis.Redis:
        """A client that speaks to the server past the proxy."""
        return self.server.client()

    def let_pass(self, ms: int) -> None:
        """Let `ms` milliseconds pass at once, for Redis' expiries and this process's clock alike; ms ≥ 1."""
        shift_expiries(self.client(), max(ms, 1))
        clock.advance(ms)

    def forget(self) -> None:
        """Empty the cache: nothing of an earlier scene is served in a later one."""
        from cacheops import invalidate_all, query

        if not self.server.running:
            self.server.start()  # something ended it, an out-of-memory killer for instance
        self.client().flushall()
        reconnected()
        invalidate_all()  # what this process keeps in its memory
        local: Any = query._local_get_cache
        local.clear()
