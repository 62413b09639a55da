"""Querysets of one identity are one: SQL, parameters, key, rows; what is not known to the letter has none."""

from __future__ import annotations

import datetime
import decimal
import sys
import uuid
import zoneinfo
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from django.apps import AppConfig, apps
from django.contrib.contenttypes.fields import GenericForeignKey, GenericRelation
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import EmptyResultSet, FieldError
from django.db import DatabaseError, connections, models
from django.db.models import (
    Avg,
    Case,
    Count,
    Exists,
    F,
    FilteredRelation,
    Lookup,
    Max,
    OuterRef,
    Prefetch,
    Q,
    StdDev,
    Subquery,
    Sum,
    Value,
    When,
    Window,
)
from django.db.models.expressions import RawSQL
from django.db.models.fields.related import ForeignObject
from django.db.models.functions import Lower, RowNumber, TruncDate
from django.db.models.lookups import Exact
from django.utils import timezone, translation
from hypothesis import assume, given
from hypothesis import strategies as st
from news.models import Article, Category, Tag

from cachepolicy.runtime.identities import aggregates_identity, get_identity, identity
from cachepolicy.runtime.queryset_keys import aggregates_key, cache_key

pytestmark = [pytest.mark.django_db, pytest.mark.filterwarnings("ignore:.*received a naive datetime")]

Step = Callable[[Any], Any]
UTC, PARIS = datetime.UTC, zoneinfo.ZoneInfo("Europe/Paris")
INSTANT = datetime.datetime(2026, 1, 1, 23, 30, tzinfo=UTC)


class Unlisted(AppConfig):
    """An app that has its models, and tells nobody who asks for all."""

    label = "asked"

    def get_models(self, *_: Any, **__: Any) -> Any:
        return iter(())


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    config = Unlisted("asked", sys.modules[__name__])
    config.apps, config.models, config.models_module = apps, apps.all_models["asked"], sys.modules[__name__]
    monkeypatch.setitem(apps.app_configs, "asked", config)


class Spoken(models.CharField):
    """A column that is selected in the reader's language."""

    def select_format(self, _compiler: Any, sql: str, params: Any) -> Any:
        return f"{sql} || %s", (*params, translation.get_language())


class InLanguage(Lookup):
    """A lookup of a third party, by the reader's language."""

    lookup_name = "in_language"

    def as_sql(self, compiler: Any, connection: Any) -> Any:
        sql, params = self.process_lhs(compiler, connection)
        return f"{sql} = %s", (*params, f"{self.rhs} in {translation.get_language()}")


class Lowered(models.CharField):
    """A field of a third party; what it takes is told by the reader's language."""

    def get_prep_value(self, value: Any) -> Any:
        return f"{value} {translation.get_language()}"


class ActiveTranslation(ForeignObject):
    """Django's own example of a join that asks for the reader's language."""

    requires_unique_target = False

    def get_extra_restriction(self, alias: Any, _related_alias: Any) -> Any:
        column = self.remote_field.model._meta.get_field("language").get_col(alias)
        return Exact(column, Value(translation.get_language()))


class Story(models.Model):
    name = models.CharField(max_length=9)
    at = models.DateTimeField()
    data = models.JSONField(default=dict)
    code = models.UUIDField(default=uuid.uuid4)
    price = models.DecimalField(max_digits=9, decimal_places=2, default=decimal.Decimal(0))
    notes = GenericRelation("asked.Note", content_type_field="kind", object_id_field="number")
    active = ActiveTranslation(
        "asked.Translation", from_fields=["id"], to_fields=["story"], related_name="+", on_delete=models.CASCADE
    )

    class Meta:
        app_label = "asked"


class Short(Story):
    class Meta:
        app_label = "asked"
        proxy = True
        ordering = ["name"]


class Long(Story):
    pages = models.IntegerField()

    class Meta:
        app_label = "asked"


class Note(models.Model):
    kind = models.ForeignKey(ContentType, models.CASCADE, related_name="+")
    number = models.IntegerField()
    about = GenericForeignKey("kind", "number")

    class Meta:
        app_label = "asked"


