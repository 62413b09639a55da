"""What a file says, layer by layer: nodes → the base and its overlays, every value with its place and path."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from cachepolicy.policies import nodes, schema
from cachepolicy.policies.problems import Origin, Problem, did_you_mean, quoted

__all__ = ["MAX_PROBLEMS", "Entry", "Given", "Layer", "TooMany", "read_layers"]

MAX_PROBLEMS: Final = 500
MAX_ENVIRONMENTS: Final = 16
# Every rule is resolved once for the base and once in each environment, with the models that it depends on.
MAX_RESOLVED: Final = 4_000
_GENERAL: Final = "cachepolicy.E001"
_BREAKS_PROMISE: Final = "cachepolicy.E004"


@dataclass(frozen=True, slots=True)
class Given:
    """A value as a layer gives it; None where it could not be read, so that no second problem follows from it."""

    value: Any
    origin: Origin
    path: str

    @property
    def overlaid(self) -> bool:
        """Whether an environment's overlay says it, not the base."""
        return self.path.startswith("environments.")


@dataclass(frozen=True, slots=True)
class Entry:
    """A rule as a layer gives it; `off` where its models are not cached."""

    name: str
    origin: Origin
    path: str
    off: bool = False
    values: Mapping[str, Given] = field(default_factory=dict)


@dataclass(slots=True)
class Layer:
    """The file itself, or one of its environments; `sections` holds models by folded pattern, the rest by name."""

    max_staleness: Given | None = None
    defaults: dict[str, Given] = field(default_factory=dict)
    sections: dict[str, dict[str, Entry]] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """How much there is to resolve: the rules and the models that they depend on."""
        entries = [entry for section in self.sections.values() for entry in section.values()]
        named = (entry.values["depends_on"].value for entry in entries if "depends_on" in entry.values)
        return len(entries) + sum(len(labels or ()) for labels in named)

    def overlaid_by(self, overlay: Layer) -> Layer:
        """This layer with what `overlay` says on top, key by key; `off` and a rule replace each other."""
        merged = Layer(overlay.max_staleness or self.max_staleness, self.defaults | overlay.defaults)
        for section in self.sections.keys() | overlay.sections.keys():
            entries = dict(self.sections.get(section, {}))
            for name, entry in overlay.sections.get(section, {}).items():
                below = entries.get(name)
                if below is None or below.off or entry.off:
                    entries[name] = entry
                else:
                    entries[name] = Entry(below.name, below.origin, below.path, False, {**below.values, **entry.values})
            merged.sections[section] = entries
        return merged


class TooMany(Exception):
    """There are more problems than anyone reads."""


