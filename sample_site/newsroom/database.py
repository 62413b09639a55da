"""A Django database from its URL, for the three databases that the newsroom runs on."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import dj_database_url

_SCHEMES: Final = {"mariadb": "mysql"}
_LOOPBACK: Final = frozenset({"", "localhost", "127.0.0.1", "::1"})


def database(url: str) -> dict[str, Any]:
    """The entry of DATABASES for a sqlite, postgresql, mysql or mariadb URL."""
    scheme, separator, rest = url.partition(":")
    parsed: dict[str, Any] = {**dj_database_url.parse(_SCHEMES.get(scheme, scheme) + separator + rest)}
    match parsed["ENGINE"].rpartition(".")[2]:
        case "sqlite3" if parsed["NAME"] != ":memory:":
            return _sqlite(parsed)
        case "mysql":
            return _mariadb(parsed)
        case _:
            return parsed


def _sqlite(parsed: dict[str, Any]) -> dict[str, Any]:
    file = Path(parsed["NAME"])
    options = {
        # A transaction that begins as a reader and then writes fails at once when another writer came between,
        # however long the timeout. IMMEDIATE takes the write lock first, and waits for it.
        "transaction_mode": "IMMEDIATE",
        "timeout": 10,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
    }
    # Tests get a file too, not Django's in-memory default: WAL is real there, and a second process can open it.
    test = {"NAME": str(file.with_name(f"test_{file.name}"))}
    return {**parsed, "OPTIONS": options | parsed.get("OPTIONS", {}), "TEST": test}


def _mariadb(parsed: dict[str, Any]) -> dict[str, Any]:
    import pymysql

    pymysql.install_as_MySQLdb()
    options: dict[str, Any] = {"charset": "utf8mb4"}
    if parsed["HOST"].startswith("/") or parsed["HOST"] in _LOOPBACK:
        # PyMySQL builds a TLS context for every connection, 24 ms each, which nobody on this machine needs.
        options["ssl_disabled"] = True
    # Where "a" = "A" for the database but not for cacheops, a write of one does not invalidate reads of the other.
    test = {"CHARSET": "utf8mb4", "COLLATION": "utf8mb4_bin"}
    return {**parsed, "OPTIONS": options | parsed.get("OPTIONS", {}), "TEST": test}
