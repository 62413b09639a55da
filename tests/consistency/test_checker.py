"""The checker's promises, in pairs: what it detects, and what it must not take for it. Histories are literals."""

from __future__ import annotations

import pytest

from cachepolicy.consistency.findings import Finding
from cachepolicy.consistency.history import Operation
from cachepolicy.consistency.witnesses import Witness
from tests.consistency.literals import OTHER_ROW, ROW, findings, read, rows, verdict, write

# The bound.


def test_detects_a_read_older_than_the_bound() -> None:
    result = verdict(ROW, write(1, 20, 30), read(0, 131, 140))
    assert result.status == "violated"
    assert result.reason == "of 1 cached reads: 1 VIOLATION"
    assert result.counts == {Finding.VIOLATION: 1}
    assert (result.worst_lower_ns, result.worst_upper_ns) == (101, 120)
    assert result.witnesses == (
        Witness(Finding.VIOLATION, "a", read=2, returned=0, newer=1, lower_ns=101, upper_ns=120),
    )
    assert result.witnesses[0].operations == (0, 1, 2)


def test_no_false_positive_for_a_read_exactly_as_old_as_the_bound() -> None:
    result = verdict(ROW, write(1, 30, 30), read(0, 130, 130))
    assert result.status == "ok"
    assert result.counts == {Finding.OK: 1}
    assert result.reason == (
        "of 1 cached reads that could have been wrong, 1 are certainly right and none is certainly older than 100 ns"
    )
    assert (result.worst_lower_ns, result.worst_upper_ns) == (100, 100)


def test_no_false_positive_where_the_instants_cannot_tell() -> None:
    result = verdict(ROW, write(1, 20, 30), read(0, 130, 140))
    assert (result.status, result.counts) == ("unknown", {Finding.INDETERMINATE: 1})
    assert result.reason == "of 1 cached reads that could have been wrong, none is certainly right"
    assert (result.worst_lower_ns, result.worst_upper_ns) == (100, 120)


def test_detects_a_violation_only_beyond_the_clocks_error() -> None:
    # Four readings of the clock, each wrong by eps, stand between the true staleness and the measured one.
    history = (ROW, write(1, 20, 30), read(0, 131, 140))
    assert findings(*history, eps_ns=1) == {"INDETERMINATE": 1}
    assert findings(*history, eps_ns=1, bound_ns=98) == {"VIOLATION": 1}
    assert findings(*history, eps_ns=1, bound_ns=121) == {"INDETERMINATE": 1}
    assert findings(*history, eps_ns=1, bound_ns=122) == {"OK": 1}


def test_detects_a_violation_proved_by_a_later_version() -> None:
    # Version 1 returned late, but version 2, which came after it under the row lock, had returned by 40.
    result = verdict(ROW, write(1, 20, 500), write(2, 30, 40), read(0, 150, 151))
    assert result.counts == {Finding.VIOLATION: 1}
    assert (result.witnesses[0].newer, result.witnesses[0].also) == (1, (2,))
    assert result.witnesses[0].lower_ns == 110


def test_a_witness_names_no_operation_that_adds_nothing() -> None:
    early = read(3, 5, 6, session="else")
    result = verdict(ROW, write(1, 20, 40), write(2, 30, 40), read(0, 150, 151), write(3, 20, 200), early)
    assert [witness.operations for witness in result.witnesses] == [(0, 1, 3), (2, 4, 5)]
    # Both began at once: the second alone shows that the read was too early.
    together = verdict(ROW, write(1, 20, 30), write(2, 20, 40), read(2, 5, 6))
    assert [witness.operations for witness in together.witnesses] == [(2, 3)]


def test_no_false_positive_for_the_newest_version_however_old() -> None:
    result = verdict(ROW, write(1, 20, 30), read(1, 9_000, 9_001))
    assert (result.counts, result.worst_lower_ns, result.worst_upper_ns) == ({Finding.OK: 1}, 0, 0)


