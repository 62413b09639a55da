"""`manage.py cachepolicy soak`: what it prints, exits with and leaves behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.projects import Project, Ran
from tests.shop import shop

HARMLESS = ("--reads", "500", "--faults", "4", "--fault", "raw_sql_outside", "redis_flushed")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return shop(tmp_path)


def soak(project: Project, *options: str) -> Ran:
    return project.manage("cachepolicy", "soak", *options)


def test_a_promise_that_is_kept_exits_with_0_and_says_how_far_it_is(project: Project) -> None:
    ran = soak(project, *HARMLESS, "--seed", "7", "--format", "json")
    assert (ran.code, ran.json["verdict"], ran.json["reasons"]) == (0, "ok", []), ran.err
    assert (ran.json["seed"], ran.json["bound_ms"], ran.json["database"]) == (7, 1_000, "sqlite")
    assert ran.json["cached_reads"] >= 500
    assert sum(ran.json["faults"].values()) >= 4
    first, *rounds = ran.err.splitlines()
    assert first == "seed 7 (the same faults again: --seed 7)"
    assert rounds[-1].endswith(" faults, kept so far")
    assert {path.name for path in project.directory.iterdir()} >= {"manage.py"}
    assert list(project.directory.glob("*.sqlite3*")) == []


def test_what_shows_too_little_exits_with_2(project: Project) -> None:
    ran = soak(project, "--reads", "0", "--faults", "0", "--output", "soak.txt")
    assert (ran.code, ran.out) == (2, "")
    report = (project.directory / "soak.txt").read_text()
    assert report.startswith("UNKNOWN: no read could have been older than allowed.\n")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--fault", "stale_sett"), "CommandError: --fault stale_sett: no such fault; did you mean stale_set?"),
        (("--reads", "-1"), "argument --reads: `-1` is no number; write 0 or more, as in 100000"),
        (("--bound", "1"), "argument --bound: `1` is not a duration; a bare number has no unit; write 1s for seconds"),
        (("--output", "absent/soak.txt"), "--output absent/soak.txt cannot be written: No such file or directory"),
    ],
)
def test_what_cannot_be_soaked_exits_with_2_and_says_what_to_write(
    project: Project, options: tuple[str, ...], message: str
) -> None:
    ran = soak(project, *options)
    assert (ran.code, ran.out) == (2, "")
    assert message in ran.err


def test_a_faulty_policy_exits_with_2_and_names_the_command_that_says_why(project: Project) -> None:
    project.policies("version: 2\n")
    ran = soak(project, *HARMLESS)
    assert ran.code == 2
    assert "CommandError: the policy file has problems; see `manage.py cachepolicy check`" in ran.err
