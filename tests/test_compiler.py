"""The compiled settings mean to cacheops exactly what the policy says; what it cannot keep is refused."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cacheops.conf
import pytest
from django.test import override_settings
from hypothesis import given
from hypothesis import strategies as st

from cachepolicy.compiler import Bound, compile_policies, unsupported
from cachepolicy.policies.durations import Duration
from cachepolicy.policies.loader import parse_policies
from cachepolicy.policies.model import OPS, ModelRule, PolicySet
from tests.projects import Project

# What cacheops 7.2 reads of a profile; it takes any other key in silence.
PROFILE_KEYS = {"ops", "timeout", "lock", "local_get", "db_agnostic", "cache_on_save"}
ALL = frozenset(OPS)

TALK = """\
version: 1
defaults: {timeout: 1h}
models:
  auth.user: {ops: get, timeout: 15m}
  auth.*: {ops: [fetch, get]}
  auth.permission: {ops: all}
  "*.*": {}
"""


@contextmanager
def cacheops_profiles(settings: dict[str, Any]) -> Iterator[Callable[[str], dict[str, Any] | None]]:
    """cacheops' own `model_profile`, by label, under these settings as if the process had just started."""
    memory = cacheops.conf.prepare_profiles.memory
    before = dict(memory)
    with override_settings(**settings):  # cacheops drops the settings it keeps when Django says they changed
        memory.clear()
        try:
            yield lambda label: cacheops.conf.model_profile(stand_in(label))
        finally:
            memory.clear()
    memory.update(before)


def stand_in(label: str) -> Any:
    """All of a model that `model_profile` looks at."""
    app, name = label.split(".")
    meta = SimpleNamespace(app_label=app, model_name=name.lower(), abstract=False)
    return SimpleNamespace(_meta=meta, __module__=f"{app}.models")


def meaning(rule: ModelRule | None) -> dict[str, Any] | None:
    """The profile that this rule promises."""
    return rule and {
        "ops": set(rule.ops.value),
        "timeout": math.ceil(rule.timeout.value.ms / 1_000),
        "lock": rule.lock.value,
        "local_get": rule.local_get.value,
        "db_agnostic": rule.db_agnostic.value,
    }


@pytest.mark.parametrize(
    ("label", "ops", "timeout_s"),
    [
        ("auth.User", {"get"}, 900),
        ("auth.Group", {"fetch", "get"}, 3600),
        ("auth.Permission", {"get", "fetch", "count", "aggregate", "exists"}, 3600),
        ("news.Article", set(), 3600),
    ],
)
def test_the_talks_example_means_what_the_talk_says(label: str, ops: set[str], timeout_s: int) -> None:
    policies = parse_policies(TALK.encode())
    with cacheops_profiles(compile_policies(policies)) as profile:
        assert profile(label) == {
            "ops": ops,
            "timeout": timeout_s,
            "lock": False,
            "local_get": False,
            "db_agnostic": False,
        }


def test_the_talks_example_agrees_with_cacheops_own_spelling() -> None:
    # Word for word from the talk; only db_agnostic, true by cacheops' default, is false by ours.
    by_hand = {
        "CACHEOPS_DEFAULTS": {"timeout": 60 * 60, "db_agnostic": False},
        "CACHEOPS": {
            "auth.user": {"ops": "get", "timeout": 60 * 15},
            "auth.*": {"ops": ("fetch", "get")},
            "auth.permission": {"ops": "all"},
            "*.*": {},
        },
    }
    labels = ("auth.User", "auth.Group", "auth.Permission", "news.Article", "news.User")
    with cacheops_profiles(by_hand) as profile:
        spelled = {label: profile(label) for label in labels}
    with cacheops_profiles(compile_policies(parse_policies(TALK.encode()))) as profile:
        assert {label: profile(label) for label in labels} == spelled


# Generated policies: few names, so that patterns and models meet

APPS = ("news", "News_2", "auth")
NAMES = ("Article", "article", "User", "T")
labels = st.builds("{}.{}".format, st.sampled_from(APPS), st.sampled_from(NAMES))
patterns = st.one_of(labels, st.sampled_from([f"{app}.*" for app in APPS] + ["*.*"]))
timeouts = st.integers(1, 31_536_000_000).map(Duration)
ops = st.one_of(st.just("all"), st.sampled_from(OPS), st.sets(st.sampled_from(OPS)).map(sorted))


