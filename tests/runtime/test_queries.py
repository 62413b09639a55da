"""What is read of near copies is what the database would give: gets, lists, counts, of every manager and database."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import cacheops.redis
import pytest
from asgiref.sync import async_to_sync
from cacheops.signals import cache_read
from django.apps import AppConfig, apps
from django.db import connection, connections, models, transaction
from django.db.models import F, Max, Q, QuerySet
from django.db.models.query import ModelIterable
from django.db.models.sql.compiler import SQLCompiler
from django.test import override_settings
from news.models import Article, Author, Category, Country, Language, Tag

from cachepolicy import allow_writes, clock, fresh
from cachepolicy.runtime import near, queries, reads
from tests.runtime.in_force import in_force

pytestmark = pytest.mark.django_db(transaction=True)

POLICIES = """\
version: 1
max_staleness: 60s
models:
  "news.*": {ops: all, timeout: 60s, near: 30s}
  "asking.*": {ops: all, timeout: 60s, near: 30s}
"""
TENANT: list[str] = []


class OfTenant(QuerySet):
    """What it asks depends on who asks."""

    def filter(self, *args: Any, **kwargs: Any) -> Any:
        return super().filter(*args, **kwargs, **({"name": TENANT[-1]} if TENANT else {}))


class Made(QuerySet):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if TENANT:
            self.query.add_q(Q(name=TENANT[-1]))


class Named(QuerySet):
    """Adds to what a queryset can be asked, and changes nothing of it."""

    def named(self, name: str) -> Any:
        return self.filter(name=name)


class Loud(QuerySet):
    def get(self, *args: Any, **kwargs: Any) -> Any:
        row = super().get(*args, **kwargs)
        row.loud = True
        return row


class Narrowed(ModelIterable):
    """Asks for less than the queryset does."""

    def __iter__(self) -> Iterator[Any]:
        self.queryset = self.queryset.filter(name="visible")
        return super().__iter__()


class Visible(models.Manager):
    def get_queryset(self) -> Any:
        return super().get_queryset().filter(name="visible")


class Thing(models.Model):
    name = models.CharField(max_length=9)
    data = models.JSONField(default=list)
    objects = models.Manager()
    visible = Visible()
    of_tenant = OfTenant.as_manager()
    made = Made.as_manager()
    named = Named.as_manager()
    loud = models.Manager.from_queryset(Loud)()

    class Meta:
        app_label = "asking"


class ProxyOfThing(Thing):
    class Meta:
        app_label = "asking"
        proxy = True


class Part(models.Model):
    thing = models.ForeignKey(Thing, models.CASCADE, related_name="parts")

    class Meta:
        app_label = "asking"


class Hooked(models.Model):
    """What unpickling makes of it cannot be pickled."""

    name = models.CharField(max_length=9)

    class Meta:
        app_label = "asking"

    def __setstate__(self, state: Any) -> None:
        super().__setstate__(state)
        self.hook = lambda: None


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch, transactional_db: None) -> Iterator[None]:
    config = AppConfig("asking", sys.modules[__name__])
    config.label = "asking"
    config.apps, config.models, config.models_module = apps, apps.all_models["asking"], sys.modules[__name__]
    made = (Thing, Part, Hooked)
    with connection.schema_editor() as editor:
        for model in made:
            editor.create_model(model)
    monkeypatch.setitem(apps.app_configs, "asking", config)
    apps.clear_cache()
    try:
        with in_force(POLICIES):
            for model in made:
                model._default_manager._install_cacheops(model)
            yield
    finally:
        monkeypatch.delitem(apps.app_configs, "asking")
        apps.clear_cache()
        with connection.schema_editor() as editor:
            for model in reversed(made):
                editor.delete_model(model)


@pytest.fixture
def sport() -> Category:
    return Category.objects.create(pk=1, name="Sport", slug="sport")


@pytest.fixture
def thing() -> Thing:
    return Thing.objects.create(pk=1, name="visible")


@pytest.fixture
def nothing_asked(monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any) -> Any:
    """Neither Redis nor the database may be asked inside."""

    @contextmanager
    def block() -> Iterator[None]:
        with monkeypatch.context() as patch, django_assert_num_queries(0):
            patch.setattr(reads.Reading, "_look", lambda _: pytest.fail("Redis was asked"))
            yield

    return block


def renamed_elsewhere(row: Any, name: str) -> None:
    """As another process would, of which this one hears nothing."""
    with connection.cursor() as cursor:
        cursor.cursor.execute(f"UPDATE {row._meta.db_table} SET name = '{name}' WHERE id = {row.pk}")


def result(read: Callable[[], Any]) -> Any:
    try:
        return told(read())
    except Category.DoesNotExist:
        return "no such row"


def told(found: Any) -> Any:
    if isinstance(found, list):
        return [told(each) for each in found]
    return (type(found), found.pk, found.name) if isinstance(found, models.Model) else found


SPORT: dict[str, Callable[[], Any]] = {
    "pk": lambda: Category.objects.get(pk=1),
    "pk of a text": lambda: Category.objects.get(pk="1"),
    "slug": lambda: Category.objects.get(slug="sport"),
    "two fields": lambda: Category.objects.get(slug="sport", name="Sport"),
    "all": lambda: Category.objects.all().get(pk=1),
    "Q": lambda: Category.objects.get(Q(pk=1)),
    "base manager": lambda: Category._base_manager.get(pk=1),
    "filter": lambda: Category.objects.filter(slug="sport").get(),
    "first": lambda: Category.objects.filter(slug="sport").first(),
    "list": lambda: list(Category.objects.filter(slug="sport")),
    "slice": lambda: list(Category.objects.all()[:1]),
    "values": lambda: list(Category.objects.values("name")),
    "values_list": lambda: list(Category.objects.values_list("name", flat=True)),
    "count": lambda: Category.objects.count(),
    "exists": lambda: Category.objects.filter(slug="sport").exists(),
    "aggregate": lambda: Category.objects.aggregate(Max("name")),
    "annotate": lambda: list(Category.objects.annotate(n=Max("articles__pk"))),
}


@pytest.mark.parametrize("read", SPORT.values(), ids=SPORT)
def test_what_was_read_is_read_again_from_memory(sport: Category, read: Callable[[], Any], nothing_asked: Any) -> None:
    first = read()
    with nothing_asked():
        assert told(read()) == told(first)


@pytest.mark.parametrize("read", SPORT.values(), ids=SPORT)
def test_what_this_process_writes_is_seen_at_once(sport: Category, read: Callable[[], Any]) -> None:
    read()
    sport.name = "Sport of all kinds"
    sport.save()
    with fresh():
        now = result(read)
    assert result(read) == now


@pytest.mark.parametrize("read", SPORT.values(), ids=SPORT)
def test_what_another_process_writes_is_seen_after_near_and_not_before(sport: Category, read: Any) -> None:
    first = result(read)
    with connection.cursor() as cursor:
        cursor.cursor.execute("DELETE FROM news_category")
    cacheops.redis.redis_client.flushdb()  # as it tells Redis
    clock.advance(29_000)
    assert result(read) == first
    clock.advance(1_001)
    assert result(read) != first


def test_each_reader_gets_a_row_and_a_list_of_its_own(thing: Thing) -> None:
    for read in (lambda: Thing.objects.get(pk=1), lambda: Thing.objects.all().get(name="visible"),
                 lambda: list(Thing.objects.all())[0], lambda: Thing.objects.filter(pk=1).first()):  # fmt: skip
        for _ in range(4):
            row: Any = read()
            assert (row.name, row.data) == ("visible", [])
            row.name = "changed"
            row.data.append(1)
            row.extra = 1
            assert not hasattr(read(), "extra")
    rows = list(Thing.objects.all())
    rows.clear()
    assert len(list(Thing.objects.all())) == 1


def test_no_row_and_two_rows_are_no_row(sport: Category) -> None:
    for _ in range(3):
        with pytest.raises(Category.DoesNotExist):
            Category.objects.get(pk=2)
    Category.objects.create(pk=2, name="Sport", slug="another")
    for _ in range(3):
        with pytest.raises(Category.MultipleObjectsReturned):
            Category.objects.get(name="Sport")
    assert Category.objects.get(pk=2).slug == "another"
    Category.objects.get(pk=2).delete()
    with pytest.raises(Category.DoesNotExist):
        Category.objects.get(pk=2)
    assert Category.objects.get(name="Sport").pk == 1


@pytest.mark.parametrize("asked", [{"pk": True}, {"pk": 1.0}, {"pk": "1"}, {"pk__in": [1]}, {"pk": F("pk")}], ids=repr)
def test_what_is_asked_in_another_way_is_answered_as_django_does(sport: Category, asked: Any) -> None:
    assert Category.objects.get(pk=1).slug == Category.objects.get(**asked).slug == "sport"
    with pytest.raises(TypeError):
        Category.objects.get(pk=[1])
    with pytest.raises(ValueError, match="expected a number"):
        Category.objects.get(pk="one")


def test_a_call_sites_timeout_bounds_what_it_gets_of_another_ones_copy(sport: Category) -> None:
    Category.objects.get(pk=1)
    renamed_elsewhere(sport, "New")
    clock.advance(6_000)
    shortened: Any = Category.objects
    assert Category.objects.get(pk=1).name == "Sport"
    assert shortened.cache(timeout=5).get(pk=1).name == "New"
    assert shortened.cache(timeout=5).get(pk=1).name == "New"
    assert Category.objects.get(pk=1).name == "Sport"


def test_what_says_nocache_for_update_or_fresh_asks_the_database(sport: Category) -> None:
    objects: Any = Category.objects
    objects.get(pk=1)
    renamed_elsewhere(sport, "New")
    assert objects.nocache().get(pk=1).name == "New"
    with transaction.atomic():
        assert objects.select_for_update().get(pk=1).name == "New"
    assert objects.get_or_create(pk=1)[0].name == "New"
    old = objects.get(pk=1)
    assert old.name == "Sport"
    old.refresh_from_db()
    assert old.name == "New"
    with fresh():
        assert objects.get(pk=1).name == "New"


def test_a_save_finds_the_lists_that_the_row_was_in_whatever_is_kept_of_it() -> None:
    first, second, third = (Category.objects.create(name=name, slug=name) for name in "abc")
    with allow_writes():
        country = Country.objects.create(code="FR", alpha_3="FRA", numeric="250", name="France")
        language = Language.objects.create(code="fr", alpha_3="fra", name="French")
    author = Author.objects.create(name="A", country=country)
    article = Article.objects.create(category=first, author=author, language=language, title="a", slug="a")
    Article.objects.get(pk=article.pk)
    with connection.cursor() as cursor:
        cursor.cursor.execute(f"UPDATE news_article SET category_id = {second.pk}")
    listed = Article.objects.filter(category=second)
    assert len(listed) == 1
    article.category = third
    article.save()
    assert not listed.all()
    assert Article.objects.get(pk=article.pk).category_id == third.pk
    assert article.category == Article.objects.get(pk=article.pk).category
    tag = Tag.objects.create(name="t", slug="t")
    for _ in range(2):
        assert not list(article.tags.all())
    article.tags.add(tag)
    assert list(article.tags.all()) == [tag]
    article.tags.remove(tag)
    assert not list(article.tags.all())


WRITES: dict[str, Callable[[Category], Any]] = {
    "save": lambda row: row.save(),
    "update": lambda row: Category.objects.filter(pk=row.pk).update(name=row.name),
    "bulk_update": lambda row: Category.objects.bulk_update([row], ["name"]),
    "update_or_create": lambda row: Category.objects.update_or_create(pk=row.pk, defaults={"name": row.name}),
    "invalidated_update": lambda row: Category.objects.filter(pk=row.pk).invalidated_update(name=row.name),
    "raw": lambda row: connection.cursor().execute("UPDATE news_category SET name = %s", [row.name]),
    "upsert": lambda row: Category.objects.bulk_create(
        [row], update_conflicts=True, unique_fields=["id"], update_fields=["name"]
    ),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
@pytest.mark.parametrize("read", ["pk", "slug", "list", "values", "aggregate"])
def test_every_way_of_writing_drops_the_copies(sport: Category, write: Any, read: str) -> None:
    assert SPORT[read]()
    sport.name = "New"
    write(sport)
    assert "New" in str(SPORT[read]())


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_a_transaction_drops_them_when_it_commits_and_reads_its_own(sport: Category, write: Any) -> None:
    read = SPORT["pk"]
    read()
    sport.name = "New"
    with transaction.atomic():
        write(sport)
        assert read().name == "New"
        found = []
        other = threading.Thread(target=lambda: (found.append(read().name), connections.close_all()))
        other.start()
        other.join()
        assert found == ["Sport"]
    assert read().name == "New"


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_a_rollback_keeps_them_and_what_was_read_inside_is_not_kept(
    sport: Category, write: Any, nothing_asked: Any
) -> None:
    read = SPORT["pk"]
    read()
    sport.name = "New"
    with suppress(ZeroDivisionError), transaction.atomic():
        write(sport)
        assert read().name == "New"
        assert SPORT["slug"]().name == "New"
        raise ZeroDivisionError
    assert SPORT["slug"]().name == "Sport"
    with nothing_asked():
        assert read().name == "Sport"


def test_rows_that_one_manager_hides_are_hidden_whatever_another_has_kept(thing: Thing) -> None:
    thing.name = "hidden"
    thing.save()
    for _ in range(2):
        assert Thing.objects.get(pk=1) == Thing._base_manager.get(pk=1) == thing
        with pytest.raises(Thing.DoesNotExist):
            Thing.visible.get(pk=1)


def test_a_related_manager_finds_its_own_only(thing: Thing) -> None:
    other = Thing.objects.create(name="other")
    part = Part.objects.create(thing=thing)
    for _ in range(2):
        assert Part.objects.get(pk=part.pk).thing == thing
        assert thing.parts.get(pk=part.pk) == part
        assert thing.parts.get(pk=part.pk).thing is thing
        with pytest.raises(Part.DoesNotExist):
            other.parts.get(pk=part.pk)


def test_a_queryset_that_asks_by_its_reader_is_asked_each_time(thing: Thing) -> None:
    for manager in (Thing.of_tenant, Thing.made):
        for _ in range(2):
            assert manager.get(pk=1) == manager.all().get(pk=1) == thing
        TENANT.append("nobody")
        try:
            for read in (lambda: manager.get(pk=1), lambda: manager.all().get(pk=1)):  # noqa: B023
                with pytest.raises(Thing.DoesNotExist):
                    read()
        finally:
            TENANT.clear()


def test_a_queryset_that_only_adds_methods_is_served_from_memory(thing: Thing, nothing_asked: Any) -> None:
    assert Thing.named.get(pk=1) == thing
    with nothing_asked():
        assert Thing.named.get(pk=1) == thing
        assert Thing.named.all().get(pk=1) == thing


def test_a_get_of_its_own_is_called_each_time(thing: Thing) -> None:
    for _ in range(3):
        assert Thing.objects.get(pk=1).__dict__.get("loud") is None
        assert Thing.loud.get(pk=1).loud
        assert Thing.loud.all().get(pk=1).loud


def test_a_proxy_gets_rows_of_its_own_class_and_their_writes(thing: Thing) -> None:
    for _ in range(2):
        assert type(ProxyOfThing.objects.get(pk=1)) is ProxyOfThing
        assert type(Thing.objects.get(pk=1)) is Thing
    proxy = ProxyOfThing.objects.get(pk=1)
    proxy.name = "new"
    proxy.save()
    assert Thing.objects.get(pk=1).name == ProxyOfThing.objects.get(pk=1).name == "new"


def test_a_row_that_cannot_be_kept_is_read(nothing_asked: Any) -> None:
    Hooked.objects.create(pk=1, name="a")
    for _ in range(4):
        near.clear()
        assert Hooked.objects.get(pk=1).name == "a"
        assert Hooked.objects.get(pk=1).name == "a"


def test_databases_keep_their_own(sport: Category, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = {**connections.settings["default"], "NAME": str(tmp_path / "other.sqlite3")}
    monkeypatch.setitem(connections.settings, "elsewhere", other)
    objects: Any = Category.objects
    connections["elsewhere"].connect()
    try:
        with connections["elsewhere"].schema_editor() as editor:
            editor.create_model(Category)
        Category(pk=1, name="Another", slug="another").save(using="elsewhere")
        for _ in range(2):
            assert objects.get(pk=1).name == "Sport"
            assert objects.using("elsewhere").get(pk=1).name == "Another"
            assert objects.db_manager("elsewhere").get(pk=1).name == "Another"
            assert objects.db_manager("elsewhere").get(pk=1)._state.db == "elsewhere"

        class Router:
            def db_for_read(self, _model: Any, **_hints: Any) -> str:
                return "elsewhere"

        with override_settings(DATABASE_ROUTERS=[Router()]):
            assert objects.get(pk=1).name == "Another"
        assert objects.get(pk=1).name == "Sport"
        with transaction.atomic(using="elsewhere"):
            Category(pk=1, name="New", slug="another").save(using="elsewhere")
            assert objects.get(pk=1).name == "Sport"
            assert objects.using("elsewhere").get(pk=1).name == "New"
        assert objects.using("elsewhere").get(pk=1).name == "New"
    finally:
        connections["elsewhere"].close()
        del connections["elsewhere"]


def test_one_prefix_does_not_get_what_another_has_kept(sport: Category) -> None:
    of = ["a"]
    with override_settings(CACHEOPS_PREFIX=lambda _query: of[0]):
        for read in SPORT.values():
            read()
        renamed_elsewhere(sport, "New")
        of[0] = "b"
        assert Category.objects.get(pk=1).name == "New"
        assert [row.name for row in SPORT["list"]()] == ["New"]
        of[0] = "a"
        assert [row.name for row in SPORT["list"]()] == ["Sport"]
        Category.objects.filter(pk=1).update(name="Newer")
        assert [row.name for row in SPORT["list"]()] == ["Newer"]


def test_other_settings_drop_all_copies(sport: Category) -> None:
    Category.objects.get(pk=1)
    renamed_elsewhere(sport, "New")
    with override_settings(CACHEOPS_ENABLED=False):
        assert Category.objects.get(pk=1).name == "New"
    cacheops.redis.redis_client.flushdb()
    assert Category.objects.get(pk=1).name == "New"
    renamed_elsewhere(sport, "Newer")
    with in_force('version: 1\nmodels: {"news.*": {ops: all, timeout: 50s}}'):
        assert Category.objects.get(pk=1).name == "Newer"


def test_no_class_is_kept_of_managers_made_for_one_call(sport: Category) -> None:
    for _ in range(3):
        Category.objects.get(pk=1)
    assert queries._adds_nothing.cache_info().maxsize is not None


def test_iterators_and_prefetches_give_what_they_always_gave(thing: Thing) -> None:
    Part.objects.create(thing=thing)
    for _ in range(3):
        row = Thing.objects.prefetch_related("parts").get(pk=1)
        assert row._prefetched_objects_cache["parts"]
        assert "_prefetched_objects_cache" not in Thing.objects.get(pk=1).__dict__
        assert Thing.objects.only("name").get(pk=1).get_deferred_fields() == {"data"}
        assert not Thing.objects.get(pk=1).get_deferred_fields()
        assert Part.objects.select_related("thing").get()._state.fields_cache
        assert not Part.objects.get()._state.fields_cache
        assert Thing.objects.values("name").get(pk=1) == {"name": "visible"}
        assert Thing.objects.annotate(n=Max("parts")).get(pk=1).n


def test_async_reads_are_answered_and_dropped_as_others(sport: Category) -> None:
    async def reads_and_writes() -> list[str]:
        found = [(await Category.objects.aget(pk=1)).name for _ in range(2)]
        sport.name = "New"
        await sport.asave()
        return [*found, (await Category.objects.aget(pk=1)).name, *[row.name async for row in Category.objects.all()]]

    assert async_to_sync(reads_and_writes)() == ["Sport", "Sport", "New", "New"]


def test_rows_that_are_made_in_another_way_are_asked_for_in_that_way(thing: Thing) -> None:
    Thing.objects.create(name="hidden")
    for _ in range(2):
        queryset = Thing.objects.order_by("pk")
        queryset._iterable_class = Narrowed
        assert list(queryset) == [thing]
        assert len(Thing.objects.order_by("pk")) == 2


def test_threads_that_evaluate_one_queryset_read_by_their_own_connections(sport: Category) -> None:
    # As a module's `CATEGORIES = Category.objects.all()` is at first.
    queryset, found, waits, goes_on = Category.objects.order_by("pk"), list[Any](), threading.Event(), threading.Event()

    def read() -> None:
        try:
            found.append([row.pk for row in queryset])
        finally:
            connections.close_all()

    first, second = threading.Thread(target=read), threading.Thread(target=read)

    def both_have_missed(**_: Any) -> None:
        if threading.current_thread() is first:
            waits.set()
            goes_on.wait(30)
        elif threading.current_thread() is second:
            goes_on.set()
            first.join(30)

    cache_read.connect(both_have_missed)
    try:
        first.start()
        waits.wait(30)
        second.start()
        second.join(30)
    finally:
        cache_read.disconnect(both_have_missed)
    assert found == [[sport.pk], [sport.pk]]


class Looking:
    """A router that looks up in the database which database it is."""

    def db_for_read(self, model: Any, **_: Any) -> str:
        if model is not Tag:
            list(Tag.objects.filter(name="main"))
        return "default"


def test_a_read_leaves_nothing_for_the_garbage_collector(sport: Category) -> None:
    reads_of = (lambda: list(Category.objects.filter(name__lt="z")), lambda: Category.objects.values_list("name")[0])
    gc.collect()
    gc.disable()
    try:
        for read in reads_of:
            for _ in range(2):
                read()
                near.clear()
                compilers = [each for each in gc.get_objects() if isinstance(each, SQLCompiler)]
                assert [each for each in compilers if each.query.model is Category] == []
    finally:
        gc.enable()


def test_a_row_is_dropped_by_its_own_writes_whatever_a_router_reads_for_it(sport: Category) -> None:
    Tag.objects.create(name="main")
    read = lambda: Category.objects.get(pk=sport.pk).name  # noqa: E731
    with override_settings(DATABASE_ROUTERS=[Looking()]):
        for name in ("New", "Newer"):
            read()
            sport.name = name
            sport.save()
            assert read() == name
