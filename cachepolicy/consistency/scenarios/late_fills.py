"""Scenarios of late fills: what is stored was the committed state once, and no longer is."""

from __future__ import annotations

from collections.abc import Callable

from django.db import connections
from django.test.utils import CaptureQueriesContext

from cachepolicy import clock
from cachepolicy.consistency.faults import fills, processes, replicas, server, transactions
from cachepolicy.consistency.scenarios.registry import scenario
from cachepolicy.consistency.scene import Scene


@scenario("stale_set")
def stale_set(scene: Scene) -> None:
    """A reader pauses between its read and its store, while a writer commits and invalidates."""
    _overtaken(scene, scene.row.save)


@scenario("stale_set_raw", by_orm=False)
def stale_set_raw(scene: Scene) -> None:
    """A reader pauses between its read and its store, while another program writes."""
    _overtaken(scene, lambda value: write_unseen(scene, value))


@scenario("frozen_snapshot", by_orm=False)
def frozen_snapshot(scene: Scene) -> None:
    """A reader fills the cache from a snapshot that is older than a write."""
    scene.warm()
    with transactions.frozen_snapshot(scene.row.alias):
        _written_in_another_thread(scene)
        scene.rig.let_pass(scene.bound_ms // 2)
        _require_the_past(scene, scene.read_late())
    scene.read_at_the_end_of(scene.filled_ns)


@scenario("lagging_replica", by_orm=False)
def lagging_replica(scene: Scene) -> None:
    """A reader fills the cache from a replica that lags behind a write, by less than the policy allows."""
    assert scene.source_on is not None
    scene.warm()
    declared_ms = scene.bound_ms - scene.bound_ms // 8
    with replicas.lagging_replica(scene.row.alias) as replica, replicas.declared_lag(replica.alias, declared_ms):
        scene.source = scene.source_on(replica.alias)
        with scene.writing() as value:
            write_unseen(scene, value)
        scene.rig.let_pass(scene.bound_ms // 2)
        _require_the_past(scene, scene.read_late())
        scene.require(replica.lag_ms() < declared_ms, "the replica lagged behind by more than the policy says")
        scene.read()
        replica.catch_up()
        scene.read_at_the_end_of(scene.filled_ns)


@scenario("late_store", by_orm=False, slow=True, of_redis=True)
def late_store(scene: Scene) -> None:
    """Redis stands still while a reader stores, and executes the store after the reader has given up."""
    stored_ns = stored_late(scene, lambda value: write_unseen(scene, value))
    scene.read_at_the_end_of(stored_ns)


@scenario("nested", by_orm=False, nested=True)
def nested(scene: Scene) -> None:
    """A function stores what it read from the cache, so that the ages add up."""
    assert scene.inner is not None
    inner_ns = clock.now_ns()
    scene.require(scene.inner() == scene.before, "the function's rows were not read before the write")
    with scene.writing() as value:
        write_unseen(scene, value)
    # Not as long as half the bound: rows that old are read anew, so that the function is not born old.
    scene.rig.let_pass(scene.bound_ms // 2 - scene.bound_ms // 8)
    _require_the_past(scene, scene.read_late())
    scene.read_at_the_end_of(inner_ns)
    scene.read_at_the_end_of(scene.filled_ns)


def stored_late(scene: Scene, write: Callable[[object], None]) -> int:
    """Redis executes a store that its reader has given up, of what `write` has changed meanwhile; gives the instant."""
    with CaptureQueriesContext(connections[scene.row.alias]) as queries:
        scene.source()
    selects = sum(query["sql"].startswith("SELECT") for query in queries)
    scene.rig.forget()  # the server knows the script now: a late EVALSHA of one it does not know stores nothing
    pause, found = fills.Pause(), list[object]()

    # It stops at its last SELECT, so that what Redis is sent next is the store.
    with scene.another_thread(lambda: found.append(_read_with_a_pause(scene, pause, "", selects))):
        try:
            scene.require(pause.wait_until_reached(), "the reader did not read the database")
            with scene.writing() as value:
                write(value)
            scene.rig.let_pass(scene.bound_ms // 2)  # this long Redis stands still; the client waits for its timeout
            executed = server.commands_executed(scene.rig, "evalsha")
            with server.paused(scene.rig):
                pause.resume()
                scene.require(pause.wait_until_over(), "the reader waited for Redis")
        finally:
            pause.resume()
    stored_ns = clock.now_ns()
    _require_the_past(scene, *found)
    scene.require(scene.recorder.count("fill lost"), "the reader did not give up its store")
    scene.require(
        server.commands_executed(scene.rig, "evalsha") > executed,
        "the server did not execute the store that its client gave up",
    )
    return stored_ns


def write_unseen(scene: Scene, value: object) -> None:
    """Write as another program does: nothing in this process is told of it."""
    processes.past_django(*scene.row.sql(value), using=scene.row.alias)


def _written_in_another_thread(scene: Scene) -> None:
    def write() -> None:
        with scene.writing() as value:
            write_unseen(scene, value)

    with scene.another_thread(write):
        pass


def _require_the_past(scene: Scene, *found: object) -> None:
    scene.require(found == (scene.before,), "the reader did not read the row as it was before the write")


def _read_with_a_pause(scene: Scene, pause: fills.Pause, table: str | None = None, number: int = 1) -> object:
    table = scene.row.model._meta.db_table if table is None else table
    scene.row.current()  # what a new connection asks its server first is not the reader's SELECT
    try:
        with fills.paused_fill(table, pause, scene.row.alias, number):
            return scene.read_late()
    finally:
        pause.over()


def _overtaken(scene: Scene, write: Callable[[object], None]) -> None:
    pause, found = fills.Pause(), list[object]()
    with scene.another_thread(lambda: found.append(_read_with_a_pause(scene, pause))):
        try:
            scene.require(pause.wait_until_reached(), "the reader did not read the database")
            with scene.writing() as value:
                write(value)
            scene.rig.let_pass(scene.bound_ms // 2)
        finally:
            pause.resume()
    _require_the_past(scene, *found)
    scene.read()
    scene.read_at_the_end_of(scene.filled_ns)
