"""A soak of the kit's own table: each fault bites, a broken promise is found, what shows too little is no proof."""

from __future__ import annotations

import io
import json
import random
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection, connections

from cachepolicy.consistency.findings import Finding
from cachepolicy.consistency.history import Operation
from cachepolicy.consistency.probe_reads import READ_OPS
from cachepolicy.consistency.probe_table import committed_tokens, filled, probe_table
from cachepolicy.consistency.probe_writes import saved
from cachepolicy.consistency.rig import Rig
from cachepolicy.consistency.session import CouldNotRun
from cachepolicy.consistency.soak import run
from cachepolicy.consistency.soak.board import Board
from cachepolicy.consistency.soak.clients import Done, Table, quietly
from cachepolicy.consistency.soak.faulty_writes import WRITER_FAULTS, FaultyWriter
from cachepolicy.consistency.soak.late_fills import READER_FAULTS, LateReader
from cachepolicy.consistency.soak.outages import OUTAGES, play_outage
from cachepolicy.consistency.soak.plan import FAULTS, drawn
from cachepolicy.consistency.soak.report import as_json, as_text
from cachepolicy.consistency.soak.rounds import Round, play_round
from cachepolicy.consistency.soak.run import Soak, SoakReport, run_soak, soaked
from cachepolicy.consistency.verdict import Verdict
from cachepolicy.runtime import seams

pytestmark = pytest.mark.django_db(transaction=True)

BREAKING = ("rollback_raw", "rollback_autocommit_off", "stale_set", "frozen_snapshot", "redis_clock_set_back")


# The soak itself is the same on every database: one run on each shows that it is kept there.
sqlite_alone = pytest.mark.skipif(connection.vendor != "sqlite", reason="the soak's own parts, which SQLite shows")


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with Rig() as rig:
        yield rig


@pytest.fixture
def table(rig: Rig) -> Iterator[Table]:
    """One list of four rows, each of which is cached."""
    rig.forget()
    with probe_table(2_000) as alias:
        table = Table(0, alias, {0: (0, 1, 2, 3)})
        filled(alias, table.places)
        for number in table.numbers:
            table.reader("test", "test").read(number, "get")
        yield table


@pytest.mark.parametrize(("near_ms", "ahead_ms"), [pytest.param(0, 0, marks=sqlite_alone), (1_000, 300)])
def test_the_promise_is_kept_under_fire(rig: Rig, near_ms: int, ahead_ms: int) -> None:
    report = soaked(Soak(3_000, 24, 1_000, 3, BREAKING, near_ms, ahead_ms), rig)
    assert (report.status, report.doubts, report.explained, report.errors) == ("ok", [], {}, {}), as_text(report)
    assert report.counts["cached"] >= 3_000
    assert report.faults.total() >= 24
    assert set(report.faults) <= set(BREAKING)


@sqlite_alone
def test_finds_the_promise_broken_where_cacheops_is_as_it_comes(rig: Rig) -> None:
    with seams.taken_out():
        report = soaked(Soak(3_000, 24, 1_000, 3, BREAKING), rig)
    assert (report.status, report.doubts) == ("violated", []), as_text(report)
    assert report.findings[Finding.DIRTY] > 0
    assert Finding.DIRTY in report.explained


@sqlite_alone
def test_no_false_alarm_where_only_the_timeout_bounds_what_is_read(rig: Rig) -> None:
    report = soaked(Soak(8_000, 12, 1_000, 3, ("raw_sql_outside", "redis_flushed", "killed_in_commit")), rig)
    assert (report.status, report.doubts) == ("ok", []), as_text(report)
    assert report.decisive_reads > 0
    assert {name for name in report.counts if name.startswith("op ")} == {
        "op get",
        "op fetch",
        "op function",
        "op nested function",
    }


