"""The newsroom's WSGI application on the demo's clock: each request says how far that has been moved."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any, Final

from newsroom.wsgi import application as newsroom

from cachepolicy import clock
from demo.website import CLOCK_HEADER

__all__ = ["application"]

_KEY: Final = "HTTP_" + CLOCK_HEADER.upper().replace("-", "_")
_moving: Final = threading.Lock()
_moved_ms = 0


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Answer as the newsroom does, so much later."""
    global _moved_ms
    with _moving:
        asked_ms = int(environ.get(_KEY, "0"))
        if asked_ms > _moved_ms:
            clock.advance(asked_ms - _moved_ms)
            _moved_ms = asked_ms
    return newsroom(environ, start_response)
