"""Plain cacheops under compiled settings, as the runtime's built-in mutant: what the kit finds without our runtime."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import redis
from cacheops.redis import redis_client

from cachepolicy import signals
from cachepolicy.runtime import seams
from cachepolicy.runtime.client import TIMEOUT_S, Client

__all__ = ["plain_cacheops"]

# SHA-1 of cacheops' scripts as registered, for Redis before and since 7.
_FILLS = {"93caee718597fa57f2c358b06f9d7f5cb05a233d", "76f365ace541416bbf41c63396d6f65797ca54e7"}
_INVALIDATION = "3fc258d735c924d5652fceb90b41bea1f1f29e4b"


class TellingClient(redis.Redis):
    """redis.Redis with short timeouts that tells the kit's recorder what became of fills and invalidations."""

    def execute_command(self, *args: Any, **options: Any) -> Any:
        try:
            return cast(Any, super()).execute_command(*args, **options)
        except redis.exceptions.NoScriptError:
            raise
        except redis.ResponseError as error:
            raise redis.ConnectionError(f"Redis refused {args[0]}: {error}") from error

    def get(self, name: Any) -> Any:
        try:
            return super().get(name)
        except (redis.ConnectionError, redis.TimeoutError) as error:
            warnings.warn(f"Redis cannot be reached: {error}", RuntimeWarning, stacklevel=2)
            return None

    def evalsha(self, sha: str, numkeys: int, *keys_and_args: Any) -> Any:
        if None in keys_and_args:
            raise redis.ConnectionError("Redis could not be reached before the function was called")
        try:
            reply = super().evalsha(sha, numkeys, *keys_and_args)
        except redis.exceptions.NoScriptError:
            raise
        except redis.RedisError:
            _tell(sha, keys_and_args, done=False)
            raise
        _tell(sha, keys_and_args, done=sha not in _FILLS or reply is None)
        return reply

    def brpoplpush(self, src: Any, dst: Any, timeout: Any = 0) -> Any:
        return super().brpoplpush(src, dst, timeout=min(timeout or TIMEOUT_S, TIMEOUT_S) / 2)


def _tell(sha: str, keys_and_args: tuple[Any, ...], *, done: bool) -> None:
    if sha in _FILLS and keys_and_args[-1] != "never match":
        signals.fill.send_robust(sender=None, key=str(keys_and_args[1]), stored=done, reason="")
    elif sha == _INVALIDATION:
        signals.invalidation.send_robust(sender=None, table=str(keys_and_args[1]), sent=done, replayed=False)


@contextmanager
def plain_cacheops() -> Iterator[None]:
    """Inside the block cacheops is as PyPI has it, but for short timeouts and what its client tells."""
    client: Any = redis_client
    client.ping  # noqa: B018 - the first touch makes it
    with seams.taken_out():
        object.__setattr__(client, "__class__", TellingClient)
        try:
            yield
        finally:
            object.__setattr__(client, "__class__", Client)
