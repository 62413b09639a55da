"""What the decorators refuse, where it is decorated, and what they say."""

from __future__ import annotations

import functools
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from news.models import Article

from cachepolicy import PolicyError, UnsupportedFunctionError, cached, cached_as
from cachepolicy.policies.loader import parse_policies


def call(*args: Any) -> int:
    """A function like any other."""
    return len(args)


async def _async() -> None: ...


async def _async_generator() -> Any:
    yield


def _generator() -> Any:
    yield


@pytest.mark.parametrize("decorator", [functools.partial(cached_as, Article), functools.partial(cached, timeout="1s")])
@pytest.mark.parametrize(
    ("function", "text"),
    [
        (
            _async,
            "tests.runtime.test_decorator_refusals._async is async, and the ORM cache is not; cache the sync function "
            "that reads the database, and call it with asgiref's sync_to_async",
        ),
        (
            _async_generator,
            "tests.runtime.test_decorator_refusals._async_generator is async, and the ORM cache is not; cache the "
            "sync function that reads the database, and call it with asgiref's sync_to_async",
        ),
        (
            _generator,
            "tests.runtime.test_decorator_refusals._generator is a generator, which cannot be stored; return a list",
        ),
        (
            staticmethod(call),
            "tests.runtime.test_decorator_refusals.call is a staticmethod; put @staticmethod above the caching "
            "decorator, not below it",
        ),
        (
            functools.partial(call, 1),
            f"{functools.partial(call, 1)!r} is no function; decorate a function, or a method where its class "
            f"defines it",
        ),
        (
            Article,
            "<class 'news.models.Article'> is no function; decorate a function, or a method where its class defines it",
        ),
    ],
)
def test_what_cannot_be_cached_is_refused_where_it_is_decorated(
    policies: None, decorator: Any, function: Any, text: str
) -> None:
    with pytest.raises(UnsupportedFunctionError) as refusal:
        decorator()(function)
    assert str(refusal.value) == text


@pytest.mark.parametrize(
    ("decorate", "text"),
    [
        (lambda: cached_as("by_rul"), "rules.yaml: functions: there is no rule `by_rul`; did you mean by_rule?"),
        (lambda: cached("xyz"), "rules.yaml: functions: there is no rule `xyz`; add it under `functions:`"),
        (
            lambda: cached_as("timed"),
            "rules.yaml:10:3: functions.timed: cached_as needs models to depend on; add `depends_on`, or use `cached` "
            "for a function that only time refreshes",
        ),
        (
            lambda: cached("by_rule"),
            "rules.yaml:8:3: functions.by_rule: `cached` would ignore what this rule depends on; use `cached_as`, or "
            "remove `depends_on`",
        ),
        (
            lambda: cached("locked"),
            "rules.yaml:11:32: functions.locked.lock: `cached` has no lock; use `cached_as` with `depends_on`, or "
            "remove `lock`",
        ),
        (
            lambda: cached_as("news.Article"),
            "rules.yaml: functions: there is no rule `news.Article`; add it under `functions:`; for the model give the "
            "class, as in cached_as(Article)",
        ),
        (
            lambda: cached_as(Session),
            "rules.yaml: models: sessions.Session has no rule, and only a model with a rule can be depended on; add "
            "`sessions.Session: {ops: []}` to models",
        ),
    ],
)
def test_a_use_the_policy_does_not_cover_is_refused_where_it_is_decorated(
    policies: None, decorate: Any, text: str
) -> None:
    with pytest.raises(PolicyError) as refusal:
        decorate()
    assert str(refusal.value) == f"1 problem in the cache policy:\n  {text}"


@pytest.mark.parametrize(
    ("decorate", "text"),
    [
        (lambda: cached_as(), "cached_as needs the name of a rule in `functions:`, or the models it depends on"),
        (lambda: cached_as("by_rule", "timed"), "cached_as takes one name of a rule, or models; not both"),
        (lambda: cached_as("by_rule", Article), "cached_as takes one name of a rule, or models; not both"),
        (lambda: cached_as(Article, "by_rule"), "cached_as takes one name of a rule, or models; not both"),
        (
            lambda: cached(),
            'cached needs the name of a rule, as in @cached("rates"), or a timeout, as in timeout="30s"',
        ),
        (
            lambda: cached(call),
            'cached needs the name of a rule, as in @cached("rates"), or a timeout, as in timeout="30s"',
        ),
    ],
)
def test_a_wrong_call_of_a_decorator_says_the_right_one(policies: None, decorate: Any, text: str) -> None:
    with pytest.raises(TypeError) as refusal:
        decorate()
    assert str(refusal.value) == text


def test_the_decorator_without_parentheses_says_what_to_write(policies: None) -> None:
    with pytest.raises(TypeError) as refusal:
        cached_as(call)  # type: ignore[arg-type]
    assert str(refusal.value) == (
        f'cached_as got {call!r}; give it the name of a rule, as in @cached_as("stats"), or models, as in '
        f"@cached_as(Article), in parentheses"
    )


@pytest.mark.parametrize("timeout", [0, -1, True, 2.5, timedelta(0), timedelta(milliseconds=500)])
def test_a_timeout_that_is_no_whole_number_of_seconds_is_refused(policies: None, timeout: Any) -> None:
    with pytest.raises(ValueError, match="give whole seconds, at least 1; to cache nothing, drop the decorator"):
        cached_as(Article, timeout=timeout)


@pytest.mark.parametrize("timeout", ["5", "", "0s"])
def test_a_timeout_that_is_no_duration_is_refused(policies: None, timeout: str) -> None:
    with pytest.raises(ValueError, match=r"whole|unit|zero"):
        cached_as(Article, timeout=timeout)


def test_under_a_faulty_policy_functions_run_uncached(settings: Any) -> None:
    with pytest.raises(PolicyError) as refusal:
        parse_policies(b"version: 2")
    settings.CACHEPOLICY_PROBLEMS = refusal.value.problems
    assert cached_as("whatever")(call) is call
    assert cached("whatever")(call) is call


def test_decorating_asks_the_database_nothing(policies: None) -> None:
    # Without the django_db mark, pytest-django fails any query.
    cached_as("by_rule")(call)
    cached_as(Article)(call)
