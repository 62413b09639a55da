"""Overlays: what an environment changes, what it leaves, and who chooses it."""

from __future__ import annotations

import pytest

from cachepolicy.exceptions import PolicyError
from cachepolicy.policies.loader import ENVIRONMENT_VARIABLE, parse_policies
from cachepolicy.policies.model import ModelRule, Off, PolicySet, Sourced

BASE = """\
version: 1
max_staleness: 60s
defaults: {timeout: 40s, ops: [get], lock: true}
models:
  news.Article: {ops: [get, fetch], timeout: 30s, near: 10s, refresh_ahead: 5s}
  news.Country: {ops: all, immutable: true, local_get: true, timeout: 1h}
  news.Tag: {}
  auth.*: off
functions:
  stats: {depends_on: [news.Article], timeout: 20s, near: 3s, refresh_ahead: 2s}
  names: {depends_on: [news.Country], timeout: 2h}
"""


def _chosen(overlay: str, base: str = BASE) -> PolicySet:
    return parse_policies(f"{base}environments:\n  plain: {{}}\n  test:\n{overlay}".encode(), "f", "test")


def _shown(value: Sourced[object] | None) -> str:
    assert value is not None
    return f"{value.value} {value.origin}"


def _timeouts(policies: PolicySet) -> dict[str, str]:
    rules = [*policies.models.values(), *policies.functions.values()]
    named = {getattr(rule, "pattern", None) or getattr(rule, "name", ""): rule for rule in rules}
    return {name: _shown(rule.timeout) for name, rule in named.items() if not isinstance(rule, Off)}


def _rule(policies: PolicySet, label: str) -> ModelRule:
    rule = policies.rule_for(label)
    assert rule is not None
    return rule


def _problems(overlay: str, base: str = BASE) -> list[str]:
    with pytest.raises(PolicyError) as refusal:
        parse_policies(f"{base}environments:\n  test:\n{overlay}".encode(), "f")
    return [str(problem) for problem in refusal.value.problems]


def test_an_overlay_changes_the_keys_it_names_and_no_others() -> None:
    rule = _rule(_chosen("    models:\n      news.Article: {timeout: 25s}\n"), "news.Article")
    assert _shown(rule.timeout) == "25s f:16:31"
    assert rule.ops.value == {"get", "fetch"}
    assert str(rule.ops.origin) == "f:5:23"
    assert _shown(rule.lock) == "True f:3:44"
    assert str(rule.origin) == "f:5:3"


def test_an_overlay_matches_a_rule_whatever_its_case() -> None:
    policies = _chosen("    models: {NEWS.article: {timeout: 25s}}\n")
    assert _shown(_rule(policies, "news.Article").timeout) == "25s f:15:38"
    assert sum(pattern == "news.article" for pattern in policies.models) == 1


def test_an_overlay_changes_a_default() -> None:
    policies = _chosen("    defaults: {timeout: 5s}\n")
    assert _shown(_rule(policies, "news.Tag").timeout) == "5s f:15:25"
    assert _shown(_rule(policies, "news.Tag").lock) == "True f:3:44"
    assert _shown(_rule(policies, "news.Article").timeout) == "30s f:5:46"


def test_an_overlay_adds_rules() -> None:
    policies = _chosen("    models: {shop.Order: {}}\n    functions: {prices: {timeout: 1s}}\n")
    assert _shown(_rule(policies, "shop.Order").timeout) == "40s f:3:21"
    assert set(policies.functions) == {"stats", "names", "prices"}


def test_an_overlay_changes_a_function_key_by_key() -> None:
    rule = _chosen("    functions: {stats: {timeout: 3s}}\n").functions["stats"]
    assert _shown(rule.timeout) == "3s f:15:34"
    assert rule.depends_on.value == ("news.Article",)


