"""Test databases for a run: made by Django's own test runner, and gone at its end, however it ends."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from django.db import connections
from django.test.utils import setup_databases, setup_test_environment, teardown_databases, teardown_test_environment

__all__ = ["begin_as_wal", "put_on_files", "throwaway_databases"]


@contextmanager
def throwaway_databases() -> Iterator[None]:
    """Inside the block every alias is a new, migrated test database of the name that `manage.py test` would use."""
    names = {alias: connections[alias].settings_dict["NAME"] for alias in connections}
    setup_test_environment()
    try:
        with tempfile.TemporaryDirectory(prefix="cachepolicy-", ignore_cleanup_errors=True) as directory:
            put_on_files(Path(directory))
            try:
                made = setup_databases(verbosity=0, interactive=False, serialized_aliases=())
            except BaseException:
                _drop_what_was_made(names)
                raise
            try:
                begin_as_wal()
                yield
            finally:
                teardown_databases(made, verbosity=0)
    finally:
        teardown_test_environment()


def put_on_files(directory: Path) -> None:
    """Give every SQLite database that Django would make in memory a test file: a second process can open that."""
    for alias in connections:
        connection = connections[alias]
        test = connection.settings_dict["TEST"]
        name = str(test.get("NAME") or ":memory:")
        if connection.vendor == "sqlite" and (name == ":memory:" or "mode=memory" in name):
            test["NAME"] = str(directory / f"{alias}.sqlite3")


def begin_as_wal() -> None:
    """Let SQLite's readers and writers overlap, as every server's do: a paused reader keeps nobody out."""
    for connection in connections.all():
        # A test of Django's may not touch an alias that it has not asked for.
        if connection.vendor == "sqlite":
            with suppress(AssertionError), connection.cursor() as cursor:
                cursor.execute("PRAGMA journal_mode=WAL")


def _drop_what_was_made(names: dict[str, str]) -> None:
    """What Django leaves behind when making test databases is interrupted, or a migration fails."""
    for alias, name in names.items():
        connection = connections[alias]
        if connection.settings_dict["NAME"] != name and not connection.settings_dict["TEST"].get("MIRROR"):
            with suppress(Exception):  # the first error is the one to be seen
                connection.creation.destroy_test_db(name, verbosity=0)
