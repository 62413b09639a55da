"""The process's clock: monotonic, in nanoseconds, and shiftable so that a bound is tested without waiting for it."""

from __future__ import annotations

import time

__all__ = ["advance", "now_ns"]

_advanced_ns = 0


def now_ns() -> int:
    """Nanoseconds since an arbitrary start; never goes back."""
    return time.monotonic_ns() + _advanced_ns


def advance(ms: int) -> None:
    """Let `ms` milliseconds pass at once, for tests and demos; raises ValueError where ms is negative."""
    global _advanced_ns
    if ms < 0:
        raise ValueError(f"time does not go back: {ms} ms")
    _advanced_ns += ms * 1_000_000
