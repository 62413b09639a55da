"""What never committed is never served; what committed is read at once; and a transaction leaves nothing behind."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any

import pytest
from cacheops.transaction import queue_when_in_transaction
from django.db import DatabaseError, IntegrityError, connection, connections, transaction
from news.models import Article, Category, Tag

from cachepolicy import signals
from cachepolicy.consistency.faults import processes
from cachepolicy.consistency.faults import transactions as faults
from cachepolicy.runtime import births
from cachepolicy.runtime.connection_state import state_of
from cachepolicy.runtime.transactions import _forked, transaction_states
from tests.site.conftest import Unasked

VENDOR = connection.vendor
# By `pytest --isolation`, as each driver spells it.
STANDS_STILL = connection.settings_dict.get("OPTIONS", {}).get("isolation_level") in (
    3,
    4,
    "repeatable read",
    "serializable",
)
UPDATE = "UPDATE news_article SET title = %s WHERE id = %s"

on_servers = pytest.mark.skipif(VENDOR == "sqlite", reason="SQLite has no server")


@pytest.fixture
def article(edition: int) -> Article:
    return Article.objects.select_related(None).nocache()[0]  # type: ignore[attr-defined]


@pytest.fixture
def told() -> Iterator[list[str]]:
    """The tables of the invalidations that were sent."""
    tables: list[str] = []

    def hear(table: str, **_: Any) -> None:
        tables.append(table)

    signals.invalidation.connect(hear)
    yield tables
    signals.invalidation.disconnect(hear)


def title(row: Article) -> str:
    return Article.objects.get(pk=row.pk).title


def execute(sql: Any, *params: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, params or None)


def update(row: Article, value: str, sql: str = UPDATE) -> None:
    execute(sql, value, row.pk)


def save(row: Article, value: str) -> None:
    row.title = value
    row.save()


def in_thread(read: Callable[[], Any]) -> Any:
    found: list[Any] = []

    def run() -> None:
        try:
            found.append(read())
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return found[0]


@contextmanager
def rolled_back_by_an_error() -> Iterator[None]:
    with suppress(ZeroDivisionError), transaction.atomic():
        yield
        raise ZeroDivisionError


ROLLBACKS: dict[str, Callable[[], AbstractContextManager[None]]] = {
    "atomic()": faults.rolled_back,
    "an error in atomic()": rolled_back_by_an_error,
    "a savepoint": faults.rolled_back_savepoint,
    "autocommit off": faults.rolled_back_without_atomic,
    "BEGIN and ROLLBACK": faults.rolled_back_raw,
}


def composed(row: Article, value: str) -> None:
    from psycopg import sql

    execute(
        sql.SQL("UPDATE {} SET title = {} WHERE id = {}").format(
            sql.Identifier("news_article"), sql.Literal(value), sql.Literal(row.pk)
        )
    )


def by_a_function(row: Article, value: str) -> None:
    execute("SELECT write_title(%s, %s)", value, row.pk)


def by_a_procedure(row: Article, value: str) -> None:
    execute("CALL call_title(%s, %s)", value, row.pk)


def by_callproc(row: Article, value: str) -> None:
    with connection.cursor() as cursor:
        cursor.callproc("call_title" if VENDOR == "mysql" else "write_title", [value, row.pk])


def by_the_drivers_cursor(row: Article, value: str) -> None:
    connection.ensure_connection()
    connection.connection.execute(UPDATE.replace("%s", "?"), [value, row.pk])  # type: ignore[union-attr]


def by_copy(row: Article, value: str) -> None:
    with connection.cursor() as cursor:
        execute("CREATE TEMPORARY TABLE given (title text) ON COMMIT DROP")
        with cursor.copy("COPY given FROM STDIN") as copy:
            copy.write_row([value])
        cursor.execute("UPDATE news_article SET title = given.title FROM given WHERE id = %s", [row.pk])


WRITES: dict[str, tuple[Callable[[Article, str], None], set[str]]] = {
    "save()": (save, set()),
    "update()": (lambda row, value: Article.objects.filter(pk=row.pk).update(title=value) and None, set()),
    "UPDATE": (update, set()),
    "a comment first": (lambda row, value: update(row, value, f"/* bulk_update */ {UPDATE}"), set()),
    "a line comment first": (lambda row, value: update(row, value, f"-- a\n{UPDATE}"), set()),
    "WITH … UPDATE": (
        lambda row, value: update(row, value, f"WITH done AS ({UPDATE} RETURNING id) SELECT * FROM done"),
        {"postgresql"},
    ),
    "a function": (by_a_function, {"postgresql", "mysql"}),
    "a procedure": (by_a_procedure, {"postgresql", "mysql"}),
    "callproc()": (by_callproc, {"postgresql", "mysql"}),
    "psycopg's Composed": (composed, {"postgresql"}),
    "COPY": (by_copy, {"postgresql"}),
    "the driver's own cursor": (by_the_drivers_cursor, {"sqlite"}),
}
HERE = [name for name, (_, vendors) in WRITES.items() if not vendors or VENDOR in vendors]


@pytest.fixture
def stored_functions(edition: int) -> Iterator[None]:
    if VENDOR == "postgresql":
        body = "UPDATE news_article SET title = $1 WHERE id = $2"
        execute(f"CREATE FUNCTION write_title(text, bigint) RETURNS void LANGUAGE sql AS '{body}'")
        execute(f"CREATE PROCEDURE call_title(text, bigint) LANGUAGE sql AS '{body}'")
    elif VENDOR == "mysql":
        body = "UPDATE news_article SET title = a WHERE id = b"
        execute(f"CREATE FUNCTION write_title(a text, b bigint) RETURNS int BEGIN {body}; RETURN 1; END")
        execute(f"CREATE PROCEDURE call_title(a text, b bigint) {body}")
    yield
    if VENDOR == "postgresql":
        execute("DROP FUNCTION write_title(text, bigint)")
        execute("DROP PROCEDURE call_title(text, bigint)")
    elif VENDOR == "mysql":
        execute("DROP FUNCTION write_title")
        execute("DROP PROCEDURE call_title")


@pytest.mark.parametrize("write", HERE)
@pytest.mark.parametrize("ending", ROLLBACKS)
def test_what_was_rolled_back_is_never_served(
    article: Article, stored_functions: None, unasked: Unasked, ending: str, write: str
) -> None:
    before = article.title
    with ROLLBACKS[ending]():
        WRITES[write][0](article, "Never")
        assert title(article) == "Never", "a transaction reads its own writes"
        assert in_thread(lambda: title(article)) == before
    assert title(article) == before
    assert in_thread(lambda: title(article)) == before
    with unasked(Article):
        assert title(article) == before


@pytest.mark.parametrize("write", [name for name in HERE if name not in ("a function", "a procedure", "callproc()",
                                                                         "the driver's own cursor")])  # fmt: skip
@pytest.mark.parametrize("how", ["autocommit", "atomic()", "autocommit off", "BEGIN and COMMIT", "nested"])
def test_what_was_committed_is_read_at_once(article: Article, how: str, write: str) -> None:
    if write == "COPY" and how == "autocommit":
        pytest.skip("its temporary table lives for a transaction")
    assert title(article) == article.title
    with committed(how):
        WRITES[write][0](article, "New")
    assert title(article) == "New"
    assert in_thread(lambda: title(article)) == "New"


@contextmanager
def committed(how: str) -> Iterator[None]:
    if how == "atomic()":
        with transaction.atomic():
            yield
    elif how == "nested":
        with transaction.atomic(), transaction.atomic(), transaction.atomic(savepoint=False):
            yield
    elif how == "autocommit off":
        transaction.set_autocommit(False)
        yield
        transaction.commit()
        transaction.set_autocommit(True)
    elif how == "BEGIN and COMMIT":
        execute("BEGIN")
        yield
        execute("COMMIT")
    else:
        yield


def test_a_clean_transaction_is_served_and_fills(article: Article, unasked: Unasked) -> None:
    with transaction.atomic():
        title(article)
        with unasked(Article):
            title(article)
        with transaction.atomic(), unasked(Article):
            title(article)
    with unasked(Article):
        title(article)


def test_other_databases_and_other_threads_stay_clean(article: Article) -> None:
    with faults.rolled_back():
        update(article, "Never")
        assert transaction_states["default"].is_dirty()
        assert not in_thread(transaction_states["default"].is_dirty)
    assert not transaction_states["default"].is_dirty()
    assert not transaction_states["__no_db__"].is_dirty(), "Django's own, while it makes a database"
    assert not transaction_states["__no_db__"]


@pytest.mark.parametrize("how", ["atomic()", "raw"])
def test_after_a_savepoint_is_rolled_back_reads_are_served_again(
    article: Article, unasked: Unasked, told: list[str], how: str
) -> None:
    title(article)
    with transaction.atomic():
        if how == "atomic()":
            with rolled_back_by_an_error():
                update(article, "Never")
        else:
            execute('SAVEPOINT "x"' if VENDOR != "mysql" else "SAVEPOINT `x`")
            update(article, "Never")
            execute("ROLLBACK TO SAVEPOINT x")
        with unasked(Article):
            assert title(article) == article.title
    assert told == []


def test_what_was_written_before_the_savepoint_keeps_a_transaction_dirty(article: Article) -> None:
    with transaction.atomic():
        update(article, "First")
        with rolled_back_by_an_error():
            update(article, "Never")
        assert transaction_states["default"].is_dirty()
        assert title(article) == "First"
    assert title(article) == "First"


def test_one_transaction_invalidates_a_table_once(article: Article, told: list[str]) -> None:
    with transaction.atomic():
        for number in range(5):
            update(article, f"Title {number}")
        Tag.objects.update(name="Same")
        assert told == []
    assert sorted(told) == ["news_article", "news_tag"]


def test_invalidations_come_before_the_applications_hooks(article: Article, told: list[str]) -> None:
    heard: list[Any] = []
    with transaction.atomic():
        transaction.on_commit(lambda: heard.extend(told))
        transaction.on_commit(lambda: heard.append(title(article)))
        update(article, "New")
    assert heard == ["news_article", "New"]


def test_a_hook_that_raises_drops_no_invalidation(article: Article) -> None:
    ran: list[float] = []
    title(article)
    with suppress(ZeroDivisionError), transaction.atomic():
        transaction.on_commit(lambda: ran.append(1 / 0))
        save(article, "New")
    assert title(article) == "New"


def test_an_invalidation_that_raises_hurts_nobody(article: Article, caplog: pytest.LogCaptureFixture) -> None:
    @queue_when_in_transaction
    def invalidate(using: str) -> None:
        raise ZeroDivisionError

    ran: list[int] = []
    title(article)
    with transaction.atomic():
        invalidate("default")
        update(article, "New")
        transaction.on_commit(lambda: ran.append(1))
    assert ran == [1]
    assert title(article) == "New"
    assert "ZeroDivisionError" in caplog.text


def test_a_transaction_that_does_not_start_leaves_nothing_behind(
    article: Article, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise DatabaseError("unreachable")

    with monkeypatch.context() as patch:
        patch.setattr(connection, "set_autocommit", fail, raising=False)
        with pytest.raises(DatabaseError), transaction.atomic():
            pass
    assert not transaction_states["default"]
    save(article, "New")
    assert "news_article" in told
    assert title(article) == "New"


def test_atomic_where_autocommit_is_off(article: Article, told: list[str]) -> None:
    title(article)
    transaction.set_autocommit(False)
    with transaction.atomic():
        save(article, "New")
    assert told == [], "nothing is committed yet"
    assert title(article) == "New"
    transaction.commit()
    assert told != []
    transaction.set_autocommit(True)
    assert title(article) == "New"
    assert not transaction_states["default"]


@pytest.mark.skipif(VENDOR == "postgresql", reason="psycopg refuses")
def test_autocommit_switched_on_commits_what_is_open(article: Article) -> None:
    title(article)
    transaction.set_autocommit(False)
    update(article, "New")
    transaction.set_autocommit(True)
    assert title(article) == "New"


@on_servers
@pytest.mark.parametrize("took_effect", [True, False])
def test_a_commit_without_an_answer_invalidates_all_the_same(
    article: Article, told: list[str], took_effect: bool
) -> None:
    title(article)
    with (
        pytest.raises(DatabaseError),
        faults.killed_in_commit(committed=took_effect),
        transaction.atomic(),
    ):
        save(article, "New")
    assert "news_article" in told
    assert title(article) == ("New" if took_effect else article_in_database(article))
    told.clear()
    save(article, "Newer")
    assert "news_article" in told, "the new session is watched as the old one was"
    assert title(article) == "Newer"


@on_servers
@pytest.mark.parametrize("took_effect", [True, False])
def test_rows_that_are_told_after_their_commit_are_told_where_it_has_no_answer(edition: int, took_effect: bool) -> None:
    writes: tuple[Callable[[], Any], ...] = (
        lambda: Tag.objects.bulk_create([Tag(name="new")]),
        lambda: Tag.objects.filter(pk=Tag.objects.nocache()[0].pk).invalidated_update(name="new"),  # type: ignore[attr-defined]
    )
    for write in writes:
        read = lambda: Tag.objects.filter(name="new").count()  # noqa: E731
        before = read()
        with pytest.raises(DatabaseError), faults.killed_in_commit(committed=took_effect):
            write()
        assert read() == before + took_effect


def article_in_database(row: Article) -> str:
    found: str = Article.objects.nocache().get(pk=row.pk).title  # type: ignore[attr-defined]
    return found


@pytest.mark.skipif(VENDOR == "mysql", reason="MySQL checks foreign keys at once")
def test_a_commit_that_is_refused_leaves_no_dirt(article: Article, unasked: Unasked) -> None:
    title(article)
    with suppress(IntegrityError), transaction.atomic():
        execute("UPDATE news_article SET category_id = 123456, title = 'Never' WHERE id = %s", article.pk)
        assert transaction_states["default"].is_dirty()
    assert not transaction_states["default"].is_dirty()
    assert title(article) == article.title
    with unasked(Article):
        title(article)


def test_a_closed_connection_drops_what_it_had_not_committed(article: Article, told: list[str]) -> None:
    transaction.set_autocommit(False)
    update(article, "Never")
    connection.close()
    assert told == []
    assert not transaction_states["default"].is_dirty()
    assert title(article) == article.title


def test_another_session_is_watched_as_the_first_was(article: Article, told: list[str]) -> None:
    connection.close()
    update(article, "New")
    assert told == ["news_article"]


def test_a_fork_inside_a_transaction_invalidates_what_it_commits(article: Article) -> None:
    title(article)
    assert processes.written_by_a_fork_in_atomic(lambda: save(article, "From a fork")) == 0
    assert title(article) == "From a fork"


def test_what_a_parent_has_queued_is_the_parents_to_send(article: Article, told: list[str]) -> None:
    with transaction.atomic():
        update(article, "New")
        pid = os.fork()
        if pid == 0:  # with the parent's connection, which is no good there, and so is left alone
            state = state_of(connections["default"])
            os._exit(0 if state.queue == [] and state.unserved == 0 and state.dirty else 1)
        assert processes.waited_for(pid) == 0
        assert told == []
    assert told == ["news_article"]


def test_every_threads_invalidations_are_sent(article: Article) -> None:
    rows = list(Article.objects.nocache()[:4])  # type: ignore[attr-defined]
    for row in rows:
        title(row)

    def write(row: Article) -> None:
        with transaction.atomic():
            update(row, f"By a thread {row.pk}")

    for row in rows:
        in_thread(lambda row=row: write(row))
    assert [title(row) for row in rows] == [f"By a thread {row.pk}" for row in rows]


@on_servers
@pytest.mark.parametrize("write", ["save()", "delete()", "delete() of many"])
def test_the_row_that_is_written_is_the_one_that_was_committed_last(article: Article, write: str) -> None:
    """MySQL's snapshot at REPEATABLE READ is older than the row that an UPDATE hits; PostgreSQL refuses that."""
    elsewhere = Category.objects.exclude(pk=article.category_id)[0]
    slug = article.slug

    def slugs() -> list[str]:
        return [each.slug for each in Article.objects.filter(category_id=elsewhere.pk)]

    def move() -> None:
        Article.objects.filter(pk=article.pk).update(category=elsewhere)
        assert slug in slugs()  # and is cached

    try:
        with transaction.atomic():
            Article.objects.nocache().count()  # type: ignore[attr-defined]
            in_thread(move)
            if write == "save()":
                article.save()
            elif write == "delete()":
                article.delete()
            else:
                Article.objects.filter(pk=article.pk).delete()
    except DatabaseError:
        assert VENDOR == "postgresql"
        return
    assert slug not in in_thread(slugs)