@pytest.mark.parametrize("name", WRITER_FAULTS)
def test_each_fault_of_a_writer_bites_and_is_recorded_as_it_ended(table: Table, name: str) -> None:
    client = FaultyWriter(table.writer("test", "faulty"), table.reader("test", "faulty"), Board(1, 1))
    assert client.play(name, 1)
    [write] = client.writer.operations
    has_committed = not name.startswith("rollback") and name != "killed_before_commit"
    assert (write.token in committed_tokens(table.alias)) is has_committed
    expected = "fail" if name.startswith("rollback") else "info" if name.startswith("killed_") else "ok"
    assert (write.outcome, write.version) == (expected, 1)
    current = table.reader("test", "control").read_past_the_cache(1)
    assert (current.version, current.token) == ((1, write.token) if has_committed else (0, "initial.1"))


@pytest.mark.parametrize("op", READ_OPS)
@pytest.mark.parametrize("name", READER_FAULTS)
def test_each_fault_of_a_reader_bites(table: Table, name: str, op: str) -> None:
    client = LateReader(table.reader("test", "late"), table.writer("test", "overtaker"))
    assert client.play(name, 1, op, 0.01)
    assert {write.outcome for write in client.writer.operations} == {"ok"}


def test_a_late_fill_that_nobody_overtakes_does_not_bite(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    client = LateReader(table.reader("test", "late"), table.writer("test", "overtaker"))
    failed = Operation("", "", "write", "", 0, 1, "fail", None, "", "db")
    monkeypatch.setattr(client.writer, "write", lambda *_: client.writer.operations.append(failed) or failed)
    assert not client.play("stale_set", 1, "fetch", 0.01)


@pytest.fixture
def busy(table: Table) -> Iterator[None]:
    """Somebody reads and writes meanwhile."""
    over = threading.Event()

    def play() -> None:
        reader, writer = table.reader("test", "busy"), table.writer("test", "busy")
        while not over.is_set():
            reader.read(2, "get")
            writer.write(2, saved)
        connections.close_all()

    with quietly():
        thread = threading.Thread(target=play)
        thread.start()
        yield
        over.set()
        thread.join()


@pytest.mark.parametrize("name", OUTAGES)
def test_each_outage_bites_only_while_somebody_reads(rig: Rig, table: Table, busy: None, name: str) -> None:
    board = Board(1, 1)
    assert play_outage(name, rig, board, random.Random(1), 400)
    board.has_ended(0)
    assert not play_outage(name, rig, board, random.Random(1), 10)


def test_the_seed_draws_the_faults_which_are_spread_over_the_reads() -> None:
    plan = drawn(random.Random(7), 2_000, 10_000)
    assert plan == drawn(random.Random(7), 2_000, 10_000) != drawn(random.Random(8), 2_000, 10_000)
    assert {planned.name for planned in plan} == {name for named in FAULTS.values() for name in named}
    assert all(planned.name in FAULTS[planned.player] for planned in plan)
    places = [planned.after_reads for planned in plan]
    assert (places, places[0], places[-1]) == (sorted(places), 0, 9_995)
    assert {planned.name for planned in drawn(random.Random(7), 9, 9, ["rollback"])} == {"rollback"}
    assert drawn(random.Random(7), 0, 9) == []


def test_every_fault_that_can_be_drawn_can_be_played() -> None:
    played = {"redis": OUTAGES, "writer": WRITER_FAULTS, "reader": READER_FAULTS}
    assert {player: set(named) for player, named in FAULTS.items()} == {
        player: set(named) for player, named in played.items()
    }


@sqlite_alone
def test_rounds_have_rows_of_their_own(rig: Rig) -> None:
    with probe_table(200) as alias:
        for number in (0, 1):
            played = play_round(number, rig, alias, reads=50, faults=0, bound_ms=200, seed=7)
            keys = {operation.key for operation in played.done.operations if operation.f == "write"}
            assert keys == {f"probe:{row}" for row in range(40 * number, 40 * (number + 1))}
            assert played.verdict.counts.keys() <= {Finding.OK, Finding.NON_MONOTONIC}


# The verdict


def a_report(
    *, reads: int = 1_000, faults: int = 10, status: Any = "ok", findings: dict[Finding, int] | None = None, **more: Any
) -> SoakReport:
    report = SoakReport(Soak(1_000, 10, 1_000, 7))
    done = Done(counts=Counter(reads=reads, cached=reads, hits=reads), faults=Counter({"raw_sql": faults}))
    more = {"decisive_reads": 5, "counts": findings or {Finding.OK: reads}, **more}
    report.add(Round(done, Verdict(status, "because", 1, 1, **more)))
    return report


def test_a_soak_that_shows_too_little_is_unknown_and_says_why() -> None:
    assert (a_report().status, a_report().doubts) == ("ok", [])
    for report, doubt in (
        (a_report(reads=999), "999 of 1000 reads were cached"),
        (a_report(faults=9), "9 of 10 faults bit"),
        (a_report(status="unknown"), "because"),
        (a_report(decisive_reads=0), "no read could have been older than allowed"),
        (a_report(control={Finding.DIRTY: 1, Finding.OK: 7}), "reads past the cache were wrong: {'DIRTY': 1}"),
        (
            a_report(findings={Finding.OK: 998, Finding.INDETERMINATE: 2}),
            "of 2 reads nobody can tell, which is more than 0.1%",
        ),
    ):
        assert (report.status, report.doubts) == ("unknown", [doubt])
        assert as_text(report).startswith(f"UNKNOWN: {doubt}.\n")
    assert a_report(findings={Finding.OK: 999, Finding.INDETERMINATE: 1}).status == "ok"
    assert a_report(reads=999, status="violated").status == "violated"


def test_json_has_the_documented_keys() -> None:
    told = json.loads(as_json(a_report(worst_lower_ns=998_500_000)))
    assert told == {
        "seed": 7,
        "verdict": "ok",
        "database": "",
        "reads": 1_000,
        "cached_reads": 1_000,
        "hits": 1_000,
        "relevant_reads": 0,
        "decisive_reads": 5,
        "writes": 0,
        "faults": {"raw_sql": 10},
        "faults_without_effect": {},
        "bound_ms": 1_000,
        "near_ms": 0,
        "refresh_ahead_ms": 0,
        "worst_lower_ms": 998.5,
        "findings": {str(finding): 1_000 if finding is Finding.OK else 0 for finding in Finding},
        "indeterminate": 0,
        "errors": {},
        "reasons": [],
        "seconds": 0.0,
    }


def test_an_unknown_fault_is_an_error_that_says_what_to_write() -> None:
    with pytest.raises(CouldNotRun) as error:
        run_soak(Soak(1, 1, 1_000, 7, ("stale_sett",)), io.StringIO())
    assert str(error.value) == "--fault stale_sett: no such fault; did you mean stale_set?"


@pytest.mark.parametrize(
    ("soak", "error"),
    [
        (Soak(1, 1, 1_000, 7, near_ms=1_001), "--near 1s1ms: too long for a --bound of 1s"),
        (Soak(1, 1, 1_000, 7, ahead_ms=1_000), "--refresh-ahead 1s: too long for a --bound of 1s"),
    ],
)
def test_what_no_rule_may_say_is_an_error(soak: Soak, error: str) -> None:
    with pytest.raises(CouldNotRun, match=f"^{error}$"):
        run_soak(soak, io.StringIO())


def test_a_soak_says_what_processes_kept_in_memory() -> None:
    report = a_report()
    report.soak = Soak(1_000, 10, 1_000, 7, (), 500, 300)
    assert as_text(report).splitlines()[2:4] == [
        "Processes kept copies in memory for 500 ms.",
        "Values were computed anew 300 ms ahead of their end.",
    ]


@sqlite_alone
def test_a_process_that_dies_breaks_the_soak_off(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(*_: Any) -> None:
        raise SystemExit(3)

    monkeypatch.setattr("cachepolicy.consistency.soak.rounds.saving", die)
    with pytest.raises(Exception, match="a process that was forked ended with status 1"):
        soaked(Soak(100, 0, 1_000, 7), rig)
    assert run.KITS_TABLE not in connection.introspection.table_names()
