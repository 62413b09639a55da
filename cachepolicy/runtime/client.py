"""The Redis client that cacheops works through: explicit timeouts, no retries, and a failed read is a miss."""

from __future__ import annotations

import warnings
from typing import Any, Final, cast

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

__all__ = ["TIMEOUT_S", "Client"]

# redis-py 8.1 left to itself waits 2.8 s for a refused connection and 58 s for a hung one, per command.
TIMEOUT_S: Final = 0.5


def _defaults() -> dict[str, Any]:
    return {
        "socket_timeout": TIMEOUT_S,
        "socket_connect_timeout": TIMEOUT_S,
        "retry": Retry(NoBackoff(), 0),
        # RESP3 costs half as much again per GET and gives nothing that is used here.
        "protocol": 2,
    }


class Client(redis.Redis):
    """redis.Redis with defaults fit for a cache; what CACHEOPS_REDIS says itself wins."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if kwargs.get("connection_pool") is None:
            kwargs = {**_defaults(), **kwargs}
        super().__init__(*args, **kwargs)

    @classmethod
    def from_url(cls, url: str, **kwargs: Any) -> Client:
        """A client for a URL; options in its query string win over the defaults."""
        return cast(Client, super().from_url(url, **{**_defaults(), **kwargs}))

    def get(self, name: Any) -> Any:
        """The value of a key; None where Redis cannot be reached, since cacheops' `@cached` would raise instead."""
        try:
            return super().get(name)
        except (redis.ConnectionError, redis.TimeoutError) as error:
            warnings.warn(f"Redis cannot be reached, so a read is a miss: {error}", RuntimeWarning, stacklevel=2)
            return None

    def setex(self, name: Any, time: Any, value: Any) -> Any:
        """What cacheops' `@cached` stores by; redis-py deprecates the command."""
        return self.set(name, value, ex=time)

    def evalsha(self, sha: str, numkeys: int, *keys_and_args: Any) -> Any:
        """Run a script; where cacheops' keep_fresh got no stamps, since Redis failed then, the fill is given up."""
        if None in keys_and_args:
            raise redis.ConnectionError("Redis could not be reached before the function was called")
        return super().evalsha(sha, numkeys, *keys_and_args)

    def brpoplpush(self, src: Any, dst: Any, timeout: Any = 0) -> Any:
        """Wait for a lock's signal in turns shorter than the socket timeout; cacheops loops until the lock is free."""
        longest = TIMEOUT_S / 2
        return super().brpoplpush(src, dst, timeout=min(timeout or longest, longest))
