"""The circuit breaker: one caller per window pays for an outage, the others go on."""

from __future__ import annotations

import pytest

from cachepolicy import clock
from cachepolicy.runtime.breaker import WINDOW_MS, Breaker


@pytest.fixture(autouse=True)
def _own_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "_advanced_ns", clock._advanced_ns)


def test_it_lets_everything_through_while_redis_answers() -> None:
    breaker = Breaker()
    breaker.succeeded()
    assert [breaker.allows() for _ in range(3)] == [True, True, True]


def test_after_a_failure_nothing_is_sent_for_a_window() -> None:
    breaker = Breaker()
    assert breaker.failed()
    assert not breaker.allows()
    clock.advance(WINDOW_MS - 100)
    assert not breaker.allows()


def test_after_the_window_one_caller_tries() -> None:
    breaker = Breaker()
    breaker.failed()
    clock.advance(WINDOW_MS + 1)
    assert [breaker.allows() for _ in range(3)] == [True, False, False]


def test_an_answer_closes_it() -> None:
    breaker = Breaker()
    breaker.failed()
    clock.advance(WINDOW_MS + 1)
    assert breaker.allows()
    breaker.succeeded()
    assert [breaker.allows() for _ in range(3)] == [True, True, True]


def test_only_the_first_failure_of_an_outage_opens_it() -> None:
    breaker = Breaker()
    assert [breaker.failed(), breaker.failed()] == [True, False]
    breaker.succeeded()
    assert breaker.failed()
