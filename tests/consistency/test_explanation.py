"""Explanations: what is said of each kind of finding, and which fill is named."""

from __future__ import annotations

from cachepolicy.consistency.checker import judge
from cachepolicy.consistency.history import History, Operation
from cachepolicy.consistency.report.explanation import explanations
from cachepolicy.consistency.results import Case, Cell
from tests.consistency.literals import OTHER_ROW, ROW, read, rows, write
from tests.consistency.runs import cell, done, event, kept, stale


def told(*history: Operation) -> list[str]:
    case = Case("shop.Price", "get", "none", "shop.Price", 1, "policies.yaml:12:3")
    verdict = judge(History(history), bound_ns=100, eps_ns=0)
    return [explanation.what for explanation in explanations(Cell(case, "sqlite", verdict, History(history)))]


def test_each_kind_of_finding_is_told_once_in_a_sentence() -> None:
    assert told(ROW, read(7, 20, 30, token="x"), read(8, 40, 50, token="y")) == [
        "reader read 'x', which nobody wrote to a"
    ]
    assert told(ROW, read(1, 20, 30), write(1, 40, 50)) == ["reader read 'a1' before it can have been committed"]
    assert told(ROW, write(1, 20, 30, "fail"), read(1, 40, 50)) == ["reader read 'a1', which was never committed"]
    assert told(ROW, OTHER_ROW, write(1, 20, 30), write(1, 40, 50, key="b"), rows(60, 70, a=0, b=1)) == [
        "reader read rows that were never current together"
    ]


def test_the_stalest_read_stands_for_all() -> None:
    assert told(ROW, write(1, 20, 30), read(0, 140, 150), read(0, 240, 250), read(0, 160, 170)) == [
        "reader read 'a0', which had been superseded for at least 210 ns; at most 100 ns is promised"
    ]


def test_nothing_is_told_of_a_promise_that_was_kept() -> None:
    assert explanations(kept()) == []


def test_the_fill_of_another_query_on_the_row_is_not_named() -> None:
    # save() reads the row by its key just before it writes; what is read later was stored by the reader before.
    told_of = cell(
        "fetch",
        "redis_refused",
        done("read", "reader", "old", 1, 4),
        done("write", "writer", "new", 10, 20),
        done("read", "reader", "old", 70_000, 70_001),
        events=[event(3, "fill", "q:list"), event(12, "fill", "q:row"), event(15, "invalidation lost")],
    )
    steps = explanations(told_of)[0].steps
    assert [(step.start_ns // 1_000_000, step.actor, step.text) for step in steps if step.actor == "cache"] == [
        (3, "cache", "stores a value"),
        (15, "cache", "never hears of it: the invalidation of shop_price is lost"),
    ]


def test_a_store_that_its_client_gave_up_may_be_the_one() -> None:
    late = cell(
        "get",
        "late_store",
        done("read", "reader", "old", 1, 30_000),
        done("write", "writer", "new", 2, 5),
        done("read", "reader", "old", 89_000, 89_001),
        events=[event(-1, "fill", "q:1"), event(29_000, "fill lost", "q:1")],
    )
    texts = [step.text for step in explanations(late)[0].steps]
    assert "does not confirm a store, which may still be carried out" in texts
    assert "stores a value" not in texts


def test_only_the_last_step_is_the_culprit() -> None:
    assert [step.is_culprit for step in explanations(stale())[0].steps] == [False] * 5 + [True]
