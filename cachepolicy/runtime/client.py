"""The Redis client that cacheops works through: explicit timeouts, no retries, and a failed read is a miss."""

from __future__ import annotations

import warnings
from typing import Any, Final, cast

import redis
from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from redis.backoff import NoBackoff
from redis.retry import Retry

from cachepolicy import signals

__all__ = ["TIMEOUT_S", "Client"]

# redis-py 8.1 left to itself waits 2.8 s for a refused connection and 58 s for a hung one, per command.
TIMEOUT_S: Final = 0.5


# SHA-1 of cacheops' scripts as registered: with and without INSIDEOUT, and for Redis before and since 7.
_FILLS: Final = frozenset(
    {
        "43c56897fe581fb7eefdc1f00d6db8bc0ed5318e",
        "93caee718597fa57f2c358b06f9d7f5cb05a233d",
        "76f365ace541416bbf41c63396d6f65797ca54e7",
    }
)
_INVALIDATIONS: Final = frozenset(
    {"0605214935a9ffcd4b9e5779300302540ff08da4", "3fc258d735c924d5652fceb90b41bea1f1f29e4b"}
)


def _tell(sha: str, keys_and_args: tuple[Any, ...], *, done: bool) -> None:
    # Both kinds of script take the prefix first, then the entry's key or the table.
    if sha in _FILLS and keys_and_args[-1] != "never match":  # keep_fresh's look at the stamps before the call
        signals.fill.send_robust(sender=Client, key=str(keys_and_args[1]), stored=done)
    elif sha in _INVALIDATIONS:
        signals.invalidation.send_robust(sender=Client, table=str(keys_and_args[1]), sent=done)


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
        if apps.ready and not apps.is_installed("cachepolicy"):
            raise ImproperlyConfigured(
                'the settings of a cache policy are in force, but nothing keeps it: add "cachepolicy" to '
                'INSTALLED_APPS, after "cacheops"'
            )
        if kwargs.get("connection_pool") is None:
            kwargs = {**_defaults(), **kwargs}
        super().__init__(*args, **kwargs)

    @classmethod
    def from_url(cls, url: str, **kwargs: Any) -> Client:
        """A client for a URL; options in its query string win over the defaults."""
        return cast(Client, super().from_url(url, **{**_defaults(), **kwargs}))

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Run a command; a Redis that refuses (full, read-only, no password) is treated as one that is not there.

        cacheops falls back to the database on ConnectionError alone: READONLY would end a page with a 500, and a save()
        after its commit with an exception.
        """
        try:
            return cast(Any, super()).execute_command(*args, **options)
        except redis.exceptions.NoScriptError:
            raise  # redis-py loads the script and calls again
        except redis.ResponseError as error:
            raise redis.ConnectionError(f"Redis refused {args[0]}: {error}") from error

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
        """Run a script and tell what became of it; a keep_fresh fill without stamps (Redis failed) is given up."""
        if None in keys_and_args:
            raise redis.ConnectionError("Redis could not be reached before the function was called")
        try:
            reply = super().evalsha(sha, numkeys, *keys_and_args)
        except redis.exceptions.NoScriptError:
            raise  # redis-py loads the script and calls again
        except redis.RedisError:
            _tell(sha, keys_and_args, done=False)
            raise
        # cacheops' fill answers with the stamps it found when it refuses to store.
        _tell(sha, keys_and_args, done=sha not in _FILLS or reply is None)
        return reply

    def brpoplpush(self, src: Any, dst: Any, timeout: Any = 0) -> Any:
        """Wait for a lock's signal in turns shorter than the socket timeout; cacheops loops until the lock is free."""
        own_s = self.connection_pool.connection_kwargs.get("socket_timeout") or TIMEOUT_S
        longest_s = min(own_s, TIMEOUT_S) / 2
        return super().brpoplpush(src, dst, timeout=min(timeout or longest_s, longest_s))
