"""The one table of the language: it drives the parser, the JSON Schema for editors and the README's reference."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from cachepolicy.policies import durations, nodes
from cachepolicy.policies.durations import Duration
from cachepolicy.policies.model import OPS, UPDATES
from cachepolicy.policies.problems import Origin, did_you_mean, quoted

__all__ = [
    "CALL_SECTIONS",
    "DATABASE",
    "DEFAULTS",
    "MODEL",
    "NAMED_SECTIONS",
    "REFUSED",
    "SECTIONS",
    "TOP",
    "Key",
    "json_schema",
]

# A reader turns a node into a value, or complains (origin, what, remedy) and gives None.
Complain = Callable[[Origin, str, str], None]
Reader = Callable[[nodes.Node, Complain], Any]


@dataclass(frozen=True, slots=True)
class Kind:
    """A type of value: how it is read, and how JSON Schema describes it."""

    form: str
    read: Reader
    schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Key:
    """A key of the language, the kind of its value, and one line of what it means."""

    name: str
    kind: Kind
    what: str
    default: str = ""


# Words that YAML 1.1 readers turn into booleans or null, while YAML 1.2 and people read text.
YAML_1_1_WORDS: Final = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null", "~", ""})
LABEL: Final = re.compile(r"[A-Za-z_]\w*\.[A-Za-z_]\w*", re.ASCII)
PATTERN: Final = re.compile(r"\*\.\*|[A-Za-z_]\w*\.(\*|[A-Za-z_]\w*)", re.ASCII)
NAME: Final = re.compile(r"[A-Za-z_][\w.:/-]*", re.ASCII)
VARY: Final = re.compile(r"language|timezone|user|host|(header|cookie|query):[A-Za-z0-9_.-]+", re.ASCII)
_VARY_FORMS: Final = ("language", "timezone", "user", "host", "header:Accept", "cookie:theme", "query:page")


def _duration(node: nodes.Node, complain: Complain) -> Duration | None:
    if not isinstance(node, nodes.Scalar):
        complain(node.origin, "a duration is expected here", "write one, as in 30s")
        return None
    try:
        return Duration.parse(node.text)
    except ValueError as error:
        complain(node.origin, f"{quoted(node.text)} is not a duration", str(error))
        return None


def _flag(node: nodes.Node, complain: Complain) -> bool | None:
    if isinstance(node, nodes.Scalar) and node.plain and node.text in ("true", "false"):
        return node.text == "true"
    shown = quoted(node.text) if isinstance(node, nodes.Scalar) else "this"
    complain(node.origin, f"{shown} is not a boolean", "write true or false, without quotes")
    return None


def _version(node: nodes.Node, complain: Complain) -> int | None:
    if isinstance(node, nodes.Scalar) and node.plain and node.text == "1":
        return 1
    shown = quoted(node.text) if isinstance(node, nodes.Scalar) else "this"
    quotes = ", without quotes" if isinstance(node, nodes.Scalar) and node.text == "1" else ""
    complain(node.origin, f"{shown} is not a version of the language", f"write `version: 1`{quotes}")
    return None


def _texts(node: nodes.Node, complain: Complain, of: str, example: str) -> list[nodes.Scalar] | None:
    """The scalars of a list without duplicates; None where it holds anything else."""
    if not isinstance(node, nodes.Sequence):
        complain(node.origin, f"a list of {of} is expected here", f"write {example}")
        return None
    texts: dict[str, nodes.Scalar] = {}
    for item in node.items:
        if not isinstance(item, nodes.Scalar):
            complain(item.origin, f"an entry of a list of {of} must be text", f"write {example}")
        elif item.text in texts:
            complain(item.origin, f"{quoted(item.text)} stands twice in this list", "remove one of the two")
        else:
            texts[item.text] = item
    return list(texts.values()) if all(isinstance(item, nodes.Scalar) for item in node.items) else None


def _ops(node: nodes.Node, complain: Complain) -> frozenset[str] | None:
    if isinstance(node, nodes.Scalar):
        if node.text == "all":
            return frozenset(OPS)
        if node.text in OPS:
            return frozenset({node.text})
        remedy = _instead(node.text, (*OPS, "all"), "write `all`, or a list of " + ", ".join(OPS))
        if "," in node.text:
            remedy = "write a list, as in [get, fetch]"
        complain(node.origin, f"{quoted(node.text)} is no op", remedy)
        return None
    ops = _texts(node, complain, "ops", "[get, fetch]")
    if ops is None:
        return None
    wrong = [op for op in ops if op.text not in OPS]
    for op in wrong:
        if op.text == "all":
            complain(op.origin, "`all` stands in a list", "write `ops: all`")
        else:
            remedy = _instead(op.text, OPS, "choose from " + ", ".join(OPS))
            complain(op.origin, f"{quoted(op.text)} is no op", remedy)
    return None if wrong else frozenset(op.text for op in ops)


def _update(node: nodes.Node, complain: Complain) -> str | None:
    if isinstance(node, nodes.Scalar) and node.text in UPDATES:
        return node.text
    word = node.text if isinstance(node, nodes.Scalar) else ""
    what = f"{quoted(word) if word else 'this'} is nothing that update() can do"
    complain(node.origin, what, _instead(word, UPDATES, f"write {' or '.join(UPDATES)}"))
    return None


def _labels(node: nodes.Node, complain: Complain) -> tuple[str, ...] | None:
    labels = _texts(node, complain, "models", "[news.Article]")
    if labels is None:
        return None
    if not labels:
        complain(node.origin, "this list is empty", "name the models, as in [news.Article], or remove the key")
        return None
    wrong = [label for label in labels if not LABEL.fullmatch(label.text)]
    for label in wrong:
        complain(label.origin, f"{quoted(label.text)} is not a model", "write app.Model, as in news.Article")
    return None if wrong else tuple(label.text for label in labels)


def _vary(node: nodes.Node, complain: Complain) -> tuple[str, ...] | None:
    texts = _texts(node, complain, "what to vary by", "[language]")
    for text in texts or ():
        if not VARY.fullmatch(text.text):
            remedy = _instead(text.text, _VARY_FORMS, "choose from " + ", ".join(_VARY_FORMS))
            complain(text.origin, f"{quoted(text.text)} is nothing to vary by", remedy)
    return None if texts is None else tuple(text.text for text in texts)


def _instead(word: str, candidates: tuple[str, ...], otherwise: str) -> str:
    match = did_you_mean(word, candidates)
    return f"did you mean {match}?" if match else otherwise


DURATION: Final = Kind(
    "duration",
    _duration,
    {"type": "string", "pattern": durations.PATTERN_FOR_SCHEMA, "examples": ["500ms", "30s", "5m", "1h30m"]},
)
FLAG: Final = Kind("true or false", _flag, {"type": "boolean"})
OPS_KIND: Final = Kind(
    "`all`, an op, or a list of ops",
    _ops,
    {
        "oneOf": [
            {"enum": ["all", *OPS]},
            {"type": "array", "uniqueItems": True, "items": {"enum": list(OPS)}},
        ]
    },
)
LABELS: Final = Kind(
    "list of models",
    _labels,
    {
        "type": "array",
        "minItems": 1,
        "uniqueItems": True,
        "items": {"type": "string", "pattern": f"^{LABEL.pattern}$"},
    },
)
VARY_KIND: Final = Kind(
    "list",
    _vary,
    {"type": "array", "uniqueItems": True, "items": {"type": "string", "pattern": f"^({VARY.pattern})$"}},
)
UPDATE: Final = Kind(" or ".join(UPDATES), _update, {"enum": list(UPDATES)})
VERSION: Final = Kind("1", _version, {"const": 1})

_TIMEOUT: Final = Key("timeout", DURATION, "The promise: no cached read is older than this.")
_OPS: Final = Key("ops", OPS_KIND, f"The reads that are cached: {', '.join(OPS)}.", "[]")
_LOCK: Final = Key(
    "lock",
    FLAG,
    "One reader computes while the others wait for it; for 2 s, then one more does; for 10 s in all.",
    "false",
)
_DB_AGNOSTIC: Final = Key("db_agnostic", FLAG, "Databases share entries; only for replicas of one database.", "false")
_IMMUTABLE: Final = Key("immutable", FLAG, "The table never changes; the ORM refuses to write to it.", "false")
_LOCAL_GET: Final = Key(
    "local_get", FLAG, "Simple gets are kept in the process's memory; needs `immutable: true`.", "false"
)
_NEAR: Final = Key("near", DURATION, "How long the process's memory may keep a copy; at most the timeout.")
_REFRESH_AHEAD: Final = Key(
    "refresh_ahead",
    DURATION,
    "This long before its timeout a value is computed anew in the background, while readers get the one there is.",
)
_UPDATE: Final = Key(
    "update",
    UPDATE,
    "What update() and bulk_update() do: invalidate the table, or leave it to the timeout.",
    "invalidate",
)
_DEPENDS_ON: Final = Key("depends_on", LABELS, "The models whose writes invalidate it.")
_VARY: Final = Key("vary", VARY_KIND, "What a page or fragment depends on beside its models.")
_MAX_LAG: Final = Key("max_lag", DURATION, "How far a replica may lag behind: what is read there is that much older.")

DEFAULTS: Final = {key.name: key for key in (_TIMEOUT, _OPS, _LOCK, _DB_AGNOSTIC, _NEAR, _REFRESH_AHEAD, _UPDATE)}
MODEL: Final = {**DEFAULTS, **{key.name: key for key in (_IMMUTABLE, _LOCAL_GET)}}
FUNCTION: Final = {key.name: key for key in (_DEPENDS_ON, _TIMEOUT, _LOCK, _NEAR, _REFRESH_AHEAD)}
PAGE: Final = {key.name: key for key in (_DEPENDS_ON, _TIMEOUT, _LOCK, _VARY)}
DATABASE: Final = {_MAX_LAG.name: _MAX_LAG}
CALL_SECTIONS: Final = {"functions": FUNCTION, "views": PAGE, "fragments": PAGE}
NAMED_SECTIONS: Final = {**CALL_SECTIONS, "databases": DATABASE}
TOP: Final = {
    key.name: key
    for key in (
        Key("version", VERSION, "The version of the language; required."),
        Key("max_staleness", DURATION, "The ceiling: no timeout is longer, unless its table is immutable."),
    )
}
SECTIONS: Final = {
    "defaults": "What a model's rule has where it does not say otherwise.",
    "models": 'Rules by model: news.Article, then news.*, then "*.*"; the closest one alone counts.',
    "functions": "Rules of functions by name, for cached_as and cached.",
    "views": "Rules of views by name.",
    "fragments": "Rules of template fragments by name.",
    "databases": "What is known of Django's DATABASES, by alias.",
    "environments": "Overlays by name; CACHEPOLICY_ENVIRONMENT chooses one.",
}
# Keys of cacheops that break the promise: the reason is the message.
REFUSED: Final = {
    "cache_on_save": (
        "`cache_on_save` stores an object from memory, which is not the state of the database",
        "remove it; the next read fills the cache",
    ),
}


def json_schema() -> dict[str, Any]:
    """The language as JSON Schema (draft 2020-12), for editors; the loader checks more than it can say."""

    def mapping(keys: Mapping[str, Key]) -> dict[str, Any]:
        properties = {key.name: {**key.kind.schema, "description": key.what} for key in keys.values()}
        return {"type": "object", "additionalProperties": False, "properties": properties}

    # A YAML 1.1 editor reads `off` as false.
    rule = {"oneOf": [mapping(MODEL), {"enum": ["off", False]}]}
    sections: dict[str, dict[str, Any]] = {
        "defaults": mapping(DEFAULTS),
        "models": {"patternProperties": {f"^({PATTERN.pattern})$": rule}},
    }
    for section, keys in NAMED_SECTIONS.items():
        sections[section] = {"patternProperties": {f"^{NAME.pattern}$": mapping(keys)}}
    for section, schema in sections.items():
        schema |= {"type": "object", "additionalProperties": False, "description": SECTIONS[section]}
    overlay = mapping({"max_staleness": TOP["max_staleness"]})
    overlay["properties"] |= sections
    whole = mapping(TOP)
    whole["properties"] |= sections
    whole["properties"]["environments"] = {
        "type": "object",
        "description": SECTIONS["environments"],
        "additionalProperties": False,
        "patternProperties": {f"^{NAME.pattern}$": overlay},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "cachepolicy policies",
        "required": ["version"],
        **whole,
    }
