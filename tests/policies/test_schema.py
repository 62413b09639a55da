"""The JSON Schema for editors: valid itself, drawn from the loader's table, and never stricter than the loader."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from cachepolicy.exceptions import PolicyError
from cachepolicy.policies import schema
from cachepolicy.policies.loader import parse_policies
from cachepolicy.policies.model import OPS, UPDATES
from tests.policies.test_language import DESIGN

VALIDATOR = Draft202012Validator(schema.json_schema())


def _editor_accepts(policy: Any) -> bool:
    return VALIDATOR.is_valid(policy)


def _loader_accepts(text: str) -> bool:
    try:
        parse_policies(text.encode())
    except PolicyError:
        return False
    return True


def test_is_valid_itself() -> None:
    Draft202012Validator.check_schema(schema.json_schema())
    assert schema.json_schema()["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_accepts_the_shipped_example(pytestconfig: pytest.Config) -> None:
    text = (pytestconfig.rootpath / "policies.yaml").read_text(encoding="utf-8")
    assert list(VALIDATOR.iter_errors(yaml.safe_load(text))) == []


def test_accepts_every_construct_of_the_language() -> None:
    assert list(VALIDATOR.iter_errors(yaml.safe_load(DESIGN))) == []
    assert _loader_accepts(DESIGN)


RULE = "version: 1\nmodels: {{news.Article: {}}}".format


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "[]",
        "version: 2",
        'version: "1"',
        "version: 1\nmodel: {}",
        "version: 1\nmodels: []",
        "version: 1\nmax_staleness: 60",
        "version: 1\nmax_staleness: 1d",
        "version: 1\nmodels: {Article: {timeout: 1s}}",
        "version: 1\nmodels: {'*': {timeout: 1s}}",
        "version: 1\nmodels: {'*.*.Article': {timeout: 1s}}",
        "version: 1\nmodels: {'-news.Article': {timeout: 1s}}",
        RULE("{timeout: 1s, timout: 2s}"),
        RULE("{timeout: 10m5}"),
        RULE("{timeout: 30S}"),
        RULE("{timeout: 1.5h}"),
        RULE("{timeout: 1:30}"),
        RULE("{timeout: 1s, ops: [gte]}"),
        RULE("{timeout: 1s, ops: [all]}"),
        RULE("{timeout: 1s, ops: [get, get]}"),
        RULE("{timeout: 1s, lock: 'yes'}"),
        RULE("{timeout: 1s, cache_on_save: true}"),
        RULE("{timeout: 1s, vary: [user]}"),
        RULE("on"),
        RULE("[]"),
        "version: 1\nfunctions: {f: off}",
        "version: 1\nfunctions: {f: {timeout: 1s, vary: [user]}}",
        "version: 1\nfunctions: {f: {timeout: 1s, depends_on: []}}",
        "version: 1\nfunctions: {f: {timeout: 1s, depends_on: [news.*]}}",
        "version: 1\nfunctions: {'1f': {timeout: 1s}}",
        "version: 1\nviews: {f: {timeout: 1s, vary: [lang]}}",
        "version: 1\ndefaults: {immutable: true}",
        "version: 1\ndefaults: {update: always}",
        "version: 1\ndatabases: {replica: 5s}",
        "version: 1\ndatabases: {replica: {max_lag: 5}}",
        "version: 1\ndatabases: {replica: {timeout: 5s}}",
        "version: 1\nenvironments: {test: {version: 1}}",
        "version: 1\nenvironments: {test: {environments: {}}}",
    ],
)
def test_editor_and_loader_both_refuse(text: str) -> None:
    assert not _editor_accepts(yaml.safe_load(text))
    assert not _loader_accepts(text)


# Each key of the table, and no other, is in the schema.


def _keys(part: dict[str, Any]) -> set[str]:
    return set(part["properties"])


def _only(pattern_properties: dict[str, Any]) -> dict[str, Any]:
    (value,) = pattern_properties.values()
    return value


def test_each_key_of_the_table_is_in_the_schema_and_no_other() -> None:
    whole = schema.json_schema()
    assert _keys(whole) == {*schema.TOP, *schema.SECTIONS}
    overlay = _only(whole["properties"]["environments"]["patternProperties"])
    assert _keys(overlay) == {"max_staleness", *schema.SECTIONS} - {"environments"}
    for layer in (whole, overlay):
        sections = layer["properties"]
        rule = _only(sections["models"]["patternProperties"])["oneOf"][0]
        assert _keys(sections["defaults"]) == set(schema.DEFAULTS)
        assert _keys(rule) == set(schema.MODEL)
        for section, keys in schema.NAMED_SECTIONS.items():
            assert _keys(_only(sections[section]["patternProperties"])) == set(keys)


def test_each_key_says_what_it_means() -> None:
    for keys in (schema.TOP, schema.MODEL, schema.DEFAULTS, *schema.NAMED_SECTIONS.values()):
        assert {name: key.name for name, key in keys.items()} == {name: name for name in keys}
        assert all(key.what.endswith(".") for key in keys.values())


def test_no_object_takes_keys_beyond_the_table() -> None:
    def objects(part: Any) -> list[dict[str, Any]]:
        found = [part] if isinstance(part, dict) and part.get("type") == "object" else []
        children = part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
        return found + [inner for child in children for inner in objects(child)]

    found = objects(schema.json_schema())
    assert len(found) > 15
    assert all(part["additionalProperties"] is False for part in found)


# Agreement: policies drawn from the table, and mutated.

VALUES = ("1s", "30s", "1h30m", "60", "1s1s", "0s", "9999h", "get", "all", "gte", "user", "header:A", "header:", "off")
NAMES = ("news.Tag", "news.*", "*.*", "timeout", "ops", "cache_on_save", "true", "yes", "", "x", "é", "a\nb")
texts = st.sampled_from([*VALUES, *NAMES])
anything = st.recursive(
    texts | st.booleans() | st.integers(-1, 61) | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=4,
)
labels = st.sampled_from(["news.Article", "news.Tag", "auth.User", "auth.Group"])
values: dict[str, st.SearchStrategy[Any]] = {
    "duration": st.sampled_from(["1s", "500ms", "30s", "1m", "1h30m"]),
    "true or false": st.booleans(),
    "`all`, an op, or a list of ops": st.sampled_from(["all", *OPS]) | st.lists(st.sampled_from(OPS), unique=True),
    "list of models": st.lists(labels, unique=True, min_size=1, max_size=3),
    "list": st.lists(st.sampled_from(["language", "user", "header:Accept", "query:page"]), unique=True, max_size=3),
    "invalidate or ignore": st.sampled_from(UPDATES),
    "1": st.just(1),
}


def _mapping(keys: dict[str, schema.Key]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional={name: values[key.kind.form] for name, key in keys.items()})


models = st.dictionaries(
    labels | st.sampled_from(["news.*", "auth.*", "*.*"]), _mapping(schema.MODEL) | st.just("off"), max_size=4
)
calls = {
    section: st.dictionaries(st.sampled_from(["stats", "front_page"]), _mapping(keys), max_size=2)
    for section, keys in schema.NAMED_SECTIONS.items()
}
sections = {"defaults": _mapping(schema.DEFAULTS), "models": models, **calls}
overlays = st.fixed_dictionaries({}, optional={"max_staleness": values["duration"], **sections})
policies = st.fixed_dictionaries(
    {"version": st.just(1)},
    optional={
        "max_staleness": values["duration"],
        **sections,
        "environments": st.dictionaries(st.sampled_from(["test", "production"]), overlays, max_size=2),
    },
)


def _paths(part: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    children = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ()
    return [path, *(inner for key, child in children for inner in _paths(child, (*path, key)))]


@st.composite
def mutated(draw: st.DrawFn) -> Any:
    """A policy in which a few values or keys were replaced, added or taken away."""
    policy = {"": copy.deepcopy(draw(policies))}
    for _ in range(draw(st.integers(0, 3))):
        *above, key = draw(st.sampled_from([path for path in _paths(policy) if path]))
        holder: Any = policy
        for step in above:
            holder = holder[step]
        match draw(st.sampled_from(["replace", "rename", "remove", "add"])):
            case "rename" if isinstance(holder, dict) and above:
                holder[draw(texts)] = holder.pop(key)
            case "remove" if above:
                del holder[key]
            case "add" if isinstance(holder[key], dict):
                holder[key][draw(texts)] = draw(anything)
            case "add" if isinstance(holder[key], list):
                holder[key].append(draw(anything))
            case _:
                holder[key] = draw(anything)
    return policy[""]


@given(policies)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_an_editor_accepts_whatever_is_drawn_from_the_table(policy: dict[str, Any]) -> None:
    assert list(VALIDATOR.iter_errors(policy)) == []


@given(mutated())
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_an_editor_refuses_the_loader_refuses(policy: Any) -> None:
    written = yaml.safe_dump(policy, allow_unicode=True, sort_keys=False)
    assert yaml.safe_load(written) == policy
    # PyYAML writes the text off in quotes; both forms mean the same here.
    for text in (written, written.replace("'off'", "off")):
        if _loader_accepts(text):
            assert _editor_accepts(yaml.safe_load(text)), text


def test_the_mutations_make_files_of_each_kind() -> None:
    seen = {(editor, loader): 0 for editor in (True, False) for loader in (True, False)}

    @given(mutated())
    @settings(max_examples=100, database=None, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
    def count(policy: Any) -> None:
        seen[_editor_accepts(policy), _loader_accepts(yaml.safe_dump(policy))] += 1

    count()
    assert seen.pop((False, True)) == 0
    assert min(seen.values()) > 10, seen
