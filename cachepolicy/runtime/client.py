"""The Redis client that cacheops works through: explicit timeouts, no retries, a circuit breaker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast

import redis
from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from redis.backoff import NoBackoff
from redis.client import NEVER_DECODE
from redis.retry import Retry

from cachepolicy.runtime.exchange import exchange, idle_connection
from cachepolicy.runtime.link import link

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


def _bound(pool: Any) -> None:
    """Sentinel makes pools of its own, and asks its sentinels by redis-py's defaults: a minute where they hang."""
    manager = getattr(pool, "sentinel_manager", None)
    if manager is None:
        return
    # Not the protocol, which its pools have settled already.
    waits = {name: value for name, value in _defaults().items() if name not in {"protocol", *manager.connection_kwargs}}
    pool.connection_kwargs.update(waits)
    for sentinel in manager.sentinels:
        own = {name: value for name, value in waits.items() if name not in (manager.sentinel_kwargs or {})}
        sentinel.connection_pool.connection_kwargs.update(own)


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
        _bound(self.connection_pool)

    @classmethod
    def from_url(cls, url: str, **kwargs: Any) -> Client:
        """A client for a URL; options in its query string win over the defaults."""
        return cast(Client, super().from_url(url, **{**_defaults(), **kwargs}))

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Run a command; raises redis.ConnectionError or TimeoutError where Redis cannot be reached or refuses.

        A Redis that refuses (full, read-only, no password) is one that is not there: cacheops falls back to the
        database on these two alone. After a failure nothing is sent for a window, so that an outage does not cost a
        timeout per command.
        """
        return self._answer(super().execute_command, args, options)

    def ask(self, *words: bytes | str | int) -> Any:
        """The reply to a command as bytes, even where CACHEOPS_REDIS says to decode; raises as execute_command does."""
        return self._answer(self._ask, words, {})

    def values(self, keys: list[str]) -> list[bytes | None]:
        """The values of keys as bytes."""
        return cast("list[bytes | None]", self.ask("MGET", *keys))

    def _ask(self, *words: bytes | str | int) -> Any:
        pool = self.connection_pool
        connection = idle_connection(pool)
        if connection is None:
            return cast(Any, super()).execute_command(*words, **{NEVER_DECODE: True})
        return exchange(pool, connection, words)

    def _answer(self, send: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        here = link(self)
        if not here.breaker.allows():
            raise redis.ConnectionError("Redis could not be reached a moment ago")
        try:
            reply = send(*args, **options)
        except redis.exceptions.NoScriptError:
            here.breaker.succeeded()
            raise  # redis-py loads the script and calls again
        except redis.ResponseError as error:
            here.breaker.succeeded()
            raise redis.ConnectionError(f"Redis refused {args[0]}: {error}") from error
        except redis.exceptions.MaxConnectionsError:
            raise  # of our own pool: it says nothing of Redis
        except (redis.ConnectionError, redis.TimeoutError) as error:
            here.failed(error)
            raise
        here.breaker.succeeded()
        return reply

    def flushdb(self, asynchronous: bool = False, **kwargs: Any) -> Any:
        """Empty the database but for the off switch: what was switched off stays off."""
        from cachepolicy.runtime import switch  # imports this client's module

        switched_off = self.values([switch.NAME])[0]
        if switched_off is None:
            return super().flushdb(asynchronous, **kwargs)
        # Together, or a connection that is cut between the two would switch everything on.
        together = self.pipeline(transaction=True)
        together.flushdb(asynchronous, **kwargs)
        together.set(switch.NAME, switched_off)
        try:
            return together.execute()[0]
        except redis.ResponseError as error:
            raise redis.ConnectionError(f"Redis refused FLUSHDB: {error}") from error
