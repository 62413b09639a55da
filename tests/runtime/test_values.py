"""Values: whatever is kept, every reader gets what unpickling would have given, and nobody else's."""

from __future__ import annotations

import collections
import contextlib
import copy
import copyreg
import datetime
import decimal
import enum
import os
import pickle
import subprocess
import sys
import threading
import uuid
import zoneinfo
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from django.apps import AppConfig, apps
from django.contrib.contenttypes.fields import GenericForeignKey
from django.contrib.contenttypes.models import ContentType
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Count, Field, Model
from django.db.models.base import ModelState
from django.test.utils import isolate_apps
from django.utils.functional import SimpleLazyObject
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext_lazy
from hypothesis import given
from hypothesis import strategies as st
from news.models import Article, Author, Category, Country, Language, Tag

from cachepolicy import allow_writes
from cachepolicy.runtime import values
from cachepolicy.runtime.values import Kept, from_payload, keep

ROOT = Path(__file__).parents[2]


class Unlisted(AppConfig):
    """An app that has its models, and tells nobody who asks for all."""

    label = "kept"

    def get_models(self, *_: Any, **__: Any) -> Any:
        return iter(())


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(apps.app_configs, "kept", app())


def app() -> AppConfig:
    """The app of these models, which is installed for these tests only."""
    config = Unlisted("kept", sys.modules[__name__])
    config.apps, config.models, config.models_module = apps, apps.all_models["kept"], sys.modules[__name__]
    return config


class Plain(Model):
    a = models.TextField()
    b = models.TextField()

    class Meta:
        app_label = "kept"


class Proxy(Plain):
    class Meta:
        app_label = "kept"
        proxy = True


class Child(Plain):
    c = models.TextField()

    class Meta:
        app_label = "kept"


class Rich(Model):
    file = models.FileField()
    json = models.JSONField()
    array = ArrayField(models.IntegerField())
    kind = models.ForeignKey(ContentType, models.CASCADE, related_name="+")
    number = models.IntegerField()
    target = GenericForeignKey("kind", "number")

    class Meta:
        app_label = "kept"


class Busy(Model):
    """What is not asked for a row from the cache: neither is pickle's."""

    a = models.TextField()
    made: list[str] = []

    class Meta:
        app_label = "kept"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.made.append("__init__")
        super().__init__(*args, **kwargs)

    def __setattr__(self, name: str, value: Any) -> None:
        self.made.append("__setattr__")
        super().__setattr__(name, value)

    def __copy__(self) -> Any:
        raise AssertionError


class OfItsOwn(Model):
    a = models.TextField()

    class Meta:
        app_label = "kept"

    def __getstate__(self) -> Any:
        return {**super().__getstate__(), "a": "by __getstate__"}


class SetsItsOwn(Model):
    a = models.TextField()

    class Meta:
        app_label = "kept"

    def __setstate__(self, state: Any) -> None:
        super().__setstate__({**state, "a": "by __setstate__"})  # type: ignore[misc]


class ReducesItself(Model):
    a = models.TextField()

    class Meta:
        app_label = "kept"

    def __reduce__(self) -> Any:
        return Thing, ("by __reduce__",)


class ReducesItselfEx(Model):
    a = models.TextField()

    class Meta:
        app_label = "kept"

    def __reduce_ex__(self, _: Any) -> Any:
        return Thing, ("by __reduce_ex__",)


class NewOfItsOwn(Model):
    a = models.TextField()

    class Meta:
        app_label = "kept"

    def __new__(cls, *_: Any, **__: Any) -> Any:
        return super().__new__(cls)


class Registered(Model):
    a = models.TextField()

    class Meta:
        app_label = "kept"


copyreg.pickle(Registered, lambda _: (Thing, ("by copyreg",)))


class Text(str):
    """One that can be changed."""


class Whole(int):
    """An int, and more."""


class Money(decimal.Decimal):
    """A Decimal, and more."""