@pytest.fixture
def snapshots(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int | None, bool]]:
    """What births is told of each statement."""
    seen: list[tuple[int | None, bool]] = []
    monkeypatch.setattr(births, "statement", lambda _, snapshot_ns, dirty: seen.append((snapshot_ns, dirty)))
    return seen


def count() -> None:
    execute("SELECT COUNT(*) FROM news_article")


def test_a_statement_of_its_own_sees_what_is_committed_now(edition: int, snapshots: list[Any]) -> None:
    count()
    assert list(Category.objects.nocache())  # type: ignore[attr-defined]
    count()
    assert set(snapshots) == {(None, False)}


def test_a_transactions_snapshot_is_as_old_as_its_database_keeps_it(edition: int, snapshots: list[Any]) -> None:
    with transaction.atomic():
        count()
        count()
    reads = {snapshot for snapshot, _ in snapshots[-2:]}
    if VENDOR == "sqlite" or STANDS_STILL:
        assert len(reads) == 1
        assert None not in reads
    else:
        assert reads == {None}, "READ COMMITTED, as Django sets it"


@on_servers
def test_a_snapshot_that_was_asked_for_stands_still(edition: int, snapshots: list[Any]) -> None:
    with faults.frozen_snapshot():
        count()
        snapshots.clear()
        count()
        count()
    (first, _), (second, _) = snapshots[:2]
    assert first is not None
    assert first == second


