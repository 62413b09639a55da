"""The journal: what Redis was not told, bounded by the number of tables, and never forgotten before it is told."""

from __future__ import annotations

import pytest

from cachepolicy import clock
from cachepolicy.runtime.journal import EVERYTHING, RETRY_MS, Journal


def test_a_table_lost_often_is_one_line_and_each_loss_is_counted() -> None:
    journal = Journal()
    for _ in range(1_000):
        journal.add("", ["news_article", "news_tag"])
    assert set(journal.pending()) == {("", "news_article"), ("", "news_tag")}
    assert journal.lost == 2_000


def test_what_was_told_is_gone() -> None:
    journal = Journal()
    journal.add("", ["news_article"])
    journal.told(journal.pending())
    assert not journal
    assert journal.replayed == 1


def test_what_is_lost_again_while_it_is_told_stays() -> None:
    journal = Journal()
    journal.add("", ["news_article"])
    told = journal.pending()
    journal.add("", ["news_article"])
    journal.told(told)
    assert set(journal.pending()) == {("", "news_article")}


def test_an_emptied_redis_needs_to_be_told_nothing_of_before() -> None:
    journal = Journal()
    journal.add("", ["news_article"])
    journal.add_everything()
    told = journal.pending()
    assert EVERYTHING in told
    journal.add("", ["news_tag"])
    journal.told(told)
    assert set(journal.pending()) == {("", "news_tag")}, "what was lost while it was emptied stays"


def test_a_redis_that_refuses_is_asked_a_few_times_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "_advanced_ns", clock._advanced_ns)
    journal = Journal()
    assert [journal.may_be_tried(), journal.may_be_tried()] == [True, False]
    clock.advance(RETRY_MS + 1)
    assert journal.may_be_tried()


def test_one_thread_watches_it() -> None:
    journal = Journal()
    assert [journal.watch(), journal.watch()] == [True, False]
