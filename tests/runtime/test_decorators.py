"""cached_as and cached: by rule, by samples, bounded by the rule, keyed by type."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from cacheops.redis import redis_client
from django.db import connections
from django.db.transaction import atomic, set_rollback
from news.models import Article, Author, Category, Country, Language, Tag

from cachepolicy import Duration, allow_writes, cached, cached_as

pytestmark = pytest.mark.django_db(transaction=True)

# What the functions of a test were called with; a global, since enclosed variables are part of a key.
CALLS: list[Any] = []


@pytest.fixture(autouse=True)
def _no_calls() -> Iterator[None]:
    CALLS.clear()
    yield
    CALLS.clear()


def call(*args: Any, **kwargs: Any) -> int:
    """What a cached function does in these tests: it counts its calls."""
    CALLS.append((args, kwargs))
    return len(CALLS)


def lives_s() -> set[int]:
    """How long the cached values live; their invalidators outlive them."""
    return {redis_client.ttl(key) for key in redis_client.keys("*") if key.startswith((b"as:", b"c:"))}


def test_a_second_call_comes_from_the_cache_until_a_model_of_the_rule_is_written(policies: None) -> None:
    @cached_as("by_rule")
    def function() -> int:
        return call()

    assert (function(), function()) == (1, 1)
    Tag.objects.create(name="Elections", slug="elections")
    assert (function(), function()) == (2, 2)
    Category.objects.create(name="World", slug="world")
    assert function() == 2


@pytest.mark.parametrize(
    ("samples", "timeout", "life_s"),
    [
        (("by_rule",), None, 20),
        (("of_models",), None, 30),
        (("by_rule",), "5s", 5),
        (("by_rule",), "1h", 20),
        (("by_rule",), 86_400, 20),
        ((Article,), None, 60),
        ((Article, Category), None, 2),
        ((Article,), 86_400, 60),
        ((Article,), timedelta(days=1), 60),
        ((Article,), timedelta(seconds=7), 7),
        ((Article,), Duration.parse("8s"), 8),
    ],
)
def test_a_value_lives_as_long_as_its_rule_and_never_longer(
    policies: None, samples: Any, timeout: Any, life_s: int
) -> None:
    @cached_as(*samples, timeout=timeout)
    def function() -> int:
        return call()

    function()
    assert lives_s() <= {life_s, life_s - 1}
    assert lives_s()


def test_querysets_and_instances_are_samples_as_in_cacheops(policies: None) -> None:
    tag = Tag.objects.create(name="Elections", slug="elections")
    other = Tag.objects.create(name="Trade", slug="trade")

    @cached_as(tag)
    def of_one() -> int:
        return call()

    @cached_as(Tag.objects.filter(slug="trade"))
    def of_some() -> int:
        return call()

    assert (of_one(), of_some()) == (1, 2)
    other.save()
    assert (of_one(), of_some()) == (1, 3)
    tag.save()
    assert (of_one(), of_some()) == (4, 3)


def test_arguments_are_told_apart_by_type_and_value(policies: None) -> None:
    @cached_as("by_rule")
    def function(*args: Any, **kwargs: Any) -> int:
        return call(*args, **kwargs)

    for args in [(1,), ("1",), (Decimal(1),), (True,), (None,), ((1,),), ([1],)]:
        function(*args)
        function(*args)
    function(x=1)
    assert len(CALLS) == 8


def test_methods_of_different_instances_have_values_of_their_own(policies: None) -> None:
    class Shelf:
        def __init__(self, name: str) -> None:
            self.name = name

        def cache_key(self) -> str:
            return self.name

        @cached_as("of_models")
        def books(self) -> int:
            return call(self.name)

        @staticmethod
        @cached("timed")
        def static(value: int) -> int:
            return call(value)

    one, other = Shelf("one"), Shelf("other")
    assert (one.books(), other.books()) == (1, 2)
    assert (one.books(), other.books(), Shelf("one").books()) == (1, 2, 1)
    assert (Shelf.static(1), Shelf.static(1), Shelf.static(2)) == (3, 3, 4)


def test_an_old_copy_of_a_row_never_decides_what_others_read(policies: None) -> None:
    @cached_as("by_rule")
    def title(tag: Tag) -> str:
        call()
        return tag.name

    tag = Tag.objects.create(name="Elections", slug="elections")
    Tag.objects.filter(pk=tag.pk).invalidated_update(name="Votes")  # type: ignore[attr-defined]
    old, edited, new = tag, Tag.objects.get(pk=tag.pk), Tag.objects.get(pk=tag.pk)
    edited.name = "unsaved"
    assert [title(each) for each in (old, edited, new, old)] == ["Elections", "unsaved", "Votes", "Elections"]
    assert len(CALLS) == 3
    assert title(Tag.objects.get(pk=tag.pk)) == "Votes"
    assert len(CALLS) == 3


def test_invalidate_takes_an_instance_that_holds_the_same(policies: None) -> None:
    @cached("timed")
    def function(tag: Tag) -> int:
        return call(tag)

    tag = Tag.objects.create(name="Elections", slug="elections")
    assert (function(tag), function(Tag.objects.get(pk=tag.pk))) == (1, 1)
    tag.name = "Votes"
    function.invalidate(tag)  # type: ignore[attr-defined]
    assert function(Tag.objects.get(pk=tag.pk)) == 1
    function.invalidate(Tag.objects.get(pk=tag.pk))  # type: ignore[attr-defined]
    assert function(Tag.objects.get(pk=tag.pk)) == 2


def test_extra_is_part_of_the_key(policies: None) -> None:
    @cached_as("by_rule", extra=lambda *_: CURRENT["language"])
    def function() -> int:
        return call()

    for language in ("en", "fr", "en"):
        CURRENT["language"] = language
        function()
    assert len(CALLS) == 2


CURRENT: dict[str, str] = {}


def test_a_result_computed_while_a_write_came_between_is_not_stored(policies: None) -> None:
    @cached_as("by_rule")
    def function(write: bool) -> int:
        if write and not CALLS:
            Tag.objects.create(name="Between", slug="between")
        return call()

    assert function(True) == 1
    assert function(True) == 2, "the first result was stale when it was computed"
    assert function(True) == 2


def test_a_write_inside_the_transaction_turns_caching_off_until_it_ends(policies: None) -> None:
    @cached_as("by_rule")
    def depends() -> int:
        return call()

    @cached("timed")
    def timed() -> int:
        return call()

    with atomic():
        Tag.objects.create(name="Elections", slug="elections")
        assert [depends(), depends(), timed(), timed()] == [1, 2, 3, 4]
    assert [depends(), depends(), timed(), timed()] == [5, 5, 6, 6]


def test_cached_is_refreshed_by_time_and_by_hand_alone(policies: None) -> None:
    @cached("timed")
    def function(value: int) -> int:
        return call(value)

    assert (function(1), function(1), function(2)) == (1, 1, 2)
    assert lives_s() <= {40, 39}
    Tag.objects.create(name="Elections", slug="elections")
    assert function(1) == 1
    function.invalidate(1)  # type: ignore[attr-defined]
    assert (function(1), function(2)) == (3, 2)


def test_cached_with_a_timeout_stays_under_the_ceiling(policies: None) -> None:
    @cached(timeout="1h")
    def function() -> int:
        return call()

    function()
    assert lives_s() <= {90, 89}


def test_the_wrapper_looks_like_the_function(policies: None) -> None:
    @cached_as("by_rule")
    def function(value: int) -> int:
        """Says what it does."""
        return value

    assert (function.__name__, function.__doc__) == ("function", "Says what it does.")
    assert function.__wrapped__(3) == 3  # type: ignore[attr-defined]


def test_errors_of_the_function_pass_and_are_not_stored(policies: None) -> None:
    @cached_as("by_rule")
    def function() -> int:
        if call() == 1:
            raise LookupError("nothing there")
        return 7

    with pytest.raises(LookupError):
        function()
    assert function() == 7


def test_a_write_to_another_database_than_the_samples_turns_caching_off_too(policies: None) -> None:
    @cached_as("by_rule")
    def function() -> int:
        return call()

    # Only an alias that the project has can be read; the samples are all of `default`.
    with another_connection("other"), atomic(using="other"):
        Tag.objects.using("other").create(name="Elections", slug="elections")
        assert [function(), function()] == [1, 2]
        set_rollback(True, using="other")
    assert [function(), function()] == [3, 3]


def test_invalidate_takes_a_call_in_any_form_and_refuses_what_is_none(policies: None) -> None:
    class Rates:
        def cache_key(self) -> str:
            return "rates"

        @cached("timed")
        def of(self, day: int, kind: str = "spot") -> int:
            return call(day, kind)

    rates = Rates()
    assert (rates.of(1), rates.of(day=1), rates.of(1, "spot")) == (1, 1, 1)
    Rates.of.invalidate(rates, day=1)  # type: ignore[attr-defined]
    assert rates.of(1) == 2
    with pytest.raises(TypeError) as refusal:
        rates.of.invalidate(1)  # type: ignore[attr-defined]
    assert str(refusal.value) == (
        "tests.runtime.test_decorators.test_invalidate_takes_a_call_in_any_form_and_refuses_what_is_none.<locals>.Rates"
        ".of.invalidate: missing a required argument: 'day'; give it the arguments of a call; of a method the instance "
        "first, by the class"
    )


@pytest.mark.parametrize("sample", [lambda: Article.objects.all(), lambda: Article.objects])
def test_a_queryset_and_a_manager_follow_their_many_to_many_tables(sample: Any) -> None:
    tag = Tag.objects.create(name="Elections", slug="elections")
    article = _article()

    @cached_as(sample())
    def count() -> int:
        call()
        return int(Article.tags.through.objects.count())

    assert count() == 0
    article.tags.add(tag)
    assert count() == 1


def _article() -> Article:
    with allow_writes():
        country = Country.objects.create(code="FR", alpha_3="FRA", name="France")
        language = Language.objects.create(code="fr", alpha_3="fra", name="French")
    author = Author.objects.create(name="A. Author", country=country)
    category = Category.objects.create(name="World", slug="world")
    return Article.objects.create(title="T", slug="t", category=category, author=author, language=language)


@contextmanager
def another_connection(alias: str) -> Iterator[None]:
    """Let the project have one more database, which is the same one."""
    connections.settings[alias] = connections.settings["default"]
    connections[alias].connect()
    try:
        yield
    finally:
        connections[alias].close()
        del connections[alias]
        del connections.settings[alias]
