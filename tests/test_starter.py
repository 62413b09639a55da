"""The starter file: it loads, means what the CACHEOPS dict meant, and says what it leaves out."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachepolicy.compiler import compile_policies, unsupported
from cachepolicy.policies.loader import parse_policies
from cachepolicy.policies.model import OPS, PolicySet
from cachepolicy.starter import from_cacheops, from_models
from tests.test_compiler import cacheops_profiles

YEAR_S = 31_536_000


def loaded(text: str) -> PolicySet:
    """The policies of a starter file, which must be sound and kept by this version."""
    policies = parse_policies(text.encode())
    assert unsupported(policies) == []
    return policies


# From the models


def test_the_starter_names_every_model_and_caches_none() -> None:
    assert (
        from_models(["news.Tag", "auth.User", "news.Article"])
        == """\
# How stale may cached reads get? Every timeout here is a promise: no cached read is older than it.
# Check this file with `cachepolicy check policies.yaml`; see what it means with `manage.py cachepolicy show`.
version: 1

# The ceiling: no rule may promise longer, unless its table is immutable.
max_staleness: 60s

defaults:
  timeout: 60s
  # The reads that are cached: get, fetch, count, aggregate, exists, or all.
  ops: []

# To cache a model's reads, fill in its rule, for example {ops: [get, fetch], timeout: 30s}.
# Remove a line, and its model is not cached; its writes then invalidate by table, not by row.
models:
  auth.User: {}

  news.Article: {}
  news.Tag: {}
"""
    )


names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)


@given(st.lists(st.builds("{}.{}".format, names, names), unique_by=str.lower))
def test_the_starter_of_any_models_loads(labels: list[str]) -> None:
    policies = loaded(from_models(labels))
    assert policies.models.keys() == {label.lower() for label in labels}
    for label in labels:
        rule = policies.rule_for(label)
        assert rule is not None
        assert (rule.ops.value, str(rule.timeout.value)) == (frozenset(), "1m")


# From a CACHEOPS dict


def test_a_cacheops_dict_becomes_rules_and_comments() -> None:
    text = from_cacheops(
        {
            "auth.user": {"ops": "get", "timeout": 900},
            "auth.*": {"ops": ("fetch", "get")},
            "auth.Permission": {"ops": "all", "cache_on_save": True},
            "news.Country": {"ops": {"get"}, "timeout": 86_400, "local_get": True},
            "news.*": {"timeout": 2.5, "ops": ["get", "all"], "tiemout": 3},
            "sessions.*": None,
            "*.*": {},
        },
        {"timeout": 3600},
        "cache.yaml",
    )
    assert (
        text
        == """\
# How stale may cached reads get? Every timeout here is a promise: no cached read is older than it.
# Check this file with `cachepolicy check cache.yaml`; see what it means with `manage.py cachepolicy show`.
version: 1

# The ceiling: no rule may promise longer, unless its table is immutable.
max_staleness: 1h

defaults:
  # db_agnostic is cacheops' default. Where there are several databases, false is right.
  db_agnostic: true
  timeout: 1h

models:
  auth.user: {ops: [get], timeout: 15m}
  auth.*: {ops: [get, fetch]}
  # cache_on_save is left out: `cache_on_save` stores an object from memory, which is not the state of the database
  auth.Permission: {ops: all}
  # local_get was on: the ORM will refuse writes to this table outside allow_writes()
  news.Country: {ops: [get], local_get: true, timeout: 24h, immutable: true}
  # ops: 'all' is left out: cacheops ignores it there
  # timeout: 2.5 is no whole number of seconds above zero
  # 'tiemout': 3 is left out: cacheops does not know it either
  # It has no timeout that can be kept, so it caches nothing.
  news.*: {ops: [], timeout: 1h}
  sessions.*: off
  "*.*": {}
