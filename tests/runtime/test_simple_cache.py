"""cacheops' simple cache: for no longer than max_staleness, under names that plain cacheops does not have."""

from __future__ import annotations

import cacheops
import pytest

from cachepolicy import clock
from tests.plain_cacheops import plain_cacheops

pytestmark = pytest.mark.django_db(transaction=True)


def is_there(key: str) -> bool:
    try:
        cacheops.cache.get(key)
    except cacheops.CacheMiss:
        return False
    return True


def test_what_a_get_missed_may_be_set_and_is_there_until_it_is_deleted() -> None:
    assert not is_there("rates")
    cacheops.cache.set("rates", [1, 2], timeout=30)
    assert cacheops.cache.get("rates") == [1, 2]
    cacheops.cache.delete("rates")
    assert not is_there("rates")


@pytest.mark.parametrize("timeout", [None, 86_400])
def test_nothing_lives_longer_than_max_staleness(timeout: int | None, policies: None) -> None:
    assert not is_there("rates")
    cacheops.cache.set("rates", [1, 2], timeout=timeout)
    clock.advance(89_000)
    assert is_there("rates")
    clock.advance(1_100)
    assert not is_there("rates")


def test_a_process_of_plain_cacheops_neither_finds_our_values_nor_fails_on_them_nor_we_on_its() -> None:
    assert not is_there("rates")
    cacheops.cache.set("rates", "ours", timeout=30)
    with plain_cacheops():
        assert not is_there("rates")
        cacheops.cache.set("rates", "its", timeout=30)
        assert cacheops.cache.get("rates") == "its"
    assert cacheops.cache.get("rates") == "ours"
    assert not is_there("other")
