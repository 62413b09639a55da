"""What a scene plays on: the site in another process, its Redis, and the way this process reaches it."""

from __future__ import annotations

from dataclasses import dataclass

from cachepolicy import Duration, clock, conf
from cachepolicy.consistency.clock_shift import shift_expiries
from cachepolicy.consistency.proxy import Proxy
from cachepolicy.consistency.redis_server import RedisServer
from demo.website import Website

__all__ = ["Stage", "bound_of"]


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
