"""The process's clocks: a steady one and the wall's, shiftable so that a bound is tested without waiting for it."""

from __future__ import annotations

import time
from typing import Final

__all__ = ["advance", "now_ns", "redis_shift_us", "set_redis_back", "wall_us"]

# It goes on while the machine sleeps, which CLOCK_MONOTONIC does not: a laptop's or a VM's cache would wake up young.
_STEADY: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

_advanced_ns = 0
_redis_back_us = 0


def now_ns() -> int:
    """Nanoseconds since an arbitrary start, the same for all processes of a machine; never goes back."""
    return time.clock_gettime_ns(_STEADY) + _advanced_ns


def wall_us() -> int:
    """Microseconds since 1970, as this machine's wall clock has it."""
    return (time.time_ns() + _advanced_ns) // 1000


def advance(ms: int) -> None:
    """Let `ms` milliseconds pass at once, for tests and demos; raises ValueError where ms is negative."""
    global _advanced_ns
    if ms < 0:
        raise ValueError(f"time does not go back: {ms} ms")
    _advanced_ns += ms * 1_000_000


def set_redis_back(ms: int) -> None:
    """Set the clock of Redis back by `ms` milliseconds, as this process and its scripts see it, for tests and demos."""
    global _redis_back_us
    _redis_back_us += ms * 1000


def redis_shift_us() -> int:
    """What to add to Redis' TIME; 0 but in tests and demos, since a real server's clock cannot be moved."""
    return _advanced_ns // 1000 - _redis_back_us
