"""Countries and languages are declared immutable: the ORM refuses to write to them unless told otherwise."""

from __future__ import annotations

import pytest
from news.models import Country, Language

from cachepolicy import ImmutableTableError, allow_writes

pytestmark = pytest.mark.usefixtures("edition")


def test_save_of_a_country_is_refused() -> None:
    country = Country.objects.get(code="KE")
    country.name = "Elsewhere"
    with pytest.raises(ImmutableTableError, match=r"news\.Country is immutable, so save\(\) is refused"):
        country.save()
    assert Country.objects.filter(name="Elsewhere").count() == 0


def test_create_of_a_country_is_refused() -> None:
    with pytest.raises(ImmutableTableError, match=r"news\.Country is immutable, so save\(\) is refused"):
        Country.objects.create(code="XX", alpha_3="XXX", numeric="999", name="Elsewhere")


def test_delete_of_a_language_is_refused() -> None:
    with pytest.raises(ImmutableTableError, match=r"news\.Language is immutable, so delete\(\) is refused"):
        Language.objects.get(code="vo").delete()


def test_writes_of_many_rows_are_refused() -> None:
    with pytest.raises(ImmutableTableError, match=r"update\(\) is refused"):
        Country.objects.filter(code="KE").update(name="Elsewhere")
    with pytest.raises(ImmutableTableError, match=r"bulk_create\(\) is refused"):
        Language.objects.bulk_create([Language(code="xx", alpha_3="xxx", name="Elsewhere")])
    with pytest.raises(ImmutableTableError, match=r"delete\(\) is refused"):
        Country.objects.filter(code="AQ").delete()


def test_write_inside_allow_writes_is_done_and_seen_at_once() -> None:
    country = Country.objects.get(code="KE")
    country.name = "Republic of Kenya"
    with allow_writes(Country):
        country.save()
    assert Country.objects.get(code="KE").name == "Republic of Kenya"


def test_allow_writes_to_one_table_leaves_the_other_closed() -> None:
    language = Language.objects.get(code="en")
    with allow_writes(Country), pytest.raises(ImmutableTableError):
        language.save()
