"""fresh(): where it holds, where it ends, and that refresh_from_db() is always inside."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth.models import User
from django.db import models
from django.db.models import Model
from django.utils.decorators import method_decorator
from django.views import View

from cachepolicy import UnsupportedFunctionError, fresh
from cachepolicy.runtime.freshness import REPLACEMENTS, is_fresh


def test_holds_inside_the_block_and_not_around_it() -> None:
    before = is_fresh()
    with fresh():
        inside = is_fresh()
    assert (before, inside, is_fresh()) == (False, True, False)


def test_ends_with_an_exception_too() -> None:
    with pytest.raises(KeyError), fresh():
        raise KeyError
    assert not is_fresh()


def test_blocks_may_lie_in_one_another_and_one_object_may_open_several() -> None:
    block = fresh()
    with block, block:
        with fresh():
            assert is_fresh()
        assert is_fresh()
    assert not is_fresh()


def test_a_decorated_function_reads_freshly_and_calls_itself() -> None:
    @fresh()
    def countdown(number: int, /, *, seen: tuple[bool, ...] = ()) -> tuple[bool, ...]:
        """Its own documentation."""
        return countdown(number - 1, seen=(*seen, is_fresh())) if number else seen

    assert countdown(2) == (True, True)
    assert (countdown.__name__, countdown.__doc__) == ("countdown", "Its own documentation.")
    assert not is_fresh()


def test_a_decorated_async_function_stays_fresh_over_its_awaits() -> None:
    @fresh()
    async def page() -> list[bool]:
        found = [is_fresh()]
        await asyncio.sleep(0)
        found.append(await sync_to_async(is_fresh)())
        return found

    async def both() -> tuple[Any, ...]:
        # The second task runs while the first one's block is open.
        return (*await asyncio.gather(page(), asyncio.to_thread(is_fresh)), is_fresh())

    assert asyncio.iscoroutinefunction(page)
    assert async_to_sync(both)() == ([True, True], False, False)


def test_another_thread_is_not_fresh_and_a_context_handed_on_is() -> None:
    found = []
    with fresh():
        context = contextvars.copy_context()
        thread = threading.Thread(target=lambda: found.append(is_fresh()))
        thread.start()
        thread.join()
    assert found == [False]
    assert context.run(is_fresh)


def test_generators_may_end_their_blocks_in_any_order() -> None:
    def reading() -> Iterator[bool]:
        with fresh():
            yield is_fresh()

    first, second = reading(), reading()
    assert (next(first), next(second)) == (True, True)
    first.close()
    assert is_fresh()
    second.close()
    assert not is_fresh()


def test_a_view_is_decorated_by_djangos_method_decorator() -> None:
    @method_decorator(fresh(), name="dispatch")
    class Page(View):
        def dispatch(self, *_: Any, **__: Any) -> Any:
            return is_fresh()

    assert Page.as_view()(None)  # type: ignore[arg-type]
    assert not is_fresh()


def test_a_partial_of_a_function_is_decorated_too() -> None:
    async def later(value: bool) -> tuple[bool, bool]:
        return value, is_fresh()

    assert fresh()(functools.partial(lambda value: (value, is_fresh()), True))() == (True, True)
    assert async_to_sync(fresh()(functools.partial(later, True)))() == (True, True)


def generator() -> Iterator[int]:
    yield 1


async def async_generator() -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (generator, "generator is a generator; write `with fresh():` around the reads inside it"),
        (async_generator, "async_generator is a generator; write `with fresh():` around the reads inside it"),
        (staticmethod(is_fresh), "is_fresh is a staticmethod; put @staticmethod above @fresh(), not below it"),
        (classmethod(is_fresh), "is_fresh is a classmethod; put @classmethod above @fresh(), not below it"),
        (User, "User is no function; decorate a function or a method"),
        (7, "7 is no function; decorate a function or a method"),
    ],
)
def test_what_cannot_be_fresh_is_refused_where_it_is_decorated(wrong: Any, message: str) -> None:
    with pytest.raises(UnsupportedFunctionError) as raised:
        fresh()(wrong)
    assert str(raised.value) == message


def test_forgotten_parentheses_are_named() -> None:
    with pytest.raises(TypeError, match=r"^fresh\(\) takes no arguments; decorate with parentheses, as in @fresh\(\)$"):
        fresh(is_fresh)


@pytest.fixture
def _refreshing(monkeypatch: pytest.MonkeyPatch) -> None:
    ((owner, name, replacement),) = REPLACEMENTS
    assert (owner, name) == ("django.db.models:Model", "refresh_from_db")
    monkeypatch.setattr(Model, name, replacement(getattr(Model, name)))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """For each queryset that is evaluated, whether that was fresh."""
    found: list[bool] = []
    upstream = models.QuerySet._fetch_all

    def fetch_all(self: Any) -> None:
        if self._result_cache is None:
            found.append(is_fresh())
        upstream(self)

    monkeypatch.setattr(models.QuerySet, "_fetch_all", fetch_all)
    return found


@pytest.fixture
def user(db: None) -> User:
    return User.objects.create(username="anna")


@pytest.mark.usefixtures("_refreshing")
def test_refresh_from_db_is_fresh(user: User, reads: list[bool]) -> None:
    User.objects.filter(pk=user.pk).update(username="berta")
    user.refresh_from_db()
    user.refresh_from_db(using="default", fields=["username"])
    assert (user.username, reads, is_fresh()) == ("berta", [True, True], False)


@pytest.mark.usefixtures("_refreshing")
def test_arefresh_from_db_is_fresh(user: User, reads: list[bool]) -> None:
    async_to_sync(user.arefresh_from_db)()
    assert (reads, is_fresh()) == ([True], False)


@pytest.mark.usefixtures("_refreshing")
def test_a_deferred_field_is_loaded_freshly(user: User, reads: list[bool]) -> None:
    found = User.objects.only("pk").get(pk=user.pk)
    assert found.username == "anna"
    assert reads == [False, True]


class Refreshed(User):
    """A model that has a word of its own to say about refreshing."""

    class Meta:
        proxy = True
        app_label = "auth"

    def refresh_from_db(self, *args: Any, **kwargs: Any) -> None:
        super().refresh_from_db(*args, **kwargs)
        self.first_name = "refreshed"


@pytest.mark.usefixtures("_refreshing")
def test_a_model_that_overrides_refresh_from_db_keeps_its_own(user: User, reads: list[bool]) -> None:
    found = Refreshed.objects.get(pk=user.pk)
    found.refresh_from_db()
    assert (found.first_name, reads) == ("refreshed", [False, True])
