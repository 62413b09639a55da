"""local_get keeps rows in memory: bounded in age and number, each caller with a copy, no two databases mixed."""

from __future__ import annotations

from typing import Any

import cacheops.query
import pytest
from django.db.models.signals import post_init
from news.models import Country, Tag

from cachepolicy import allow_writes, clock
from cachepolicy.consistency.faults.processes import past_django
from cachepolicy.runtime.local_gets import LocalGets

pytestmark = pytest.mark.django_db(transaction=True)

BOUND_MS = 3_600_000


@pytest.fixture(autouse=True)
def _country() -> None:
    with allow_writes():
        Country.objects.create(code="FR", alpha_3="FRA", numeric="250", name="France")


def name() -> str:
    return Country.objects.get(code="FR").name


def rename_unseen(to: str) -> None:
    past_django("UPDATE news_country SET name = ?", [to])


def test_a_second_get_needs_neither_database_nor_redis(django_assert_num_queries: Any) -> None:
    name()
    with django_assert_num_queries(0):
        assert name() == "France"


def test_a_row_is_served_up_to_its_timeout_and_not_after() -> None:
    name()
    rename_unseen("Gallia")
    clock.advance(BOUND_MS - 1_000)
    assert name() == "France"
    clock.advance(1_001)
    assert name() == "Gallia"


def test_a_row_in_memory_is_not_filled_from_an_older_one_in_redis() -> None:
    list(Country.objects.filter(code="FR")[:21])  # the very query that get() makes, cached in Redis
    rename_unseen("Gallia")
    assert name() == "Gallia"
    assert [country.name for country in Country.objects.filter(code="FR")[:21]] == ["France"]


def test_every_caller_gets_a_copy() -> None:
    one, other = Country.objects.get(code="FR"), Country.objects.get(code="FR")
    one.name = "changed in memory only"
    assert (other.name, name()) == ("France", "France")


def test_allow_writes_forgets_the_rows_at_its_end() -> None:
    name()
    with allow_writes(Country):
        Country.objects.update(name="Gallia")
    assert Country.objects.get(code="FR").name == "Gallia"


def test_values_and_annotations_are_not_mistaken_for_rows() -> None:
    assert Country.objects.get(code="FR").name == "France"
    assert Country.objects.values("name").get(code="FR") == {"name": "France"}
    assert Country.objects.values_list("name", flat=True).get(code="FR") == "France"
    assert Country.objects.only("name").get(code="FR").get_deferred_fields()
    assert not Country.objects.get(code="FR").get_deferred_fields()


def test_models_without_local_get_go_their_usual_way() -> None:
    tag = Tag.objects.create(name="Elections", slug="elections")
    assert Tag.objects.get(slug="elections") == tag
    past_django("UPDATE news_tag SET name = 'x'", [])
    assert Tag.objects.get(slug="elections").name == "Elections", "from Redis"
    tag.save()
    past_django("UPDATE news_tag SET name = 'x'", [])
    assert Tag.objects.get(slug="elections").name == "x", "save() invalidated it"
    assert len(cacheops.query._local_get_cache) == 0


def test_a_row_that_does_not_exist_leaves_nothing_behind() -> None:
    for number in range(50):
        with pytest.raises(Country.DoesNotExist):
            Country.objects.get(code=str(number))
    assert vars(cacheops.query._local_get_cache.reading).get("born_ns") is None
    assert len(cacheops.query._local_get_cache) == 0


def test_a_get_inside_another_does_not_disturb_it() -> None:
    def another(sender: Any, **_: Any) -> None:
        if not inside:
            inside.append(1)
            with pytest.raises(Country.DoesNotExist):
                Country.objects.get(code="XX")

    inside: list[int] = []
    post_init.connect(another, sender=Country)
    try:
        assert name() == "France"
    finally:
        post_init.disconnect(another, sender=Country)
    rename_unseen("Gallia")
    assert name() == "France", "the outer get() was kept"


class TestLocalGets:
    KEY = (object, Country, ("code", "FR"))

    def fill(self, local_gets: LocalGets, key: Any, row: Any) -> None:
        """As cacheops does: miss, set, read back."""
        with pytest.raises(KeyError):
            local_gets[key]
        local_gets[key] = row
        assert local_gets[key] is row

    def test_a_row_is_as_old_as_the_miss_before_it_was_read(self) -> None:
        local_gets = LocalGets(10)
        with pytest.raises(KeyError):
            local_gets[self.KEY]
        clock.advance(BOUND_MS - 1)  # a slow read
        local_gets[self.KEY] = "row"
        assert local_gets[self.KEY] == "row"
        clock.advance(2)
        with pytest.raises(KeyError):
            local_gets[self.KEY]

    def test_a_row_that_outlived_its_bound_while_it_was_read_still_reaches_its_reader(self) -> None:
        local_gets = LocalGets(10)
        with pytest.raises(KeyError):
            local_gets[self.KEY]
        clock.advance(BOUND_MS + 1)
        local_gets[self.KEY] = "row"
        assert local_gets[self.KEY] == "row"
        with pytest.raises(KeyError):
            local_gets[self.KEY]

    def test_a_row_nobody_missed_is_not_kept(self) -> None:
        local_gets = LocalGets(10)
        local_gets[self.KEY] = "row"
        assert local_gets[self.KEY] == "row"
        with pytest.raises(KeyError):
            local_gets[self.KEY]

    def test_the_oldest_rows_go_when_there_are_too_many(self) -> None:
        local_gets = LocalGets(2)
        keys = [(object, Country, ("code", code)) for code in "ABC"]
        for key in keys:
            self.fill(local_gets, key, key[2][1])
        assert len(local_gets) == 2
        assert [local_gets[key] for key in keys[1:]] == ["B", "C"]

    def test_a_copy_is_deep_enough_for_json(self) -> None:
        local_gets = LocalGets(10)
        row = Country(code="FR", name="France")
        row.name = {"json": [1]}  # type: ignore[assignment]
        self.fill(local_gets, self.KEY, row)
        local_gets[self.KEY].name["json"].append(2)
        assert local_gets[self.KEY].name == {"json": [1]}

    def test_databases_do_not_share_rows(self) -> None:
        local_gets = LocalGets(10)
        local_gets.reading.alias = "default"
        self.fill(local_gets, self.KEY, "of default")
        local_gets.reading.alias = "replica"
        self.fill(local_gets, self.KEY, "of replica")
        local_gets.reading.alias = "default"
        assert local_gets[self.KEY] == "of default"

    def test_forget_drops_the_rows_of_the_named_models_only(self) -> None:
        local_gets = LocalGets(10)
        other = (object, Tag, ("pk", 1))
        self.fill(local_gets, self.KEY, "France")
        local_gets.forget([Tag])
        assert local_gets[self.KEY] == "France"
        with pytest.raises(KeyError):
            local_gets[other]
        local_gets.forget([Country])
        with pytest.raises(KeyError):
            local_gets[self.KEY]
