"""classify(): what is certainly a read is one, and nothing else is."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import sql

from cachepolicy.runtime.statements import Statement, classify

VENDORS = ("sqlite", "postgresql", "mysql", "")
Vendors = pytest.mark.parametrize("vendor", VENDORS)

READS = [
    "SELECT 1",
    "  select\n*\tfrom news_article",
    "(SELECT 1) UNION (SELECT 2)",
    "SELECT 1;",
    "VALUES (1), (2)",
    "TABLE news_article",
    "WITH x AS (SELECT 1) SELECT * FROM x",
    'WITH RECURSIVE x(a, b) AS (SELECT 1, 2 UNION ALL SELECT a, b FROM x) SELECT * FROM "x"',
    "SELECT * FROM news_article WHERE id = %s FOR UPDATE",
    "SELECT * FROM news_article FOR UPDATE OF news_article SKIP LOCKED",
    "SELECT * FROM news_article FOR NO KEY UPDATE NOWAIT",
    "SELECT * FROM news_article LOCK IN SHARE MODE",
    'SELECT "update", "news_tag"."delete" FROM news_tag',
    "SELECT 'it''s an update' AS \"a\"",
    "SELECT last_update, update_count FROM news_tag",
    "SELECT REPLACE(title, 'a', 'b'), COUNT(DISTINCT id), CAST(x AS numeric(9, 2)) FROM news_article",
    "SELECT COALESCE(SUM(x), 0), ROW_NUMBER() OVER (PARTITION BY a ORDER BY b) FROM t WHERE id IN (%s, %s)",
    "SELECT COUNT(*) FILTER (WHERE a AND (b OR NOT (c))) FROM t",
    "SELECT ST_Distance(a, b), JSON_EXTRACT(data, '$.a') FROM t",
    "SELECT django_date_trunc(%s, published, %s, %s) FROM news_article",
    "SELECT %(a)s, %s FROM t WHERE x = %(b)s",
    "SHOW TABLES",
    "EXPLAIN UPDATE news_article SET title = 'x'",
    "EXPLAIN QUERY PLAN SELECT 1",
    "EXPLAIN (ANALYZE, BUFFERS) SELECT 1",
    "PRAGMA table_info('news_article')",
    "PRAGMA main.index_list(news_article)",
    "PRAGMA foreign_keys = ON",
    "SET TIME ZONE 'UTC'",
    "SET foreign_key_checks=0",
    "SET TRANSACTION READ ONLY",
    "SET CONSTRAINTS ALL DEFERRED",
    "DECLARE c CURSOR FOR SELECT 1",
    "FETCH 10 FROM c",
    "COPY news_article TO STDOUT",
    "",
    "-- nothing",
]
WRITES = [
    "UPDATE news_article SET title = 'x'",
    "insert into news_article (title) values ('x')",
    "DELETE FROM news_article",
    "/* bulk_update */ UPDATE news_article SET title = 'x'",
    "-- a comment\nUPDATE news_article SET title = 'x'",
    "WITH x AS (UPDATE news_article SET title = 'x' RETURNING *) SELECT * FROM x",
    "WITH x AS (SELECT 1) DELETE FROM news_article",
    "WITH x AS (INSERT INTO news_article SELECT 1 RETURNING id) TABLE x",
    "CALL news_article_touch()",
    "DO $$ BEGIN UPDATE news_article SET title = 'x'; END $$",
    "TRUNCATE news_article",
    "REPLACE INTO news_article VALUES (1)",
    "MERGE INTO news_article USING x ON a = b WHEN MATCHED THEN DELETE",
    "COPY news_article FROM STDIN",
    "COPY (DELETE FROM news_article RETURNING *) TO STDOUT",
    "LOAD DATA INFILE 'x' INTO TABLE news_article",
    "SELECT * INTO news_article FROM x",
    "SELECT 1; UPDATE news_article SET title = 'x'",
    "SELECT 1; SELECT 2",
    "EXPLAIN ANALYZE UPDATE news_article SET title = 'x'",
    "EXPLAIN (ANALYZE) DELETE FROM news_article",
    "ANALYZE UPDATE news_article SET title = 'x'",
    "HANDLER news_article OPEN",
    "EXECUTE IMMEDIATE 'UPDATE news_article SET title = 1'",
    "SET STATEMENT max_statement_time = 1 FOR UPDATE news_article SET title = 'x'",
    "BEGIN NOT ATOMIC UPDATE news_article SET title = 'x'; END",
    "CREATE TRIGGER a AFTER INSERT ON b BEGIN UPDATE news_article SET title = 'x'; END",
    "PRAGMA writable_schema = 1",
    "ALTER TABLE news_article ADD x int",
    "EXPLODE news_article",
    "%s",
    "'SELECT'",
    '"SELECT" 1',
    "SELECT 1\0; UPDATE news_article SET title = 'x'",
]
FUNCTIONS = [
    "SELECT bump()",
    "SELECT * FROM bump(%s)",
    "SELECT public.count(1)",
    "SELECT bump /* really */ (1)",
    "SELECT public . /* . */ lower(1)",
    'SELECT "Lower2"(1)',
    "VALUES (bump())",
    "WITH x AS (SELECT bump()) SELECT 1",
    "SET @a = bump()",
]


@Vendors
@pytest.mark.parametrize("text", READS)
def test_is_a_read(text: str, vendor: str) -> None:
    assert classify(text, vendor) == Statement()


@Vendors
@pytest.mark.parametrize("text", WRITES)
def test_is_a_write(text: str, vendor: str) -> None:
    found = classify(text, vendor)
    assert found.writes
    assert not found.calls
    if "news_article" in text:
        assert {"news_article", "news_article_touch"} & found.tables


@Vendors
@pytest.mark.parametrize("text", FUNCTIONS)
def test_a_function_nobody_knows_may_write(text: str, vendor: str) -> None:
    found = classify(text, vendor)
    assert found.writes
    assert found.tables == frozenset()


def test_a_function_the_project_calls_pure_does_not(settings: Any) -> None:
    settings.CACHEPOLICY_PURE_FUNCTIONS = ["Bump"]
    assert classify("SELECT bump(1)") == Statement()
    assert classify("SELECT bump(1), thump(2)").writes
    assert classify("SELECT public.lower(1)").writes, "the setting names bump alone"
    settings.CACHEPOLICY_PURE_FUNCTIONS = []
    assert classify("SELECT bump(1)").writes, "the answer of another setting was kept"


@pytest.mark.parametrize(
    "thing",
    [
        None,
        42,
        object(),
        b"UPDATE news_article SET title = 'x'",
        "UPDATE news_article SET title = 'ä'".encode(),
        sql.SQL("UPDATE {} SET title = 'x'").format(sql.Identifier("news_article")),
        sql.Composed([sql.SQL("DELETE FROM "), sql.Identifier("news_article")]),
    ],
    ids=repr,
)
def test_what_is_no_text_is_a_write(thing: object) -> None:
    found = classify(thing)
    assert found.writes
    assert "news_article" in found.tables or "news_article" not in repr(thing)


def test_a_composed_read_is_a_read() -> None:
    assert classify(sql.SQL("SELECT {} FROM t").format(sql.Identifier("update"))) == Statement()


@pytest.mark.parametrize(
    ("text", "tables"),
    [
        ('INSERT INTO "news_article" ("title", "news_tag") VALUES (%s, %s)', {"news_article"}),
        ('INSERT INTO "news_article" ("title") SELECT "name" FROM "news_tag"', {"news_article"}),
        ('UPDATE "news_article" SET "title" = %s WHERE "id" IN (SELECT "id" FROM "news_tag")', {"news_article"}),
        ('DELETE FROM "news_article" WHERE "news_article"."id" IN (SELECT "id" FROM "news_tag")', {"news_article"}),
        ('UPDATE "paper"."news_article" SET "title" = %s', {"paper", "news_article"}),
        ("UPDATE News_Article SET title = 1", {"news_article"}),
        ("UPDATE [news_article] SET title = 1", {"news_article"}),
        ("UPDATE `news_article` SET title = 1", {"news_article"}),
        ("UPDATE 'news_article' SET title = 1", {"news_article"}),
    ],
)
def test_the_only_table_is_named(text: str, tables: set[str]) -> None:
    assert classify(text, "mysql" if "`" in text else "sqlite").tables == tables


@pytest.mark.parametrize(
    "text",
    [
        "UPDATE news_tag JOIN news_article USING (id) SET news_article.title = 1",
        "UPDATE news_tag, news_article SET news_article.title = 1",
        "DELETE news_article FROM news_article JOIN news_tag USING (id)",
        "DELETE FROM news_tag, news_article USING news_tag JOIN news_article",
        "INSERT INTO news_tag WITH x AS (DELETE FROM news_article RETURNING *) SELECT * FROM x",
        "INSERT INTO news_article SELECT 1 ON CONFLICT (id) DO UPDATE SET title = 1",
        "TRUNCATE news_tag, news_article",
        "UPDATE ONLY news_article SET title = 1",
        "INSERT news_article VALUES (1)",
    ],
)
@Vendors
def test_no_table_is_forgotten(text: str, vendor: str) -> None:
    assert "news_article" in classify(text, vendor).tables


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("BEGIN", Statement(control="begin")),
        ("BEGIN IMMEDIATE", Statement(control="begin")),
        ("START TRANSACTION READ ONLY", Statement(control="begin")),
        ("BEGIN ISOLATION LEVEL REPEATABLE READ", Statement(control="begin", unsettles=True)),
        ("COMMIT", Statement(control="commit")),
        ("end transaction;", Statement(control="commit")),
        ("COMMIT AND CHAIN", Statement(control="begin", commits=True)),
        ("COMMIT AND NO CHAIN", Statement(control="commit")),
        ("ROLLBACK", Statement(control="rollback")),
        ("ABORT WORK", Statement(control="rollback")),
        ("PREPARE TRANSACTION 'x'", Statement(control="commit")),
        ('SAVEPOINT "a"', Statement(savepoint=("set", "a"))),
        ("ROLLBACK TO SAVEPOINT a", Statement(savepoint=("back", "a"))),
        ("RELEASE SAVEPOINT a", Statement(savepoint=("release", "a"))),
        ("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", Statement(unsettles=True)),
        ("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE", Statement(unsettles=True)),
        ("SET TRANSACTION ISOLATION LEVEL READ UNCOMMITTED", Statement(unsettles=True, uncommitted=True)),
        ("SET tx_isolation = @level", Statement(unsettles=True, uncommitted=True)),
        ("SET autocommit = 0", Statement(unsettles=True, commits=True, uncertain=True)),
        ("PRAGMA read_uncommitted = 1", Statement(unsettles=True, uncommitted=True)),
    ],
)
def test_control_of_the_transaction(text: str, expected: Statement) -> None:
    assert classify(text, "postgresql") == expected


@pytest.mark.parametrize(
    "text", ["BEGIN", "START TRANSACTION", "CREATE TABLE a (b int)", "CALL f()", "LOCK TABLES a READ"]
)
def test_what_commits_implicitly_does_on_mysql_alone(text: str) -> None:
    assert classify(text, "mysql").commits
    assert classify(text).commits, "which database is not known"
    assert not classify(text, "postgresql").commits
    assert not classify("UPDATE a SET b = 1", "mysql").commits


@pytest.mark.parametrize(
    "text", ["BEGIN; UPDATE a SET b = 1; COMMIT", "CREATE TRIGGER a AFTER INSERT ON b BEGIN UPDATE c SET d = 1; END;"]
)
def test_control_inside_a_longer_text_is_not_relied_upon(text: str) -> None:
    found = classify(text, "sqlite")
    assert (found.control, found.uncertain, found.writes, found.commits) == ("", True, True, True)


@pytest.mark.parametrize(
    ("text", "writing"),
    [
        ("SELECT '\\'; UPDATE a SET b = 1 -- '", {"mysql", "postgresql", "sqlite", ""}),
        ("SELECT a LIKE %s ESCAPE '\\'", set()),
        ("SELECT E'\\'; UPDATE a SET b = 1 -- '", {"mysql", "sqlite", ""}),
        ("SELECT $$; UPDATE a SET b = 1$$", {"mysql", "sqlite", ""}),
        ("SELECT $a$ $b$; UPDATE a SET b = 1 $a$", {"mysql", "sqlite", ""}),
        ("SELECT 1 /* /* */ ; UPDATE a SET b = 1 /* */ */", {"mysql", "sqlite", ""}),
        ("SELECT 1 # ; UPDATE a SET b = 1", {"postgresql", "sqlite", ""}),
        ("SELECT 1 --; UPDATE a SET b = 1", {"mysql", ""}),
        ("SELECT 1 -- ; UPDATE a SET b = 1", set()),
        ("SELECT 1 /*! ; UPDATE a SET b = 1 */", {"mysql", ""}),
        ("SELECT 1 /*M!100100 ; UPDATE a SET b = 1 */", {"mysql", ""}),
        ('SELECT "a\\"; UPDATE a SET b = 1 -- "', {"mysql", "postgresql", "sqlite", ""}),
        ("SELECT [it's] FROM a", {"postgresql", "mysql"}),
        ("SELECT 1 -- x\r; UPDATE a SET b = 1", {"postgresql", ""}),
    ],
)
def test_a_literal_ends_where_the_database_ends_it(text: str, writing: set[str]) -> None:
    assert {vendor for vendor in VENDORS if classify(text, vendor).writes} == writing


BLANKS = st.sampled_from(
    [
        " ",
        "\n",
        "\t",
        "\r\n",
        "\f",
        "/* x */",
        "/**/",
        "/* update */",
        "-- update\n",
        "-- it's\n",
        "/* \" ' */",
        "/*+ hint */",
    ]
)
LITERAL = st.text(st.characters(exclude_characters="'\\\0", codec="utf-8"), max_size=30)


@given(prefix=st.lists(BLANKS, max_size=6).map("".join), text=st.sampled_from(WRITES), vendor=st.sampled_from(VENDORS))
def test_no_comment_makes_a_write_a_read(prefix: str, text: str, vendor: str) -> None:
    assert classify(prefix + text, vendor).writes


@given(text=st.text(max_size=40), write=st.sampled_from(WRITES[:3]), vendor=st.sampled_from(VENDORS))
def test_whatever_a_comment_says_a_write_stays_one(text: str, write: str, vendor: str) -> None:
    comment = text.replace("*/", "").replace("/*", "").rstrip("*/")
    assert classify(f"/* {comment} */ {write}", vendor).writes
    line = text.replace("\n", "").replace("\r", "")
    assert classify(f"-- {line}\n{write}", vendor).writes


@given(prefix=st.lists(BLANKS, max_size=6).map("".join), text=st.sampled_from(READS), vendor=st.sampled_from(VENDORS))
def test_no_comment_makes_a_read_a_write(prefix: str, text: str, vendor: str) -> None:
    assert not classify(prefix + text, vendor).writes


@given(text=st.sampled_from(READS + WRITES), vendor=st.sampled_from(VENDORS), data=st.data())
def test_case_makes_no_difference(text: str, vendor: str, data: st.DataObject) -> None:
    turned = "".join(letter.swapcase() if data.draw(st.booleans()) else letter for letter in text)
    assert classify(turned, vendor).writes == classify(text, vendor).writes


@given(literal=LITERAL, vendor=st.sampled_from(VENDORS))
def test_what_a_literal_says_is_no_write(literal: str, vendor: str) -> None:
    for text in ("update", "; DELETE FROM a; --", literal):
        assert classify(f"SELECT '{text}', 1", vendor) == Statement()


@given(text=st.text(alphabet="'\"`$[]()/*-#;\\ \n%seEupdat", max_size=60), vendor=st.sampled_from(VENDORS))
def test_no_text_is_too_odd(text: str, vendor: str) -> None:
    """Whatever comes before it on a line of its own, either the text is refused or the write behind it is seen."""
    classify(text, vendor)
    assert classify(f"UPDATE a SET b = {text}", vendor).writes
    assert classify(f"{text}\n; UPDATE a SET b = 1", vendor).writes or not _plain_end(text)


def _plain_end(text: str) -> bool:
    return not any(odd in text for odd in "'\"`$[/-#\\")


@given(st.text(max_size=200))
def test_any_text_gets_an_answer(text: str) -> None:
    classify(text)


def test_a_text_as_long_as_bulk_create_writes_is_read_too() -> None:
    rows = ", ".join(["(%s, %s, %s)"] * 5000)
    found = classify(f'INSERT INTO "news_article" ("a", "b", "c") VALUES {rows}', "postgresql")
    assert found == Statement(writes=True, tables=frozenset({"news_article"}))
    assert not classify(f'SELECT "a" FROM "t" WHERE "id" IN ({", ".join(["%s"] * 50000)})', "sqlite").writes
