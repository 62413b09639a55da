"""Each fault of a database or a process, alone: it injects inside its block and is healed after it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from threading import Thread
from typing import Any

import pytest
from django.db import DatabaseError, connection, connections, transaction
from django.test.utils import CaptureQueriesContext
from news.models import Category

from cachepolicy.consistency.faults import fills, processes, replicas, transactions

needs_server = pytest.mark.skipif("connection.vendor == 'sqlite'", reason="SQLite has no server to cut a connection to")


@pytest.fixture
def category(transactional_db: None) -> Category:
    return Category.objects.create(name="before", slug="politics")


def _name() -> str:
    return Category.objects.nocache().values_list("name", flat=True)[0]  # type: ignore[attr-defined, no-any-return]


def _rename(name: str) -> None:
    Category.objects.update(name=name)


def _elsewhere(play: Callable[[], Any]) -> Any:
    """What `play` gives in a session of its own."""
    found: list[Any] = []

    def run() -> None:
        found.append(play())
        connection.close()

    thread = Thread(target=run)
    thread.start()
    thread.join()
    return found[0]


def _session() -> Any:
    match connection.vendor:
        case "postgresql":
            return connection.connection.info.backend_pid
        case "mysql":
            return connection.connection.thread_id()
    return id(connection.connection)


@pytest.fixture
def same_session(category: Category) -> Iterator[None]:
    """Afterwards the same session is open, in autocommit and outside any transaction."""
    connection.ensure_connection()
    before, mode = _session(), getattr(connection, "transaction_mode", None)
    yield
    assert _session() == before
    assert connection.get_autocommit()
    assert not connection.in_atomic_block
    assert getattr(connection, "transaction_mode", None) == mode
    _rename("after all")
    assert _elsewhere(_name) == "after all"


ROLLBACKS: list[Callable[[], AbstractContextManager[None]]] = [
    transactions.rolled_back,
    transactions.rolled_back_savepoint,
    transactions.rolled_back_without_atomic,
    transactions.rolled_back_raw,
]


@pytest.mark.parametrize("fault", ROLLBACKS, ids=lambda fault: fault.__name__)
@pytest.mark.usefixtures("same_session")
def test_a_rollback_takes_back_what_its_block_wrote(fault: Callable[[], AbstractContextManager[None]]) -> None:
    with fault():
        _rename("inside")
        assert _name() == "inside"
        assert _elsewhere(_name) == "before"
    assert _name() == "before"


@pytest.mark.usefixtures("same_session")
def test_a_rollback_to_a_savepoint_keeps_what_is_around_it() -> None:
    with transaction.atomic():
        Category.objects.create(name="kept", slug="kept")
        with transactions.rolled_back_savepoint():
            _rename("inside")
    assert set(Category.objects.nocache().values_list("name", flat=True)) == {"before", "kept"}  # type: ignore[attr-defined]


@pytest.mark.usefixtures("same_session")
def test_a_frozen_snapshot_does_not_see_what_others_commit() -> None:
    with transactions.frozen_snapshot():
        _elsewhere(lambda: _rename("later"))
        assert _name() == "before"
    assert _name() == "later"


@pytest.mark.usefixtures("same_session")
def test_a_frozen_snapshot_is_refused_inside_a_transaction_that_may_have_one() -> None:
    with transaction.atomic(), pytest.raises(RuntimeError), transactions.frozen_snapshot():
        pass


@pytest.mark.usefixtures("same_session")
def test_a_lagging_replica_stands_still_until_it_catches_up_and_is_gone_afterwards() -> None:
    def on(alias: str) -> str:
        return Category.objects.using(alias).nocache().values_list("name", flat=True)[0]  # type: ignore[attr-defined, no-any-return]

    with replicas.lagging_replica() as replica:
        _rename("later")
        assert (on(replica.alias), on("default")) == ("before", "later")
        replica.catch_up()
        assert on(replica.alias) == "later"
    assert replica.alias not in list(connections)
    assert replica.alias not in connections.settings


def test_a_writer_is_killed_at_each_of_its_steps_and_then_comes_through(category: Category) -> None:
    def write() -> None:
        with transaction.atomic():
            _rename("inside")

    found = []
    for number in range(20):
        status, step = processes.killed_at_step(write, number)
        found.append((status, step, _name()))
        if not step:
            break
    assert found[-1] == (0, "", "inside")
    assert [(step, name) for _, step, name in found if "COMMIT" in step] == [
        ("before COMMIT", "before"),
        ("after COMMIT", "inside"),
    ]
    assert {status for status, *_ in found[:-1]} == {-9}


@needs_server
@pytest.mark.parametrize(("committed", "stands"), [(True, "inside"), (False, "before")])
def test_a_connection_is_killed_in_commit(category: Category, committed: bool, stands: str) -> None:
    connection.ensure_connection()
    before = _session()
    with pytest.raises(DatabaseError), transactions.killed_in_commit(committed=committed), transaction.atomic():
        _rename("inside")
    assert _name() == stands
    assert _session() != before
    with transaction.atomic():
        _rename("healed")
    assert _elsewhere(_name) == "healed"


def test_a_connection_cannot_be_killed_where_there_is_no_server(category: Category) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("this database has a server")
    with pytest.raises(KeyError, match="sqlite"), transactions.killed_in_commit(committed=True):
        pass


@pytest.mark.usefixtures("same_session")
def test_another_process_has_connections_of_its_own() -> None:
    assert processes.in_another_process(lambda: _rename("theirs")) == 0
    assert _name() == "theirs"


@pytest.mark.parametrize(
    ("play", "status"),
    [
        pytest.param(lambda: os._exit(3), 3, id="its exit status"),
        pytest.param(lambda: [][0], 1, id="an exception"),
        pytest.param(lambda: os.kill(os.getpid(), signal.SIGKILL), -9, id="a signal"),
    ],
)
def test_another_process_says_how_it_ended(same_session: None, play: Callable[[], None], status: int) -> None:
    assert processes.in_another_process(play) == status


def _update(name: str) -> tuple[str, list[Any]]:
    return f"UPDATE {connection.ops.quote_name(Category._meta.db_table)} SET name = %s", [name]


@pytest.mark.usefixtures("same_session")
def test_sql_of_another_program_is_committed() -> None:
    assert processes.sql_from_outside(*_update("theirs")) == 0
    assert _name() == "theirs"


@pytest.mark.usefixtures("same_session")
def test_sql_of_another_program_that_fails_is_told() -> None:
    assert processes.sql_from_outside("UPDATE nowhere SET name = %s", ["x"]) == 1


@pytest.mark.usefixtures("same_session")
def test_sql_past_django_is_committed_and_seen_by_no_hook() -> None:
    with CaptureQueriesContext(connection) as queries:
        processes.past_django(*_update("unseen"))
    assert len(queries) == 0
    assert _elsewhere(_name) == "unseen"


@pytest.mark.usefixtures("same_session")
def test_a_writer_is_killed_after_its_commit_and_before_its_hooks() -> None:
    def write() -> None:
        transaction.on_commit(lambda: os._exit(7))
        _rename("committed")

    assert processes.killed_after_commit(write) == -signal.SIGKILL
    assert _name() == "committed"


@pytest.mark.usefixtures("same_session")
def test_a_fork_inside_atomic_commits_by_itself() -> None:
    def write() -> None:
        assert not connection.in_atomic_block
        _rename("theirs")

    assert processes.written_by_a_fork_in_atomic(write) == 0
    assert _name() == "theirs"


def test_a_fill_pauses_once_it_has_read(category: Category) -> None:
    pause, found = fills.Pause(), list[str]()

    def read() -> None:
        with fills.paused_fill(Category._meta.db_table, pause):
            found.append(_name())
        pause.over()
        connection.close()

    thread = Thread(target=read)
    thread.start()
    assert pause.wait_until_reached()
    _rename("later")
    assert found == []
    pause.resume()
    assert pause.wait_until_over()
    thread.join()
    assert found == ["before"]


def test_nobody_waits_for_a_reader_that_is_through(category: Category) -> None:
    pause = fills.Pause()
    with fills.paused_fill("another_table", pause):
        _name()
    pause.over()
    assert not pause.wait_until_reached()
