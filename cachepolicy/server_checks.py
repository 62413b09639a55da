"""The Redis server as deployed: what about it would break the promise, leak, or make an outage last."""

from __future__ import annotations

import inspect
import ipaddress
from collections.abc import Iterator
from typing import Any, Final

import redis

__all__ = ["server_problems"]

_OBJ: Final = "settings.CACHEOPS_REDIS"
# What cacheops and the runtime write without a CACHEOPS_PREFIX.
_OURS: Final = ("as:", "asp:", "c:", "conj:", "q:", "schemes:", "cachepolicy:", "epoch:", "known:", "marks:", "stamp:")
_SAMPLE: Final = 200


def server_problems() -> list[dict[str, Any]]:
    """Arguments for a system check per problem of the server that CACHEOPS_REDIS names: id, msg, hint and obj."""
    from cacheops.redis import redis_client

    try:
        pool = redis_client.connection_pool
        found = [*_connection(pool), *_server(redis_client)]
    except ValueError as error:  # of redis-py, about the URL
        found = [("W036", f"this is no address of a Redis: {error}", "write one, as in redis://localhost:6379/1")]
    return [{"msg": message, "hint": hint, "obj": _OBJ, "id": f"cachepolicy.{code}"} for code, message, hint in found]


def _connection(pool: Any) -> Iterator[tuple[str, str, str]]:
    options: dict[str, Any] = pool.connection_kwargs
    waits = [name for name in ("socket_timeout", "socket_connect_timeout") if _is_default(name, options)]
    retry = options.get("retry")
    retries = getattr(retry, "_retries", 0) if retry is not None else 0
    if waits or retries:
        left = [*(f"{name} is redis-py's own" for name in waits), *([f"{retries} retries"] if retries else [])]
        message = f"an unreachable Redis would hold up every read: {', '.join(left)}"
        hint = "set the timeouts to half a second or less and the retries to none, or leave them to cachepolicy"
        yield "W034", message, hint
    host = options.get("host")
    if host is not None and not _is_loopback(host):
        if not issubclass(pool.connection_class, redis.SSLConnection):
            message = f"the connection to {host} is not encrypted: who listens can read what is cached"
            yield "W033", message, "use a rediss:// URL"
        if not options.get("password") and not options.get("credential_provider"):
            message = f"Redis at {host} is used without a password"
            yield "W035", message, "put one into the URL, as in rediss://user:password@host"


def _is_default(name: str, options: dict[str, Any]) -> bool:
    """Whether an option is left out, set to wait for ever, or as redis-py has it (5 s in 8.1)."""
    default = inspect.signature(redis.Redis).parameters[name].default
    return options.get(name) in (None, default)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _server(client: Any) -> Iterator[tuple[str, str, str]]:
    try:
        # A pipeline would hide which command a managed server refuses; these two are refused there at times.
        client.ping()
    except redis.RedisError as error:
        message = f"Redis cannot be reached: {error}"
        yield "W030", message, "start it, or mend CACHEOPS_REDIS; until then every read goes to the database"
        return
    policy = _ask(lambda: client.config_get("maxmemory-policy").get("maxmemory-policy", ""))
    if policy and str(policy).startswith("allkeys-"):
        message = f"Redis evicts by {policy}, which may drop the off switch, and a table's record with all its entries"
        yield "W031", message, "set maxmemory-policy to volatile-lru or volatile-ttl"
    if foreign := _ask(lambda: _foreign_key(client)):
        message = f"the Redis database holds keys of others, such as {foreign!r}; invalidating all would drop them"
        yield "W032", message, "give the cache a database of its own, as in redis://…/1"


def _ask(question: Any) -> Any:
    """The answer, or None where a managed server refuses the command."""
    try:
        return question()
    except redis.RedisError:
        return None


def _foreign_key(client: Any) -> str | None:
    from cacheops.sharding import get_prefix
    from django.conf import settings

    if getattr(settings, "CACHEOPS_PREFIX", None) is not None:
        return None  # prefixes are for sharing; what they are for another call cannot be known here
    prefix = get_prefix()
    _, keys = client.scan(count=_SAMPLE)
    for key in keys:
        text = key.decode("utf-8", "replace") if isinstance(key, bytes) else str(key)
        if not text.startswith(tuple(prefix + ours for ours in _OURS)):
            return text
    return None
