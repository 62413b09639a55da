"""A call has one key, and no other call has it."""

from __future__ import annotations

import datetime as dt
import enum
import subprocess
import sys
import uuid
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from django.contrib.auth.models import AnonymousUser
from django.utils.functional import SimpleLazyObject
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy
from hypothesis import given
from hypothesis import strategies as st
from news.models import Article, Author, Category, Country, Tag

from cachepolicy import CacheKeyError
from cachepolicy.runtime.keys import CallKeys


def function(*args: Any, **kwargs: Any) -> None:
    """Stands for any cached function."""


def key(*args: Any, **kwargs: Any) -> str:
    return CallKeys(function).key(args, kwargs)


class Colour(enum.Enum):
    RED = 1


class Access(enum.Flag):
    READ = 1


class Pair(NamedTuple):
    a: int
    b: int


@dataclass(frozen=True)
class Point:
    x: int
    y: int


@dataclass
class Mutable:
    x: int


class Keyed:
    def __init__(self, name: str) -> None:
        self.name = name

    def cache_key(self) -> str:
        return self.name


DIFFERENT: list[Any] = [
    None, True, False, 0, 1, -1, 1.0, "1", b"1", Decimal(1), Decimal("1.0"), "None", "True", "", b"", (), [], {},
    set(), (1,), [1], {1}, frozenset({1}), {1: 1}, {"1": 1}, (1, 2), (12,), ("1", "2"), ("12",), ("1,2",),
    ((1,), 2), (1, (2,)),
    dt.date(2026, 1, 1), dt.datetime(2026, 1, 1), dt.datetime(2026, 1, 1, tzinfo=dt.UTC), dt.time(0), "2026-01-01",
    dt.timedelta(seconds=1), uuid.UUID(int=1), str(uuid.UUID(int=1)), Colour.RED, Pair(1, 2), Point(1, 2), Point(2, 1),
    Article, Tag, function, key, Keyed("a"), Keyed("b"), complex(1), mark_safe("1"), bytearray(b"1"),
    Access(0), Access.READ, range(1), range(2), Path("1"),
]  # fmt: skip


def test_no_two_values_share_a_key() -> None:
    keys = [key(value) for value in DIFFERENT]
    assert len(set(keys)) == len(DIFFERENT)


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.binary() | st.decimals(allow_nan=False),
    lambda inner: st.tuples(inner) | st.tuples(inner, inner) | st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(_values, _values)
def test_values_share_a_key_only_when_they_are_the_same_to_the_letter(one: Any, other: Any) -> None:
    assert (key(one) == key(other)) == (repr(one) == repr(other))


@given(st.lists(st.text(), max_size=3), st.lists(st.text(), max_size=3))
def test_a_crafted_text_cannot_imitate_other_arguments(one: list[str], other: list[str]) -> None:
    assert (key(*one) == key(*other)) == (one == other)


def test_the_order_of_sets_mappings_and_keywords_does_not_count() -> None:
    assert key({"a": 1, "b": 2}) == key({"b": 2, "a": 1})
    assert key({"x", "y", "z"}) == key({"z", "y", "x"})
    assert key(a=1, b=2) == key(b=2, a=1)
    assert key([1, 2]) != key([2, 1])


def test_positional_and_keyword_arguments_differ_where_the_function_tells_them_apart() -> None:
    assert key(1) != key(a=1)
    assert key("a", 1) != key(a=1)


def test_every_way_to_write_one_call_has_one_key() -> None:
    def add(x: int, y: int = 2, *, z: int = 3) -> None: ...

    keys = CallKeys(add)
    assert (
        len({keys.key((1,), {}), keys.key((1, 2), {}), keys.key((1,), {"y": 2}), keys.key((), {"x": 1, "z": 3})}) == 1
    )
    assert keys.key((1,), {}) != keys.key((1, 3), {})
    with pytest.raises(TypeError):
        keys.key((), {})


def test_functions_that_differ_by_a_default_alone_have_keys_of_their_own() -> None:
    functions = [lambda x=x: x for x in (1, 2, 3)]
    assert len({CallKeys(function).key((), {}) for function in functions}) == 3


