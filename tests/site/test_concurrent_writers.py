"""The race of many writers on the kit's own table: judged by versions and the commit log, both ways."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from django.apps import apps
from django.db import connection

from cachepolicy import conf
from cachepolicy.consistency import concurrent_writers, verify
from cachepolicy.consistency.cases import CONCURRENT_WRITERS, cases_of
from cachepolicy.consistency.probe_reads import Reader
from cachepolicy.consistency.probe_table import Probe, committed_tokens, filled, probe_table
from cachepolicy.consistency.probe_writes import WAYS, Write, Writer, rolled_back, unanswered_and_lost
from cachepolicy.consistency.results import Case, Cell
from cachepolicy.consistency.rig import Rig
from cachepolicy.consistency.selection import Selection

pytestmark = pytest.mark.django_db(transaction=True)

CASES = {(case.bound_ms, case.op): case for case in cases_of(conf.policies(), seed=1, faults=[CONCURRENT_WRITERS])}


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with Rig() as rig:
        yield rig


def play(rig: Rig, case: Case) -> Cell:
    return verify.play(case, rig, lambda _: pytest.fail("no row of the project's is needed"))


def findings(cell: Cell) -> set[str]:
    return {str(finding) for finding in cell.verdict.counts} - {"OK"}


def test_it_is_tried_under_the_shortest_and_the_longest_timeout_of_the_policy() -> None:
    assert {(case.rule, case.origin.rpartition("/")[2]) for case in CASES.values()} == {
        ("cachepolicy.Probe@2s", "policies.yaml:15:38"),
        ("cachepolicy.Probe@1h", "policies.yaml:18:72"),
    }
    assert {op for _, op in CASES} == {"get", "fetch", "function"}
    for name, number in (("cachepolicy.Probe", 6), ("cachepolicy.probe@2s", 3)):
        assert len(Selection([name]).cases(1)) == number


@pytest.mark.parametrize(("bound_ms", "op"), sorted(CASES))
def test_no_false_positive_in_a_race_of_three_writers(rig: Rig, bound_ms: int, op: str) -> None:
    cell = play(rig, CASES[bound_ms, op])
    assert (cell.verdict.status, cell.verdict.refusals, list(cell.errors)) == ("ok", (), []), cell.verdict.reason
    assert findings(cell) <= {"NON-MONOTONIC", "READ-YOUR-WRITES"}
    writes = Counter((w.session, w.outcome) for w in cell.history if w.f == "write" and w.session != "initial")
    for writer in ("writing process", "writing thread 1", "writing thread 2"):
        assert min(writes[writer, outcome] for outcome in ("ok", "fail", "info")) >= 1
    assert {r.session for r in cell.history if r.f == "read"} == {"reader", "reading thread", "reading process"}
    assert cell.verdict.decisive_reads > 0
    assert all((read.rows is not None) == (op == "fetch") for read in cell.history if read.via == "cache")


class Mutant(Reader):
    """Remembers rows for ever, one more for each list that it reads."""

    remembered: dict[int, tuple[int, int, str]]

    def _fetched(self, place: int) -> Any:
        found = super()._fetched(place)
        first, *others = sorted(found)
        return [self.remembered.setdefault(place, first), *others]


def test_finds_a_list_whose_rows_were_never_current_together(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Mutant, "remembered", {}, raising=False)
    monkeypatch.setattr(concurrent_writers, "Reader", Mutant)
    cell = play(rig, CASES[3_600_000, "fetch"])
    assert cell.verdict.status == "violated"
    assert {"FRACTURED", "VIOLATION"} <= findings(cell)


def test_finds_values_older_than_the_bound_which_no_writer_was_seen_to_invalidate(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    remembered: dict[int, Any] = {}
    original = concurrent_writers.Reader.read

    def read(self: Reader, number: int, op: str, **options: Any) -> Any:
        operation = original(self, number, op, **options)
        kept = remembered.setdefault(number, operation)
        self.operations[-1] = replace(operation, version=kept.version, token=kept.token)
        return self.operations[-1]

    monkeypatch.setattr(concurrent_writers.Reader, "read", read)
    cell = play(rig, CASES[2_000, "get"])
    assert (cell.verdict.status, "VIOLATION" in findings(cell)) == ("violated", True)


def test_finds_values_that_were_never_committed(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, str]] = []
    original = concurrent_writers.Reader.read

    def tell_and_roll_back(write: Write) -> None:
        rolled_back(write)
        seen.append((write.number, write.token))

    def read(self: Reader, number: int, op: str, **options: Any) -> Any:
        operation = original(self, number, op, **options)
        for written, token in seen[-1:]:
            if written == number:
                self.operations[-1] = replace(operation, version=None, token=token)
        return self.operations[-1]

    monkeypatch.setitem(WAYS, "rolled_back", tell_and_roll_back)  # type: ignore[arg-type]
    monkeypatch.setattr(concurrent_writers.Reader, "read", read)
    cell = play(rig, CASES[2_000, "get"])
    assert (cell.verdict.status, "DIRTY" in findings(cell)) == ("violated", True)


def test_a_writer_that_says_the_opposite_of_the_commit_log_is_no_witness(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Writer.write

    def write(self: Writer, *args: Any) -> Any:
        operation = original(self, *args)
        self.operations[-1] = replace(operation, outcome="fail")
        return operation

    monkeypatch.setattr(Writer, "write", write)
    cell = play(rig, CASES[2_000, "get"])
    assert cell.verdict.status == "unknown"


@pytest.mark.parametrize("way", sorted(WAYS))
def test_each_way_ends_as_it_says(way: str) -> None:
    with probe_table(2_000) as alias:
        operations = filled(alias, {0: (1,)})
        writer = Writer("kit", "writer", alias)
        operation = writer.write(1, WAYS[way])
        expected = {"rolled_back": "fail", "unanswered": "info", "unanswered_and_lost": "info"}.get(way, "ok")
        assert (operation.outcome, writer.errors) == (expected, [])
        has_committed = way not in ("rolled_back", "unanswered_and_lost")
        assert (operation.token in committed_tokens(alias)) is has_committed
        row = Probe.objects.using(alias).nocache().get(pk=1)
        assert (row.version, row.token) == ((1, operation.token) if has_committed else (0, operations[0].token))
        assert operation.version == 1
        assert writer.write(1, WAYS["saved"]).version == 1 + has_committed


def test_an_error_of_the_database_before_the_commit_is_a_write_that_failed() -> None:
    with probe_table(2_000) as alias:
        filled(alias, {0: (1,)})
        writer = Writer("kit", "writer", alias)
        clash = Writer("kit", "writer", alias)
        clash.write(1, WAYS["saved"])
        assert writer.write(1, WAYS["executed"]).outcome == "fail"  # its token is in the log already
        assert writer.write(1, unanswered_and_lost).outcome == "info"


def test_the_table_is_known_to_the_project_only_while_it_is_there() -> None:
    assert Probe not in apps.get_models()
    with probe_table(2_000):
        assert Probe in apps.get_models()
        rule = conf.policies().rule_for("cachepolicy.Probe")
        assert rule is not None
        assert rule.timeout.value.ms == 2_000
        assert Probe._meta.db_table in connection.introspection.table_names()
    assert Probe not in apps.get_models()
    assert conf.policies().rule_for("cachepolicy.Probe") is None
    assert Probe._meta.db_table not in connection.introspection.table_names()
