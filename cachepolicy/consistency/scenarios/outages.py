"""Scenarios of Redis failing at the write: gone, hung, read-only, full, restarted, evicting."""

from __future__ import annotations

from contextlib import AbstractContextManager

from cachepolicy.consistency.faults import server
from cachepolicy.consistency.scenarios.registry import scenario
from cachepolicy.consistency.scene import Scene


@scenario("redis_refused", of_redis=True)
def redis_refused(scene: Scene) -> None:
    """Redis refuses connections at the write."""
    _loses_an_invalidation(scene, server.refused(scene.rig))


@scenario("redis_hung", slow=True, of_redis=True)
def redis_hung(scene: Scene) -> None:
    """Redis hangs at the write, and what was sent is lost."""
    lost_bytes = scene.rig.proxy.lost_bytes
    _loses_an_invalidation(scene, server.hung(scene.rig))
    scene.require(scene.rig.proxy.lost_bytes > lost_bytes, "nothing was sent to Redis while it hung")


@scenario("redis_read_only", of_redis=True)
def redis_read_only(scene: Scene) -> None:
    """Redis is a read-only replica at the write."""
    refused = server.refusals(scene.rig, "READONLY")
    _loses_an_invalidation(scene, server.read_only(scene.rig))
    scene.require(server.refusals(scene.rig, "READONLY") > refused, "Redis refused nothing")


@scenario("redis_full", of_redis=True)
def redis_full(scene: Scene) -> None:
    """Redis has no memory left at the write and the next read."""
    refused = server.refusals(scene.rig, "OOM")
    scene.fill()
    _warm_for_save(scene)
    with server.out_of_memory(scene.rig):
        _write(scene)
        scene.read()
    scene.require(server.refusals(scene.rig, "OOM") > refused, "Redis refused nothing")
    scene.read_around_the_bound()


@scenario("redis_old_dump", slow=True, of_redis=True)
def redis_old_dump(scene: Scene) -> None:
    """Redis restarts from a dump that is older than the write."""
    scene.fill()
    dumped = server.contents(scene.rig)
    with server.old_dump(scene.rig):
        _write(scene)
        invalidated = server.contents(scene.rig)
    scene.require(invalidated != dumped, "the write changed nothing in Redis")
    scene.require(server.contents(scene.rig) == dumped, "Redis did not come back with what it had dumped")
    scene.read_around_the_bound()


@scenario("redis_restarted_empty", slow=True, of_redis=True)
def redis_restarted_empty(scene: Scene) -> None:
    """Redis restarts with nothing after the fill."""
    scene.fill()
    server.restarted_empty(scene.rig)
    scene.require(not server.contents(scene.rig), "Redis came back with something")
    _write(scene)
    scene.read_around_the_bound()


@scenario("redis_evicting", of_redis=True)
def redis_evicting(scene: Scene) -> None:
    """Redis has evicted what finds the entries to invalidate."""
    scene.fill()
    held = len(server.contents(scene.rig))
    server.evict_invalidators(scene.rig, stamps=False)
    scene.require(len(server.contents(scene.rig)) < held, "there was nothing to evict")
    _write(scene)
    scene.read_around_the_bound()


@scenario("redis_full_of_others", slow=True, of_redis=True)
def redis_full_of_others(scene: Scene) -> None:
    """Redis, full of other keys, evicts what it likes (allkeys-lru)."""
    scene.fill()
    held = server.contents(scene.rig).keys()
    with server.evicting(scene.rig):
        scene.require(held - server.contents(scene.rig).keys(), "nothing of the scene was evicted")
        _write(scene)
        scene.read()
    scene.read_around_the_bound()


def _loses_an_invalidation(scene: Scene, outage: AbstractContextManager[None]) -> None:
    scene.fill()
    _warm_for_save(scene)
    lost = scene.recorder.count("invalidation lost")
    with outage:
        _write(scene)
    scene.require(scene.recorder.count("invalidation lost") > lost, "no invalidation was lost")
    scene.read_around_the_bound()


def _write(scene: Scene) -> None:
    with scene.writing() as value:
        try:
            scene.row.save(value)
        except Exception as error:
            # The row is committed: that save() raises is a fault of its own, not staleness.
            scene.errors.append(f"save() raised {type(error).__name__}: {error}")


def _warm_for_save(scene: Scene) -> None:
    # save() reads the old row through the cache; a Redis that then refuses to store it would end save() before COMMIT.
    scene.row.model._default_manager.using(scene.row.alias).get(pk=scene.row.pk)