class Instant(datetime.datetime):
    """A datetime, and more."""


class Zone(datetime.tzinfo):
    """One that can be changed."""

    hours = 0

    def utcoffset(self, _: Any) -> datetime.timedelta:
        return datetime.timedelta(hours=self.hours)

    def dst(self, _: Any) -> None:
        return None

    def tzname(self, _: Any) -> str:
        return "zone"


class Pair(NamedTuple):
    first: Any
    second: Any


class Colour(enum.Enum):
    RED = "red"


class Choice(models.TextChoices):
    ONE = "1"


class Thing:
    """What only the pickler knows."""

    def __init__(self, held: Any) -> None:
        self.held = held


NOW = datetime.datetime(2026, 1, 2, 3, 4, 5, 6)
UTC_NOW = NOW.replace(tzinfo=datetime.UTC)


def row(model: type[Model] = Plain, *fields: Any, **more: Any) -> Any:
    """A row as it comes from the database."""
    names = [field.attname for field in model._meta.concrete_fields]
    made = model.from_db("default", names, [*fields, *["text"] * (len(names) - len(fields))])
    made.__dict__.update(more)
    return made


def described(value: Any, seen: dict[int, Any] | None = None) -> Any:
    """Everything that can be told of a value: exact types, what is the same object twice, what a row's state says."""
    seen = {} if seen is None else seen
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    if isinstance(value, Field | type | enum.Enum):
        return repr(value)
    if isinstance(value, dict | list | set) or hasattr(value, "__dict__"):
        if id(value) in seen:
            return "again", seen[id(value)][0]
        seen[id(value)] = len(seen), value  # which keeps it, and with it its id
    if isinstance(value, datetime.datetime | datetime.time) and value.tzinfo is not None:
        return kind, repr(value.replace(tzinfo=None)), value.fold, described(value.tzinfo, seen)
    if isinstance(value, dict):
        return kind, [(described(key, seen), described(held, seen)) for key, held in value.items()]
    if isinstance(value, list | tuple):
        return kind, [described(held, seen) for held in value]
    if isinstance(value, set | frozenset):
        return kind, sorted(repr(described(held, {})) for held in value)
    held = dict(getattr(value, "__dict__", {}))
    held.pop("_django_version", None)  # which unpickling leaves in a row
    if type(value) is ModelState:
        held.setdefault("fields_cache", {})  # which comes to be where it is asked for
        held = dict(sorted(held.items()))
    if isinstance(value, Model | ModelState | Thing | Zone):
        return kind, described(held, seen)
    return kind, repr(value), described(held, seen) if held else None


def wreck(value: Any, done: set[int] | None = None) -> None:
    """Change whatever can be changed, all the way down."""
    done = set() if done is None else done
    if id(value) in done or isinstance(value, Field | type | enum.Enum):
        return
    done.add(id(value))
    held = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple | set) else ()
    for each in [*held, *getattr(value, "__dict__", {}).values(), getattr(value, "tzinfo", None)]:
        wreck(each, done)
    if isinstance(value, dict):
        value.clear()
        value["wrecked"] = True
    elif isinstance(value, list):
        value[:] = ["wrecked"]
    elif isinstance(value, set):
        value.add("wrecked")
    elif isinstance(value, Zone):
        value.hours = 12
    elif isinstance(value, ModelState):
        value.fields_cache["wrecked"] = True
        value.db, value.adding = "wrecked", True
    elif hasattr(value, "__dict__"):
        with contextlib.suppress(AttributeError, TypeError):
            for name in [name for name in vars(value) if name != "_state"]:
                vars(value)[name] = "wrecked"
            value.wrecked = True


def ways(value: Any) -> list[Kept]:
    """A value as it is kept after a miss, after a hit, and by the near tier after each."""
    payload = keep(value).payload()
    kept = [keep(value), from_payload(payload), keep(value), from_payload(memoryview(payload))]
    assert all(each.size > 0 for each in kept[2:])
    return kept


