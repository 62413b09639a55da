"""kill -9 of a writer at every step from BEGIN to the last invalidation: no read is older than its bound."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any, Final, NamedTuple

import pytest
from django.db import connection, transaction
from news.loading import load_news

from cachepolicy.consistency.checker import judge
from cachepolicy.consistency.faults import processes
from cachepolicy.consistency.results import Case
from cachepolicy.consistency.rig import Rig
from cachepolicy.consistency.rows import Row
from cachepolicy.consistency.scenarios import SCENARIOS, Scenario
from cachepolicy.consistency.scene import Scene
from tests.scenes import played

pytestmark = pytest.mark.django_db(transaction=True)

_MOST: Final = 100
_CASE: Final = Case("news.Article", "get", "killed_at_step", "news.Article", 60_000, "")


class Step(NamedTuple):
    """Where the writer was killed, whether its write is in the database, and whether a read was stale at all."""

    name: str
    committed: bool
    stale: bool


def in_atomic(write: Callable[[Row, Any], None]) -> Callable[[Row, Any], None]:
    def written(row: Row, value: Any) -> None:
        with transaction.atomic():
            write(row, value)

    return written


def by_cursor(row: Row, value: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(*row.sql(value))


def with_autocommit_off(row: Row, value: Any) -> None:
    connection.set_autocommit(False)
    row.save(value)
    connection.commit()
    connection.set_autocommit(True)


WRITES: Final[dict[str, Callable[[Row, Any], None]]] = {
    "save": Row.save,
    "save in atomic": in_atomic(Row.save),
    "save to a savepoint": in_atomic(in_atomic(Row.save)),
    "save with autocommit off": with_autocommit_off,
    "invalidated_update": Row.invalidated_update,
    "update": Row.update,
    "update in atomic": in_atomic(Row.update),
    "a cursor's in atomic": in_atomic(by_cursor),
}


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with Rig() as rig:
        yield rig


def _killed(number: int, write: Callable[[Row, Any], None], told: list[tuple[int, str]]) -> Callable[[Scene], None]:
    def play(scene: Scene) -> None:
        scene.fill()
        with scene.writing("info") as value:
            told.append(processes.killed_at_step(lambda: write(scene.row, value), number))
        scene.read_around_the_bound()

    return play


def _steps(rig: Rig, write: Callable[[Row, Any], None], monkeypatch: pytest.MonkeyPatch) -> list[Step]:
    """Kill it at its first step, then at its second one, and so on until it comes through, and judge each."""
    steps = []
    for number in count():
        assert number < _MOST, "the writer never comes through"
        told: list[tuple[int, str]] = []
        monkeypatch.setitem(SCENARIOS, _CASE.fault, Scenario(_CASE.fault, _killed(number, write, told), ""))
        cell = played(_CASE, rig)
        status, name = told[-1]
        assert (cell.verdict.status, cell.errors) == ("ok", ()), f"{name}: {cell.verdict.reason}"
        judged = judge(list(cell.history), bound_ns=0, row_lock=False, rollbacks_are_evidence=True)
        committed = any(each.session == "writer" and each.outcome == "ok" for each in cell.history)
        steps.append(Step(name or "comes through", committed, judged.status == "violated"))
        assert status == (-9 if name else 0)
        if not name:
            break
    return steps


def _show(name: str, steps: list[Step]) -> None:
    """Say them, for `pytest -s`."""
    print(f"\n{name}, on {connection.vendor}: killed")  # noqa: T201
    for number, step in enumerate(steps):
        state = f"{'committed' if step.committed else '':11}{'stale within the bound' if step.stale else ''}"
        print(f"{number:4} {step.name:32} {state}".rstrip())  # noqa: T201


@pytest.mark.parametrize("name", WRITES)
def test_a_writer_is_killed_at_every_step(
    rig: Rig, transactional_db: None, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    load_news(2)
    steps = _steps(rig, WRITES[name], monkeypatch)
    _show(name, steps)
    names = [step.name for step in steps]
    assert names[-1] == "comes through"
    assert (steps[-1].committed, steps[-1].stale) == (True, False)
    # From the commit on it stays committed, and from the invalidation on no read is stale.
    first_committed = [step.committed for step in steps].index(True)
    assert all(step.committed for step in steps[first_committed:])
    told = max(number for number, each in enumerate(names) if each.startswith("after Redis was sent EVAL"))
    stale = {number for number, step in enumerate(steps) if step.stale}
    # What was sent last may arrive after the next read.
    assert stale <= set(range(first_committed, told + 1)), "stale outside of COMMIT and the invalidation"
    assert stale, "there is a step at which the invalidation dies with the writer"
    if "before COMMIT" in names:
        assert names[first_committed - 1] == "before COMMIT"
