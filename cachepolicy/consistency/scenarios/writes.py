"""Scenarios of writes: one that the cache sees, and those it does not, which the timeout alone bounds."""

from __future__ import annotations

from typing import Final

from django.db import DatabaseError, connections
from django.db.transaction import atomic

from cachepolicy.consistency.faults import processes, transactions
from cachepolicy.consistency.scenarios.registry import scenario
from cachepolicy.consistency.scene import Scene

# A connection to SQLite is a file; there is no server to cut it.
_SERVERS: Final = frozenset({"postgresql", "mysql"})


@scenario("none")
def none(scene: Scene) -> None:
    """An ordinary save(): its invalidation arrives."""
    _seen(scene, "save")


@scenario("invalidated_update")
def invalidated_update(scene: Scene) -> None:
    """cacheops' invalidated_update(): its invalidations arrive."""
    _seen(scene, "invalidated_update")


@scenario("queryset_update")
def queryset_update(scene: Scene) -> None:
    """QuerySet.update(), which sends no signals."""
    scene.fill()
    with scene.writing() as value:
        scene.row.update(value)
    scene.read_around_the_bound()


@scenario("raw_sql", by_orm=False)
def raw_sql(scene: Scene) -> None:
    """Raw SQL through a cursor of this process."""
    scene.fill()
    with scene.writing() as value, connections[scene.row.alias].cursor() as cursor:
        cursor.execute(*scene.row.sql(value))
    scene.read_around_the_bound()


@scenario("raw_sql_outside", by_orm=False)
def raw_sql_outside(scene: Scene) -> None:
    """Raw SQL of another program."""
    scene.fill()
    with scene.writing() as value:
        status = processes.sql_from_outside(*scene.row.sql(value), using=scene.row.alias)
    scene.require(status == 0, f"the other program failed with status {status}")
    scene.read_around_the_bound()


@scenario("select_related", joined=True)
def select_related(scene: Scene) -> None:
    """A row that select_related() joined is saved."""
    _seen(scene, "save")


@scenario("writer_killed")
def writer_killed(scene: Scene) -> None:
    """kill -9 of the writer between its COMMIT and its invalidation."""
    scene.fill()
    with scene.writing() as value:
        status = processes.killed_after_commit(lambda: scene.row.save(value), using=scene.row.alias)
    scene.require(status == -9, f"the writer was not killed: status {status}")
    scene.read_around_the_bound()


@scenario("fork_in_atomic")
def fork_in_atomic(scene: Scene) -> None:
    """A process forked inside atomic() saves the row."""
    scene.fill()
    heard = scene.recorder.count("invalidation")
    with scene.writing() as value:
        status = processes.written_by_a_fork_in_atomic(lambda: scene.row.save(value), using=scene.row.alias)
    scene.require(status == 0, f"the fork failed with status {status}")
    scene.require(scene.recorder.count("invalidation") == heard, "this process wrote, and no fork")
    scene.read_around_the_bound()


@scenario("saved_elsewhere", of_near=True)
def saved_elsewhere(scene: Scene) -> None:
    """Another process of the project saves the row, of which this one keeps a copy for as long as `near`."""
    scene.fill()
    heard = scene.recorder.count("invalidation")
    with scene.writing() as value:
        status = processes.in_another_process(lambda: scene.row.save(value))
    scene.require(status == 0, f"the other process failed with status {status}")
    scene.require(scene.recorder.count("invalidation") == heard, "this process wrote, and no other")
    scene.read_around_the_bound()


@scenario("killed_in_commit", vendors=_SERVERS)
def killed_in_commit(scene: Scene) -> None:
    """The connection is cut before a COMMIT that took effect is answered."""
    _cut(scene, committed=True)


@scenario("killed_before_commit", vendors=_SERVERS)
def killed_before_commit(scene: Scene) -> None:
    """The connection is cut before COMMIT, which the writer cannot tell from a COMMIT without an answer."""
    _cut(scene, committed=False)


def _seen(scene: Scene, method: str) -> None:
    scene.fill()
    sent = scene.recorder.count("invalidation")
    with scene.writing() as value:
        getattr(scene.row, method)(value)
    scene.require(scene.recorder.count("invalidation") > sent, "no invalidation was sent")
    scene.read_around_the_bound()


def _cut(scene: Scene, *, committed: bool) -> None:
    scene.fill()
    raised = False
    with scene.writing("info") as value:
        try:
            with transactions.killed_in_commit(scene.row.alias, committed=committed), atomic(using=scene.row.alias):
                scene.row.save(value)
        except DatabaseError:
            raised = True
    scene.require(raised, "the COMMIT was answered")
    scene.require(
        scene.row.current() == (scene.after if committed else scene.before),
        f"the connection was not cut {'after' if committed else 'before'} the COMMIT",
    )
    scene.read_around_the_bound()