def test_no_false_positive_for_a_read_that_spans_the_write() -> None:
    assert findings(ROW, read(0, 15, 2_000), write(1, 1_900, 1_950)) == {"OK": 1}


# Values that were never current.


def test_detects_a_phantom() -> None:
    result = verdict(ROW, read(9, 20, 21), read(0, 22, 23, token="a9"), read(0, 24, 25, key="z"))
    assert (result.status, result.counts) == ("violated", {Finding.PHANTOM: 3})
    assert [witness.operations for witness in result.witnesses] == [(1,), (2,), (3,)]


def test_detects_a_row_torn_between_two_writes() -> None:
    result = verdict(ROW, write(1, 20, 30), read(0, 40, 41, token="a1"))
    assert result.counts == {Finding.PHANTOM: 1}
    assert result.witnesses[0].operations == (1, 2)


def test_no_false_positive_for_a_read_that_knows_only_the_token() -> None:
    assert findings(ROW, read(None, 20, 21, token="a0")) == {"OK": 1}


def test_detects_a_value_that_was_rolled_back() -> None:
    result = verdict(ROW, write(1, 20, 30, "fail"), read(1, 25, 26))
    assert (result.status, result.counts) == ("violated", {Finding.DIRTY: 1})
    assert result.witnesses[0].operations == (1, 2)


def test_detects_a_value_from_the_future() -> None:
    result = verdict(ROW, write(1, 20, 30), read(1, 18, 19))
    assert (result.status, result.counts) == ("violated", {Finding.FUTURE: 1})
    assert result.witnesses[0].operations == (1, 2)


def test_detects_a_value_read_before_the_version_under_it() -> None:
    # Version 2 began at 15 but waited for the row lock of version 1, which began at 20.
    result = verdict(ROW, write(1, 20, 30), write(2, 15, 40), read(2, 18, 19))
    assert result.counts == {Finding.FUTURE: 1}
    assert result.witnesses[0].operations == (1, 2, 3)


def test_no_false_positive_for_a_read_of_a_commit_under_way() -> None:
    assert findings(ROW, write(1, 20, 30), read(1, 19, 20)) == {"OK": 1}
    assert findings(ROW, write(1, 20, 30), read(1, 17, 18), eps_ns=1) == {"OK": 1}


# Writes of unknown outcome.

CUT = write(1, 20, 30, "info")


def test_an_unresolved_write_is_never_taken_for_a_failed_one() -> None:
    assert findings(ROW, CUT, read(1, 40, 41)) == {"INDETERMINATE": 1}
    # It may have superseded version 0, so nothing certifies the read; it may not have, so nothing convicts it.
    result = verdict(ROW, CUT, read(0, 500, 501))
    assert result.counts == {Finding.INDETERMINATE: 1}
    assert (result.worst_lower_ns, result.worst_upper_ns) == (0, 481)
    assert findings(ROW, write(None, 20, 30, "info"), read(0, 500, 501)) == {"INDETERMINATE": 1}
    assert findings(ROW, write(None, 20, 30, "info"), read(0, 119, 120)) == {"OK": 1}


def test_detects_what_the_commit_log_settles() -> None:
    assert findings(ROW, CUT, read(1, 40, 41), committed_tokens=[]) == {"DIRTY": 1}
    assert findings(ROW, CUT, read(1, 40, 41), committed_tokens=["a1"]) == {"OK": 1}
    assert findings(ROW, CUT, read(0, 500, 501), committed_tokens=[]) == {"OK": 1}
    after = (ROW, CUT, write(2, 50, 60), read(0, 161, 162))
    assert findings(*after, committed_tokens=["a1"]) == {"VIOLATION": 1}


def test_no_false_positive_for_a_commit_carried_out_after_its_client_had_gone() -> None:
    assert findings(ROW, CUT, read(0, 500, 501), committed_tokens=["a1"]) == {"INDETERMINATE": 1}


def test_a_version_given_twice_shows_that_the_first_was_rolled_back() -> None:
    again = write(1, 40, 50, token="again")
    assert findings(ROW, CUT, again, read(1, 60, 61)) == {"DIRTY": 1}
    assert findings(ROW, CUT, again, read(0, 130, 131)) == {"OK": 1}


