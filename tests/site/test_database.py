"""The database's settings from its URL."""

from __future__ import annotations

import pytest
from django.db import connection
from newsroom.database import database


def test_sqlite_tests_use_a_file_beside_the_database() -> None:
    settings = database("sqlite:////srv/news/news.sqlite3")
    assert settings["NAME"] == "/srv/news/news.sqlite3"
    assert settings["TEST"] == {"NAME": "/srv/news/test_news.sqlite3"}


def test_sqlite_in_memory_stays_in_memory() -> None:
    settings = database("sqlite://:memory:")
    assert settings["NAME"] == ":memory:"
    assert "TEST" not in settings


@pytest.mark.django_db
def test_sqlite_runs_in_wal_mode() -> None:
    if connection.vendor != "sqlite":
        pytest.skip("about SQLite")
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA journal_mode")
        assert cursor.fetchone() == ("wal",)


@pytest.mark.parametrize("scheme", ["mysql", "mariadb"])
@pytest.mark.parametrize("host", ["127.0.0.1:3306", "localhost"])
def test_mariadb_on_this_machine_does_without_tls(scheme: str, host: str) -> None:
    settings = database(f"{scheme}://news:secret@{host}/news")
    assert settings["ENGINE"] == "django.db.backends.mysql"
    assert settings["OPTIONS"] == {"charset": "utf8mb4", "ssl_disabled": True}


def test_mariadb_elsewhere_keeps_tls() -> None:
    assert "ssl_disabled" not in database("mysql://news:secret@db.example.org/news")["OPTIONS"]


def test_options_in_the_url_win() -> None:
    settings = database("mysql://news@localhost/news?ssl_disabled=false&unix_socket=/run/news.sock")
    assert settings["OPTIONS"] == {"charset": "utf8mb4", "ssl_disabled": False, "unix_socket": "/run/news.sock"}


def test_postgresql_is_used_as_the_url_says() -> None:
    settings = database("postgresql://news:secret@db.example.org:5433/news")
    assert settings["ENGINE"] == "django.db.backends.postgresql"
    assert (settings["HOST"], settings["PORT"], settings["USER"]) == ("db.example.org", 5433, "news")