class Translation(models.Model):
    story = models.ForeignKey(Story, models.CASCADE)
    language = models.CharField(max_length=9)

    class Meta:
        app_label = "asked"


class Daily(models.Model):
    """Ordered by what the reader's time zone makes of an instant."""

    at = models.DateTimeField()

    class Meta:
        app_label = "asked"
        ordering = [TruncDate("at")]


class Byday(models.Model):
    at = models.DateTimeField()
    daily = models.ForeignKey(Daily, models.CASCADE)

    class Meta:
        app_label = "asked"
        ordering = ["at__date", "daily"]


class Odd(models.Model):
    text = Spoken(max_length=9)
    key = Lowered(max_length=9, unique=True)

    class Meta:
        app_label = "asked"


class Keyed(models.CharField):
    """A key that goes to the database in the reader's language."""

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:
        return f"{super().get_db_prep_value(value, connection, prepared)} {translation.get_language()}"


class Owner(models.Model):
    code = Keyed(max_length=9, primary_key=True)

    class Meta:
        app_label = "asked"


class Deputy(models.Model):
    owner = models.OneToOneField(Owner, models.CASCADE, primary_key=True)

    class Meta:
        app_label = "asked"


class Owned(models.Model):
    owner = models.ForeignKey(Owner, models.CASCADE)
    deputy = models.ForeignKey(Deputy, models.CASCADE)

    class Meta:
        app_label = "asked"


class OfOdd(models.Model):
    odd = models.ForeignKey(Odd, models.CASCADE)

    class Meta:
        app_label = "asked"


def by(*args: Any, **kwargs: Any) -> Step:
    return lambda queryset: queryset.filter(*args, **kwargs)


