"""Scenarios of what Redis holds: a clock set back, bytes that flip or change places."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from cachepolicy import clock
from cachepolicy.consistency.faults import server
from cachepolicy.consistency.rig import Rig
from cachepolicy.consistency.scenarios.late_fills import write_unseen
from cachepolicy.consistency.scenarios.registry import scenario
from cachepolicy.consistency.scene import DidNotBite, Scene

_HOUR_MS: Final = 3_600_000


@scenario("redis_clock_set_back", by_orm=False, of_redis=True)
def redis_clock_set_back(scene: Scene) -> None:
    """Redis' clock is set back an hour."""
    scene.fill()
    with scene.writing() as value:
        write_unseen(scene, value)
    scene.rig.let_pass(scene.bound_ms // 2)
    scene.read()
    scene.require(server.clock_set_back(scene.rig, _HOUR_MS), "nothing in Redis had an expiry")
    clock.set_redis_back(_HOUR_MS)
    try:
        scene.let_pass_until(scene.written_ns, scene.bound_ms + 100)
        scene.read()
    finally:
        clock.set_redis_back(-_HOUR_MS)


@scenario("corrupt_bytes", by_orm=False, of_redis=True)
def corrupt_bytes(scene: Scene) -> None:
    """A byte of a cached value flips."""
    scene.fill()
    with scene.writing() as value:
        write_unseen(scene, value)
    _require_a_change(scene, server.corrupt_values)
    scene.read_elsewhere()
    scene.read_around_the_bound()


@scenario("swapped_bytes", by_orm=False, of_redis=True)
def swapped_bytes(scene: Scene) -> None:
    """Cached values change places."""
    other = scene.other
    if other is None:
        raise DidNotBite("the table has no second row")
    with scene.writing() as value:
        write_unseen(scene, value)
    scene.rig.let_pass(scene.bound_ms + 100)
    scene.read()
    other()
    _require_a_change(scene, server.swap_values)
    scene.read_elsewhere()


def _require_a_change(scene: Scene, fault: Callable[[Rig], object]) -> None:
    before = server.contents(scene.rig)
    fault(scene.rig)
    scene.require(server.contents(scene.rig) != before, "no cached value changed")
