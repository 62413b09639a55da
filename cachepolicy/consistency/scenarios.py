"""Scenarios: how each fault is played on a row, so that a cache which breaks its promise is seen to break it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final

from django.db import connections

from cachepolicy import clock
from cachepolicy.consistency.faults import fills, processes, server, transactions
from cachepolicy.consistency.scene import Scene

__all__ = ["SCENARIOS", "Scenario"]


@dataclass(frozen=True, slots=True)
class Scenario:
    """A fault by name, and how it is played.

    `by_orm`: it writes through the ORM, so an immutable table has no such scenario. `slow`: it waits for a client's
    timeout, so a rule plays it on one op, which the seed draws. `nested`: for functions that read cached rows.
    `of_redis`: what it does to Redis cannot touch a copy in the process's memory.
    """

    name: str
    play: Callable[[Scene], None]
    what: str
    by_orm: bool = True
    slow: bool = False
    nested: bool = False
    of_redis: bool = False


SCENARIOS: Final[dict[str, Scenario]] = {}


def _scenario(name: str, **traits: bool) -> Callable[[Callable[[Scene], None]], Callable[[Scene], None]]:
    def add(play: Callable[[Scene], None]) -> Callable[[Scene], None]:
        SCENARIOS[name] = Scenario(name, play, (play.__doc__ or "").strip(), **traits)
        return play

    return add


@_scenario("none")
def _none(scene: Scene) -> None:
    """An ordinary save(): its invalidation arrives."""
    scene.fill()
    with scene.writing() as value:
        scene.row.save(value)
    scene.read_around_the_bound()


# Writes whose invalidation is never sent, or is lost: the timeout alone bounds them.


@_scenario("queryset_update")
def _queryset_update(scene: Scene) -> None:
    """QuerySet.update(), which sends no signals."""
    scene.fill()
    with scene.writing() as value:
        scene.row.update(value)
    scene.read_around_the_bound()


@_scenario("raw_sql", by_orm=False)
def _raw_sql(scene: Scene) -> None:
    """Raw SQL through a cursor of this process."""
    scene.fill()
    with scene.writing() as value:
        _execute(scene, value)
    scene.read_around_the_bound()


@_scenario("raw_sql_outside", by_orm=False)
def _raw_sql_outside(scene: Scene) -> None:
    """Raw SQL of another program."""
    scene.fill()
    with scene.writing() as value:
        status = processes.sql_from_outside(*scene.row.sql(value), using=scene.row.alias)
    scene.require(status == 0, f"the other program failed with status {status}")
    scene.read_around_the_bound()


@_scenario("writer_killed")
def _writer_killed(scene: Scene) -> None:
    """kill -9 of the writer between its COMMIT and its invalidation."""
    scene.fill()
    with scene.writing() as value:
        status = processes.killed_after_commit(lambda: scene.row.save(value), using=scene.row.alias)
    scene.require(status == -9, f"the writer was not killed: status {status}")
    scene.require(scene.row.current() == scene.after, "the writer died before its COMMIT")
    scene.read_around_the_bound()


@_scenario("redis_refused", of_redis=True)
def _redis_refused(scene: Scene) -> None:
    """Redis refuses connections at the write."""
    _lost_by(scene, server.refused(scene.rig))


@_scenario("redis_hung", slow=True, of_redis=True)
def _redis_hung(scene: Scene) -> None:
    """Redis hangs at the write, and what was sent is lost."""
    _lost_by(scene, server.hung(scene.rig))


@_scenario("redis_read_only", of_redis=True)
def _redis_read_only(scene: Scene) -> None:
    """Redis is a read-only replica at the write."""
    _lost_by(scene, server.read_only(scene.rig))


@_scenario("redis_full", of_redis=True)
def _redis_full(scene: Scene) -> None:
    """Redis has no memory left at the write."""
    _lost_by(scene, server.out_of_memory(scene.rig), must_lose=False)


@_scenario("redis_old_dump", of_redis=True)
def _redis_old_dump(scene: Scene) -> None:
    """Redis restarts from a dump that is older than the write."""
    scene.fill()
    with server.old_dump(scene.rig), scene.writing() as value:
        scene.row.save(value)
    scene.read_around_the_bound()


@_scenario("redis_restarted_empty", of_redis=True)
def _redis_restarted_empty(scene: Scene) -> None:
    """Redis restarts with nothing after the fill."""
    scene.fill()
    server.restarted_empty(scene.rig)
    with scene.writing() as value:
        scene.row.save(value)
    scene.read_around_the_bound()


@_scenario("redis_evicting", of_redis=True)
def _redis_evicting(scene: Scene) -> None:
    """Redis evicts what finds the entries to invalidate."""
    scene.fill()
    server.evict_invalidators(scene.rig)
    with scene.writing() as value:
        scene.row.save(value)
    scene.read_around_the_bound()


# Values that never were, or no longer are, the committed state when they are stored.


@_scenario("rollback")
def _rollback(scene: Scene) -> None:
    """A write rolled back by atomic(), read inside and after."""
    _rolled_back_by(scene, transactions.rolled_back(scene.row.alias))


@_scenario("rollback_savepoint")
def _rollback_savepoint(scene: Scene) -> None:
    """A write rolled back to a savepoint, read inside and after."""
    _rolled_back_by(scene, transactions.rolled_back_savepoint(scene.row.alias))


@_scenario("rollback_autocommit_off")
def _rollback_autocommit_off(scene: Scene) -> None:
    """A write with autocommit off, rolled back, read inside and after."""
    _rolled_back_by(scene, transactions.rolled_back_without_atomic(scene.row.alias))


@_scenario("rollback_raw", by_orm=False)
def _rollback_raw(scene: Scene) -> None:
    """A write between BEGIN and ROLLBACK of a cursor, read inside and after."""
    with scene.writing("fail") as value, transactions.rolled_back_raw(scene.row.alias):
        _execute(scene, value)
        _own_read(scene)
    scene.read()


@_scenario("rollback_unseen", by_orm=False)
def _rollback_unseen(scene: Scene) -> None:
    """A write in atomic() by a statement that cacheops takes for a read, rolled back, read inside and after."""
    with scene.writing("fail") as value, transactions.rolled_back(scene.row.alias):
        statement, parameters = scene.row.sql(value)
        with connections[scene.row.alias].cursor() as cursor:
            # cacheops looks at the first `update` in the text, which is part of a longer word here.
            cursor.execute(f"/* bulk_update */ {statement}", parameters)
        _own_read(scene)
    scene.read()


@_scenario("stale_set")
def _stale_set(scene: Scene) -> None:
    """A reader pauses between its read and its store, while a writer commits and invalidates."""
    _overtaken(scene, by_orm=True)


@_scenario("stale_set_raw", by_orm=False)
def _stale_set_raw(scene: Scene) -> None:
    """A reader pauses between its read and its store, while another program writes."""
    _overtaken(scene, by_orm=False)


@_scenario("frozen_snapshot", by_orm=False)
def _frozen_snapshot(scene: Scene) -> None:
    """A reader fills the cache from a snapshot that is older than a write."""
    with transactions.frozen_snapshot(scene.row.alias):

        def write() -> None:
            with scene.writing() as value:
                _execute(scene, value)

        with scene.another_thread(write):
            pass
        scene.rig.let_pass(scene.bound_ms // 2)
        scene.fill()
    scene.read_at_the_end_of(scene.filled_ns)


@_scenario("late_store", by_orm=False, slow=True, of_redis=True)
def _late_store(scene: Scene) -> None:
    """Redis stands still while a reader stores, and executes the store after the reader has given up."""
    scene.source()
    scene.rig.forget()  # the server knows the script now: a late EVALSHA of one it does not know stores nothing
    pause, given_up = fills.Pause(), threading.Event()

    def fill() -> None:
        try:
            with fills.paused_fill(scene.row.model._meta.db_table, pause, scene.row.alias):
                scene.fill()
        finally:
            given_up.set()

    with scene.another_thread(fill):
        try:
            scene.require(pause.wait_until_reached(), "the reader did not read the database")
            with scene.writing() as value:
                _execute(scene, value)
            scene.rig.let_pass(scene.bound_ms // 2)  # this long Redis stands still; the client waits for its timeout
            with server.paused(scene.rig):
                pause.resume()
                given_up.wait(30)
        finally:
            pause.resume()
    stored_ns = clock.now_ns()
    scene.require(server.values_stored(scene.rig), "the server did not execute the store that its client gave up")
    scene.read_at_the_end_of(stored_ns)


@_scenario("nested", by_orm=False, nested=True)
def _nested(scene: Scene) -> None:
    """A function stores what it read from the cache, so that the ages add up."""
    inner = scene.inner
    scene.require(inner, "the function reads no cached rows")
    assert inner is not None
    inner()
    with scene.writing() as value:
        _execute(scene, value)
    scene.rig.let_pass(scene.bound_ms - scene.bound_ms // 4)
    scene.fill()
    scene.read_at_the_end_of(scene.filled_ns)


@_scenario("redis_clock_set_back", by_orm=False, of_redis=True)
def _redis_clock_set_back(scene: Scene) -> None:
    """Redis' clock is set back an hour."""
    scene.fill()
    with scene.writing() as value:
        _execute(scene, value)
    scene.rig.let_pass(scene.bound_ms // 2)
    scene.read()
    server.clock_set_back(scene.rig, 3_600_000)
    scene.let_pass_until(scene.written_ns, scene.bound_ms + 100)
    scene.read()


@_scenario("corrupt_bytes", by_orm=False, of_redis=True)
def _corrupt_bytes(scene: Scene) -> None:
    """A cached value loses a byte."""
    scene.fill()
    with scene.writing() as value:
        _execute(scene, value)
    scene.read()
    scene.require(server.corrupt_values(scene.rig), "nothing was cached")
    scene.read()


@_scenario("swapped_bytes", by_orm=False, of_redis=True)
def _swapped_bytes(scene: Scene) -> None:
    """Cached values change places."""
    other = scene.other
    scene.require(other, "the table has no second row")
    assert other is not None
    with scene.writing() as value:
        _execute(scene, value)
    scene.fill()
    other()
    scene.require(server.swap_values(scene.rig) > 1, "there were no two values to swap")
    scene.read()


def _execute(scene: Scene, value: Any) -> None:
    with connections[scene.row.alias].cursor() as cursor:
        cursor.execute(*scene.row.sql(value))


def _own_read(scene: Scene) -> None:
    """Read inside the writer's transaction: its own write is seen there, and must not be left in the cache."""
    scene.source()


def _lost_by(scene: Scene, outage: AbstractContextManager[None], *, must_lose: bool = True) -> None:
    scene.fill()
    # save() reads the old row through the cache; let it be there, else a Redis that refuses to store ends save() early.
    scene.row.model._default_manager.using(scene.row.alias).get(pk=scene.row.pk)
    lost = scene.recorder.count("invalidation lost")
    with outage, scene.writing() as value:
        try:
            scene.row.save(value)
        except Exception as error:
            # The row is committed: that save() raises is a fault of its own, not staleness.
            scene.errors.append(f"save() raised {type(error).__name__}: {error}")
    scene.require(scene.row.current() == scene.after, "save() raised before its COMMIT")
    if must_lose:
        scene.require(scene.recorder.count("invalidation lost") > lost, "no invalidation was lost")
    scene.read_around_the_bound()


def _rolled_back_by(scene: Scene, transaction: AbstractContextManager[None]) -> None:
    with scene.writing("fail") as value, transaction:
        scene.row.save(value)
        _own_read(scene)
        with scene.another_thread(scene.read):
            pass
    scene.read()
    scene.require(scene.row.current() == scene.before, "the write was not rolled back")


def _overtaken(scene: Scene, *, by_orm: bool) -> None:
    pause = fills.Pause()
    table = scene.row.model._meta.db_table

    def fill() -> None:
        with fills.paused_fill(table, pause, scene.row.alias):
            scene.fill()

    with scene.another_thread(fill):
        try:
            scene.require(pause.wait_until_reached(), "the reader did not read the database")
            with scene.writing() as value:
                if by_orm:
                    scene.row.save(value)
                else:
                    _execute(scene, value)
            scene.rig.let_pass(scene.bound_ms // 2)
        finally:
            pause.resume()
    scene.read_at_the_end_of(scene.filled_ns)
