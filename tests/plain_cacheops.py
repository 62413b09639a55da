"""Plain cacheops under compiled settings, as the runtime's built-in mutant: what the kit finds without our runtime."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import cacheops
import cacheops.query
import pytest
import redis
from cacheops.redis import redis_client
from django.db.models import QuerySet

from cachepolicy import signals
from cachepolicy.runtime import decorators, local_gets, seams
from cachepolicy.runtime.client import TIMEOUT_S, Client
from cachepolicy.runtime.places import Place
from cachepolicy.runtime.tables import known_tables

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


def _answer(
    place: Place, compute: Callable[[], Any], ms: int, *, func: Callable[..., Any], lock: bool, **_: Any
) -> tuple[Any, None]:
    """A function's value as cacheops' own decorators give it, under the key that ours has made of its arguments."""
    body = functools.wraps(func)(lambda: compute())
    named: dict[str, Any] = {"timeout": ms // 1000, "extra": place.key}
    if not place.tables:
        return cacheops.cached(**named)(body)(), None
    samples: list[Any] = [known_tables()[table]._base_manager.all() for table in place.tables]
    for sample in samples:
        sample._cacheprofile = sample._cacheprofile or {"db_agnostic": False}  # a link table lives by its model's
    return cacheops.query.cached_as(*samples, lock=lock, keep_fresh=True, **named)(body)(), None


@contextmanager
def plain_cacheops() -> Iterator[None]:
    """Inside the block cacheops is as PyPI has it, but for short timeouts and what its client tells."""
    client: Any = redis_client
    client.ping  # noqa: B018 - the first touch makes it
    with seams.taken_out(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(decorators, "answer", _answer)
        # The local tier is no seam of cacheops', and stays; it routes a get() that is now cacheops'.
        patch.setattr(QuerySet, "get", local_gets._routed(QuerySet.get, cacheops.query._local_get_cache))
        object.__setattr__(client, "__class__", TellingClient)
        try:
            yield
        finally:
            object.__setattr__(client, "__class__", Client)
