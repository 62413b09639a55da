"""The checks of the Redis server and of the way to it, against real servers and addresses that are never reached."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cacheops.redis
import pytest
import redis
from django.test import override_settings
from redis.backoff import NoBackoff
from redis.retry import Retry

from cachepolicy.consistency.redis_server import RedisServer
from cachepolicy.runtime.client import Client
from cachepolicy.server_checks import server_problems
from tests.projects import Project

SITE = Path(__file__).resolve().parent.parent / "sample_site"
ELSEWHERE = "redis.example.com"
UNREACHABLE_HINT = "start it, or mend CACHEOPS_REDIS; until then every read goes to the database"


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer(tcp=True) as running:
        yield running


@pytest.fixture
def clean(server: RedisServer) -> RedisServer:
    server.client().flushall()
    return server


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No host is contacted: every connection fails at once."""

    def connect(*_: Any, **__: Any) -> None:
        raise redis.ConnectionError("no network in this test")

    monkeypatch.setattr(redis.Connection, "connect", connect)


def problems(client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[str, str]]:
    """By id: the message and the hint of each problem that the checks see through this client."""
    monkeypatch.setattr(cacheops.redis, "redis_client", client)
    found = server_problems()
    assert {problem["obj"] for problem in found} <= {"settings.CACHEOPS_REDIS"}
    return {problem["id"].removeprefix("cachepolicy."): (problem["msg"], problem["hint"]) for problem in found}


