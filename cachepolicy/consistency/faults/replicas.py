"""Faults of replicas: one more alias, which reads a copy of the database that lags behind until it catches up."""

from __future__ import annotations

import copy
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from django.db import connections
from django.test.utils import override_settings

from cachepolicy import clock, conf
from cachepolicy.policies.durations import Duration
from cachepolicy.policies.model import Database, Sourced
from cachepolicy.policies.problems import Origin

__all__ = ["Replica", "declared_lag", "lagging_replica"]

_COLUMNS: Final = """
    SELECT column_name FROM information_schema.columns
    WHERE table_schema = DATABASE() AND table_name = %s AND COALESCE(generation_expression, '') = ''
"""


class Replica:
    """A database alias that reads what was committed when it last caught up, by statements of their own."""

    def __init__(self, alias: str, copy_rows: Callable[[], None]) -> None:
        self.alias, self._copy_rows = alias, copy_rows
        self.catch_up()

    def catch_up(self) -> None:
        """Copy what the primary has now."""
        self._caught_up_ns = clock.now_ns()
        self._copy_rows()

    def lag_ms(self) -> float:
        """How far it may lag behind by now."""
        return (clock.now_ns() - self._caught_up_ns) / 1_000_000


@contextmanager
def lagging_replica(using: str = "default") -> Iterator[Replica]:
    """Inside the block there is one more alias, of a copy of the database as it stands now; for one thread.

    The copy is a file on SQLite, a schema on PostgreSQL, a database on MySQL and MariaDB. Raises KeyError for another
    database.
    """
    alias = f"{using}_lagging"
    databases: Any = connections.settings
    with _COPIES[connections[using].vendor](using) as (settings, copy_rows):
        databases[alias] = settings
        connection = connections[alias]
        try:
            # Not ensure_connection(): Django's test cases refuse that for an alias they do not know.
            connection.connect()
            yield Replica(alias, copy_rows)
        finally:
            connection.close()
            del connections[alias], databases[alias]


@contextmanager
def declared_lag(alias: str, ms: int) -> Iterator[None]:
    """Inside the block the policy in force says `databases: {alias: {max_lag: …}}`."""
    policies = conf.policies()
    origin = Origin(policies.file)
    declared = Database(alias, origin, Sourced(Duration(ms), origin))
    with override_settings(CACHEPOLICY=replace(policies, databases={**policies.databases, alias: declared})):
        yield


_Copy = AbstractContextManager[tuple[dict[str, Any], Callable[[], None]]]


@contextmanager
def _file(using: str) -> Iterator[tuple[dict[str, Any], Callable[[], None]]]:
    with tempfile.TemporaryDirectory(prefix="cachepolicy-replica-") as directory, _driver(using) as driver:
        file = str(Path(directory) / "replica.sqlite3")

        def copy_rows() -> None:
            with closing(sqlite3.connect(file)) as target:
                driver.backup(target)

        yield {**_settings(using), "NAME": file}, copy_rows


@contextmanager
def _schema(using: str) -> Iterator[tuple[dict[str, Any], Callable[[], None]]]:
    quote, schema = connections[using].ops.quote_name, f"{using}_lagging"
    with _driver(using) as driver, driver.cursor() as cursor:
        cursor.execute(f"DROP SCHEMA IF EXISTS {quote(schema)} CASCADE")
        cursor.execute(f"CREATE SCHEMA {quote(schema)}")
        cursor.execute("SHOW search_path")
        path = cursor.fetchone()[0].replace(" ", "")
        twins = {quote(table): f"{quote(schema)}.{quote(table)}" for table in _tables(using, cursor)}
        for table, twin in twins.items():
            # Columns that the database makes up itself become ordinary ones.
            cursor.execute(f"CREATE TABLE {twin} (LIKE {table} INCLUDING INDEXES)")

        def copy_rows() -> None:
            cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            for table, twin in twins.items():
                cursor.execute(f"DELETE FROM {twin}")
                cursor.execute(f"INSERT INTO {twin} SELECT * FROM {table}")
            cursor.execute("COMMIT")

        settings = _settings(using)
        options = settings["OPTIONS"]
        options["options"] = f"{options.get('options', '')} -c search_path={quote(schema)},{path}"
        try:
            yield settings, copy_rows
        finally:
            cursor.execute(f"DROP SCHEMA {quote(schema)} CASCADE")


@contextmanager
def _database(using: str) -> Iterator[tuple[dict[str, Any], Callable[[], None]]]:
    quote, settings = connections[using].ops.quote_name, _settings(using)
    settings["NAME"] = name = f"{settings['NAME']}_lagging"
    with _driver(using) as driver, driver.cursor() as cursor:
        cursor.execute(f"DROP DATABASE IF EXISTS {quote(name)}")
        cursor.execute(f"CREATE DATABASE {quote(name)}")
        columns: dict[str, str] = {}
        for table in _tables(using, cursor):
            cursor.execute(f"CREATE TABLE {quote(name)}.{quote(table)} LIKE {quote(table)}")
            cursor.execute(_COLUMNS, [table])
            columns[quote(table)] = ", ".join(quote(column) for (column,) in cursor.fetchall())

        def copy_rows() -> None:
            cursor.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT")
            for table, names in columns.items():
                cursor.execute(f"DELETE FROM {quote(name)}.{table}")
                cursor.execute(f"INSERT INTO {quote(name)}.{table} ({names}) SELECT {names} FROM {table}")
            cursor.execute("COMMIT")

        try:
            yield settings, copy_rows
        finally:
            cursor.execute(f"DROP DATABASE {quote(name)}")


_COPIES: Final[dict[str, Callable[[str], _Copy]]] = {"sqlite": _file, "postgresql": _schema, "mysql": _database}


@contextmanager
def _driver(using: str) -> Iterator[Any]:
    """The driver's connection of a session of its own: nobody who watches Django's takes a copy for a write."""
    session: Any = connections[using].copy()
    session.connect()
    try:
        yield session.connection
    finally:
        session.close()


def _settings(using: str) -> dict[str, Any]:
    settings = copy.deepcopy(connections[using].settings_dict)
    settings.setdefault("OPTIONS", {})
    return settings


def _tables(using: str, cursor: Any) -> list[str]:
    found: Any = connections[using].introspection.get_table_list(cursor)
    return sorted(table.name for table in found if table.type == "t")
