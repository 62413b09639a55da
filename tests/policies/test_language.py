"""What a valid file means: effective values, the place that gave each, and which rule wins."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachepolicy.exceptions import PolicyError
from cachepolicy.policies.durations import Duration
from cachepolicy.policies.loader import load_policies, parse_policies
from cachepolicy.policies.model import OPS, CallRule, ModelRule, Off, PolicySet, Rule, Sourced

# DESIGN's example, its `fragments: …` filled in.
DESIGN = """\
version: 1
max_staleness: 60s              # ceiling: no rule may promise a longer timeout, unless its table is immutable
defaults: {timeout: 60s, ops: [get]}
models:
  news.Article:  {ops: [get, fetch], timeout: 30s}
  news.Country:  {ops: all, immutable: true, local_get: true, timeout: 1h}
  news.Category: {ops: [get], near: 1s, timeout: 60s}           # a near cache, for a table that does change
  "news.*":      {ops: [get, count]}
  auth.*:        off
functions:  {article_stats: {depends_on: [news.Article], timeout: 60s, near: 2s, refresh_ahead: 10s}}
views:      {front_page: {depends_on: [news.Article], timeout: 30s, vary: [language]}}
fragments:  {sidebar: {depends_on: [news.Category], vary: ["header:Accept", user]}}
databases:  {replica: {max_lag: 5s}}                           # what is read there is that much older
environments: {test: {max_staleness: 2s}}     # overlays, chosen by CACHEPOLICY_ENVIRONMENT or an argument
"""


def _parse(text: str, environment: str | None = None) -> PolicySet:
    return parse_policies(text.encode(), "f", environment)


def _rule(policies: PolicySet, label: str) -> ModelRule:
    rule = policies.rule_for(label)
    assert rule is not None
    return rule


def _shown(rule: ModelRule | CallRule) -> dict[str, str]:
    """Each effective value of a rule and its place."""
    values = {field.name: getattr(rule, field.name) for field in dataclasses.fields(rule)}
    return {
        name: f"{_text(value.value)} {value.origin}" for name, value in values.items() if isinstance(value, Sourced)
    }


def _text(value: Any) -> str:
    return "+".join(sorted(value)) if isinstance(value, frozenset) else str(value)


def test_every_value_has_the_place_that_gave_it() -> None:
    policies = _parse(DESIGN)
    assert _shown(_rule(policies, "news.Article")) == {
        "timeout": "30s f:5:47",
        "ops": "fetch+get f:5:24",
        "lock": "False built in",
        "db_agnostic": "False built in",
        "immutable": "False built in",
        "local_get": "False built in",
        "near": "None built in",
        "refresh_ahead": "None built in",
        "update": "invalidate built in",
    }
    assert _shown(_rule(policies, "news.Country")) == {
        "timeout": "1h f:6:72",
        "ops": "aggregate+count+exists+fetch+get f:6:24",
        "lock": "False built in",
        "db_agnostic": "False built in",
        "immutable": "True f:6:40",
        "local_get": "True f:6:57",
        "near": "None built in",
        "refresh_ahead": "None built in",
        "update": "invalidate built in",
    }
    assert _shown(_rule(policies, "news.Category"))["near"] == "1s f:7:37"


def test_a_default_has_the_place_of_the_default() -> None:
    assert _shown(_rule(_parse(DESIGN), "news.Tag"))["timeout"] == "1m f:3:21"
    assert _shown(_rule(_parse(DESIGN), "news.Tag"))["ops"] == "count+get f:8:24"


def test_a_rule_has_the_place_of_its_name() -> None:
    policies = _parse(DESIGN)
    places = {pattern: str(rule.origin) for pattern, rule in policies.models.items()}
    assert places == {
        "news.article": "f:5:3",
        "news.country": "f:6:3",
        "news.category": "f:7:3",
        "news.*": "f:8:3",
        "auth.*": "f:9:3",
    }
    assert [str(rule.origin) for calls in policies.calls.values() for rule in calls.values()] == [
        "f:10:14",
        "f:11:14",
        "f:12:14",
    ]
    assert policies.max_staleness == Sourced(Duration(60_000), policies.max_staleness.origin)
    assert str(policies.max_staleness.origin) == "f:2:16"


def test_calls_carry_what_they_depend_on() -> None:
    policies = _parse(DESIGN)
    assert _shown(policies.functions["article_stats"]) == {
        "timeout": "1m f:10:67",
        "depends_on": "('news.Article',) f:10:42",
        "lock": "False built in",
        "near": "2s f:10:78",
        "refresh_ahead": "10s f:10:97",
        "vary": "() built in",
    }
    front_page = _shown(policies.calls["views"]["front_page"])
    assert front_page["vary"] == "('language',) f:11:75"
    assert (front_page["near"], front_page["refresh_ahead"]) == ("None built in", "None built in")
    assert policies.calls["fragments"]["sidebar"].vary.value == ("header:Accept", "user")


def test_a_call_without_a_timeout_takes_the_shortest_of_its_models() -> None:
    text = (
        "version: 1\n"
        "models: {a.A: {timeout: 3s}, a.B: {timeout: 2s}, a.C: {timeout: 9s}}\n"
        "functions:\n"
        "  f: {depends_on: [a.A, a.B, a.C]}\n"
        "  g: {depends_on: [a.A, a.B], timeout: 1s}\n"
        "  h: {depends_on: [a.C], timeout: 10s}\n"
    )
    functions = _parse(text).functions
    assert {name: f"{rule.timeout.value} {rule.timeout.origin}" for name, rule in functions.items()} == {
        "f": "2s f:2:45",
        "g": "1s f:5:40",
        "h": "10s f:6:35",
    }


def test_a_call_without_models_takes_the_default() -> None:
    functions = _parse("version: 1\ndefaults: {timeout: 7s}\nfunctions: {f: {}}").functions
    assert _shown(functions["f"])["timeout"] == "7s f:2:21"


def test_the_least_file() -> None:
    policies = _parse("version: 1")
    assert policies == PolicySet("f", calls={"functions": {}, "views": {}, "fragments": {}}, databases={})
    assert policies.match("news.Article") is None


def test_ops_in_every_form() -> None:
    def ops(text: str) -> frozenset[str]:
        return _rule(_parse(f"version: 1\nmodels:\n a.A:\n  timeout: 1s\n  ops: {text}"), "a.A").ops.value

    assert ops("all") == frozenset(OPS)
    assert ops("get") == {"get"}
    assert ops("[]") == frozenset()
    assert ops("[exists, 'count', \"aggregate\"]") == {"exists", "count", "aggregate"}
    assert ops("\n  - get\n  - fetch\n") == {"get", "fetch"}


def test_a_rule_of_defaults_alone_is_empty_braces() -> None:
    defaults = "{timeout: 1s, lock: true, db_agnostic: true, near: 1s, refresh_ahead: 1ms, update: ignore, ops: all}"
    text = f"version: 1\ndefaults: {defaults}\nmodels: {{a.A: {{}}}}"
    assert {name: shown.split()[0] for name, shown in _shown(_rule(_parse(text), "a.A")).items()} == {
        "timeout": "1s",
        "ops": "aggregate+count+exists+fetch+get",
        "lock": "True",
        "db_agnostic": "True",
        "immutable": "False",
        "local_get": "False",
        "near": "1s",
        "refresh_ahead": "1ms",
        "update": "ignore",
    }


def test_a_rule_overrides_a_default_with_false() -> None:
    text = "version: 1\ndefaults: {timeout: 1s, lock: true}\nmodels: {a.A: {lock: false}}"
    assert _shown(_rule(_parse(text), "a.A"))["lock"] == "False f:3:22"


def test_a_rule_says_what_an_update_does_or_its_default() -> None:
    text = "version: 1\ndefaults: {timeout: 5s, update: ignore}\nmodels: {a.A: {update: invalidate}, a.B: {}}"
    assert _shown(_rule(_parse(text), "a.A"))["update"] == "invalidate f:3:24"
    assert _shown(_rule(_parse(text), "a.B"))["update"] == "ignore f:2:33"


def test_no_refusal_of_a_default_update_beside_an_immutable_table() -> None:
    text = "version: 1\ndefaults: {timeout: 5s, update: ignore}\nmodels: {a.A: {immutable: true}}"
    assert _rule(_parse(text), "a.A").immutable.value


def test_a_database_has_its_lag_and_every_other_one_none() -> None:
    policies = _parse(DESIGN)
    replica = policies.databases["replica"]
    assert (replica.alias, str(replica.origin), str(replica.max_lag.value)) == ("replica", "f:13:14", "5s")
    assert str(replica.max_lag.origin) == "f:13:33"
    assert (policies.max_lag_ms("replica"), policies.max_lag_ms("default")) == (5_000, 0)


def test_a_near_cache_by_default_is_never_longer_than_the_timeout() -> None:
    text = "version: 1\ndefaults: {timeout: 5s, near: 2s}\nmodels: {a.A: {timeout: 1s}, a.B: {}}"
    assert _shown(_rule(_parse(text), "a.A"))["near"] == "1s f:3:25"
    assert _shown(_rule(_parse(text), "a.B"))["near"] == "2s f:2:31"


def test_a_default_that_refreshes_before_a_value_is_served_is_half_of_the_timeout() -> None:
    text = (
        "version: 1\ndefaults: {timeout: 5s, refresh_ahead: 1s}\n"
        "models: {a.A: {timeout: 1s}, a.B: {}, a.C: {timeout: 1001ms}, a.D: {timeout: 1ms}}"
    )
    assert {label: _shown(_rule(_parse(text), label))["refresh_ahead"] for label in ("a.A", "a.B", "a.C", "a.D")} == {
        "a.A": "500ms f:3:25",
        "a.B": "1s f:2:40",
        "a.C": "1s f:2:40",
        "a.D": "None f:3:78",
    }


def test_near_may_be_as_long_as_the_timeout_and_refresh_ahead_all_but_as_long() -> None:
    text = (
        "version: 1\nmodels: {a.A: {timeout: 1s, near: 1s, refresh_ahead: 999ms}}\n"
        "functions: {f: {depends_on: [a.A], near: 1000ms, refresh_ahead: 999ms}}"
    )
    for rule in (_rule(_parse(text), "a.A"), _parse(text).functions["f"]):
        assert (rule.near.value, rule.refresh_ahead.value) == (Duration(1_000), Duration(999))


def test_a_function_takes_neither_from_the_defaults_nor_from_its_models() -> None:
    text = (
        "version: 1\ndefaults: {timeout: 5s, near: 2s, refresh_ahead: 1s}\n"
        "models: {a.A: {}}\nfunctions: {f: {depends_on: [a.A]}, g: {}}"
    )
    for rule in _parse(text).functions.values():
        assert (rule.near.value, rule.refresh_ahead.value) == (None, None)


def test_an_immutable_table_of_local_gets_may_have_both() -> None:
    rule = "{timeout: 1h, ops: all, immutable: true, local_get: true, near: 1h, refresh_ahead: 1m}"
    found = _rule(_parse(f"version: 1\nmodels: {{a.A: {rule}}}"), "a.A")
    assert (str(found.near.value), str(found.refresh_ahead.value)) == ("1h", "1m")


# Durations so few that they meet; what an overlay or a shorter rule leaves of them is what counts.
longer, shorter = st.sampled_from(["2s", "3s", "9s"]), st.sampled_from(["1ms", "2ms", "1s", "2s"])
timings = st.fixed_dictionaries({}, optional={"timeout": longer, "near": shorter, "refresh_ahead": shorter})
shortened = st.fixed_dictionaries({}, optional={"timeout": shorter, "immutable": st.booleans()})


@st.composite
def timed_policies(draw: st.DrawFn) -> str:
    defaults = {"timeout": "9s", "near": draw(longer), "refresh_ahead": draw(longer)}
    models = {label: {**draw(timings), "immutable": draw(st.booleans())} for label in ("a.A", "a.B")}
    functions = {"f": {"depends_on": ["a.A", "a.B"], **draw(timings)}, "g": draw(timings)}
    overlay = st.fixed_dictionaries(
        {"models": st.fixed_dictionaries({"a.A": shortened})},
        optional={"max_staleness": shorter, "defaults": timings},
    )
    sections = {"defaults": defaults, "models": models, "functions": functions}
    return json.dumps({"version": 1, **sections, "environments": {"test": draw(overlay)}})


@given(timed_policies())
def test_near_never_outlasts_a_timeout_and_refresh_ahead_is_always_shorter(text: str) -> None:
    try:
        policies = _parse(text)
    except PolicyError:
        return
    for layer in (policies, *policies.overlaid.values()):
        for rule in (_rule(layer, "a.A"), _rule(layer, "a.B"), *layer.functions.values()):
            assert rule.near.value is None or rule.near.value <= rule.timeout.value
            assert rule.refresh_ahead.value is None or 1 <= rule.refresh_ahead.value.ms < rule.timeout.value.ms


@pytest.mark.parametrize("timeout", ["1h", "8760h"])
def test_an_immutable_table_may_promise_more_than_the_ceiling(timeout: str) -> None:
    text = f"version: 1\nmax_staleness: 1s\nmodels: {{a.A: {{immutable: true, timeout: {timeout}}}}}"
    assert _rule(_parse(text), "a.A").timeout.value == Duration.parse(timeout)


def test_a_function_of_immutable_tables_alone_may_promise_more_than_the_ceiling() -> None:
    text = (
        "version: 1\nmax_staleness: 1s\nmodels: {a.A: {immutable: true, timeout: 1h}}\n"
        "functions: {f: {depends_on: [a.A], timeout: 2h}, g: {depends_on: [a.A]}}"
    )
    functions = _parse(text).functions
    assert [str(rule.timeout.value) for rule in functions.values()] == ["2h", "1h"]


def test_a_function_of_an_immutable_and_a_changing_table_may_not() -> None:
    text = (
        "version: 1\nmax_staleness: 1s\nmodels: {a.A: {immutable: true, timeout: 1h}, a.B: {timeout: 1s}}\n"
        "functions: {f: {depends_on: [a.A, a.B], timeout: 2s}}"
    )
    with pytest.raises(PolicyError) as refusal:
        _parse(text)
    assert [str(problem) for problem in refusal.value.problems] == [
        "f:4:50: functions.f.timeout: the timeout 2s is longer than max_staleness, 1s in line 2; "
        "shorten it, or raise max_staleness; only an immutable table may promise longer"
    ]


def test_a_timeout_equal_to_the_ceiling_is_within_it() -> None:
    assert _parse("version: 1\nmax_staleness: 1s\nmodels: {a.A: {timeout: 1000ms}}").models


# Precedence: the closest pattern alone counts, whatever their order in the file.


@pytest.mark.parametrize(
    ("label", "pattern"),
    [
        ("news.Article", "news.Article"),
        ("news.article", "news.Article"),
        ("NEWS.ARTICLE", "news.Article"),
        ("news.Tag", "News.*"),
        ("news.Article_2", "News.*"),
        ("auth.User", "*.*"),
        ("auth.Group", "auth.Group"),
    ],
)
def test_the_closest_pattern_wins(label: str, pattern: str) -> None:
    text = (
        "version: 1\ndefaults: {timeout: 1s}\n"
        'models: {"*.*": {}, News.*: {}, news.Article: {}, auth.Group: off, newsletter.*: {}}'
    )
    rule = _parse(text).match(label)
    assert rule is not None
    assert rule.pattern == pattern


def test_nothing_is_inherited_from_a_wider_pattern() -> None:
    text = 'version: 1\ndefaults: {timeout: 1s}\nmodels: {"*.*": {lock: true, ops: all}, a.A: {}}'
    rule = _rule(_parse(text), "a.A")
    assert (rule.lock.value, rule.ops.value) == (False, frozenset())


def test_off_hides_a_wider_pattern() -> None:
    policies = _parse('version: 1\ndefaults: {timeout: 1s}\nmodels: {"*.*": {}, a.*: "off"}')
    assert isinstance(policies.match("a.A"), Off)
    assert policies.rule_for("a.A") is None
    assert policies.rule_for("b.B") is not None


apps, names = st.sampled_from(["a", "B", "c"]), st.sampled_from(["X", "y", "Z"])
labels = st.builds("{}.{}".format, apps, names)
patterns = labels | st.builds("{}.*".format, apps) | st.just("*.*")


@given(st.lists(patterns, unique_by=str.lower), labels)
def test_a_match_is_the_first_of_exact_app_and_all(written: list[str], label: str) -> None:
    rules: dict[str, Rule] = {
        pattern.lower(): Off(pattern, PolicySet("f").max_staleness)
        for pattern in written  # type: ignore[arg-type]
    }
    match = PolicySet("f", models=rules).match(label)
    app, _, _ = label.partition(".")
    candidates = [
        pattern for wanted in (label, f"{app}.*", "*.*") for pattern in written if pattern.lower() == wanted.lower()
    ]
    assert (match.pattern if match else None) == (candidates[0] if candidates else None)


def test_the_shipped_example_is_valid(pytestconfig: pytest.Config) -> None:
    policies = load_policies(pytestconfig.rootpath / "policies.yaml")
    assert str(_rule(policies, "news.Article").timeout.value) == "1m"


def test_a_policy_cannot_be_changed() -> None:
    policies = _parse(DESIGN)
    with pytest.raises(TypeError):
        policies.models["a.b"] = policies.models["auth.*"]  # type: ignore[index]
    with pytest.raises(TypeError):
        policies.functions["f"] = policies.functions["article_stats"]  # type: ignore[index]
    with pytest.raises(TypeError):
        policies.databases["f"] = policies.databases["replica"]  # type: ignore[index]
    with pytest.raises(dataclasses.FrozenInstanceError):
        policies.file = "g"  # type: ignore[misc]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param('version: 1\nmodels: {"a.A": "off"}', id="quotes around names and off"),
        pytest.param("version: 1\ndefaults: {timeout: '1s'}\nmodels: {a.A: {}}", id="quotes around a duration"),
        pytest.param("version: 1\ndefaults: {timeout: 010s}\nmodels: {a.A: {}}", id="a leading zero with a unit"),
        pytest.param('version: 1\nenvironments: {"on": {}, "no": {}}', id="words in quotes as names"),
        pytest.param("version: 1\nmodels: {_a._B: off, a1.B_2: off}", id="names with digits and underlines"),
        pytest.param("version: 1\nfunctions: {news/stats:by-tag.v2: {timeout: 1s}}", id="names with marks"),
        pytest.param("version: 1\nviews: {v: {timeout: 1s, vary: []}}", id="nothing to vary by"),
        pytest.param("{version: 1, models: {a.A: {timeout: 1s}}}", id="JSON's form"),
        pytest.param("---\n# a comment\nversion: 1\n...\n", id="the marks of a document"),
        pytest.param("models: {}\nversion: 1\n", id="version at the end"),
        pytest.param(
            "version: 1\nmodels: {}\nfunctions: {}\ndatabases: {}\nenvironments: {a: {}}", id="empty sections"
        ),
        pytest.param("version: 1\nmodels: {a.A: {timeout: 1s}, a.B: {timeout: 1s}, b.A: off}", id="names alike"),
    ],
)
def test_no_refusal_of(text: str) -> None:
    assert _parse(text).file == "f"