# No row lock.


def test_detects_staleness_without_commit_order() -> None:
    history = (write(None, 10, 20, token="x"), write(None, 21, 30, token="y"))
    old = read(None, 131, 132, token="x")
    result = verdict(*history, old, row_lock=False)
    assert result.counts == {Finding.VIOLATION: 1}
    assert result.witnesses[0].operations == (0, 1, 2)
    seen = (read(None, 40, 41, token="y"), read(None, 50, 51, token="x"))
    assert findings(*history, *seen, row_lock=False) == {"OK": 2, "NON-MONOTONIC": 1}


def test_reads_are_exposed_without_commit_order_once_any_write_certainly_succeeded_another() -> None:
    history = (write(None, 10, 20, token="x"), write(None, 21, 30, token="y"), write(None, 31, 40, token="z"))
    result = verdict(*history, *(read(None, at, at, token="y") for at in (30, 31, 130, 131)), row_lock=False)
    assert (result.reads, result.relevant_reads, result.decisive_reads) == (4, 3, 1)


def test_no_false_positive_for_writes_that_overlap_without_commit_order() -> None:
    # Began at the very ns at which the other returned: either may have committed last.
    history = (write(None, 10, 20, token="x"), write(None, 20, 30, token="y"))
    for token in "xy":
        assert findings(*history, read(None, 500, 501, token=token), row_lock=False) == {"INDETERMINATE": 1}
    seen = (read(None, 40, 41, token="y"), read(None, 50, 51, token="x"))
    assert findings(*history, *seen, row_lock=False) == {"OK": 2}
    apart = (write(None, 10, 20, token="x"), write(None, 22, 30, token="y"), read(None, 500, 501, token="x"))
    assert findings(*apart, row_lock=False, eps_ns=1) == {"INDETERMINATE": 1}
    assert findings(*apart, row_lock=False, eps_ns=0) == {"VIOLATION": 1}


# The evidence.


def test_reads_that_could_not_have_been_stale_prove_nothing() -> None:
    assert verdict(ROW, read(0, 20, 21)).status == "unknown"
    assert verdict(ROW, read(0, 20, 21)).reason == "none of 1 cached reads could have been wrong"
    # Nothing older than version 1 is known, so the reader could have returned nothing else.
    assert verdict(write(1, 20, 30), read(1, 40, 41)).relevant_reads == 0
    assert verdict(ROW, write(1, 20, 30), read(1, 30, 31)).status == "unknown"
    assert verdict(ROW, write(1, 20, 30), read(1, 31, 32)).status == "ok"
    assert verdict(ROW, write(1, 20, 30), read(1, 32, 33), eps_ns=1).status == "unknown"


def test_decisive_reads_are_those_that_could_have_broken_the_bound() -> None:
    result = verdict(ROW, write(1, 20, 30), read(1, 130, 131), read(1, 131, 132))
    assert (result.reads, result.relevant_reads, result.decisive_reads) == (2, 2, 1)


def test_reads_from_the_database_are_counted_apart_and_decide_nothing() -> None:
    result = verdict(ROW, write(1, 20, 30), read(1, 40, 41, via="db"), read(0, 500, 501, via="db"))
    assert (result.status, result.reason) == ("unknown", "no read came from a cache")
    assert result.control == {Finding.OK: 1, Finding.VIOLATION: 1, Finding.NON_MONOTONIC: 1}
    assert (result.counts, result.reads, result.witnesses) == ({}, 0, ())
    assert (result.worst_lower_ns, result.worst_upper_ns, result.quantiles_ns) == (None, None, {})


def test_reads_that_failed_say_nothing() -> None:
    failed = Operation("r", "reader", "read", "a", 500, 501, "fail", None, None, "cache")
    assert verdict(ROW, write(1, 20, 30), failed).reads == 0