ARTICLE_STEPS: dict[str, Step] = {
    "all": lambda q: q.all(),
    "pk": by(pk=1),
    "pk of a text": by(pk="1"),
    "another pk": by(pk=2),
    "id": by(id=1),
    "true": by(revision=True),
    "one": by(revision=1),
    "in": by(pk__in=[1, 2]),
    "in another order": by(pk__in=[2, 1]),
    "in one": by(pk__in=[1]),
    "in none": by(pk__in=[]),
    "in a set": by(pk__in={1, 2}),
    "in a tuple": by(pk__in=(1, 2)),
    "in a generator": lambda q: q.filter(pk__in=(each for each in (1, 2))),
    "in many": by(pk__in=list(range(300))),
    "in texts": by(title__in=["a", "b"]),
    "in with None": by(category__in=[1, None]),
    "in rows asked for": lambda q: q.filter(category__in=Category.objects.filter(name="a")),
    "title": by(title="a"),
    "another title": by(title="A"),
    "iexact": by(title__iexact="a"),
    "no title": by(title__iexact=None),
    "contains": by(title__contains="a"),
    "contains %": by(title__contains="%"),
    "icontains": by(title__icontains="a"),
    "startswith": by(title__startswith="a"),
    "regex": by(title__regex="a"),
    "is null": by(category__isnull=True),
    "is not null": by(category__isnull=False),
    "is None": by(author=None),
    "gt": by(revision__gt=1),
    "gte": by(revision__gte=1),
    "gte of a float": by(revision__gte=1.0),
    "gte of a decimal": by(revision__gte=decimal.Decimal("1.0")),
    "gte of another decimal": by(revision__gte=decimal.Decimal("1.00")),
    "range": by(revision__range=(1, 2)),
    "instant": by(published=INSTANT),
    "instant elsewhere": by(published=INSTANT.astimezone(PARIS)),
    "instant of another fold": by(published=datetime.datetime(2026, 10, 25, 2, 30, tzinfo=PARIS, fold=1)),
    "instant of a fold": by(published=datetime.datetime(2026, 10, 25, 2, 30, tzinfo=PARIS)),
    "since": by(published__gte=INSTANT),
    "year": by(published__year=2026),
    "years": by(published__year__gte=2026),
    "date": by(published__date=datetime.date(2026, 1, 1)),
    "hour": by(published__hour=1),
    "FK": by(category=1),
    "FK's id": by(category_id=1),
    "FK's pk": by(category__pk=1),
    "join": by(category__name="a"),
    "join of another name": by(category__slug="a"),
    "two joins": by(author__country__name="a"),
    "m2m": by(tags=1),
    "m2m by name": by(tags__name="a"),
    "m2m by another name": by(tags__name="b"),
    "m2m of two": by(Q(tags__name="a") | Q(tags__slug="b")),
    "of no tag": lambda q: q.exclude(tags__name="a"),
    "not": lambda q: q.exclude(title="a"),
    "not a joined one": lambda q: q.exclude(category__name="a"),
    "~Q": by(~Q(title="a")),
    "~~Q": by(~~Q(title="a")),
    "or": by(Q(title="a") | Q(title="b")),
    "and": by(Q(title="a") & Q(title="b")),
    "xor": by(Q(title="a") ^ Q(title="b")),
    "or not": by(Q(title="a") | ~Q(title="b")),
    "not or": by(~(Q(title="a") | Q(title="b"))),
    "nested": by(Q(Q(title="a") | Q(category__name="a")) & Q(revision=1)),
    "F": by(revision=F("pk")),
    "exists": lambda q: q.filter(Exists(Tag.objects.filter(articles=OuterRef("pk")))),
    "subquery": lambda q: q.filter(pk=Subquery(Tag.objects.values("pk")[:1])),
    "an expression": by(Exact(Lower(F("title")), "a")),
    "a lookup": by(Exact(F("title"), "a")),
    "slice": lambda q: q[:2],
    "another slice": lambda q: q[1:2],
    "empty slice": lambda q: q[2:2],
    "none": lambda q: q.none(),
    "order": lambda q: q.order_by("title"),
    "order down": lambda q: q.order_by("-title"),
    "no order": lambda q: q.order_by(),
    "order by FK": lambda q: q.order_by("category"),
    "order by FK's id": lambda q: q.order_by("category_id"),
    "order by join": lambda q: q.order_by("category__name"),
    "order by m2m": lambda q: q.order_by("tags"),
    "order by two": lambda q: q.order_by("author__country", "-pk"),
    "order by date": lambda q: q.order_by("published__date"),
    "order by hour": lambda q: q.order_by("-published__hour"),
    "order by chance": lambda q: q.order_by("?"),
    "order by expression": lambda q: q.order_by(Lower("title")),
    "order by F": lambda q: q.order_by(F("title").desc(nulls_last=True)),
    "reverse": lambda q: q.reverse(),
    "distinct": lambda q: q.distinct(),
    "distinct title": lambda q: q.distinct("title"),
    "distinct date": lambda q: q.distinct("published__date"),
    "values": lambda q: q.values(),
    "values of one": lambda q: q.values("title"),
    "values of two": lambda q: q.values("title", "pk"),
    "values of two in another order": lambda q: q.values("pk", "title"),
    "values of a join": lambda q: q.values("category__name"),
    "values of a date": lambda q: q.values("published__date"),
    "values of FK": lambda q: q.values("author_id"),
    "values of FK's pk": lambda q: q.values("author__pk"),
    "values of an expression": lambda q: q.values(low=Lower("title")),
    "values_list": lambda q: q.values_list("title"),
    "flat": lambda q: q.values_list("title", flat=True),
    "named": lambda q: q.values_list("title", named=True),
    "dates": lambda q: q.dates("published", "day"),
    "datetimes": lambda q: q.datetimes("published", "day"),
    "only": lambda q: q.only("title"),
    "only two": lambda q: q.only("title", "slug"),
    "only a related one's": lambda q: q.select_related("category").only("title", "category__name"),
    "defer": lambda q: q.defer("title"),
    "select_related": lambda q: q.select_related("category"),
    "select_related two": lambda q: q.select_related("category", "author"),
    "select_related two in another order": lambda q: q.select_related("author", "category"),
    "select_related of another's": lambda q: q.select_related("author__country"),
    "select_related all": lambda q: q.select_related(),
    "select_related none": lambda q: q.select_related(None),
    "prefetch": lambda q: q.prefetch_related("tags"),
    "prefetch others": lambda q: q.prefetch_related(Prefetch("tags", Tag.objects.filter(name="a"))),
    "annotate": lambda q: q.annotate(n=Count("tags")),
    "annotate a value": lambda q: q.annotate(n=Value(1)),
    "annotate and filter": lambda q: q.annotate(n=Count("tags")).filter(n=1),
    "annotate a case": lambda q: q.annotate(n=Case(When(title="a", then=1), default=2)),
    "annotate a window": lambda q: q.annotate(n=Window(RowNumber())),
    "annotate raw": lambda q: q.annotate(n=RawSQL("SELECT %s", (1,))),
    "alias": lambda q: q.alias(n=Count("tags")),
    "filtered relation": lambda q: q.annotate(t=FilteredRelation("tags", condition=Q(tags__name="a"))).filter(t=1),
    "extra": lambda q: q.extra(select={"n": "1"}),
    "extra where": lambda q: q.extra(where=["1=1"]),
    "extra order": lambda q: q.extra(order_by=["title"]),
    "extra tables": lambda q: q.extra(tables=["news_tag"]),
    "union": lambda q: q.union(Article.objects.filter(title="b")),
    "union all": lambda q: q.union(Article.objects.filter(title="b"), all=True),
    "intersection": lambda q: q.intersection(Article.objects.filter(title="b")),
    "or another": lambda q: q | Article.objects.filter(title="b"),
    "and another": lambda q: q & Article.objects.filter(title="b"),
    "for update": lambda q: q.select_for_update(),
    "for update of": lambda q: q.select_for_update(of=("self",), nowait=True),
    "other database": lambda q: q.using("other"),
    "compiled": lambda q: str(q.query) and q,
    "in place": lambda q: q.inplace(),
    "asked twice": lambda q: q.filter(tags__name="a").filter(tags__name="b"),
    "sticky": lambda q: q._next_is_sticky().filter(tags__name="a").filter(tags__slug="b"),
}
STEPS: dict[Any, dict[str, Step]] = {
    Article: ARTICLE_STEPS,
    Story: {
        "all": lambda q: q.all(),
        "json": by(data="a"),
        "json of a dict": by(data={"a": 1}),
        "json null": by(data=None),
        "json key": by(data__a=1),
        "json key of a text": by(data__a="1"),
        "json contains": by(data__has_key="a"),
        "order by json": lambda q: q.order_by("data__a"),
        "uuid": by(code=uuid.UUID(int=1)),
        "uuid of a text": by(code=str(uuid.UUID(int=1))),
        "decimal": by(price=decimal.Decimal("1.0")),
        "decimal of more": by(price=decimal.Decimal("1.00")),
        "decimal of a float": by(price=1.0),
        "naive": by(at=datetime.datetime(2026, 1, 1, 12)),
        "day": by(at__day=1),
        "third party's lookup": by(name__in_language="a"),
        "in the reader's language": lambda q: q.select_related("active"),
        "in the reader's language, joined": by(active__language="a"),
        "ordered in the reader's language": lambda q: q.order_by("active__language"),
        "values in the reader's language": lambda q: q.values("active__language"),
        "only": lambda q: q.only("name"),
        "notes": by(notes=1),
        "order by notes": lambda q: q.order_by("notes"),
        "order by translation": lambda q: q.order_by("translation__language"),
        "translation": by(translation__language="a"),
        "child": by(long__pages=1),
        "with child": lambda q: q.select_related("long"),
    },
    Short: {"all": lambda q: q.all(), "name": by(name="a"), "reverse": lambda q: q.reverse()},
    Long: {
        "all": lambda q: q.all(),
        "name": by(name="a"),
        "pk": by(pk=1),
        "pages": by(pages=1),
        "parent": by(story_ptr=1),
        "order": lambda q: q.order_by("name"),
        "order by day": lambda q: q.order_by("at__day"),
        "parent's language": lambda q: q.select_related("active"),
    },
    Translation: {"of": by(story__active__language="a"), "with": lambda q: q.select_related("story__active")},
    Note: {"all": lambda q: q.all(), "number": by(number=1)},
    Daily: {"all": lambda q: q.all(), "no order": lambda q: q.order_by(), "pk": lambda q: q.order_by("pk")},
    Byday: {
        "all": lambda q: q.all(),
        "no order": lambda q: q.order_by(),
        "order by another's": lambda q: q.order_by("daily"),
        "order by another's id": lambda q: q.order_by("daily_id"),
        "order by another's pk": lambda q: q.order_by("daily__pk"),
    },
    Odd: {"all": lambda q: q.all(), "values": lambda q: q.values("pk"), "pk": by(pk=1), "key": by(key="a")},
    OfOdd: {"all": lambda q: q.all(), "with": lambda q: q.select_related("odd"), "key": by(odd__key="a")},
}
AROUND: dict[str, Callable[[], Any]] = {
    "as it is": ExitStack,
    "in Paris": lambda: timezone.override(PARIS),
    "in French": lambda: translation.override("fr"),
}