def test_model_instances_are_told_apart_by_table_row_and_database() -> None:
    def row(model: Any, pk: Any, alias: str = "default") -> Any:
        instance = model(pk=pk)
        instance._state.adding, instance._state.db = False, alias
        return instance

    rows = [row(Article, 1), row(Article, 2), row(Tag, 1), row(Article, 1, "replica"), row(Country, "1")]
    keys = {key(row) for row in rows} | {key("news.article.1"), key(1), key("Article object (1)")}
    assert len(keys) == 8


def _loaded(model: Any, **fields: Any) -> Any:
    return model.from_db("default", list(fields), list(fields.values()))


def test_an_instance_is_told_by_what_it_holds_so_that_an_old_copy_never_decides_what_others_read() -> None:
    new, old, edited, other = (_loaded(Category, id=1, name="World", slug=slug) for slug in ("w", "old", "w", "w"))
    edited.name = "unsaved"
    assert len({key(new), key(old), key(edited)}) == 3
    assert key(new) == key(other)


def test_an_instance_with_deferred_fields_is_told_by_those_it_holds() -> None:
    whole = _loaded(Category, id=1, name="World", slug="w")
    part = _loaded(Category, id=1, slug="w")
    assert part.get_deferred_fields() == {"name"}
    assert key(part) == key(_loaded(Category, id=1, slug="w")) != key(whole)
    assert part.get_deferred_fields() == {"name"}, "making the key must not ask the database"


def test_an_instance_is_told_by_the_related_rows_that_it_was_loaded_with() -> None:
    def article(author: str) -> Any:
        row = _loaded(Article, id=1, title="T", author_id=1)
        row.author = _loaded(Author, id=1, name=author, country_id="FR")
        return row

    assert key(article("new")) == key(article("new"))
    assert key(article("new")) != key(article("old"))
    assert key(article("new")) != key(_loaded(Article, id=1, title="T", author_id=1))
    annotated = _loaded(Article, id=1, title="T", author_id=1)
    annotated.comments = 3
    assert key(annotated) != key(_loaded(Article, id=1, title="T", author_id=1))


def test_a_prefetched_row_may_hold_its_parent_again() -> None:
    def category(title: str) -> Any:
        parent = _loaded(Category, id=1, name="World", slug="w")
        child = _loaded(Article, id=1, title=title, category_id=1)
        child.category = parent
        rows = Article.objects.filter(category=1)
        rows._result_cache = [child]  # type: ignore[attr-defined]
        parent._prefetched_objects_cache = {"articles": rows}
        return parent

    assert key(category("T")) == key(category("T")) != key(category("old"))


def test_what_is_no_part_of_a_row_does_not_count() -> None:
    plain, with_request = (_loaded(Category, id=1, name="World", slug="w") for _ in range(2))
    with_request.request, with_request._private = object(), 1
    assert key(plain) == key(with_request)


def test_a_queryset_that_holds_rows_is_told_by_them() -> None:
    def rows(*titles: str) -> Any:
        queryset = Article.objects.filter(category=1)
        queryset._result_cache = [_loaded(Article, id=1, title=title) for title in titles]  # type: ignore[attr-defined]
        return queryset

    assert key(rows("T")) == key(rows("T"))
    assert len({key(rows("T")), key(rows("old")), key(rows()), key(Article.objects.filter(category=1))}) == 4


def test_a_queryset_of_a_relation_is_told_by_the_parent_in_memory() -> None:
    parents = [_loaded(Category, id=1, name=name, slug="w") for name in ("World", "unsaved")]
    one, other = (parent.articles.all() for parent in parents)
    assert key(one) != key(other)
    assert key(one) == key(_loaded(Category, id=1, name="World", slug="w").articles.all())


def test_another_bound_is_another_key() -> None:
    keys = {CallKeys(function, bound_s).key((), {}) for bound_s in (None, 30, 60, 0.5)}
    assert len(keys) == 4


def test_an_unsaved_instance_has_no_key() -> None:
    with pytest.raises(CacheKeyError) as refusal:
        key(Article(title="Not yet"))
    assert str(refusal.value) == (
        "tests.runtime.test_keys.function: argument args holds a news.models.Article that is not saved, which has no "
        "certain cache key; pass plain values or saved model instances, or give the class a `cache_key()` method that "
        "returns one"
    )


