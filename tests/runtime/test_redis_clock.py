"""Redis' clock as this process knows it: ages err upwards only, whatever the network does and however it is set."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachepolicy import clock
from cachepolicy.runtime.redis_clock import RedisClock

MS = 1_000_000
HOUR_US = 3_600_000_000


class World:
    """A clock of ours that stands until it is moved, and a Redis whose clock is ahead by an offset."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, offset_us: int = 5_000_000) -> None:
        self.now_ns, self.offset_us = 1_000 * MS, offset_us
        monkeypatch.setattr(clock, "now_ns", lambda: self.now_ns)

    def redis_us(self) -> int:
        return self.now_ns // 1000 + self.offset_us

    def measure(self, redis_clock: RedisClock, there_ns: int = MS, back_ns: int = MS) -> None:
        sent_ns = self.now_ns
        self.now_ns += there_ns
        time_us = self.redis_us()
        self.now_ns += back_ns
        redis_clock.observe(sent_ns, self.now_ns, time_us)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


delays = st.integers(min_value=0, max_value=2_000 * MS)


@given(
    st.integers(min_value=-(10**15), max_value=10**15),
    st.lists(st.tuples(delays, delays, delays), min_size=1, max_size=8),
    st.integers(min_value=-250, max_value=250),
)
def test_the_truth_lies_between_its_earliest_and_its_latest(
    offset_us: int, measured: list[tuple[int, int, int]], drift_ppm: int
) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        world, redis_clock = World(monkeypatch, offset_us), RedisClock()
        start_ns = world.now_ns

        def drifting() -> int:
            return (world.now_ns + (world.now_ns - start_ns) * drift_ppm // 1_000_000) // 1000 + offset_us

        monkeypatch.setattr(world, "redis_us", drifting)
        for pause_ns, there_ns, back_ns in measured:
            world.now_ns += pause_ns
            world.measure(redis_clock, there_ns, back_ns)
            world.now_ns += pause_ns
            assert redis_clock.earliest_ns(world.now_ns) // 1000 <= world.redis_us() <= redis_clock.now_us() + 1
        assert not redis_clock.set_back


def test_a_quick_measurement_makes_it_narrow(world: World) -> None:
    redis_clock = RedisClock()
    world.measure(redis_clock, 500 * MS, 500 * MS)
    world.measure(redis_clock, MS // 10, MS // 10)
    width_us = redis_clock.now_us() - redis_clock.earliest_ns(world.now_ns) // 1000
    assert width_us < 1_000


def test_a_clock_set_forward_is_believed_at_once(world: World) -> None:
    redis_clock = RedisClock()
    world.measure(redis_clock)
    world.offset_us += HOUR_US
    world.measure(redis_clock)
    assert redis_clock.now_us() >= world.redis_us()
    assert not redis_clock.set_back


def test_detects_a_clock_set_back_and_keeps_measuring_ages_by_the_old_one(world: World) -> None:
    redis_clock = RedisClock()
    world.measure(redis_clock)
    born_us = redis_clock.earliest_ns(world.now_ns) // 1000
    world.offset_us -= HOUR_US
    world.measure(redis_clock)
    world.now_ns += 60_000 * MS
    assert redis_clock.set_back
    assert redis_clock.is_due()
    assert redis_clock.now_us() - born_us >= 60_000_000
    assert redis_clock.earliest_ns(world.now_ns) // 1000 <= world.redis_us()


def test_the_new_clock_is_believed_when_nothing_is_left_of_the_old_one(world: World) -> None:
    redis_clock = RedisClock()
    world.measure(redis_clock)
    world.offset_us -= HOUR_US
    world.measure(redis_clock)
    redis_clock.observe(world.now_ns, world.now_ns, world.redis_us(), anew=True)
    assert not redis_clock.set_back
    assert redis_clock.now_us() - world.redis_us() < 1_000


def test_it_is_measured_again_after_half_a_minute(world: World) -> None:
    redis_clock = RedisClock()
    assert redis_clock.is_due()
    world.measure(redis_clock)
    assert not redis_clock.is_due()
    world.now_ns += 31_000 * MS
    assert redis_clock.is_due()