"""
    )
    loaded(text)


@pytest.mark.parametrize(
    ("profiles", "defaults", "comment"),
    [
        ({"a.b": {"timeout": 0}}, {}, "# timeout: 0 is no whole number of seconds above zero"),
        # What it gets instead may be the longest promise of the file, and the ceiling must allow it.
        (
            {"a.b": {"timeout": 1}, "a.c": {"ops": "all"}},
            {},
            "# It has no timeout that can be kept, so it caches nothing.",
        ),
        ({"a.b": {"timeout": True}}, {}, "# timeout: True is no whole number of seconds above zero"),
        ({"a.b": {}}, {}, "# It has no timeout that can be kept, so it caches nothing."),
        ({"a.b": {}}, {"timeout": -1}, "# timeout: -1 is no whole number of seconds above zero"),
        ({"a.b": {"timeout": YEAR_S + 1}}, {}, f"# timeout: {YEAR_S + 1} is cut to a year"),
        ({"a.b": {"timeout": 9, "ops": {"all"}}}, {}, "# ops: 'all' is left out: cacheops ignores it there"),
        ({"a.b": {"timeout": 9, "ops": "gte"}}, {}, "# ops: 'gte' is left out: cacheops ignores it there"),
        (
            {"a.b": {"timeout": 9, "local_get": True}},
            {},
            "# local_get is left out: without the op get it does nothing",
        ),
        (
            {"a.b": {"timeout": 9, "a\nb": "c\nd"}},
            {},
            r"# 'a\nb': 'c\nd' is left out: cacheops does not know it either",
        ),
        ({"a": {"timeout": 9}}, {}, "# 'a' is left out: it is neither app.Model nor app.* nor *.*"),
        ({"*": None}, {}, "# '*' is left out: it is neither app.Model nor app.* nor *.*"),
        (
            {"a.B": {"timeout": 9}, "a.b": {"timeout": 8}},
            {},
            "# a.B is left out: a.b, below, has the last word",
        ),
        (
            {"a.b": {"timeout": 9}},
            {"cache_on_save": "id"},
            "# cache_on_save is left out: `cache_on_save` stores an object from memory, "
            "which is not the state of the database",
        ),
    ],
    ids=lambda value: None if isinstance(value, dict) else value[2:22],
)
def test_what_cannot_be_kept_is_a_comment_and_the_file_loads(
    profiles: dict[str, Any], defaults: dict[str, Any], comment: str
) -> None:
    text = from_cacheops(profiles, defaults)
    assert [line.strip() for line in text.splitlines()].count(comment) == 1
    loaded(text)


# As CACHEOPS is written in the wild: exact names, wildcards, ops in every spelling, keys left to the defaults.
ops = st.one_of(
    st.just("all"),
    st.sampled_from(OPS),
    st.lists(st.sampled_from(OPS)),
    st.sets(st.sampled_from(OPS)),
    st.lists(st.sampled_from(OPS)).map(tuple),
)
flags = dict.fromkeys(("lock", "local_get", "db_agnostic"), st.booleans())
optional: dict[str, Any] = {"ops": ops, **flags, "cache_on_save": st.sampled_from([True, "id"]), "name": st.text()}
timeouts = st.integers(1, YEAR_S)
labels = st.sampled_from(["auth.User", "auth.user", "auth.Group", "News.Article", "news.Tag"])
patterns = labels | st.sampled_from(["auth.*", "news.*", "Auth.*", "*.*", "*", "auth"])
profiles = st.dictionaries(
    patterns, st.none() | st.fixed_dictionaries({}, optional={**optional, "timeout": timeouts}), max_size=7
)
defaults = st.fixed_dictionaries({"timeout": timeouts}, optional=optional)


def effect(profile: dict[str, Any] | None) -> dict[str, Any] | None:
    """What a profile does: without the op get, cacheops never comes to look at local_get."""
    return profile and {
        "ops": profile["ops"],
        "timeout": profile["timeout"],
        "lock": profile["lock"],
        "db_agnostic": profile["db_agnostic"],
        "local_get": profile["local_get"] and "get" in profile["ops"],
    }


@given(profiles, defaults)
def test_the_starter_of_a_cacheops_dict_compiles_to_the_same_profiles(
    profiles: dict[str, Any], defaults: dict[str, Any]
) -> None:
    models = ("auth.User", "auth.Group", "auth.Permission", "news.Article", "news.Tag", "other.Model")
    with cacheops_profiles({"CACHEOPS": profiles, "CACHEOPS_DEFAULTS": defaults}) as profile:
        before = {label: effect(profile(label)) for label in models}
    with cacheops_profiles(compile_policies(loaded(from_cacheops(profiles, defaults)))) as profile:
        assert {label: effect(profile(label)) for label in models} == before
