"""The servers of a run: one Redis and one PostgreSQL, and in them a database for each contender."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psycopg

from benchmarks.contenders import Contender
from cachepolicy.consistency.redis_server import RedisServer
from tests.servers import PostgresServer

__all__ = ["SETTINGS", "Home", "homes"]

# The environment variable that carries a contender's settings into its processes.
SETTINGS: Final = "CACHEPOLICY_BENCHMARK"
_TEMPLATE: Final = "newsroom"  # the database that comes with the server


@dataclass(frozen=True, slots=True)
class Home:
    """Where a contender lives."""

    contender: Contender
    redis_url: str
    settings: Mapping[str, Any]
    directory: Path

    def environment(self, **database: Any) -> dict[str, str]:
        """The environment of its processes; `database` overrides entries of Django's."""
        settings = {**self.settings, "database": {**self.settings["database"], **database}}
        return {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "benchmarks.settings",
            SETTINGS: json.dumps(settings),
            "PYTHONHASHSEED": "0",
        }


@contextmanager
def homes(contenders: list[Contender]) -> Iterator[list[Home]]:
    """Start the servers and furnish a home for each contender; all is gone afterwards."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cachepolicy-bench-")))
        redis = stack.enter_context(RedisServer("--databases", str(len(contenders) + 1), tcp=True))
        postgres = stack.enter_context(PostgresServer())
        made = [_home(contender, number, redis, postgres, directory) for number, contender in enumerate(contenders)]
        furnished: set[str] = set()
        for home in made:
            engine = home.contender.engine
            template = {"NAME": _TEMPLATE} if engine == "postgresql" else {}
            if engine not in furnished:
                # Without any cache, whoever it is for.
                plain = Home(home.contender, "", {**_plain(home), "policy": ""}, directory)
                environment = plain.environment(**template)
                subprocess.run([sys.executable, "-m", "benchmarks.newspaper.rows"], env=environment, check=True)
                furnished.add(engine)
            if template:
                with psycopg.connect(host=str(postgres.directory), user="postgres", autocommit=True) as connection:
                    name = home.settings["database"]["NAME"]
                    connection.execute(f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE}".encode())
        yield made


def _home(contender: Contender, number: int, redis: RedisServer, postgres: PostgresServer, directory: Path) -> Home:
    url = f"{redis.port_url.rpartition('/')[0]}/{number}"
    database: dict[str, Any] = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(directory / "bench.sqlite3")}
    if contender.engine == "postgresql":
        database = {"ENGINE": "django.db.backends.postgresql", "NAME": f"bench_{number}"}
        database |= {"USER": "postgres", "HOST": str(postgres.directory)}
    policy = directory / f"policies-{number}.yaml"
    policy.write_text(contender.policy)
    settings = {
        "database": database,
        "apps": contender.apps,
        "style": contender.style,
        "entries": contender.entries,
        "dependents_read": contender.dependents_read,
        "redis": url,
        "policy": str(policy) if contender.policy else "",
        "settings": contender.settings(url),
    }
    return Home(contender, url, settings, directory)


def _plain(home: Home) -> dict[str, Any]:
    return {**home.settings, "apps": (), "style": "orm", "settings": {}}