def test_an_overlay_declares_databases_and_changes_what_the_base_declares() -> None:
    policies = _chosen(
        "    databases: {replica: {max_lag: 1s}, archive: {max_lag: 1h}}\n",
        f"{BASE}databases: {{replica: {{max_lag: 5s}}, reports: {{max_lag: 1m}}}}\n",
    )
    assert {alias: _shown(database.max_lag) for alias, database in policies.databases.items()} == {
        "replica": "1s f:16:36",
        "reports": "1m f:12:56",
        "archive": "1h f:16:60",
    }


def test_an_overlay_that_makes_a_table_immutable_leaves_what_the_base_says_of_updates() -> None:
    base = "version: 1\nmodels: {news.Tag: {timeout: 1s, update: ignore}}\n"
    rule = _rule(_chosen("    models: {news.Tag: {immutable: true}}\n", base), "news.Tag")
    assert (rule.immutable.value, rule.update.value) == (True, "ignore")


def test_off_replaces_a_rule() -> None:
    policies = _chosen("    models: {news.Tag: off}\n")
    assert isinstance(policies.match("news.Tag"), Off)
    assert str(policies.models["news.tag"].origin) == "f:15:14"


def test_a_rule_replaces_off() -> None:
    rule = _rule(_chosen("    models: {auth.*: {lock: false}}\n"), "auth.User")
    assert _shown(rule.lock) == "False f:15:29"
    assert _shown(rule.timeout) == "40s f:3:21"
    assert str(rule.origin) == "f:15:14"


def test_the_ceiling_of_an_overlay_shortens_what_the_base_promises() -> None:
    policies = _chosen("    max_staleness: 2s\n")
    assert _timeouts(policies) == {
        "news.Article": "2s f:15:20",
        "news.Country": "1h f:6:71",
        "news.Tag": "2s f:15:20",
        "stats": "2s f:15:20",
        "names": "2h f:11:48",
    }
    assert _shown(_rule(policies, "news.Article").near) == "2s f:15:20"
    assert _shown(_rule(policies, "news.Article").refresh_ahead) == "1s f:15:20"
    assert _shown(policies.functions["stats"].near) == "2s f:15:20"
    assert _shown(policies.functions["stats"].refresh_ahead) == "1s f:15:20"
    assert _shown(policies.max_staleness) == "2s f:15:20"


def test_the_ceiling_of_an_overlay_leaves_what_is_shorter() -> None:
    timeouts = _timeouts(_chosen("    max_staleness: 30s\n"))
    assert timeouts["news.Article"] == "30s f:5:46"
    assert timeouts["stats"] == "20s f:10:48"
    assert timeouts["news.Tag"] == "30s f:15:20"


def test_the_ceiling_of_an_overlay_refuses_what_the_overlay_promises() -> None:
    overlay = "    max_staleness: 2s\n    models:\n      news.Article: {timeout: 3s}\n      news.Tag: {lock: true}\n"
    assert _problems(overlay) == [
        "f:16:31: environments.test.models.news.Article.timeout: the timeout 3s is longer than max_staleness, "
        "2s in line 14; shorten it, or raise max_staleness; only an immutable table may promise longer"
    ]


def test_the_ceiling_of_an_overlay_refuses_the_default_of_the_overlay() -> None:
    assert _problems("    max_staleness: 2s\n    defaults: {timeout: 3s}\n") == [
        "f:15:25: environments.test.defaults.timeout: the timeout 3s is longer than max_staleness, "
        "2s in line 14; shorten it, or raise max_staleness; only an immutable table may promise longer"
    ]


def test_an_overlay_may_raise_the_ceiling_for_itself() -> None:
    timeouts = _timeouts(_chosen("    max_staleness: 2h\n    models: {news.Tag: {timeout: 1h}}\n"))
    assert timeouts["news.Tag"] == "1h f:16:34"