def test_a_fit_server_has_no_problem(clean: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    # The keys cacheops writes; the loopback needs neither a password nor TLS.
    for key in ("q:1", "as:1", "asp:1", "c:1", "conj:news_article:id=1", "schemes:news_article"):
        clean.client().set(key, "1")
    assert problems(Client.from_url(clean.url), monkeypatch) == {}
    assert problems(Client.from_url(clean.port_url), monkeypatch) == {}


def test_a_server_that_cannot_be_reached_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client.from_url(f"unix://{tmp_path}/no.sock")
    found = problems(client, monkeypatch)
    assert found.keys() == {"W030"}
    message, hint = found["W030"]
    assert message.startswith("Redis cannot be reached: Error 2 connecting to ")
    assert hint == UNREACHABLE_HINT


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-random"])
def test_eviction_of_all_keys_is_seen(clean: RedisServer, policy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    clean.client().config_set("maxmemory-policy", policy)
    try:
        found = problems(Client.from_url(clean.url), monkeypatch)
    finally:
        clean.client().config_set("maxmemory-policy", "noeviction")
    assert found == {
        "W031": (
            f"Redis evicts by {policy}, which may drop the off switch, and a table's record with all its entries",
            "set maxmemory-policy to volatile-lru or volatile-ttl",
        )
    }


@pytest.mark.parametrize("policy", ["volatile-lru", "volatile-ttl"])
def test_eviction_of_keys_that_expire_is_fine(clean: RedisServer, policy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    clean.client().config_set("maxmemory-policy", policy)
    try:
        assert problems(Client.from_url(clean.url), monkeypatch) == {}
    finally:
        clean.client().config_set("maxmemory-policy", "noeviction")


def test_a_database_shared_with_other_keys_is_seen(clean: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    clean.client().set("celery-task-meta-7", "1")
    assert problems(Client.from_url(clean.url), monkeypatch) == {
        "W032": (
            "the Redis database holds keys of others, such as 'celery-task-meta-7'; invalidating all would drop them",
            "give the cache a database of its own, as in redis://…/1",
        )
    }
    # Another database of the same server is no concern, and with a prefix sharing is meant.
    assert problems(Client.from_url(clean.url.replace("db=0", "db=1")), monkeypatch) == {}
    with override_settings(CACHEOPS_PREFIX=lambda _: "site:"):
        assert problems(Client.from_url(clean.url), monkeypatch) == {}


def test_a_server_that_answers_no_questions_is_not_accused(clean: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    # Managed servers refuse CONFIG, and an ACL may refuse SCAN.
    clean.client().set("celery-task-meta-7", "1")
    clean.client().execute_command("ACL", "SETUSER", "app", "on", ">secret", "~*", "+@all", "-config", "-scan")
    client = Client.from_url(clean.port_url.replace("//", "//app:secret@"))
    assert problems(client, monkeypatch) == {}


@pytest.mark.usefixtures("offline")
def test_a_host_elsewhere_without_tls_and_password_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    found = problems(Client.from_url(f"redis://{ELSEWHERE}/0"), monkeypatch)
    assert found.keys() == {"W030", "W033", "W035"}
    assert found["W030"] == ("Redis cannot be reached: no network in this test", UNREACHABLE_HINT)
    assert found["W033"] == (
        f"the connection to {ELSEWHERE} is not encrypted: who listens can read what is cached",
        "use a rediss:// URL",
    )
    assert found["W035"] == (
        f"Redis at {ELSEWHERE} is used without a password",
        "put one into the URL, as in rediss://user:password@host",
    )


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(
    "client",
    [
        Client.from_url(f"rediss://app:secret@{ELSEWHERE}/0"),
        Client(host=ELSEWHERE, ssl=True, password="secret"),
        Client(host=ELSEWHERE, ssl=True, credential_provider=redis.UsernamePasswordCredentialProvider("app", "secret")),
    ],
    ids=["url", "options", "credential provider"],
)
def test_a_host_elsewhere_with_tls_and_password_is_fine(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    assert problems(client, monkeypatch).keys() == {"W030"}


LEFT = "an unreachable Redis would hold up every read: "
OWN_TIMEOUTS = "socket_timeout is redis-py's own, socket_connect_timeout is redis-py's own"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"socket_timeout": 0.3, "socket_connect_timeout": 0.3}, f"{LEFT}10 retries"),
        ({"retry": Retry(NoBackoff(), 0)}, LEFT + OWN_TIMEOUTS),
        ({}, f"{LEFT}{OWN_TIMEOUTS}, 10 retries"),
        (
            {"retry": Retry(NoBackoff(), 0), "socket_timeout": None, "socket_connect_timeout": 0.3},
            f"{LEFT}socket_timeout is redis-py's own",
        ),
        (
            {"retry": Retry(NoBackoff(), 2), "socket_timeout": 0.3, "socket_connect_timeout": 0.3},
            f"{LEFT}2 retries",
        ),
    ],
    ids=["retries", "timeouts", "both", "for ever", "retries of one's own"],
)
def test_timeouts_and_retries_left_to_redis_py_are_seen(
    clean: RedisServer, options: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = int(clean.port_url.rpartition(":")[2].partition("/")[0])
    assert problems(redis.Redis(port=port, **options), monkeypatch) == {
        "W034": (
            message,
            "set the timeouts to half a second or less and the retries to none, or leave them to cachepolicy",
        )
    }


def test_timeouts_of_ones_own_are_fine(clean: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    client = redis.Redis.from_url(clean.url, socket_timeout=0.3, socket_connect_timeout=0.3)
    assert problems(client, monkeypatch) == {}


# Through manage.py

RULES = 'version: 1\nmodels: {"*.*": {ops: [], timeout: 30s}}\n'


def ids(said: str) -> list[str]:
    return [line.partition("(cachepolicy.")[2][:4] for line in said.splitlines() if "(cachepolicy." in line]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path)
    made.policies(RULES)
    return made


@pytest.mark.parametrize(
    "arguments",
    [("--deploy",), ("--database", "default"), ("--deploy", "--database", "default")],
    ids=" ".join,
)
def test_deploy_and_database_say_each_problem_once(
    project: Project, clean: RedisServer, arguments: tuple[str, ...]
) -> None:
    clean.client().set("session:1", "1")
    by_hand = "CACHEOPS_CLIENT_CLASS = 'redis.Redis'\nSILENCED_SYSTEM_CHECKS = ['cachepolicy.E023']"
    project.settings(before=f"CACHEOPS_REDIS = {clean.url!r}", after=by_hand)
    checked = project.manage("check", "--tag", "cachepolicy", "--tag", "database", *arguments)
    assert (checked.code, ids(checked.err)) == (0, ["W032", "W034"])
    assert (
        "settings.CACHEOPS_REDIS: (cachepolicy.W032) the Redis database holds keys of others, such as 'session:1'; "
        "invalidating all would drop them\n\tHINT: give the cache a database of its own, as in redis://…/1\n"
    ) in checked.err


def test_a_plain_check_does_not_contact_the_server(project: Project) -> None:
    project.settings(before="CACHEOPS_REDIS = 'unix:///nowhere/redis.sock'")
    checked = project.manage("check")
    assert (checked.code, checked.err) == (0, "")


def test_an_address_that_is_none_is_said_and_not_raised(project: Project) -> None:
    project.settings(before="CACHEOPS_REDIS = 'localhost:6379'")
    checked = project.manage("check", "--deploy", "--tag", "cachepolicy")
    assert (checked.code, ids(checked.err)) == (0, ["W036"])
    assert (
        "settings.CACHEOPS_REDIS: (cachepolicy.W036) this is no address of a Redis: Redis URL must specify one of the "
        "following schemes (redis://, rediss://, unix://)\n\tHINT: write one, as in redis://localhost:6379/1\n"
    ) in checked.err


def test_the_sample_site_passes_every_check(clean: RedisServer, tmp_path: Path) -> None:
    site = Project.__new__(Project)
    site.directory = SITE
    environment = {"REDIS_URL": clean.url, "DATABASE_URL": f"sqlite:///{tmp_path}/db.sqlite3"}
    checked = site.manage("check", **environment)
    assert (checked.code, checked.out, checked.err) == (0, "System check identified no issues (0 silenced).\n", "")
    deploying = site.manage("check", "--deploy", "--database", "default", **environment)
    assert (deploying.code, ids(deploying.err)) == (0, [])
