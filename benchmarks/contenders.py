"""The contenders: what each installs and sets. Pure data; each runs in a process of its own."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from cachepolicy.compiler import unsupported
from cachepolicy.policies import schema
from cachepolicy.policies.loader import load_policies

__all__ = ["READS", "TIMEOUT_S", "Contender", "contenders", "policy_text"]

READS: Final = ("get", "20 rows", "count", "exists", "aggregate", "function")
TIMEOUT_S: Final = 3600

# How a contender reads: `orm` leaves it to the ORM, `limit` knows nothing but one way to a ready value.
Style = Literal["orm", "cacheops", "cachepolicy", "by hand", "dogpile", "limit, Redis", "limit, memory"]


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to read and write the newspaper's rows."""

    name: str
    style: Style = "orm"
    apps: tuple[str, ...] = ()
    # From the address of its Redis database.
    settings: Callable[[str], dict[str, Any]] = lambda _: {}
    policy: str = ""
    engine: Literal["postgresql", "sqlite"] = "postgresql"
    # The keys in Redis of what it caches, to plant more like them; empty where Redis holds none.
    entries: str = ""
    # So many of the entries that depend on a saved row are read, the others planted in Redis.
    dependents_read: int = 20

    @property
    def reads(self) -> tuple[str, ...]:
        """The reads it takes part in."""
        return ("function",) if self.style == "dogpile" else READS

    @property
    def is_whole(self) -> bool:
        """Whether it fills, saves and serves pages too; the others are there to compare reads with."""
        return self.style not in {"dogpile", "limit, Redis", "limit, memory"} and self.engine == "postgresql"

    @property
    def caches(self) -> bool:
        """Whether a second read asks the database nothing."""
        return self.style != "orm" or bool(self.apps)

    @property
    def refreshes_ahead(self) -> bool:
        """Whether it can serve what it has while one reader computes it anew."""
        return self.style == "dogpile" or "refresh_ahead" in self.policy


def contenders() -> list[Contender]:
    """Everyone who is there, in the order of a round."""
    return list(_contenders())


def _contenders() -> Iterator[Contender]:
    yield Contender("no cache, SQLite", engine="sqlite")
    yield Contender("no cache")
    yield _cacheops("cacheops", insideout=False)
    yield _cacheops("cacheops INSIDEOUT", insideout=True)
    for where in ("Redis", "locmem"):
        cache = _redis_cache if where == "Redis" else _locmem_cache
        entries = ":1:*" if where == "Redis" else ""
        yield Contender(f"cachalot, {where}", apps=("cachalot",), settings=cache, entries=entries)
        yield Contender(f"cache.get by hand, {where}", "by hand", settings=cache)
    yield Contender("dogpile.cache, Redis", "dogpile", settings=lambda url: {"DOGPILE_URL": url})
    yield _cachepolicy("cachepolicy", policy_text())
    if _is_kept(near := policy_text(near=True)):
        yield _cachepolicy("cachepolicy near", near)
    yield Contender("limit: socket GET + unpickle", "limit, Redis", settings=lambda url: {"LIMIT_URL": url})
    yield Contender("limit: dict + shallow copy", "limit, memory")


def _cacheops(name: str, *, insideout: bool) -> Contender:
    def settings(url: str) -> dict[str, Any]:
        rules = {"newspaper.*": {"ops": "all", "timeout": TIMEOUT_S}}
        return {"CACHEOPS_REDIS": url, "CACHEOPS": rules, "CACHEOPS_INSIDEOUT": insideout}

    return Contender(name, "cacheops", ("cacheops",), settings, entries="q:*")


def _cachepolicy(name: str, policy: str) -> Contender:
    apps = ("cacheops", "cachepolicy")
    # Into the process's memory nothing can be planted.
    read = 1_000 if "near" in policy else 20
    return Contender(name, "cachepolicy", apps, lambda url: {"CACHEOPS_REDIS": url}, policy, "postgresql", "q:*", read)


def _redis_cache(url: str) -> dict[str, Any]:
    backend = "django.core.cache.backends.redis.RedisCache"
    return {"CACHES": {"default": {"BACKEND": backend, "LOCATION": url, "TIMEOUT": TIMEOUT_S}}}


def _locmem_cache(_: str) -> dict[str, Any]:
    backend, options = "django.core.cache.backends.locmem.LocMemCache", {"MAX_ENTRIES": 100_000}
    return {"CACHES": {"default": {"BACKEND": backend, "TIMEOUT": TIMEOUT_S, "OPTIONS": options}}}


def policy_text(*, near: bool = False) -> str:
    """The newspaper's policy, with a near tier wherever the language knows one."""
    whole = f"timeout: {TIMEOUT_S}s"
    defaults = f"{whole}, ops: all" + (f", near: {TIMEOUT_S}s" if near else "")
    functions = {"latest": whole, "cold": f"{whole}, lock: true"}
    if "refresh_ahead" in schema.FUNCTION:
        functions["ahead"] = "timeout: 2s, refresh_ahead: 1s"
    if near and "near" in schema.FUNCTION:
        functions["latest"] += f", near: {TIMEOUT_S}s"
    lines = ["version: 1", f"max_staleness: {TIMEOUT_S}s", f"defaults: {{{defaults}}}"]
    lines += ['models: {"newspaper.*": {}}', "functions:"]
    lines += [f"  {name}: {{depends_on: [newspaper.Article], {rule}}}" for name, rule in functions.items()]
    return "\n".join(lines) + "\n"


def _is_kept(policy: str) -> bool:
    """Whether this version's runtime keeps all that a policy says."""
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "policies.yaml"
        file.write_text(policy)
        return not unsupported(load_policies(file))