def test_an_overlay_that_makes_a_table_mutable_shortens_its_timeout() -> None:
    """Where tests write the reference tables, their long timeouts are not a mistake of the file."""
    overlay = "    models: {news.Country: {immutable: false, local_get: false}}\n"
    policies = _chosen(overlay)
    country = policies.rule_for("news.Country")
    assert country is not None
    assert (str(country.timeout.value), country.timeout.origin.line) == ("1m", 2)
    assert str(policies.functions["names"].timeout.value) == "1m"


def test_an_overlay_that_makes_a_table_mutable_shortens_what_its_timeout_allowed() -> None:
    base = (
        "version: 1\nmax_staleness: 1m\n"
        "models: {a.A: {immutable: true, timeout: 1h, near: 10m, refresh_ahead: 5m}}\n"
        "functions: {f: {depends_on: [a.A], near: 10m, refresh_ahead: 5m}}\n"
    )
    policies = _chosen("    models: {a.A: {immutable: false}}\n", base)
    for rule in (_rule(policies, "a.A"), policies.functions["f"]):
        assert (str(rule.near.value), str(rule.refresh_ahead.value)) == ("1m", "30s")


def test_an_overlay_that_shortens_a_table_shortens_what_a_function_of_it_asks_for() -> None:
    base = (
        "version: 1\nmodels: {a.A: {timeout: 10s}}\nfunctions: {f: {depends_on: [a.A], near: 10s, refresh_ahead: 9s}}\n"
    )
    rule = _chosen("    models: {a.A: {timeout: 4s}}\n", base).functions["f"]
    assert (_shown(rule.near), _shown(rule.refresh_ahead)) == ("4s f:7:29", "2s f:7:29")


def test_an_overlay_that_ends_the_exemption_may_not_promise_longer_itself() -> None:
    overlay = "    models: {news.Country: {immutable: false, local_get: false, timeout: 2h}}\n"
    assert _problems(overlay) == [
        "f:14:74: environments.test.models.news.Country.timeout: the timeout 2h is longer than max_staleness, 1m in "
        "line 2; shorten it, or raise max_staleness; only an immutable table may promise longer",
    ]


def test_the_base_is_what_no_environment_changes() -> None:
    text = f"{BASE}environments:\n  plain: {{}}\n  test: {{max_staleness: 1s}}\n".encode()
    base, plain = parse_policies(text, "f"), parse_policies(text, "f", "plain")
    assert (base.environment, plain.environment) == (None, "plain")
    assert (base.models, base.calls, base.max_staleness) == (plain.models, plain.calls, plain.max_staleness)


# Who chooses.


def test_the_variable_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "b")
    assert parse_policies(b"version: 1\nenvironments: {a: {}, b: {}}").environment == "b"


def test_the_argument_wins_over_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "b")
    assert parse_policies(b"version: 1\nenvironments: {a: {}, b: {}}", environment="a").environment == "a"


def test_an_empty_variable_chooses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "")
    assert parse_policies(b"version: 1\nenvironments: {a: {}}").environment is None


# Every overlay is checked, chosen or not.


@pytest.mark.parametrize("chosen", [None, "plain", "test"])
def test_an_overlay_is_checked_even_when_another_is_chosen(chosen: str | None) -> None:
    text = f"{BASE}environments:\n  plain: {{}}\n  test: {{models: {{news.Tag: {{timeout: 2h}}}}}}\n"
    with pytest.raises(PolicyError) as refusal:
        parse_policies(text.encode(), "f", chosen)
    assert [str(problem) for problem in refusal.value.problems] == [
        "f:14:39: environments.test.models.news.Tag.timeout: the timeout 2h is longer than max_staleness, "
        "1m in line 2; shorten it, or raise max_staleness; only an immutable table may promise longer"
    ]


def test_a_base_that_only_overlays_complete_is_refused() -> None:
    base = "version: 1\nmodels: {news.Tag: {}}\n"
    assert _problems("    defaults: {timeout: 1s}\n", base) == [
        "f:2:10: models.news.Tag: this rule has no timeout; give it one, or give `defaults` one"
    ]