@pytest.mark.parametrize("value", [object(), Mutable(1), [object()], {"a": object()}, iter([1]), lambda: 1])
def test_what_has_no_certain_key_is_refused(value: Any) -> None:
    with pytest.raises(CacheKeyError, match="argument kwargs holds a "):
        key(request=value)


def test_two_lambdas_on_one_line_have_keys_of_their_own() -> None:
    one, other = (lambda: 1), (lambda: 2)
    assert CallKeys(one).key((), {}) != CallKeys(other).key((), {})


def test_two_closures_of_one_function_have_keys_of_their_own() -> None:
    def make(rate: int) -> Any:
        def price() -> int:
            return rate

        return price

    assert CallKeys(make(1)).key((), {}) != CallKeys(make(2)).key((), {})
    assert CallKeys(make(1)).key((), {}) == CallKeys(make(1)).key((), {})


def test_what_a_function_encloses_may_be_a_module_or_not_yet_set() -> None:
    import decimal

    def of_module() -> Any:
        return decimal.Decimal(1), later

    assert CallKeys(of_module).key((), {})
    later = 1
    assert later == 1


def test_an_enclosed_variable_without_a_key_says_what_to_do() -> None:
    thing = object()

    def encloses() -> Any:
        return thing

    with pytest.raises(CacheKeyError) as refusal:
        CallKeys(encloses).key((), {})
    assert str(refusal.value).endswith(
        "encloses: enclosed variable thing holds a builtins.object, which has no certain cache key; move the function "
        "to module level and pass what it needs as an argument"
    )


def test_a_value_that_contains_itself_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(CacheKeyError, match="contains itself, or is nested too deep"):
        key(endless)


def test_a_lazy_object_is_keyed_as_what_it_stands_for() -> None:
    def row(model: Any) -> Any:
        instance = model(pk=1)
        instance._state.adding, instance._state.db = False, "default"
        return instance

    rows = [row(Category), row(Tag)]
    lazy = [SimpleLazyObject(lambda instance=instance: instance) for instance in rows]
    assert key(lazy[0]) != key(lazy[1])
    assert key(lazy[0]) == key(row(Category)) == key(rows[0])
    assert key(SimpleLazyObject(AnonymousUser)) == key(AnonymousUser())


def test_a_lazy_translation_counts_as_its_text() -> None:
    assert key(gettext_lazy("Yes")) == key("Yes")


def test_querysets_are_told_apart_by_sql_and_typed_parameters() -> None:
    titles = [Article.objects.filter(title=title) for title in ("a", "b")]
    assert len({key(queryset) for queryset in titles}) == 2
    assert key(titles[0]) == key(Article.objects.filter(title="a"))
    # cacheops joins SQL and parameters without quotes, so these two collide there.
    one = Article.objects.filter(title="x", body="y")
    other = Article.objects.filter(title="x AND body = y")
    assert key(one) != key(other)
    shapes = [
        Article.objects.all(),
        Article.objects.values("title"),
        Article.objects.values_list("title"),
        Article.objects.values_list("title", flat=True),
        Article.objects.prefetch_related("tags"),
        Article.objects.none(),
        Tag.objects.none(),
    ]
    assert len({key(queryset) for queryset in shapes}) == len(shapes)


def test_a_key_is_the_same_in_every_process() -> None:
    program = (
        "import os, django; os.environ['DJANGO_SETTINGS_MODULE'] = 'newsroom.settings'; django.setup();"
        "from cachepolicy.runtime.keys import CallKeys; from news.stats import article_stats;"
        "print(CallKeys(article_stats.__wrapped__).key((), {}, extra=({'x', 'y', 'z'}, {'a': 1.5, 'b': None})))"
    )
    runs = [
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
        for environment in ({**_environment(), "PYTHONHASHSEED": seed} for seed in ("1", "2"))
    ]
    assert runs[0].stdout == runs[1].stdout
    assert len(runs[0].stdout.strip()) == 40


def _environment() -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
