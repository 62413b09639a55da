"""An immutable table is written by migrations, fixtures and allow_writes(), and by nothing else in the ORM."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.core import serializers
from django.core.management import call_command
from django.db import connections
from django.db.models.signals import pre_delete, pre_save
from django.db.transaction import atomic
from django.test.utils import isolate_apps
from news.models import Country, Tag

from cachepolicy import ImmutableTableError, allow_writes
from cachepolicy.runtime import immutable

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def country() -> Country:
    with allow_writes(Country):
        return Country.objects.create(code="FR", alpha_3="FRA", numeric="250", name="France")


WRITES: dict[str, tuple[str, Callable[[Country], object]]] = {
    "save": ("save()", lambda country: country.save()),
    "create": ("save()", lambda _: Country.objects.create(code="DE", alpha_3="DEU")),
    "get_or_create": ("save()", lambda _: Country.objects.get_or_create(code="DE", alpha_3="DEU")),
    "update_or_create": ("save()", lambda _: Country.objects.update_or_create(code="FR", defaults={"name": "x"})),
    "delete": ("delete()", lambda country: country.delete()),
    "delete of a queryset": ("delete()", lambda _: Country.objects.all().delete()),
    "update": ("update()", lambda _: Country.objects.update(name="x")),
    "filtered update": ("update()", lambda _: Country.objects.filter(code="FR").update(name="x")),
    "invalidated_update": ("update()", lambda _: Country.objects.invalidated_update(name="x")),
    "bulk_update": ("update()", lambda country: Country.objects.bulk_update([country], ["name"])),
    "bulk_create": ("bulk_create()", lambda _: Country.objects.bulk_create([Country(code="DE", alpha_3="DEU")])),
}


@pytest.mark.parametrize("way", WRITES)
def test_every_way_to_write_through_the_orm_is_refused(country: Country, way: str) -> None:
    operation, write = WRITES[way]
    with pytest.raises(ImmutableTableError) as refusal:
        write(country)
    assert str(refusal.value) == (
        f"policies.yaml:18:40: news.Country is immutable, so {operation} is refused; write in a migration, by "
        f"its historical models, in a fixture, or inside `with cachepolicy.allow_writes(Country):`"
    )
    assert list(Country.objects.nocache().values_list("code", "name")) == [("FR", "France")]


@pytest.mark.parametrize("models", [(Country,), (Country, Tag), ()])
def test_allow_writes_lets_every_way_through(country: Country, models: Any) -> None:
    with allow_writes(*models):
        for _, write in WRITES.values():
            Country.objects.all().delete()
            country.save(force_insert=True)
            write(country)


def test_the_end_of_allow_writes_invalidates_what_the_block_wrote_without_signals(country: Country) -> None:
    def name() -> str:
        return list(Country.objects.filter(code="FR"))[0].name

    for models in ((Country,), ()):
        new = f"now {len(models)}"
        name(), Country.objects.count()
        with allow_writes(*models):
            Country.objects.filter(code="FR").update(name=new)
            Country.objects.bulk_create([Country(code=f"X{len(models)}", alpha_3=f"XX{len(models)}")])
        assert (name(), Country.objects.count()) == (new, 3 - len(models))


def test_allow_writes_opens_the_named_tables_only_and_ends(country: Country) -> None:
    with allow_writes(Tag), pytest.raises(ImmutableTableError):
        country.save()
    with allow_writes(Tag), allow_writes(Country):
        country.save()
    with pytest.raises(ImmutableTableError):
        country.save()


def test_allow_writes_holds_for_its_own_thread(country: Country) -> None:
    refused: list[BaseException] = []

    def write() -> None:
        try:
            Country(code="DE", alpha_3="DEU").save()
        except ImmutableTableError as error:
            refused.append(error)

    with allow_writes(Country):
        thread = threading.Thread(target=write)
        thread.start()
        thread.join()
    assert len(refused) == 1


def test_tables_that_do_change_are_written_as_ever() -> None:
    tag = Tag.objects.create(name="Elections", slug="elections")
    Tag.objects.bulk_create([Tag(name="Trade", slug="trade")])
    assert Tag.objects.update(name="x") == 2
    tag.delete()
    Tag.objects.all().delete()


def test_fixtures_may_write(country: Country, tmp_path: Path) -> None:
    fixture = tmp_path / "countries.json"
    country.name = "République française"
    fixture.write_text(serializers.serialize("json", [country]))
    call_command("loaddata", str(fixture), verbosity=0)
    assert Country.objects.nocache().get(pk="FR").name == "République française"


def test_migrations_may_write(country: Country) -> None:
    from django.db import connection
    from django.db.migrations.executor import MigrationExecutor

    executor = MigrationExecutor(connection)
    historical = executor.loader.project_state(executor.loader.graph.leaf_nodes()).apps.get_model("news", "Country")
    historical.objects.filter(code="FR").update(name="x")
    historical.objects.create(code="DE", alpha_3="DEU", numeric="276", name="Germany")
    historical.objects.get(code="DE").delete()


def test_the_database_can_be_flushed(country: Country) -> None:
    call_command("flush", interactive=False, verbosity=0)
    assert not Country.objects.nocache().exists()


def test_a_child_by_multi_table_inheritance_writes_to_its_immutable_parent() -> None:
    with isolate_apps("news"):

        class Kingdom(Country):
            class Meta:
                app_label = "news"

        class Realm(Country):
            class Meta:
                app_label = "news"
                proxy = True

    assert immutable._refused_by(Kingdom) is Country
    assert immutable._refused_by(Realm) is Country
    assert immutable._refused_by(Tag) is None


def test_djangos_fast_deletes_stay_fast_for_every_other_table() -> None:
    assert not pre_delete.has_listeners(Tag)
    assert not pre_save.has_listeners(Session)
    assert pre_delete.has_listeners(Country)


def test_a_raw_delete_is_refused(country: Country) -> None:
    with pytest.raises(ImmutableTableError, match=r"so delete\(\) is refused"):
        Country.objects.all()._raw_delete("default")
    Tag.objects.all()._raw_delete("default")


def test_reads_inside_allow_writes_see_what_it_wrote(country: Country) -> None:
    assert Country.objects.get(code="FR").name == "France"
    with allow_writes(Country):
        country.name = "Gallia"
        country.save()
        assert Country.objects.get(code="FR").name == "Gallia"


def test_a_write_in_a_transaction_is_seen_once_it_commits(country: Country) -> None:
    def name() -> str:
        return Country.objects.get(code="FR").name

    def elsewhere() -> None:
        seen.append(name())
        connections.close_all()

    seen: list[str] = [name()]
    with atomic():
        with allow_writes(Country):
            Country.objects.update(name="Gallia")
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
    assert seen == ["France", "France"]
    assert name() == "Gallia"


@pytest.mark.parametrize("wrong", ["news.Country", [Country], None])
def test_allow_writes_says_what_it_takes(wrong: Any) -> None:
    with pytest.raises(TypeError) as refusal, allow_writes(wrong):
        pass
    assert str(refusal.value) == f"allow_writes takes model classes, as in allow_writes(Country), not {wrong!r}"