@dataclass(frozen=True)
class Written:
    """A policy as text, and by folded pattern what each rule says."""

    text: str
    defaults: dict[str, Any] = field(default_factory=dict)
    rules: dict[str, dict[str, Any] | None] = field(default_factory=dict)

    def expected(self, label: str) -> dict[str, Any] | None:
        """The profile of a model, by the language's own rules and none of the library's code."""
        app = label.split(".")[0]
        for pattern in (label, f"{app}.*", "*.*"):
            if pattern.lower() in self.rules:
                rule = self.rules[pattern.lower()]
                if rule is None:
                    return None
                given = {"ops": [], "lock": False, "local_get": False, "db_agnostic": False} | self.defaults | rule
                listed = ALL if given["ops"] == "all" else given["ops"]
                keys = ("lock", "local_get", "db_agnostic")
                return {
                    "ops": {listed} if isinstance(listed, str) else set(listed),
                    "timeout": math.ceil(given["timeout"].ms / 1_000),
                    **{key: given[key] for key in keys},
                }
        return None


def yaml_of(rule: dict[str, Any]) -> str:
    def value(of: Any) -> str:
        return str(of).lower() if isinstance(of, bool) else f"[{', '.join(of)}]" if isinstance(of, list) else str(of)

    return "{" + ", ".join(f"{key}: {value(of)}" for key, of in rule.items()) + "}"


@st.composite
def written_policies(draw: st.DrawFn) -> Written:
    flags = {"lock": st.booleans(), "db_agnostic": st.booleans()}
    ahead = {"near": timeouts, "refresh_ahead": timeouts}
    defaults = draw(st.fixed_dictionaries({"timeout": timeouts}, optional={"ops": ops, **flags, **ahead}))
    optional = {"timeout": timeouts, "ops": ops, **flags, "immutable": st.booleans()}
    rules: dict[str, dict[str, Any] | None] = {}
    lines = []
    for pattern in draw(st.lists(patterns, unique_by=str.lower, max_size=8)):
        rule = draw(st.none() | st.fixed_dictionaries({}, optional=optional))
        if rule is not None and draw(st.booleans()):
            rule |= {"ops": draw(st.sampled_from(["all", "get", ["fetch", "get"]])), "immutable": True}
            rule["local_get"] = draw(st.booleans())
        if rule is not None and rule.get("timeout", Duration(1)).ms > 1:
            rule |= draw(st.fixed_dictionaries({}, optional={"near": st.just("1ms"), "refresh_ahead": st.just("1ms")}))
        rules[pattern.lower()] = rule
        lines.append(f"  {pattern!r}: {'off' if rule is None else yaml_of(rule)}")
    models = "models:\n" + "\n".join(lines) if lines else "models: {}"
    return Written(f"version: 1\ndefaults: {yaml_of(defaults)}\n{models}\n", defaults, rules)


@given(written_policies(), st.lists(labels, min_size=1))
def test_cacheops_resolves_every_model_as_the_policy_does(written: Written, models: list[str]) -> None:
    policies = parse_policies(written.text.encode())
    assert unsupported(policies) == []
    with cacheops_profiles(compile_policies(policies)) as profile:
        for label in models:
            assert profile(label) == meaning(policies.rule_for(label)) == written.expected(label)


@given(written_policies())
def test_no_compiled_profile_has_a_key_that_cacheops_does_not_know(written: Written) -> None:
    compiled = compile_policies(parse_policies(written.text.encode()))
    for profile in compiled["CACHEOPS"].values():
        assert profile is None or profile.keys() <= PROFILE_KEYS
    known = set(vars(cacheops.conf.Defaults))
    assert compiled.keys() <= known


