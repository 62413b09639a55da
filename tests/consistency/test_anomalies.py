"""Findings between reads, in pairs: sessions that go back in time, and lists that were never current."""

from __future__ import annotations

from cachepolicy.consistency.findings import Finding
from cachepolicy.consistency.witnesses import Witness
from tests.consistency.literals import OTHER_ROW, ROW, findings, read, rows, verdict, write

# Sessions.


def test_detects_a_session_that_goes_back_in_time() -> None:
    result = verdict(ROW, write(1, 20, 30), read(1, 40, 41), read(0, 41, 42))
    assert result.counts == {Finding.OK: 2, Finding.NON_MONOTONIC: 1}
    assert result.witnesses == (Witness(Finding.NON_MONOTONIC, "a", read=3, returned=0, newer=2, also=(1,)),)


def test_no_false_positive_between_sessions_keys_or_concurrent_reads() -> None:
    history = (ROW, OTHER_ROW, write(1, 20, 30), read(1, 40, 50))
    assert findings(*history, read(0, 60, 61, session="else")) == {"OK": 2}
    assert findings(*history, read(0, 60, 61, key="b")) == {"OK": 2}
    assert findings(*history, read(0, 49, 61)) == {"OK": 2}
    assert findings(*history, read(1, 60, 61)) == {"OK": 2}


def test_detects_a_session_that_misses_its_own_write() -> None:
    result = verdict(ROW, write(1, 20, 30, session="reader"), read(0, 30, 31))
    assert result.counts == {Finding.OK: 1, Finding.READ_YOUR_WRITES: 1}
    assert result.witnesses == (Witness(Finding.READ_YOUR_WRITES, "a", read=2, returned=0, newer=1),)


def test_no_false_positive_for_a_write_of_others_or_one_not_acknowledged() -> None:
    assert findings(ROW, write(1, 20, 30), read(0, 30, 31)) == {"OK": 1}
    assert findings(ROW, write(1, 20, 30, session="reader"), read(0, 29, 31)) == {"OK": 1}
    cut = write(1, 20, 30, "info", session="reader")
    assert findings(ROW, cut, read(0, 30, 31), committed_tokens=["a1"]) == {"OK": 1}
    failed = write(1, 20, 30, "fail", session="reader")
    assert findings(ROW, failed, read(0, 30, 31)) == {"OK": 1}


def test_a_stale_session_breaks_the_promise_only_if_asked() -> None:
    history = (ROW, write(1, 20, 30), read(1, 40, 41), read(0, 41, 42))
    assert verdict(*history).status == "ok"
    strict = verdict(*history, breaking=[Finding.NON_MONOTONIC])
    assert (strict.status, strict.reason) == ("violated", "of 2 cached reads: 1 NON-MONOTONIC")


# Lists.


def test_detects_a_list_as_old_as_its_oldest_row() -> None:
    result = verdict(ROW, OTHER_ROW, write(1, 20, 30), rows(131, 140, a=0, b=0))
    assert (result.status, result.counts) == ("violated", {Finding.VIOLATION: 1})
    assert result.witnesses[0] == Witness(Finding.VIOLATION, "a", 3, 0, 2, lower_ns=101, upper_ns=120)
    assert findings(ROW, OTHER_ROW, rows(20, 21, a=0, b=7)) == {"PHANTOM": 1}
    assert findings(ROW, OTHER_ROW, write(1, 20, 30, "fail"), rows(40, 41, a=1, b=0)) == {"DIRTY": 1}
    assert findings(ROW, OTHER_ROW, write(1, 20, 30, "info"), rows(40, 41, a=1, b=0)) == {"INDETERMINATE": 1}
    assert findings(ROW, OTHER_ROW, write(1, 20, 30, session="reader"), rows(40, 41, a=0, b=0)) == {
        "OK": 1,
        "READ-YOUR-WRITES": 1,
    }


def test_no_false_positive_for_a_list_within_the_bound() -> None:
    result = verdict(ROW, OTHER_ROW, write(1, 20, 30), rows(110, 120, a=0, b=0), rows(200, 201))
    assert (result.status, result.counts, result.relevant_reads) == ("ok", {Finding.OK: 2}, 1)


def test_detects_a_list_whose_rows_were_never_current_together() -> None:
    result = verdict(ROW, OTHER_ROW, write(1, 20, 30), write(1, 31, 40, key="b"), rows(50, 51, a=0, b=1))
    assert (result.status, result.counts) == ("violated", {Finding.OK: 1, Finding.FRACTURED: 1})
    assert result.witnesses == (Witness(Finding.FRACTURED, "a", read=4, returned=0, newer=2, also=(3,)),)


def test_no_false_positive_for_rows_that_may_have_been_current_together() -> None:
    assert findings(ROW, OTHER_ROW, write(1, 20, 30), write(1, 30, 40, key="b"), rows(50, 51, a=0, b=1)) == {"OK": 1}
    whole = (ROW, OTHER_ROW, write(1, 20, 30), write(1, 31, 40, key="b"), rows(50, 51, a=0, b=0))
    assert findings(*whole) == {"OK": 1}


def test_a_list_that_goes_back_in_time_twice_is_one_finding() -> None:
    history = (
        ROW,
        OTHER_ROW,
        write(1, 20, 30),
        write(1, 20, 30, key="b"),
        rows(40, 41, a=1, b=1),
        rows(50, 51, a=0, b=0),
    )
    assert findings(*history) == {"OK": 2, "NON-MONOTONIC": 1}
