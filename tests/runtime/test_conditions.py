"""What a database may find equal has one digest, for the reader's value and for the text of the writer's."""

from __future__ import annotations

import datetime as dt
import enum
import subprocess
import sys
import uuid
from decimal import Decimal, localcontext
from typing import Any

import cacheops.invalidation
import pytest
from hypothesis import given
from hypothesis import strategies as st
from news.models import Article, Category

from cachepolicy.runtime.conditions import REPLACEMENTS, digest, is_certain, text_of


class Kind(str, enum.Enum):  # noqa: UP042
    NEWS = "news"


class Level(enum.IntEnum):
    LOW = 1


PARIS = dt.timezone(dt.timedelta(hours=2), "CEST")
EQUAL: list[tuple[Any, ...]] = [
    (1.5, Decimal("1.50"), Decimal("15E-1"), "1.5", "1.500", "+1.5", "01.5"),
    (100, Decimal("1E+2"), 1e2, "100.00"),
    (123, Decimal("1.23E+2"), "0123", "123.0", "+123", "１２３"),
    (10**40, str(10**40), Decimal(10**40)),
    (0, -0.0, Decimal("-0.00"), "0E+3", False, "False"),
    (1, True, "True", "1", "true", Level.LOW),
    (1e16, "1e+16", 10**16),
    (None, "None"),
    ("Straße", "STRASSE", "strase ", "straẞe"),
    ("Istanbul", "İSTANBUL", "ıstanbul", "istanbul"),
    ("é", "E", "e\u0301", "Ｅ", "e  ", "e\x00"),
    ("１２", "12", "١٢"),
    ("カタカナ", "かたかな", "ｶﾀｶﾅ"),
    ("ΣΊΣΥΦΟΣ", "σίσυφος"),
    (Kind.NEWS, "news", "News"),
    (uuid.UUID(int=7), str(uuid.UUID(int=7)).upper()),
    (dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC), dt.datetime(2026, 1, 1, 14, tzinfo=PARIS), "2026-01-01T12:00:00Z"),
    (dt.datetime(2026, 1, 1, 12, 0, 0, 500, tzinfo=dt.UTC), "2026-01-01 14:00:00.000500+02:00"),
    (dt.time(12), "12:00", "12:00:00.000000"),
]


@pytest.mark.parametrize("values", EQUAL)
def test_what_a_database_may_find_equal_has_one_digest(values: tuple[Any, ...]) -> None:
    assert {digest("field", value) for value in values} == {digest("field", values[0])}


def test_what_no_database_finds_equal_has_digests_of_its_own() -> None:
    values = [*(each[0] for each in EQUAL), 2, 1.25, -1, "a", "b", "ab", "а", "漢", "字", "a-slug", "a_slug", "a.slug"]
    values += [dt.date(2026, 1, 1), dt.date(2026, 1, 2), dt.datetime(2026, 1, 1, 13, tzinfo=dt.UTC), dt.time(13)]
    assert len({digest("field", value) for value in values}) == len(values)
    assert digest("title", "x") != digest("slug", "x")


_values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.decimals(),
    st.text(),
    st.uuids(),
    st.dates(),
    st.times(),
    st.timedeltas(),
    st.datetimes(timezones=st.timezones() | st.none()),
)


@given(_values)
def test_a_value_and_its_text_have_one_digest(value: Any) -> None:
    assert digest("field", value) == digest("field", str(value)) == digest("field", text_of(value))


@given(st.datetimes(dt.datetime(1901, 1, 1), dt.datetime(2200, 1, 1), timezones=st.timezones()), st.timezones())
def test_an_instant_has_one_digest_in_every_zone(instant: dt.datetime, zone: dt.tzinfo) -> None:
    assert digest("field", instant) == digest("field", str(instant.astimezone(zone)))


@given(st.decimals(allow_nan=False, allow_infinity=False, max_value=10**20), st.integers(0, 5))
def test_a_number_has_one_digest_at_any_scale(number: Decimal, zeros: int) -> None:
    sign, digits, exponent = number.as_tuple()
    assert isinstance(exponent, int)
    longer = Decimal((sign, digits + (0,) * zeros, exponent - zeros))
    with localcontext(prec=2):
        assert digest("field", number) == digest("field", longer)


@given(st.text(), st.sampled_from(["", " ", "   "]))
def test_case_accents_and_trailing_spaces_make_no_difference(text: str, space: str) -> None:
    expected = digest("field", text)
    assert digest("field", text + space) == expected
    assert digest("field", text + "\u0301") == expected
    assert digest("field", text.upper().lower()) == digest("field", text.lower())


def test_a_naive_instant_is_of_the_projects_time_zone(settings: Any) -> None:
    settings.TIME_ZONE = "Europe/Paris"
    assert digest("field", dt.datetime(2026, 7, 1, 14)) == digest("field", dt.datetime(2026, 7, 1, 12, tzinfo=dt.UTC))


def test_a_digest_stays_the_same_while_keys_rotate_and_tells_nothing_without_the_key(settings: Any) -> None:
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "old", []
    old = digest("field", "value")
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "new", ["old"]
    assert digest("field", "value") == old
    settings.SECRET_KEY_FALLBACKS = []
    assert digest("field", "value") != old


def test_a_digest_is_the_same_in_every_process() -> None:
    program = (
        "import django; from django.conf import settings; settings.configure(SECRET_KEY='k', USE_TZ=True);"
        "from cachepolicy.runtime.conditions import digest; print(digest('f', 'v'), digest('f', 1.5))"
    )
    runs = {subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout for _ in range(2)}
    assert len(runs) == 1
    assert [len(word) for word in runs.pop().split()] == [16, 16]


@pytest.mark.parametrize("value", [1, "a", "é", "漢字", None, True, 1.5, dt.date(2026, 1, 1), uuid.UUID(int=1)])
def test_a_condition_on_a_plain_value_is_certain(value: Any) -> None:
    assert is_certain(value)


@pytest.mark.parametrize("value", ["😀", "\ufffd", object(), b"x", [1], (1, 2), {}, Category, Article.objects])
def test_a_condition_that_some_collation_confuses_or_that_has_no_plain_value_is_not(value: Any) -> None:
    assert not is_certain(value)


def test_a_row_is_told_by_what_an_enum_holds_and_not_by_its_name() -> None:
    ((place, name, replaced),) = REPLACEMENTS
    assert place == "cacheops.invalidation"
    upstream = getattr(cacheops.invalidation, name)
    walk_values = upstream if getattr(upstream, "__module__", "").startswith("cachepolicy") else replaced(upstream)
    assert walk_values(str, {"kind": Kind.NEWS, "level": 2}) == {"kind": "news", "level": "2"}
    assert str(Kind.NEWS) == "Kind.NEWS"
    assert digest("kind", "Kind.NEWS") != digest("kind", Kind.NEWS)