def test_real_models_in_a_fresh_process_get_the_profiles_of_the_policy(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.policies("""\
version: 1
defaults: {timeout: 1h}
models:
  shop.Tag: {ops: get, timeout: 15m}
  shop.*: {ops: [fetch, get], lock: true}
  contenttypes.contenttype: off
  shop.Category: {ops: all, immutable: true, local_get: true}
  shop.Place: {ops: []}
  shop.Cafe: {ops: []}
  "*.*": {db_agnostic: true}
""")
    shown = project.serve("""
import json
from cacheops.conf import model_profile
from django.apps import apps
from cachepolicy import conf

rules = {model: conf.policies().rule_for(model._meta.label) for model in apps.get_models(include_auto_created=True)}
print(json.dumps({
    model._meta.label: [
        {**(model_profile(model) or {}), "ops": sorted((model_profile(model) or {"ops": ()})["ops"])},
        rule and {
            "ops": sorted(rule.ops.value),
            "timeout": rule.timeout.value.ms // 1000,
            "local_get": rule.local_get.value,
            "lock": rule.lock.value,
            "db_agnostic": rule.db_agnostic.value,
        },
    ]
    for model, rule in rules.items()
}))
""")
    assert shown.err == ""
    profiles = shown.json
    assert profiles.pop("contenttypes.ContentType") == [{"ops": []}, None]
    assert len(profiles) == 8
    assert [label for label, (cacheops_has, policy_says) in profiles.items() if cacheops_has != policy_says] == []
    assert profiles["shop.Article_tags"][0] == {
        "ops": ["fetch", "get"],
        "timeout": 3600,
        "lock": True,
        "local_get": False,
        "db_agnostic": False,
    }


# What cacheops cannot keep


def problems(text: str) -> list[tuple[str, str]]:
    """Each problem of `unsupported` as it prints, with its code."""
    return [(str(problem), problem.code) for problem in unsupported(parse_policies(text.encode()))]


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        (
            "views: {front: {timeout: 10s}}",
            "policies.yaml:2:9: views.front: this version caches no views yet; "
            "remove the rule; cache the function behind it by `functions`",
        ),
        (
            "fragments: {side: {timeout: 10s}}",
            "policies.yaml:2:13: fragments.side: this version caches no fragments yet; "
            "remove the rule; cache the function behind it by `functions`",
        ),
    ],
    ids=["view", "fragment"],
)
def test_what_this_version_cannot_keep_is_said(rule: str, problem: str) -> None:
    assert problems(f"version: 1\n{rule}\n") == [(problem, "cachepolicy.E005")]


def test_what_this_version_can_keep_is_not_complained_of() -> None:
    text = """\
version: 1
models:
  a.B: {timeout: 1s500ms, ops: all, lock: true, db_agnostic: true, near: 1s, refresh_ahead: 1s, update: ignore}
  a.C: {timeout: 8760h, ops: get, immutable: true, local_get: true, near: 1h}
  a.*: off
functions:
  stats: {timeout: 999ms, depends_on: [a.B], lock: true, near: 999ms, refresh_ahead: 998ms}
  rates: {timeout: 1m, near: 1s, refresh_ahead: 9s}
databases: {replica: {max_lag: 1ms}}
views: {}
fragments: {}
"""
    assert problems(text) == []


def test_all_that_cannot_be_kept_is_said_in_the_order_of_the_file() -> None:
    text = """\
version: 1
views: {front: {timeout: 10s}}
models:
  a.C: {timeout: 5s}
fragments: {side: {timeout: 6ms}, foot: {timeout: 6ms}}
"""
    assert [problem.partition(": this")[0] for problem, _ in problems(text)] == [
        "policies.yaml:2:9: views.front",
        "policies.yaml:5:13: fragments.side",
        "policies.yaml:5:35: fragments.foot",
    ]


def test_what_an_overlay_asks_for_is_said_whatever_environment_is_in_force() -> None:
    text = """\
version: 1
models: {a.B: {timeout: 5s}}
environments:
  prod: {fragments: {side: {timeout: 1s}}}
  test: {views: {front: {timeout: 1s}}}
"""
    said = [
        (
            "policies.yaml:4:22: fragments.side: this version caches no fragments yet; "
            "remove the rule; cache the function behind it by `functions`",
            "cachepolicy.E005",
        ),
        (
            "policies.yaml:5:18: views.front: this version caches no views yet; "
            "remove the rule; cache the function behind it by `functions`",
            "cachepolicy.E005",
        ),
    ]
    assert problems(text) == said
    assert [str(problem) for problem in unsupported(parse_policies(text.encode(), environment="prod"))] == [
        problem for problem, _ in said
    ]


@given(st.integers(1, 10**9))
def test_cacheops_never_forgets_before_the_timeout_and_never_a_second_after_it(ms: int) -> None:
    compiled = copy.deepcopy(Bound(Duration(ms)))
    assert isinstance(compiled, int)
    assert ms <= compiled * 1_000 < ms + 1_000
    assert compiled.ms == pickle.loads(pickle.dumps(compiled)).ms == ms


def test_an_empty_policy_caches_nothing() -> None:
    with cacheops_profiles(compile_policies(PolicySet("policies.yaml"))) as profile:
        assert profile("a.B") is None