def test_a_write_taints_what_is_read_with_it_and_after_it(article: Article, snapshots: list[Any]) -> None:
    with faults.rolled_back():
        count()
        update(article, "Never")
        count()
    assert [dirty for _, dirty in snapshots if dirty] == [True, True]
    snapshots.clear()
    update(article, "Committed at once")
    assert snapshots[-1][1] is False


@pytest.mark.skipif(VENDOR != "mysql", reason="elsewhere it reads committed rows as well")
def test_reads_of_uncommitted_rows_are_never_stored(article: Article) -> None:
    title(article)
    execute("SET SESSION TRANSACTION ISOLATION LEVEL READ UNCOMMITTED")
    try:
        assert transaction_states["default"].is_dirty()
    finally:
        connection.close()
    assert not transaction_states["default"].is_dirty()


@pytest.mark.skipif(VENDOR != "mysql", reason="DDL is part of the transaction elsewhere")
def test_what_ddl_commits_is_invalidated_though_the_rest_is_rolled_back(article: Article) -> None:
    title(article)
    with faults.rolled_back():
        update(article, "Committed by DDL")
        execute("CREATE TABLE a_table (a int)")
        execute("DROP TABLE a_table")
    assert in_thread(lambda: title(article)) == "Committed by DDL"
    assert title(article) == "Committed by DDL"


