"""Scenarios of rollbacks: a write that is read inside its transaction and by others, and then never was."""

from __future__ import annotations

from contextlib import AbstractContextManager

from django.db import connections

from cachepolicy.consistency.faults import transactions
from cachepolicy.consistency.scenarios.registry import scenario
from cachepolicy.consistency.scene import Scene


@scenario("rollback")
def rollback(scene: Scene) -> None:
    """A write rolled back by atomic(), read inside and after."""
    _saved_and_rolled_back(scene, transactions.rolled_back(scene.row.alias))


@scenario("rollback_savepoint")
def rollback_savepoint(scene: Scene) -> None:
    """A write rolled back to a savepoint, read inside and after."""
    _saved_and_rolled_back(scene, transactions.rolled_back_savepoint(scene.row.alias))


@scenario("rollback_autocommit_off")
def rollback_autocommit_off(scene: Scene) -> None:
    """A write with autocommit off, rolled back, read inside and after."""
    _saved_and_rolled_back(scene, transactions.rolled_back_without_atomic(scene.row.alias))


@scenario("rollback_raw", by_orm=False)
def rollback_raw(scene: Scene) -> None:
    """A write between BEGIN and ROLLBACK of a cursor, read inside and after."""
    _executed_and_rolled_back(scene, transactions.rolled_back_raw(scene.row.alias))


@scenario("rollback_unseen", by_orm=False)
def rollback_unseen(scene: Scene) -> None:
    """A write in atomic() by a statement that cacheops takes for a read, rolled back, read inside and after."""
    # cacheops looks at the first `update` in the text, which is part of a longer word here.
    _executed_and_rolled_back(scene, transactions.rolled_back(scene.row.alias), "/* bulk_update */ ")


def _saved_and_rolled_back(scene: Scene, transaction: AbstractContextManager[None]) -> None:
    scene.warm()
    with scene.writing("fail") as value, transaction:
        scene.row.save(value)
        _read_own_write(scene)
        with scene.another_thread(scene.read):
            pass
    scene.read()


def _executed_and_rolled_back(scene: Scene, transaction: AbstractContextManager[None], comment: str = "") -> None:
    scene.warm()
    with scene.writing("fail") as value, transaction:
        statement, parameters = scene.row.sql(value)
        with connections[scene.row.alias].cursor() as cursor:
            cursor.execute(comment + statement, parameters)
        _read_own_write(scene)
        with scene.another_thread(scene.read):
            pass
    scene.read()


def _read_own_write(scene: Scene) -> None:
    """Read inside the writer's transaction: its own write is seen there, and must not be left in the cache."""
    scene.require(scene.source() == scene.after, "the transaction did not see its own write")
