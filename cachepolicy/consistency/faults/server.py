"""Faults of Redis: gone, hung, emptied, taken back to an old dump, read-only, full, evicting, its clock set back."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cachepolicy.consistency.rig import Rig

__all__ = [
    "clock_set_back",
    "commands_executed",
    "contents",
    "corrupt_values",
    "evict_invalidators",
    "evict_some",
    "evicting",
    "hung",
    "old_dump",
    "out_of_memory",
    "paused",
    "read_only",
    "refusals",
    "refused",
    "restarted_empty",
    "swap_values",
]

# What stamps the entries, and what finds the stamps: of plain cacheops and of ours.
_STAMPS = ("*conj:*", "*stamp:*")
_RECORDS = ("*schemes:*", "*known:*", "*epoch:*", "*marks:*")
_VALUES = ("*q:*", "*as:*", "*c:*")

# Scripts, since others read and write meanwhile: a value that is gone by now must not come back in part.
_FLIP = """
local flipped = 0
for _, key in ipairs(KEYS) do
    local value = redis.call('GET', key)
    if value and #value > 0 then
        local at = math.max(#value - 5, 0)
        redis.call('SETRANGE', key, at, string.char(bit.bxor(string.byte(value, at + 1), 255)))
        flipped = flipped + 1
    end
end
return flipped
"""
_SWAP = """
local keys, values = {}, {}
for _, key in ipairs(KEYS) do
    local value = redis.call('GET', key)
    if value then
        keys[#keys + 1], values[#values + 1] = key, value
    end
end
if #keys < 2 then return 0 end
for place, key in ipairs(keys) do
    redis.call('SET', key, values[place % #keys + 1], 'KEEPTTL')
end
return #keys
"""


@contextmanager
def refused(rig: Rig) -> Iterator[None]:
    """Every connection is closed and new ones are refused inside the block."""
    with _quiet():
        rig.proxy.refuse()
        try:
            yield
        finally:
            rig.proxy.heal()


@contextmanager
def hung(rig: Rig) -> Iterator[None]:
    """What is sent inside the block is lost, and nothing is answered: clients run into their timeouts."""
    with _quiet():
        rig.proxy.swallow()
        try:
            yield
        finally:
            rig.proxy.heal()


@contextmanager
def paused(rig: Rig) -> Iterator[None]:
    """The server stands still inside the block (SIGSTOP); what was sent meanwhile is executed when it goes on."""
    with _quiet():
        rig.server.pause()
        try:
            yield
        finally:
            rig.server.resume()


@contextmanager
def old_dump(rig: Rig) -> Iterator[None]:
    """What Redis holds at the start of the block is what it holds after it: restarted from an old RDB file."""
    rig.client().save()
    yield
    with _quiet():
        rig.server.kill()
        rig.server.start()


def restarted_empty(rig: Rig) -> None:
    """The server is killed and comes back with nothing."""
    rig.server.restart(keep_data=False)


@contextmanager
def read_only(rig: Rig) -> Iterator[None]:
    """Inside the block Redis is a replica that serves what it has and refuses writes (READONLY)."""
    client: Any = rig.client()
    client.replicaof("127.0.0.1", "1")
    try:
        with _quiet():
            yield
    finally:
        client.replicaof("NO", "ONE")


@contextmanager
def out_of_memory(rig: Rig) -> Iterator[None]:
    """Inside the block Redis refuses every command that needs memory (OOM)."""
    client = rig.client()
    client.config_set("maxmemory", "1")
    try:
        with _quiet():
            yield
    finally:
        client.config_set("maxmemory", "0")


def evict_invalidators(rig: Rig, *, stamps: bool = True) -> int:
    """Drop what finds and stamps the entries, as an allkeys policy may, or only what finds; gives how many keys."""
    client: Any = rig.client()
    patterns = _STAMPS + _RECORDS if stamps else _RECORDS
    keys = [key for pattern in patterns for key in client.scan_iter(pattern)]
    return int(client.unlink(*keys)) if keys else 0


@contextmanager
def evicting(rig: Rig) -> Iterator[None]:
    """Inside the block Redis is full, and has already evicted some of what it held (allkeys-lru)."""
    client: Any = rig.client()
    held = set(client.scan_iter("*"))
    client.config_set("maxmemory-policy", "allkeys-lru")
    client.config_set("maxmemory", client.info("memory")["used_memory"] + 200_000)
    fillers: list[str] = []
    try:
        while held and held <= set(client.scan_iter("*")) and len(fillers) < 10_000:
            for _ in range(50):
                fillers.append(f"filler:{len(fillers)}")
                client.set(fillers[-1], b"." * 1000)
        yield
    finally:
        client.config_set("maxmemory", "0")
        client.config_set("maxmemory-policy", "noeviction")
        if fillers:
            client.unlink(*fillers)


def clock_set_back(rig: Rig, ms: int) -> int:
    """Redis' clock goes back by `ms`: every entry expires that much later; gives how many entries there were."""
    client: Any = rig.client()
    moved = 0
    for key in list(client.scan_iter("*")):
        at_ms = client.pexpiretime(key)
        if at_ms > 0:
            moved += bool(client.pexpireat(key, at_ms + ms))
    return moved


def corrupt_values(rig: Rig) -> int:
    """Flip the last byte but four of every cached value; gives how many there were."""
    return _of_values(rig, _FLIP)


def swap_values(rig: Rig) -> int:
    """Give every cached value's bytes to the next key, with its expiry kept; gives how many were moved."""
    return _of_values(rig, _SWAP)


def evict_some(rig: Rig, rng: random.Random) -> int:
    """Drop each key with even odds, as an allkeys policy may; gives how many keys."""
    client: Any = rig.client()
    keys = [key for key in sorted(client.scan_iter("*")) if rng.random() < 0.5]
    return int(client.unlink(*keys)) if keys else 0


def contents(rig: Rig) -> dict[bytes, bytes]:
    """Everything the server holds, by key, as DUMP gives it: to see what a fault did to it, or that it is healed."""
    client: Any = rig.client()
    dumps = {key: client.dump(key) for key in client.scan_iter("*")}
    return {key: dump for key, dump in dumps.items() if dump is not None}


def refusals(rig: Rig, error: str) -> int:
    """How many commands the server has refused with this error, `OOM` for instance, since it started."""
    info: Any = rig.client().info("errorstats")
    return int(info.get(f"errorstat_{error}", {"count": 0})["count"])


def commands_executed(rig: Rig, name: str) -> int:
    """How many commands of this name the server has executed since it started; waits for what it has still to do."""
    info: Any = rig.client().info("commandstats")
    return int(info.get(f"cmdstat_{name}", {"calls": 0})["calls"])


def _of_values(rig: Rig, script: str) -> int:
    client: Any = rig.client()
    keys = _values(client)
    return int(client.eval(script, len(keys), *keys)) if keys else 0


def _values(client: Any) -> list[Any]:
    found = {key for pattern in _VALUES for key in client.scan_iter(pattern, _type="string")}
    others = [pattern.strip("*").encode() for pattern in _STAMPS + _RECORDS]
    return sorted(key for key in found if not any(other in key for other in others))


@contextmanager
def _quiet() -> Iterator[None]:
    """cacheops warns of every command it loses, which is the point here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        yield