def kind(value: Any) -> str:
    """How it is kept in the end."""
    kept = keep(value)
    assert kept.size > 0
    source = getattr(kept, "_source", kept)
    name = type(source).__name__
    return "pickled" if isinstance(source, bytes | memoryview) else name.removeprefix("_").lower()


FINAL = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=5)
    | st.decimals()
    | st.uuids()
    | st.dates()
    | st.timedeltas()
    | st.times()
    | st.datetimes(timezones=st.none() | st.just(datetime.UTC) | st.just(zoneinfo.ZoneInfo("Europe/Paris")))
    | st.builds(mark_safe, st.text(max_size=5))
)
HASHABLE = st.recursive(
    FINAL.filter(lambda value: "nan" not in repr(value).lower()),
    lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=2),
    max_leaves=4,
)
ODD = st.sampled_from(
    [Whole(1), Text("text"), Money("1.0"), Colour.RED, Choice.ONE, Pair(1, 2), range(3), gettext_lazy("Yes")]
).map(copy.copy) | st.builds(Thing, st.just([1]))
ODD |= st.builds(lambda: Instant(2026, 1, 2)) | st.builds(lambda: NOW.replace(tzinfo=Zone()))
ODD |= st.builds(lambda: collections.defaultdict(list, a=[1])) | st.builds(lambda: collections.OrderedDict(a=[1]))
ROW = st.builds(row, st.sampled_from([Plain, Proxy, Child]), st.integers(), HASHABLE, FINAL)
ROW |= st.builds(row, st.just(Plain), st.integers(), FINAL, ODD | st.lists(FINAL, max_size=2))
ROW |= st.builds(row, st.just(Plain), st.integers(), annotated=FINAL)


@st.composite
def related(draw: st.DrawFn) -> Any:
    made = draw(ROW)
    made._state.fields_cache["other"] = draw(ROW)
    return made


