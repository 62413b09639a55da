"""Durations: exact, round-tripping, and nothing that was written is dropped."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cachepolicy.policies.durations import PATTERN_FOR_SCHEMA, Duration

YEAR_MS = 8_760 * 3_600_000
FORMS = "write a whole number with a unit, as in 500ms, 30s, 5m, 1h or 1h30m"
durations = st.integers(1, YEAR_MS).map(Duration)
# Texts near the grammar: its letters, digits and what people put between them.
near_durations = st.text("0123456789hmsd. -+eS_٣\n", max_size=12)


@given(durations)
def test_a_duration_reads_back_as_itself(duration: Duration) -> None:
    assert Duration.parse(str(duration)) == duration


@given(near_durations | st.from_regex(PATTERN_FOR_SCHEMA, fullmatch=True))
@example("1h30m15s250ms")
def test_no_text_is_dropped(text: str) -> None:
    """Either every character counts, or the text is refused."""
    sizes = {"h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
    parts = re.findall(r"([0-9]+)(ms|[hms])", text)
    try:
        duration = Duration.parse(text)
    except ValueError:
        return
    assert "".join(count + unit for count, unit in parts) == text
    assert duration.ms == sum(int(count) * sizes[unit] for count, unit in parts)
    assert re.search(PATTERN_FOR_SCHEMA, text), "an editor refuses what the loader takes"


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("1ms", 1),
        ("500ms", 500),
        ("1500ms", 1_500),
        ("30s", 30_000),
        ("90s", 90_000),
        ("5m", 300_000),
        ("1h", 3_600_000),
        ("1h30m", 5_400_000),
        ("1m30s", 90_000),
        ("1s500ms", 1_500),
        ("1h5ms", 3_600_005),
        ("1m1ms", 60_001),
        ("1h2m3s4ms", 3_723_004),
        ("010s", 10_000),
        ("0h5m", 300_000),
        ("8760h", YEAR_MS),
    ],
)
def test_reads(text: str, ms: int) -> None:
    assert Duration.parse(text) == Duration(ms)


@pytest.mark.parametrize(
    ("text", "shown"), [("1500ms", "1s500ms"), ("90s", "1m30s"), ("60m", "1h"), ("48h", "48h"), ("1000ms", "1s")]
)
def test_shows_the_largest_units(text: str, shown: str) -> None:
    assert str(Duration.parse(text)) == shown


DAYS = "days are not a unit; write hours, as in 24h"
NEGATIVE = f"a duration cannot be negative; {FORMS}"
FRACTION = f"fractions are not accepted; {FORMS} (1s500ms is one and a half seconds)"
ZERO = "a duration must be longer than zero; to cache nothing, write `off` or `ops: []`"
LONGEST = "the longest duration is 8760h (a year)"


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        *((text, FORMS) for text in ("", " ", "s", "ms", "10m5", "5 5", "1s1s", "1s1h", "1ms1s", "1m1h", "1mms")),
        *((text, FORMS) for text in ("٣s", "3٣s", "1e3s", " 30s", "30s ", "30 s", "30s\n", "\n", "30S", "1H", "1Ms")),
        *((text, FORMS) for text in ("1:30", "1_000s", "0x10s", "+1s", "1,5s", "1.s", ".5s", "1.5", "forever", "1min")),
        *((text, FORMS) for text in ("1sec", "1000000000s", "1000000000", "1.5min", "1msh", "P1D", "²s", "1\x00s")),
        *((text, DAYS) for text in ("1d", "7 days", "1day", "2w", "1 d")),
        *((text, NEGATIVE) for text in ("-1s", "-", "-5")),
        *((text, FRACTION) for text in ("1.5h", "0.5s", "1.0ms", "1.5d")),
        *((text, ZERO) for text in ("0s", "0ms", "0h0m0s0ms", "000000000s")),
        *((text, LONGEST) for text in ("8760h1ms", "8761h", "999999999h", "31536001s")),
    ],
)
def test_refuses(text: str, remedy: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(remedy)}$"):
        Duration.parse(text)


@pytest.mark.parametrize("number", ["0", "5", "060", "999999999"])
def test_refuses_a_bare_number_and_names_the_likely_units(number: str) -> None:
    remedy = f"a bare number has no unit; write {number}s for seconds or {number}ms for milliseconds"
    with pytest.raises(ValueError, match=f"^{remedy}$"):
        Duration.parse(number)


@given(durations, durations)
def test_orders_by_length_of_time(one: Duration, other: Duration) -> None:
    assert (one < other, one == other, one > other) == (one.ms < other.ms, one.ms == other.ms, one.ms > other.ms)


def test_longer_text_is_not_longer_time() -> None:
    assert Duration.parse("500ms") < Duration.parse("1s") < Duration.parse("1h") < Duration.parse("61m")
