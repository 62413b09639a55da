"""The circuit breaker: what an unreachable Redis costs is one timeout per window and process."""

from __future__ import annotations

import threading
from typing import Final

from cachepolicy import clock

__all__ = ["WINDOW_MS", "Breaker"]

WINDOW_MS: Final = 2_000


class Breaker:
    """Closed while Redis answers; a failure opens it for a window, then one caller tries (Nygard, Release It!)."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open_until_ns: int | None = None

    def allows(self) -> bool:
        """Whether a command may be sent; of several callers after the window only the first may."""
        if self._open_until_ns is None:
            return True
        with self._lock:
            now_ns = clock.now_ns()
            if self._open_until_ns is None:
                return True
            if now_ns < self._open_until_ns:
                return False
            self._open_until_ns = now_ns + WINDOW_MS * 1_000_000
            return True

    def failed(self) -> bool:
        """Redis did not answer; whether that opened it now."""
        with self._lock:
            was_closed = self._open_until_ns is None
            self._open_until_ns = clock.now_ns() + WINDOW_MS * 1_000_000
        return was_closed

    def succeeded(self) -> None:
        """Redis answered."""
        if self._open_until_ns is not None:
            with self._lock:
                self._open_until_ns = None