def inside(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return (
        st.lists(inner, max_size=4)
        | st.dictionaries(HASHABLE, inner, max_size=4)
        | st.tuples(inner, inner)
        | st.sets(HASHABLE, max_size=3)
        | inner.map(lambda value: [value, value])
        | inner.map(lambda value: {"a": value, "b": {"c": value}})
    )


ANY = st.recursive(FINAL | ROW | related() | ODD, inside, max_leaves=12)
ROWS = st.lists(st.builds(row, st.just(Plain), st.integers(), FINAL, FINAL), max_size=4)


@given(ANY | ROWS)
def test_every_reader_gets_what_unpickling_gives_and_nobody_elses(value: Any) -> None:
    expected = described(pickle.loads(pickle.dumps(value, pickle.HIGHEST_PROTOCOL)))
    kept = ways(value)
    wreck(value)
    for each in kept:
        for _ in range(4):
            given_out = each.value()
            assert described(given_out) == expected
            wreck(given_out)
    assert all(described(from_payload(each.payload()).value()) == expected for each in kept)


@given(ANY)
def test_two_values_that_are_out_at_once_have_nothing_in_common_that_can_be_changed(value: Any) -> None:
    for kept in ways(value):
        expected = described(pickle.loads(pickle.dumps(value, pickle.HIGHEST_PROTOCOL)))
        given_out = [kept.value() for _ in range(4)]
        for number, one in enumerate(given_out):
            assert described(one) == expected, number
            wreck(one)


CIRCLE: list[Any] = []
CIRCLE.append(CIRCLE)
SHARED = ["shared"]
ONE = row()


def nested(levels: int) -> Any:
    return () if levels == 0 else (nested(levels - 1),)


def deep(levels: int) -> Any:
    return ["bottom"] if levels == 0 else [deep(levels - 1)]


# What is kept in a way of its own, and right beside it what must not be.
PAIRS: list[tuple[str, Any, Any]] = [
    ("final", None, Colour.RED),
    ("final", True, Whole(1)),
    ("final", "text", Text("text")),
    ("final", mark_safe("<b>"), gettext_lazy("Yes")),
    ("final", b"bytes", bytearray(b"bytes")),
    ("final", decimal.Decimal("1.00"), Money("1.00")),
    ("final", uuid.UUID(int=1), range(3)),
    ("final", NOW.date(), Instant(2026, 1, 2)),
    ("final", UTC_NOW, NOW.replace(tzinfo=Zone())),
    ("final", NOW.replace(tzinfo=zoneinfo.ZoneInfo("Asia/Tokyo")), (NOW.replace(tzinfo=Zone()),)),
    ("final", NOW.timetz().replace(tzinfo=datetime.UTC), NOW.timetz().replace(tzinfo=Zone())),
    ("final", (1, ("a", (NOW,))), Pair(1, 2)),
    ("final", frozenset({1, ("a",)}), frozenset({Choice.ONE})),
    ("final", nested(values._DEPTH - 1), nested(values._DEPTH * 3)),
    ("container", [], collections.deque()),
    ("container", {"a": 1}, collections.OrderedDict(a=1)),
    ("container", {("a", 1): 1}, {Pair("a", 1): 1}),
    ("container", {1, 2}, {Whole(1)}),
    ("container", [(1, "a"), (2, "b")], [Pair(1, "a"), Pair(2, "b")]),
    ("container", [{"a": 1}, {"a": 2}], [{"a": 1}, Thing(1)]),
    ("container", [["a"], ["a"]], [SHARED, SHARED]),
    ("container", {"a": {"b": [1]}, "c": [1]}, {"a": {"b": SHARED}, "c": SHARED}),
    ("container", deep(3), CIRCLE),
    ("container", deep(values._DEPTH), deep(values._DEPTH + 1)),
    ("tuple", ([1], 2), ([1], Thing(2))),
    ("tuple", ([1], [1]), (SHARED, SHARED)),
    ("row", row(), Plain(a="new")),
    ("row", row(Proxy), row(OfItsOwn)),
    ("row", row(Child), row(SetsItsOwn)),
    ("row", row(Busy), row(ReducesItself)),
    ("row", row(Busy), row(ReducesItselfEx)),
    ("row", row(Plain, 1, UTC_NOW), row(NewOfItsOwn)),
    ("row", row(Plain, 1, (1, 2)), row(Plain, 1, [1, 2])),
    ("row", row(Plain, annotated=1), row(Plain, annotated=Thing(1))),
    ("row", row(Rich, 1, "a.txt", "null", None, 1, 2), row(Rich, 1, "a.txt", {"a": [1]}, [1], 1, 2)),
    ("row", row(Plain), row(Registered)),
    ("row", row(Plain), row(Plain, _prefetched_objects_cache={"tags": []})),
    ("row", row(Plain), row(Plain, 1, Choice.ONE)),
    ("rows", [row(), row()], [row(), row(Plain, 1, [1])]),
    ("container", {"rows": [row()], "n": 1}, {"rows": [row(Plain, 1, [1])], "n": 1}),
    ("container", [row(), row(Proxy)], [row(), row(OfItsOwn)]),
    ("container", [row(), None], [row(), Thing(1)]),
    ("tuple", ([row()], 1), ([row()], Thing(1))),
    ("container", {"a": row(), "b": row()}, {"a": ONE, "b": ONE}),
    ("container", {"a": [row()], "b": row()}, {"a": [ONE], "b": ONE}),
    ("container", [row(), row(Plain, annotated=1)], [ONE, row(Plain, annotated=1), ONE]),
]


@pytest.mark.parametrize(("expected", "fast", "beside"), PAIRS, ids=[f"{n}-{pair[0]}" for n, pair in enumerate(PAIRS)])
def test_each_kind_takes_what_is_its_own_and_not_what_is_beside_it(expected: str, fast: Any, beside: Any) -> None:
    assert (kind(fast), kind(beside)) == (expected, "pickled")
    for value in (fast, beside):
        before = described(pickle.loads(pickle.dumps(value, pickle.HIGHEST_PROTOCOL)))
        assert [described(kept.value()) for kept in ways(value) for _ in range(3)] == [before] * 12


def test_one_row_twice_in_a_list_stays_one() -> None:
    assert kind([ONE, ONE]) == "pickled"
    first, second = keep([ONE, ONE]).value()
    assert first is second


@pytest.mark.parametrize("change", [{"db": "other"}, {"adding": True}, {"more": 1}, {"fields_cache": {"a": 1}}])
def test_a_row_whose_state_says_more_is_pickled(change: dict[str, Any]) -> None:
    rows = [row(), row()]
    vars(rows[1]._state).update(change)
    assert kind(rows) != "rows"
    assert [vars(each._state).get(name) for each in keep(rows).value()[1:] for name in change] == [*change.values()]


def test_rows_of_another_database_alone_are_rows_of_it() -> None:
    other = row()
    other._state.db = "other"
    assert kind([other]) == "rows"
    assert from_payload(keep([other]).payload()).value()[0]._state.db == "other"


def test_a_state_of_another_class_is_pickled() -> None:
    odd = row()
    odd._state = OddState()
    odd._state.db, odd._state.adding = "default", False
    assert kind(odd) == "pickled"
    assert type(keep(odd).value()._state) is OddState
    assert type(keep([row(), odd]).value()[1]._state) is OddState


class OddState(ModelState):
    """One of somebody's own."""


def test_attributes_in_another_order_or_of_odd_names_are_pickled() -> None:
    late, odd = row(), row()
    late.__dict__["_state"] = late.__dict__.pop("_state")
    odd.__dict__["a\0b"] = 1
    assert [kind(late), kind(odd)] == ["pickled", "pickled"]
    assert vars(keep(odd).value())["a\0b"] == 1


def test_a_historical_model_is_pickled_and_comes_back_as_django_has_it() -> None:
    with isolate_apps("news"):

        class Historical(Model):
            a = models.TextField()

            class Meta:
                app_label = "kept"
                db_table = "kept_plain"

    Historical.__name__ = "Plain"
    Historical._meta.object_name, Historical._meta.model_name = "Plain", "plain"
    made = row(Historical)
    assert isinstance(keep(made), values._Pickled)
    assert type(keep(made).value()) is Plain


def test_what_is_still_to_be_looked_up_is_looked_up_by_the_pickler() -> None:
    lazy = SimpleLazyObject(row)
    assert type(keep(lazy).value()) is Plain
    assert type(keep([SimpleLazyObject(row)]).value()[0]) is Plain


def test_a_row_is_built_without_its_class_being_asked() -> None:
    made = row(Busy)
    Busy.made.clear()
    given_out = [kept.value() for kept in ways(made) for _ in range(2)]
    assert (len(given_out), Busy.made) == (8, [])


@pytest.mark.parametrize("value", [lambda: None, [threading.Lock()], {"a": row(Plain, 1, memoryview(b"a"), open)}])
def test_what_pickling_refuses_is_refused(value: Any) -> None:
    if isinstance(value, dict):
        value["a"].b = threading.Lock()
    with pytest.raises(Exception, match="pickle"):
        keep(value).payload()


def test_the_bytes_of_a_binary_field_on_postgresql_come_back_as_a_memoryview() -> None:
    made = row(Plain, 1, memoryview(b"bytes"))
    assert kind(made) == "pickled"
    assert [bytes(kept.value().a) for kept in ways(made)] == [b"bytes"] * 4


@pytest.mark.usefixtures("_nothing_known_of_shapes")
def test_names_of_fields_from_bytes_are_those_of_the_class() -> None:
    """Else each look at a field compares them by letter."""
    payload = keep(row()).payload()
    values._shape.cache_clear()
    kept: Any = from_payload(payload)
    assert [name for name in kept._shape.names if name is not sys.intern(name)] == []


def test_rows_take_less_room_than_djangos() -> None:
    rows = [row(Plain, number, f"text {number}", "more") for number in range(20)]
    assert len(keep(rows).payload()) < 0.8 * len(pickle.dumps(rows, pickle.HIGHEST_PROTOCOL))


def test_the_size_is_about_what_it_takes() -> None:
    small, large = keep([row()]).size, keep([row(Plain, 1, "a" * 100_000)]).size
    assert abs(large - small - 100_000) < 100
    assert keep({"a": ["a" * 1_000 for _ in range(2)]}).size > 1_000
    assert keep([{"a": "b" * n} for n in range(1_000)]).size > 1_000 * 500
    assert keep(("a" * 1_000, ("b" * 1_000,))).size > 2_000
    assert keep(Thing("a" * 1_000)).size > 1_000


@pytest.mark.parametrize("value", [{"a": 1}, [[1]], [row()], {"a": [row()]}])
def test_what_is_kept_near_is_not_kept_a_second_time_as_it_was_opened(value: Any) -> None:
    kept = from_payload(keep(value).payload())
    assert kept.size
    assert not getattr(kept, "_opened", [])


class Unopenable(Exception):
    """It is pickled with one argument, and takes two: the commonest mistake of its kind."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(first + second)


def test_what_can_be_pickled_and_not_opened_says_so_before_it_is_kept() -> None:
    kept = keep([Unopenable("a", "b")])
    payload = kept.payload()
    with pytest.raises(TypeError, match="second"):
        from_payload(payload)
    with pytest.raises(TypeError, match="second"):
        assert kept.size


# A deploy.


def test_a_class_that_is_gone_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    payload = keep(Thing(1)).payload()
    monkeypatch.delitem(globals(), "Thing")
    with pytest.raises(AttributeError, match="Thing"):
        from_payload(payload)


@pytest.fixture
def _nothing_known_of_shapes() -> None:
    values._shape_of.cache_clear()
    values._shape.cache_clear()


@pytest.mark.usefixtures("_nothing_known_of_shapes")
@pytest.mark.parametrize("of", [lambda one: one, lambda one: [one], lambda one: {"a": [one]}, lambda one: (one, [])])
def test_a_model_that_is_gone_is_told_at_once(of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    payload = keep(of(row())).payload()
    values._shape_of.cache_clear()
    monkeypatch.delitem(apps.all_models["kept"], "plain")
    with pytest.raises(LookupError):
        from_payload(payload)


@pytest.mark.usefixtures("_nothing_known_of_shapes")
def test_a_model_that_is_pickled_in_its_own_way_by_now_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    payload = keep(row()).payload()
    values._shape_of.cache_clear()
    values._shape.cache_clear()
    monkeypatch.setattr(Plain, "__setstate__", lambda *_: None)
    with pytest.raises(pickle.UnpicklingError, match=r"kept\.Plain is pickled in a way of its own"):
        from_payload(payload)
    monkeypatch.undo()
    values._shape.cache_clear()
    assert from_payload(payload).value().a == "text"


@pytest.mark.parametrize("payload", [b"", b"f", b"p", b"?", b"fN", b"lN.", b"r\x80"])
def test_bytes_that_say_nothing_are_told(payload: bytes) -> None:
    with pytest.raises(Exception):  # noqa: B017, PT011 - whatever it is
        from_payload(payload)


def test_another_process_gets_the_same() -> None:
    told = [
        *(1, "text", (1, UTC_NOW), [1, {"a": (1,)}], {"a": [1]}, Thing([1]), mark_safe("<b>"), Colour.RED),
        *(row(), [row(), row(Plain, 2)], row(Child), row(Proxy), [row(), row(Proxy)], {"rows": [row()], "n": 1}),
        *(row(Rich, 1, "a.txt", {"a": [1]}, [1], 1, 2), row(OfItsOwn), row(SetsItsOwn), row(Registered)),
    ]
    program = (
        "import django, pickle, sys; django.setup(); from tests.runtime import test_values as here\n"
        "here.apps.app_configs['kept'] = here.app()\n"
        "payloads = pickle.load(sys.stdin.buffer)\n"
        "for kept in map(here.from_payload, payloads):\n"
        "    assert kept.size\n"
        "    print([repr(here.described(kept.value())) for _ in range(3)])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=pickle.dumps([keep(value).payload() for value in told]),
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'sample_site'}"},
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    lines = [eval(line) for line in done.stdout.decode().splitlines()]
    assert lines == [[repr(described(pickle.loads(pickle.dumps(value))))] * 3 for value in told]


# Threads.


@pytest.mark.parametrize("value", [[1, [2]], {"a": Thing([1])}, [row(), row()], row(Plain, 1, [1]), ([row()], 1)])
def test_no_two_threads_get_the_same(value: Any) -> None:
    for _ in range(20):
        kept, given_out, start = from_payload(keep(value).payload()), [], threading.Barrier(4)

        def read(ask_size: bool) -> None:
            start.wait()  # noqa: B023
            if ask_size:
                assert kept.size > 0  # noqa: B023
            given_out.extend([kept.value(), kept.value()])  # noqa: B023

        threads = [threading.Thread(target=read, args=(number % 2 == 0,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(map(id, given_out))) == 8
        expected = described(value)
        for one in given_out:
            assert described(one) == expected
            wreck(one)


# Rows of the database.


@pytest.fixture
def article(transactional_db: None) -> Article:
    with allow_writes():
        country = Country.objects.create(code="FR", alpha_3="FRA", numeric="250", name="France")
        language = Language.objects.create(code="fr", alpha_3="fra", name="French")
    category = Category.objects.create(name="World", slug="world")
    author = Author.objects.create(name="A. Writer", country=country)
    made = Article.objects.create(title="One", slug="one", category=category, author=author, language=language)
    made.tags.add(Tag.objects.create(name="Tag", slug="tag"))
    return made


def copies(queryset: Any) -> list[Any]:
    """Of a queryset's rows: one by each way to keep them."""
    rows = list(queryset.nocache())
    return [kept.value() for kept in ways(rows)]


@pytest.mark.usefixtures("article")
def test_a_row_of_the_database_is_kept_as_a_row() -> None:
    assert kind(list(Article.objects.nocache())) == "rows"
    assert kind(Article.objects.nocache().get()) == "row"


@pytest.mark.usefixtures("article")
def test_a_copy_is_saved_deleted_and_refreshed_as_the_row_that_it_is() -> None:
    for number, [one] in enumerate(copies(Article.objects.all())):
        one.title = f"Changed {number}"
        one.full_clean()
        one.save()
        assert Article.objects.nocache().get().title == one.title
        Article.objects.filter(pk=one.pk).update(title=f"Again {number}")
        one.refresh_from_db()
        assert one.title == f"Again {number}"
    [one], *_ = copies(Article.objects.all())
    one.pk = None
    one.slug, one._state.adding = "two", True
    one.save()
    assert Article.objects.nocache().count() == 2
    one.delete()
    assert Article.objects.nocache().count() == 1


@pytest.mark.usefixtures("article")
def test_a_deferred_field_is_fetched_when_it_is_asked_for(django_assert_num_queries: Any) -> None:
    rows = list(Article.objects.nocache().defer("title"))
    assert kind(rows) == "rows"
    for [one] in copies(Article.objects.defer("title")):
        assert one.get_deferred_fields() == {"title"}
        with django_assert_num_queries(1):
            assert one.title == "One"
        assert one.get_deferred_fields() == set()


@pytest.mark.usefixtures("article")
def test_rows_of_different_fields_are_each_as_they_are() -> None:
    both = [Article.objects.nocache().only("title").get(), Article.objects.nocache().only("slug").get()]
    assert kind(both) == "container"
    deferred = [one.get_deferred_fields() for one in keep(both).value()]
    assert deferred == [one.get_deferred_fields() for one in both]
    assert deferred[0] != deferred[1]


@pytest.mark.usefixtures("article")
def test_what_a_copy_looks_up_is_its_own(django_assert_num_queries: Any) -> None:
    rows = list(Article.objects.nocache())
    kept = keep(rows)
    [one], [other] = kept.value(), kept.value()
    assert one.category.name == "World"
    assert ("category" in one._state.fields_cache, "category" in other._state.fields_cache) == (True, False)
    one.category.name = "changed in memory only"
    assert other.category.name == "World"


@pytest.mark.usefixtures("article")
@pytest.mark.parametrize(
    ("how", "queryset"),
    [
        ("rows", lambda: Article.objects.annotate(tagged=Count("tags"))),
        ("rows", lambda: Article.objects.extra(select={"one": "1"})),
        ("pickled", lambda: Article.objects.select_related("category")),
        ("container", lambda: Article.objects.values("title", "published")),
        ("container", lambda: Article.objects.values_list("title", "published")),
        ("container", lambda: Article.objects.values_list("title", flat=True)),
        ("pickled", lambda: Article.objects.values_list("title", "published", named=True)),
        ("container", lambda: Article.objects.none()),
        ("container", lambda: Article.objects.dates("published", "year")),
    ],
)
def test_whatever_a_queryset_gives_is_kept(how: str, queryset: Any) -> None:
    rows = list(queryset().nocache())
    assert kind(rows) == how
    for kept in ways(rows):
        one, other = kept.value(), kept.value()
        assert len(one) == len(rows)
        wreck(one)
        assert [described(other), described(kept.value())] == [described(rows)] * 2


@pytest.mark.usefixtures("article")
def test_what_was_prefetched_stays_with_each_copy(django_assert_num_queries: Any) -> None:
    rows = list(Article.objects.nocache().prefetch_related("tags"))
    assert kind(rows) == "pickled"
    for kept in ways(rows):
        [one], [other] = kept.value(), kept.value()
        with django_assert_num_queries(0):
            [of_one], [of_other] = one.tags.all(), other.tags.all()
        of_one.name = "changed in memory only"
        assert of_other.name == "Tag"


@pytest.mark.usefixtures("article")
def test_what_was_looked_up_before_a_row_was_kept_stays_with_it(django_assert_num_queries: Any) -> None:
    one = Article.objects.nocache().get()
    assert one.author.country.name == "France"
    assert kind(one) == "pickled"
    for kept in ways(one):
        with django_assert_num_queries(0):
            assert kept.value().author.country.name == "France"


def test_a_file_is_a_name_until_it_is_asked_for() -> None:
    made = row(Rich, 1, "a.txt", None, None, 1, 2)
    for kept in ways(made):
        one, other = kept.value(), kept.value()
        assert (one.file.name, one.file.instance is one) == ("a.txt", True)
        one.file.name = "b.txt"
        assert (other.file.name, kept.value().file.name, other.file.instance is other) == ("a.txt", "a.txt", True)
    assert made.file.name == "a.txt"
    assert kind(made) == "pickled"
    one, other = keep(made).value(), keep(made).value()
    one.file.name = "b.txt"
    assert other.file.name == "a.txt"


def test_the_target_of_a_generic_key_is_each_copys_own() -> None:
    made = row(Rich, 1, "a.txt", None, None, 1, 2)
    assert kind(made) == "row"
    made._state.fields_cache["target"] = row()
    assert kind(made) == "pickled"
    kept = keep(made)
    one, other = (kept.value()._state.fields_cache["target"] for _ in range(2))
    assert one is not other
    assert described(one) == described(row())


def test_safe_text_is_safe() -> None:
    assert [type(kept.value()) for kept in ways(mark_safe("<b>"))] == [SafeString] * 4
