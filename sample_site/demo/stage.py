"""What a scene plays on: the site in another process, its Redis, and the way this process reaches it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

from cacheops.redis import redis_client

from cachepolicy import Duration, clock, conf
from cachepolicy.consistency.clock_shift import shift_expiries
from cachepolicy.consistency.proxy import Proxy
from cachepolicy.consistency.redis_server import RedisServer
from cachepolicy.runtime.link import link
from demo.website import Website

__all__ = ["Stage", "bound_of"]

_REPLAY_S: Final = 10.0
_POLL_S: Final = 0.01


@dataclass
class Stage:
    """The real parts; this process, the writer, reaches Redis through the proxy, the site does not."""

    website: Website
    redis: RedisServer
    proxy: Proxy

    def let_pass(self, ms: int) -> None:
        """Move every clock that a timeout depends on: the expiries in Redis and this process's own."""
        shift_expiries(self.redis.client(), ms)
        clock.advance(ms)

    def wait_until_all_is_told(self) -> None:
        """Wait until this process has told Redis every invalidation that was lost; raises TimeoutError."""
        until_s = time.monotonic() + _REPLAY_S
        while link(redis_client).journal:
            if time.monotonic() > until_s:
                raise TimeoutError("Redis answers again, and has not been told what was lost")
            time.sleep(_POLL_S)


def bound_of(rule: str) -> Duration:
    """The timeout of a rule: a model's label, or `functions.` and a name; raises LookupError for none."""
    policies = conf.policies()
    section, _, name = rule.partition(".")
    if section == "functions":
        return policies.functions[name].timeout.value
    found = policies.rule_for(rule)
    if found is None:
        raise LookupError(f"{rule} has no rule in {policies.file}")
    return found.timeout.value