@pytest.fixture(autouse=True)
def _a_lookup_of_a_third_party() -> Iterator[None]:
    models.CharField.register_lookup(InLanguage)
    yield
    models.CharField._unregister_lookup(InLanguage)


@pytest.fixture(autouse=True)
def _another_database(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(connections.settings, "other", connections.settings["default"])
    connections["other"]  # is made
    yield
    del connections["other"]


def made(model: Any, names: Iterable[str]) -> Any:
    """The queryset of these steps; None where Django refuses one."""
    queryset = model._base_manager.all()
    if queryset._cacheprofile is not None:
        queryset = queryset.nocache()
    try:
        for name in names:
            queryset = STEPS[model][name](queryset)
    except (TypeError, FieldError, ValueError, DatabaseError):
        return None
    return queryset


def asked(queryset: Any) -> Any:
    """What goes to the database, or why nothing does."""
    try:
        sql, params = queryset.query.clone().get_compiler(queryset.db).as_sql()
    except EmptyResultSet:
        return "nothing"
    except (TypeError, FieldError, ValueError, DatabaseError, RecursionError) as error:
        return type(error).__name__  # the union of one that is changed in place contains itself
    return sql, repr(params), cache_key(queryset, prefix=False)


def sequences(steps: Iterable[str]) -> Iterator[tuple[str, ...]]:
    """One step, and two: of many steps not all pairs, which is the next test's."""
    names = list(steps)
    yield from ((one,) for one in names)
    yield from ((one, other) for one in names for other in names if len(names) < 30)


def test_querysets_of_one_identity_ask_one_thing_of_one_database() -> None:
    found: dict[Any, tuple[Any, Any]] = {}
    confused = []
    for model, steps in STEPS.items():
        for sequence in sequences(steps):
            for around, context in AROUND.items():
                with context():
                    queryset = made(model, sequence)
                    name = identity(queryset) if queryset is not None else None
                    if name is None:
                        continue
                    here = (model.__name__, *sequence, around)
                    what, first = found.setdefault(name, (asked(queryset), here))
                    if what != asked(queryset):
                        confused.append((here, first))
    assert not confused


_steps = st.lists(st.sampled_from(list(ARTICLE_STEPS)), min_size=1, max_size=5)


@given(_steps, _steps, st.data())
def test_no_two_random_querysets_share_an_identity_and_differ(one: list[str], more: list[str], data: Any) -> None:
    other = [*one]
    place = data.draw(st.integers(0, len(one)))
    other[place : place + data.draw(st.integers(0, 1))] = more[: data.draw(st.integers(0, 1))]
    found = []
    for steps in (one, other):
        with AROUND[data.draw(st.sampled_from(list(AROUND)))]():
            queryset = made(Article, steps)
            assume(queryset is not None)
            found.append((identity(queryset), asked(queryset)))
    (first, first_asked), (second, second_asked) = found
    if first is not None and first == second:
        assert first_asked == second_asked


@given(_steps)
def test_to_tell_the_identity_changes_nothing(steps: list[str]) -> None:
    queryset, untouched = made(Article, steps), made(Article, steps)
    assume(queryset is not None)
    before = sorted(queryset.query.__dict__)
    first = identity(queryset)
    assert sorted(queryset.query.__dict__) == before
    assert identity(queryset) == first
    assert asked(queryset) == asked(untouched)


# What pages ask all the time; without an identity each costs a compilation.
KNOWN = (
    "all", "pk", "pk of a text", "id", "one", "in", "in a set", "in texts", "title", "iexact", "contains", "is null",
    "is not None", "gt", "range", "instant", "since", "FK", "FK's id", "FK's pk", "join", "two joins", "m2m",
    "m2m by name", "not", "not a joined one", "~Q", "or", "nested", "slice", "order", "order down", "order by FK",
    "order by FK's id", "order by join", "order by two", "order by chance", "reverse", "distinct", "values of two",
    "values of a join", "values_list", "flat", "only", "defer", "select_related two", "select_related of another's",
    "prefetch", "none",
)  # fmt: skip
UNKNOWN = (
    "year", "date", "F", "exists", "subquery", "an expression", "order by date", "order by expression", "order by F",
    "distinct date", "values of a date", "values of an expression", "dates", "annotate", "annotate raw", "alias",
    "filtered relation", "extra", "extra where", "extra order", "extra tables", "union", "for update", "in many",
    "in rows asked for", "select_related all",
)  # fmt: skip


@pytest.mark.parametrize("step", [step for step in KNOWN if step in ARTICLE_STEPS])
def test_what_pages_ask_has_an_identity_and_the_same_again(step: str) -> None:
    first, second = (identity(made(Article, [step])) for _ in range(2))
    assert first is not None
    assert first == second


@pytest.mark.parametrize("step", UNKNOWN)
def test_what_is_not_known_to_the_letter_has_none(step: str) -> None:
    assert identity(made(Article, [step])) is None


def made_distinct(aggregate: Any) -> Any:
    aggregate.distinct = True
    return aggregate


AGGREGATES: dict[str, dict[str, Any]] = {
    "count": {"n": Count("pk")},
    "all": {"n": Count("*")},
    "distinct": {"n": Count("pk", distinct=True)},
    "another name": {"m": Count("pk")},
    "of a join": {"n": Max("category__name")},
    "of m2m": {"n": Count("tags")},
    "two": {"n": Count("pk"), "m": Max("title")},
    "of a date": {"n": Max("published__date")},
    "of an hour": {"n": Max("published__hour")},
    "of an expression by name": {"n": Count(expression="published__date", distinct=True)},
    "of a sample": {"n": StdDev("pk", True)},
    "of all": {"n": StdDev("pk", False)},
    "made distinct": {"n": made_distinct(Count("pk"))},
    "of an expression": {"n": Max(Lower("title"))},
    "some": {"n": Count("pk", filter=Q(title="a"))},
    "some others": {"n": Count("pk", filter=Q(title="b"))},
    "or": {"n": Sum("revision", default=0)},
    "or false": {"n": Sum("revision", default=False)},
    "more": {"n": Avg("revision") + 1},
    "value": {"n": Count(Value(1))},
}


def test_aggregates_of_one_identity_are_one_and_the_usual_ones_have_one() -> None:
    found: dict[Any, tuple[Any, Any]] = {}
    for name, aggregates in AGGREGATES.items():
        for around, context in AROUND.items():
            with context():
                key = aggregates_identity(Article, aggregates)
                if key is None:
                    continue
                queryset = Article.objects.all()
                resolved = {
                    each: aggregate.resolve_expression(queryset.query, summarize=True)
                    for each, aggregate in aggregates.items()
                }
                what, first = found.setdefault(key, (aggregates_key(queryset, resolved), (name, around)))
                assert what == aggregates_key(queryset, resolved), f"{name} {around} is taken for {first}"
    assert {name for _, (name, _) in found.values()} >= {"count", "all", "distinct", "of a join", "of m2m", "two"}


GETS: tuple[dict[str, Any], ...] = (
    {"pk": 1}, {"pk": "1"}, {"pk": 2}, {"id": 1}, {"slug": "a"}, {"slug": "b"}, {"slug": 1}, {"category": 1, "pk": 1},
    {"category_id": 1, "pk": 1}, {"pk": 1, "category": 1}, {"pk": 1, "category": 2}, {"author": 1, "slug": "a"},
)  # fmt: skip
NO_GETS: tuple[dict[str, Any], ...] = (
    {}, {"pk": True}, {"pk": 1.0}, {"pk": decimal.Decimal(1)}, {"pk": None}, {"pk": F("pk")}, {"pk": [1]},
    {"pk__in": [1]}, {"pk__exact": 1}, {"title__iexact": "a"}, {"category__name": "a"}, {"category__pk": 1},
    {"published": INSTANT}, {"published": "2026-01-01"}, {"body": "a"}, {"tags": 1}, {"nothing": 1},
    {"category": Category(pk=1)},
)  # fmt: skip


def test_a_row_is_told_by_plain_values_of_its_own_fields_and_their_types() -> None:
    found = [get_identity(Article.objects.all(), (), asked) for asked in GETS]
    assert None not in found
    assert len(set(found)) == len(GETS)
    assert [get_identity(Article.objects.all(), (), asked) for asked in NO_GETS] == [None] * len(NO_GETS)


@pytest.mark.parametrize("asked", NO_GETS, ids=str)
def test_a_row_that_is_asked_for_in_any_other_way_is_not_told(asked: dict[str, Any]) -> None:
    assert get_identity(Article.objects.all(), (Q(**asked),), {}) is None


def test_a_relation_asks_by_q_and_is_told_as_its_pk() -> None:
    everything = Article.objects.all()
    assert get_identity(everything, (Q(id=1),), {}) == get_identity(everything, (), {"id": 1})
    for q in (~Q(pk=1), Q(pk=1) | Q(slug="a"), Q(Q(pk=1) | Q(pk=2)), Q(Lower("title"))):
        assert get_identity(everything, (q,), {}) is None
    assert get_identity(everything, (Q(pk=1), Q(pk=1)), {}) is None


@pytest.mark.parametrize("step", sorted(set(ARTICLE_STEPS) - {"all", "in place", "compiled", "select_related none"}))
def test_a_get_on_anything_but_all_rows_is_not_told(step: str) -> None:
    queryset = made(Article, [step])
    found = get_identity(queryset, (), {"pk": 1}) if queryset is not None else None
    assert found is None or (step == "other database" and found != get_identity(Article.objects.all(), (), {"pk": 1}))


def test_a_row_whose_columns_or_key_a_third_party_makes_is_not_told() -> None:
    assert get_identity(Odd.objects.all(), (), {"pk": 1}) is None
    assert get_identity(Odd.objects.all(), (), {"key": "a"}) is None
    assert get_identity(Long.objects.all(), (), {"name": "a"}) is None


def test_a_foreign_key_to_a_key_that_a_third_party_prepares_is_not_told() -> None:
    for asked in ({"owner": "1"}, {"owner_id": "1"}, {"owner__in": ["1"]}, {"deputy": "1"}):
        assert identity(Owned.objects.filter(**asked)) is None
        assert get_identity(Owned.objects.all(), (), asked) is None
    assert identity(Owned.objects.filter(pk=1)) is not None


def test_a_text_that_somebody_has_pasted_into_a_form_is_not_kept() -> None:
    for asked in ({"slug": "x" * 1000}, {"slug__in": ["x" * 1000]}):
        assert identity(Article.objects.filter(**asked)) is None
    assert get_identity(Article.objects.all(), (), {"slug": "x" * 1000}) is None
    assert identity(Article.objects.filter(slug="x" * 200)) is not None


def test_a_queryset_with_the_query_of_another_model_is_not_told() -> None:
    queryset = Category.objects.all()
    queryset.query = Tag.objects.all().query
    assert identity(queryset) is None
    assert get_identity(queryset, (), {"pk": 1}) is None
