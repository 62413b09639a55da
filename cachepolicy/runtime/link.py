"""A link: what this process knows of one Redis – its clock, whether it answers, what it has not been told yet."""

from __future__ import annotations

import functools
import hashlib
import logging
import os
from typing import Any, Final

import redis

from cachepolicy import clock
from cachepolicy.runtime.breaker import Breaker
from cachepolicy.runtime.journal import Journal
from cachepolicy.runtime.redis_clock import RedisClock

__all__ = ["Link", "link"]

_log: Final = logging.getLogger("cachepolicy")
_ATTRIBUTE: Final = "cachepolicy_link"


class Link:
    """One per connection pool and process."""

    def __init__(self) -> None:
        self.clock, self.breaker, self.journal = RedisClock(), Breaker(), Journal()
        self.pid = os.getpid()

    def failed(self, error: Exception) -> None:
        """Redis did not answer; said once per outage."""
        if self.breaker.failed():
            _log.warning("Redis cannot be reached, so reads go to the database: %s", error)

    def run(self, client: Any, text: str, keys: list[str], args: list[Any], *, anew: bool = False) -> Any:
        """Run a script and learn Redis' clock from its reply, `anew` if need be; raises redis.RedisError."""
        arguments = [len(keys), *keys, clock.redis_shift_us(), *args]
        sent_ns = clock.now_ns()
        try:
            reply = client.ask("EVALSHA", _sha(text), *arguments)
        except redis.exceptions.NoScriptError:
            sent_ns = clock.now_ns()
            reply = client.ask("EVAL", text, *arguments)
        time_us = reply[1] if isinstance(reply, list) else reply
        self.clock.observe(sent_ns, clock.now_ns(), int(time_us), anew=anew)
        return reply


@functools.cache
def _sha(text: str) -> str:
    return hashlib.sha1(text.encode()).hexdigest()


def link(client: Any) -> Link:
    """The link of a client's connections; a fork begins with one of its own."""
    pool = client.connection_pool
    found: Link | None = getattr(pool, _ATTRIBUTE, None)
    if found is None:
        found = pool.__dict__.setdefault(_ATTRIBUTE, Link())
    if found.pid != os.getpid():
        found = Link()
        setattr(pool, _ATTRIBUTE, found)
    return found