def test_a_rollback_is_evidence_only_where_asked() -> None:
    history = (ROW, write(1, 20, 30, "fail"), read(0, 21, 22))
    assert verdict(*history).status == "unknown"
    result = verdict(*history, rollbacks_are_evidence=True)
    assert (result.status, result.relevant_reads, result.decisive_reads) == ("ok", 1, 0)
    assert verdict(write(2, 25, 30, "fail"), *history, rollbacks_are_evidence=True).relevant_reads == 1
    assert verdict(*history[:2], rows(21, 22, a=0), rollbacks_are_evidence=True).relevant_reads == 1
    assert verdict(*history[:2], rows(20, 22, a=0), rollbacks_are_evidence=True).relevant_reads == 0
    both = (OTHER_ROW, write(1, 25, 30, "fail", key="b"), *history[:2], rows(22, 23, a=0, b=0))
    assert verdict(*both, rollbacks_are_evidence=True).relevant_reads == 1
    too_early = (ROW, write(1, 20, 30, "fail"), read(0, 20, 22))
    assert verdict(*too_early, rollbacks_are_evidence=True).status == "unknown"
    assert verdict(*history, rollbacks_are_evidence=True, eps_ns=1).status == "unknown"


def test_quantiles_are_of_the_lower_bound_by_nearest_rank() -> None:
    reads = [read(0, 30 + age, 30 + age) for age in range(1, 1001)]
    result = verdict(ROW, write(1, 30, 30), read(0, 30, 30), *reads, bound_ns=1000)
    assert result.quantiles_ns == {0.5: 500, 0.9: 900, 0.99: 990, 0.999: 999}
    assert (result.relevant_reads, result.worst_lower_ns) == (1000, 1000)


# Refusals.

REFUSED = {
    "key 'a': version 1 cannot have committed: not before operation 1 began, nor after operation 2 returned, which is "
    "earlier even with eps_ns=0; the clocks differ by more, or versions were not given in commit order": (
        write(1, 40, 50),
        write(2, 30, 39),
    ),
    "key 'a': operations 1 and 2 both committed version 1; let the database count under the row lock, or judge with "
    "row_lock=False": (write(1, 20, 30), write(1, 40, 50, token="other")),
    "key 'a': operation 1 committed without a version; record the version, or judge with row_lock=False": (
        write(None, 20, 30),
    ),
    "key 'a': operations 1 and 2 wrote one token; give every write its own": (
        write(1, 20, 30, "fail"),
        write(1, 40, 50),
    ),
    "key 'a': operation 1 failed, but the commit log has its token; record it as info": (
        write(1, 20, 30, "fail", token="logged"),
    ),
}


@pytest.mark.parametrize(("refusal", "writes"), REFUSED.items(), ids=range(len(REFUSED)))
def test_a_history_that_contradicts_itself_is_refused(refusal: str, writes: tuple[Operation, ...]) -> None:
    result = verdict(ROW, *writes, read(0, 900, 901), committed_tokens={"logged"})
    assert (result.status, result.refusals) == ("unknown", (refusal,))
    assert result.reason == f"the harness contradicts itself: {refusal}"
    assert (result.counts, result.reads) == ({}, 0)


def test_no_refusal_within_the_clocks_error() -> None:
    history = (ROW, write(1, 40, 50), write(2, 30, 38))
    assert len(verdict(*history, eps_ns=0).refusals) == 1
    assert verdict(*history, eps_ns=1).refusals == ()
    assert verdict(ROW, write(1, 40, 50), write(2, 30, 40)).refusals == ()


def test_a_verdict_is_not_a_bool() -> None:
    with pytest.raises(TypeError, match=r"^a verdict is ok, violated or unknown; compare its status$"):
        bool(verdict(ROW))


def test_negative_bounds_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^bound_ns is -1; give 0 or more nanoseconds$"):
        verdict(ROW, bound_ns=-1)
    with pytest.raises(ValueError, match=r"^eps_ns is -1; give 0 or more nanoseconds$"):
        verdict(ROW, eps_ns=-1)