@pytest.mark.skipif(VENDOR != "mysql", reason="MySQL's")
def test_autocommit_switched_off_behind_djangos_back(article: Article) -> None:
    before = title(article)
    execute("SET autocommit = 0")
    try:
        update(article, "Never")
        assert transaction_states["default"].is_dirty()
        assert title(article) == "Never"
        execute("ROLLBACK")
        assert title(article) == before
        update(article, "New")
        execute("COMMIT")
        assert title(article) == "New"
    finally:
        execute("SET autocommit = 1")
    update(article, "Newer")
    assert title(article) == "Newer"


@pytest.mark.skipif(VENDOR != "postgresql" or STANDS_STILL, reason="PostgreSQL's, where Django says none")
def test_a_level_that_the_database_is_set_to_counts(edition: int) -> None:
    name = connection.settings_dict["NAME"]
    assert not state_of(connections["default"]).stands_still
    execute(f"ALTER DATABASE \"{name}\" SET default_transaction_isolation = 'repeatable read'")
    try:
        connection.close()
        count()
        assert state_of(connections["default"]).stands_still
    finally:
        execute(f'ALTER DATABASE "{name}" RESET default_transaction_isolation')
        connection.close()
        count()
    assert not state_of(connections["default"]).stands_still


@pytest.mark.skipif(VENDOR != "sqlite", reason="SQLite's")
@pytest.mark.usefixtures("edition")
class TestUnfinishedReadsOfSQLite:
    def test_they_keep_their_snapshot_for_those_beside_them(self, snapshots: list[Any]) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT id FROM news_article")
            cursor.fetchone()
            count()
            count()
        assert snapshots[0] == (None, False)
        assert None not in [snapshot for snapshot, _ in snapshots[1:3]]
        count()
        assert snapshots[3] == (None, False)

    def test_iterator_does(self, snapshots: list[Any]) -> None:
        for _ in Article.objects.nocache().iterator(chunk_size=2):  # type: ignore[attr-defined]
            count()
        assert None not in [snapshot for snapshot, _ in snapshots[1:5]]
        count()
        assert snapshots[-1] == (None, False)

    def test_one_that_outlives_its_transaction_does(self, snapshots: list[Any]) -> None:
        with connection.cursor() as cursor:
            with transaction.atomic():
                cursor.execute("SELECT id FROM news_article")
                cursor.fetchone()
            snapshots.clear()
            count()
            assert snapshots[0][0] is not None

    def test_ordinary_reads_leave_none(self) -> None:
        articles = list(Article.objects.nocache())  # type: ignore[attr-defined]
        Article.objects.nocache().count()  # type: ignore[attr-defined]
        Article.objects.nocache().filter(pk=articles[0].pk).exists()  # type: ignore[attr-defined]
        Article.objects.nocache().get(pk=articles[0].pk).tags.all()[:1]  # type: ignore[attr-defined]
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            cursor.fetchall()
            assert not state_of(connections["default"]).cursors


@pytest.mark.skipif(VENDOR != "sqlite", reason="SQLite's")
def test_a_script_is_a_write_and_commits_what_is_open(article: Article) -> None:
    title(article)
    transaction.set_autocommit(False)
    update(article, "New")
    with connection.cursor() as cursor:
        cursor.executescript("UPDATE news_tag SET name = 'By a script';")
    transaction.rollback()
    transaction.set_autocommit(True)
    assert title(article) == "New"
    assert Tag.objects.all()[0].name == "By a script"


@pytest.mark.skipif(VENDOR != "postgresql", reason="PostgreSQL's")
def test_copy_invalidates_its_table_at_its_end(article: Article, told: list[str]) -> None:
    with connection.cursor() as cursor:
        with cursor.copy("COPY news_tag (name, slug) FROM STDIN") as copy:
            copy.write_row(["Copied", "copied"])
            told.clear()
        assert told == ["news_tag"]


def test_a_fork_distrusts_the_session_that_it_shares_with_its_parent(edition: int) -> None:
    """The parent may write to it at any time, of which the child hears nothing."""
    with transaction.atomic():
        Article.objects.count()
        _forked()
        assert transaction_states["default"].is_dirty()
    assert not transaction_states["default"].is_dirty()