class _Reading:
    """Walks the nodes by the table of the language and collects every problem."""

    def __init__(self, problems: list[Problem]) -> None:
        self._problems = problems

    def problem(self, origin: Origin, path: str, what: str, remedy: str, code: str = _GENERAL) -> None:
        self._problems.append(Problem(origin, path, what, remedy, code))
        if len(self._problems) > MAX_PROBLEMS:
            raise TooMany

    def file(self, root: nodes.Node) -> tuple[Layer, dict[str, Layer]]:
        base = Layer()
        overlays: dict[str, Layer] = {}
        allowed = {**schema.TOP, **dict.fromkeys(schema.SECTIONS)}
        if (items := self._mapping(root, "", "the file", "write `version: 1` and sections")) is None:
            return base, overlays
        if not any(key.text == "version" for key, _ in items):
            self.problem(root.origin, "", "`version` is missing", "write `version: 1` in the first line")
        for key, node in items:
            if key.text == "environments":
                overlays = self._environments(node)
            elif key.text == "version":
                self._value(schema.TOP["version"], node, "version")
            else:
                self._layer_key(base, key, node, "", allowed)
        return base, overlays

    def _environments(self, node: nodes.Node) -> dict[str, Layer]:
        overlays: dict[str, Layer] = {}
        items = self._named(node, "environments")
        if len(items) > MAX_ENVIRONMENTS:
            what = f"there are {len(items)} environments"
            self.problem(node.origin, "environments", what, f"keep at most {MAX_ENVIRONMENTS}")
            return overlays
        allowed = {
            "max_staleness": None,
            **{name: None for name in schema.SECTIONS if name != "environments"},
        }
        for key, overlay in items:
            path = f"environments.{_short(key.text)}"
            layer = overlays[key.text] = Layer()
            remedy = "write sections, as in {max_staleness: 2s}"
            for inner, value in self._mapping(overlay, path, "an environment", remedy) or ():
                self._layer_key(layer, inner, value, f"{path}.", allowed)
        return overlays

    def _layer_key(
        self, layer: Layer, key: nodes.Scalar, node: nodes.Node, prefix: str, allowed: Mapping[str, Any]
    ) -> None:
        path = f"{prefix}{key.text}"
        if key.text not in allowed:
            self._unknown_key(key, prefix.rstrip("."), allowed)
        elif key.text == "max_staleness":
            layer.max_staleness = self._value(schema.TOP[key.text], node, path)
        elif key.text == "defaults":
            layer.defaults = self._values(node, path, schema.DEFAULTS)
        elif key.text == "models":
            layer.sections["models"] = self._models(node, path)
        else:
            keys = schema.NAMED_SECTIONS[key.text]
            layer.sections[key.text] = {
                name.text: Entry(name.text, name.origin, here, False, self._values(value, here, keys))
                for name, value in self._named(node, path)
                for here in [f"{path}.{_short(name.text)}"]
            }

    def _models(self, node: nodes.Node, path: str) -> dict[str, Entry]:
        entries: dict[str, Entry] = {}
        for key, value in (
            self._mapping(node, path, "`models`", "write rules, as in news.Article: {timeout: 30s}") or ()
        ):
            here = f"{path}.{_short(key.text)}"
            if key.text in schema.MODEL:
                what, remedy = f"`{key.text}` stands where a model should", "indent it further, below its model"
                self.problem(key.origin, here, what, remedy)
                continue
            if not schema.PATTERN.fullmatch(key.text):
                self.problem(key.origin, here, f"{quoted(key.text)} is not a model", _pattern_remedy(key.text))
                continue
            folded = key.text.lower()
            if folded in entries:
                what = f"the same model has a rule in line {entries[folded].origin.line} (case does not count)"
                self.problem(key.origin, here, what, "remove one of the two")
                continue
            off = isinstance(value, nodes.Scalar) and value.text == "off"
            entries[folded] = Entry(
                key.text,
                key.origin,
                here,
                off,
                {} if off else self._values(value, here, schema.MODEL, off_allowed=True),
            )
        return entries

    def _named(self, node: nodes.Node, path: str) -> list[tuple[nodes.Scalar, nodes.Node]]:
        named = []
        for key, value in self._mapping(node, path, f"`{path}`", "write names and what they hold") or ():
            here = f"{path}.{_short(key.text)}"
            if key.plain and key.text.lower() in schema.YAML_1_1_WORDS:
                what = f"{quoted(key.text)} is not text to every YAML reader"
                is_name = schema.NAME.fullmatch(key.text)
                self.problem(key.origin, here, what, f'quote it: "{key.text}"' if is_name else "write a name")
            elif not schema.NAME.fullmatch(key.text):
                remedy = "begin with a letter; then letters, digits and _ . : / -"
                self.problem(key.origin, here, f"{quoted(key.text)} is not a name", remedy)
            else:
                named.append((key, value))
        return named

    def _values(
        self, node: nodes.Node, path: str, keys: Mapping[str, schema.Key], *, off_allowed: bool = False
    ) -> dict[str, Given]:
        remedy = "write a mapping, as in {timeout: 30s}" + (", or off" if off_allowed else "")
        values: dict[str, Given] = {}
        for key, value in self._mapping(node, path, "a rule", remedy) or ():
            if key.text in schema.REFUSED:
                what, instead = schema.REFUSED[key.text]
                self.problem(key.origin, f"{path}.{key.text}", what, instead, _BREAKS_PROMISE)
            elif key.text not in keys:
                self._unknown_key(key, path, keys)
            else:
                values[key.text] = self._value(keys[key.text], value, f"{path}.{key.text}")
        return values

    def _value(self, key: schema.Key, node: nodes.Node, path: str) -> Given:
        def complain(origin: Origin, what: str, remedy: str) -> None:
            self.problem(origin, path, what, remedy)

        return Given(key.kind.read(node, complain), node.origin, path)

    def _mapping(
        self, node: nodes.Node, path: str, what: str, remedy: str
    ) -> tuple[tuple[nodes.Scalar, nodes.Node], ...] | None:
        if isinstance(node, nodes.Mapping):
            return node.items
        found = "a list" if isinstance(node, nodes.Sequence) else quoted(node.text) if node.text else "nothing"
        self.problem(node.origin, path, f"{what} must be a mapping, but {found} stands here", remedy)
        return None

    def _unknown_key(self, key: nodes.Scalar, path: str, allowed: Mapping[str, Any]) -> None:
        here = f"{path}.{_short(key.text)}" if path else _short(key.text)
        if key.text in schema.MODEL and allowed is not schema.MODEL:
            also = " or a function's" if allowed is schema.PAGE and key.text in schema.FUNCTION else ""
            what, remedy = f"`{key.text}` does not belong here", f"write it in a model's rule{also}"
        elif key.text in schema.PAGE and allowed is schema.MODEL:
            what, remedy = (
                f"`{key.text}` does not belong here",
                "write it in a rule of functions, views or fragments",
            )
        elif key.text in schema.DATABASE:
            what, remedy = f"`{key.text}` does not belong here", "write it in `databases`, by alias"
        else:
            match = did_you_mean(key.text, allowed)
            what = f"{quoted(key.text)} is no key"
            remedy = f"did you mean {match}?" if match else "choose from " + ", ".join(allowed)
        self.problem(key.origin, here, what, remedy)


def read_layers(root: nodes.Node, problems: list[Problem]) -> tuple[Layer, dict[str, Layer]]:
    """The base layer and the overlays by name; adds to `problems` all that is wrong with each by itself.

    Where there are more than MAX_PROBLEMS, or more to resolve than MAX_RESOLVED, it gives empty layers.
    """
    try:
        base, overlays = _Reading(problems).file(root)
    except TooMany:
        return Layer(), {}
    count = base.size * (1 + len(overlays)) + sum(overlay.size for overlay in overlays.values())
    if count > MAX_RESOLVED:
        what = f"there are {count} rules and dependencies, counted anew in each environment"
        problems.append(Problem(root.origin, "", what, f"keep at most {MAX_RESOLVED}: use wildcards"))
        return Layer(), {}
    return base, overlays


def _short(text: str) -> str:
    return quoted(text)[1:-1]


def _pattern_remedy(text: str) -> str:
    if text == "*":
        return 'for every model write "*.*"'
    if text.startswith("*."):
        return 'a wildcard stands for models, as in "news.*", or for everything, as in "*.*"'
    if re.fullmatch(r"\w+", text):
        return f"write the app too, as in news.{text}" if text[:1].isupper() else f'write "{text}.*" for the whole app'
    return "write app.Model, as in news.Article"
