"""The faults of Redis that a soak plays, each while everyone reads and writes; True where it bit."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from cachepolicy.consistency.faults import server
from cachepolicy.consistency.rig import Rig
from cachepolicy.consistency.soak.board import Board

__all__ = ["OUTAGES", "play_outage"]

_HOUR_MS: Final = 3_600_000


def play_outage(name: str, rig: Rig, board: Board, rng: random.Random, bound_ms: int) -> bool:
    """Play one fault of OUTAGES; it bites only while there is somebody to notice."""
    return OUTAGES[name](rig, rng, bound_ms / 1000) and board.is_read


def _refused(rig: Rig, rng: random.Random, bound_s: float) -> bool:
    cut = rig.proxy.cut_connections
    with server.refused(rig):
        time.sleep(bound_s * rng.uniform(0.02, 0.3))
    return rig.proxy.cut_connections > cut


def _hung(rig: Rig, rng: random.Random, bound_s: float) -> bool:
    lost = rig.proxy.lost_bytes
    with server.hung(rig):
        time.sleep(bound_s * rng.uniform(0.02, 0.5))
    return rig.proxy.lost_bytes > lost


def _paused(rig: Rig, rng: random.Random, bound_s: float) -> bool:
    with server.paused(rig):
        time.sleep(bound_s * rng.uniform(0.05, 0.7))
    return True


def _restarted_empty(rig: Rig, rng: random.Random, bound_s: float) -> bool:  # noqa: ARG001
    held = _held(rig)
    server.restarted_empty(rig)
    return held > 0


def _old_dump(rig: Rig, rng: random.Random, bound_s: float) -> bool:
    with server.old_dump(rig):
        held = _held(rig)
        time.sleep(bound_s * rng.uniform(0.1, 0.6))
    return held > 0


def _read_only(rig: Rig, rng: random.Random, bound_s: float) -> bool:
    refused = server.refusals(rig, "READONLY")
    with server.read_only(rig):
        time.sleep(bound_s * rng.uniform(0.05, 0.5))
    return server.refusals(rig, "READONLY") > refused


def _full(rig: Rig, rng: random.Random, bound_s: float) -> bool:
    refused = server.refusals(rig, "OOM")
    with server.out_of_memory(rig):
        time.sleep(bound_s * rng.uniform(0.05, 0.5))
    return server.refusals(rig, "OOM") > refused


def _flushed(rig: Rig, rng: random.Random, bound_s: float) -> bool:  # noqa: ARG001
    held = _held(rig)
    rig.client().flushall()
    return held > 0


def _evicting(rig: Rig, rng: random.Random, bound_s: float) -> bool:  # noqa: ARG001
    return server.evict_invalidators(rig, stamps=rng.random() < 0.5) > 0


def _evicting_some(rig: Rig, rng: random.Random, bound_s: float) -> bool:  # noqa: ARG001
    return server.evict_some(rig, rng) > 0


def _clock_set_back(rig: Rig, rng: random.Random, bound_s: float) -> bool:  # noqa: ARG001
    return server.clock_set_back(rig, _HOUR_MS) > 0


def _corrupt(rig: Rig, rng: random.Random, bound_s: float) -> bool:  # noqa: ARG001
    return server.corrupt_values(rig) > 0


def _swapped(rig: Rig, rng: random.Random, bound_s: float) -> bool:  # noqa: ARG001
    return server.swap_values(rig) > 0


OUTAGES: Final[Mapping[str, Callable[[Rig, random.Random, float], bool]]] = {
    "redis_refused": _refused,
    "redis_hung": _hung,
    "redis_paused": _paused,
    "redis_restarted_empty": _restarted_empty,
    "redis_old_dump": _old_dump,
    "redis_read_only": _read_only,
    "redis_full": _full,
    "redis_flushed": _flushed,
    "redis_evicting": _evicting,
    "redis_evicting_some": _evicting_some,
    "redis_clock_set_back": _clock_set_back,
    "corrupt_bytes": _corrupt,
    "swapped_bytes": _swapped,
}


def _held(rig: Rig) -> int:
    client: Any = rig.client()
    return int(client.dbsize())
