"""`pytest --database sqlite|postgresql|mariadb --isolation "repeatable read"`: this run's own database and Redis.

A plugin, loaded by ``-p tests.database_option``: pytest-django reads the settings before any conftest.py is imported,
and by then both must be named in the environment.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import quote

import pytest

from cachepolicy.consistency.redis_server import RedisServer, RedisServerError
from tests.servers import MariaDBServer, PostgresServer, Unavailable

REDIS = pytest.StashKey[RedisServer]()
UNAVAILABLE = pytest.StashKey[str]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    parser.addoption(
        "--database",
        choices=sorted(DATABASES),
        default="sqlite",
        help="the database that the sample site runs on; the run starts its own server",
    )
    parser.addoption(
        "--isolation",
        choices=sorted(ISOLATIONS),
        help="the isolation level of its transactions, on a server; otherwise Django's default, read committed",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Start the servers and name them in the environment."""
    options = early_config.known_args_namespace
    if options.help or options.version:
        return
    servers = ExitStack()
    early_config.add_cleanup(servers.close)
    try:
        redis_server = servers.enter_context(RedisServer())
        early_config.stash[REDIS] = redis_server
        os.environ["REDIS_URL"] = redis_server.url
        url = DATABASES[options.database](servers)
        os.environ["DATABASE_URL"] = _isolated(url, options.database, options.isolation)
    except (Unavailable, RedisServerError) as error:
        early_config.stash[UNAVAILABLE] = str(error)
        # Django still reads its settings; pytest_sessionstart then ends the run.
        os.environ["DATABASE_URL"] = _sqlite(servers)


def pytest_sessionstart(session: pytest.Session) -> None:
    """End the run when its servers cannot be had: on CI a failure, elsewhere a skip that is seen."""
    reason = session.config.stash.get(UNAVAILABLE, None)
    if reason is not None:
        on_ci = os.environ.get("CI", "").lower() == "true"
        outcome = "FAILED, since CI=true" if on_ci else "SKIPPED"
        pytest.exit(f"the whole run is {outcome}: {reason}", returncode=1 if on_ci else 0)


def pytest_report_header(config: pytest.Config) -> str:
    """Say which database this run is on."""
    return f"database: {config.getoption('--database')}, {config.getoption('--isolation') or 'its usual isolation'}"


@pytest.fixture(scope="session")
def redis_server(pytestconfig: pytest.Config) -> RedisServer:
    """The run's Redis server, the one that REDIS_URL names; leave it running and unpaused."""
    return pytestconfig.stash[REDIS]


def _sqlite(servers: ExitStack) -> str:
    # A file and not :memory:, so that WAL works and a second process sees the same data.
    directory = servers.enter_context(tempfile.TemporaryDirectory(prefix="cachepolicy-sqlite-"))
    return f"sqlite:///{Path(directory) / 'newsroom.sqlite3'}"


def _postgresql(servers: ExitStack) -> str:
    return servers.enter_context(PostgresServer()).url


def _mariadb(servers: ExitStack) -> str:
    return servers.enter_context(MariaDBServer()).url


def _isolated(url: str, database: str, isolation: str | None) -> str:
    """The address, with the isolation level as Django's OPTIONS have it."""
    if isolation is None:
        return url
    if database == "sqlite":
        raise pytest.UsageError("--isolation: SQLite has one level; leave it out, or name a --database with a server")
    value = ISOLATIONS[isolation] if database == "postgresql" else quote(isolation)
    return f"{url}&isolation_level={value}"


# As psycopg counts them.
ISOLATIONS: dict[str, int] = {"read committed": 2, "repeatable read": 3, "serializable": 4}

DATABASES: dict[str, Callable[[ExitStack], str]] = {
    "sqlite": _sqlite,
    "postgresql": _postgresql,
    "mariadb": _mariadb,
}
