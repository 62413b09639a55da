"""YAML text → nodes with positions, safe against hostile files.

One pass over PyYAML's events builds the tree without recursion, so depth cannot exhaust the stack (a file 200 000
deep makes the C loader's `compose` segfault) and a merge-key bomb is refused at its first anchor.
"""

from __future__ import annotations

import codecs
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import yaml

from cachepolicy.policies.problems import Origin, Problem, quoted

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Mapping", "Node", "Scalar", "Sequence", "parse"]

MAX_BYTES: Final = 256 * 1024
MAX_DEPTH: Final = 20
MAX_NODES: Final = 6_000
# libyaml is five times faster; the pure parser gives the same events where it is missing.
_LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# YAML 1.1, §4.2; str.splitlines() would also break at form feeds and the like.
_LINE_BREAK: Final = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
# What may not stand in a YAML file (1.1, §5.1), and the byte order mark, which parsers count differently and nobody
# sees. By what may, as YAML says it, this takes 5 ms to compile at every start.
_NOT_YAML: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufeff\ufffe\uffff]")
# A line that both parsers take for a directive; libyaml compares every pair of them.
_DIRECTIVE: Final = re.compile("(?:^|(?<=[\n\r\x85\u2028\u2029]))%\\S*")
# The escape of a character beyond Unicode, which the pure parser does not refuse by itself.
_NO_CHARACTER: Final = re.compile(r"\\U(?!00(?:0|10))")


class Scalar(NamedTuple):
    """A piece of text; `plain` when it stands without quotes."""

    origin: Origin
    text: str
    plain: bool


class Sequence(NamedTuple):
    """A list."""

    origin: Origin
    items: tuple[Node, ...]


class Mapping(NamedTuple):
    """Keys and values in the order of the file; duplicates are refused before a Mapping is made."""

    origin: Origin
    items: tuple[tuple[Scalar, Node], ...]


Node: TypeAlias = "Scalar | Sequence | Mapping"


class _Refused(Exception):
    """Ends the parse: what follows in the file has no meaning any more."""

    def __init__(self, origin: Origin, what: str, remedy: str) -> None:
        super().__init__(what)
        self.problem = Problem(origin, "", what, remedy)


def parse(data: bytes, file: str) -> tuple[Node | None, list[Problem]]:
    """Read one YAML document; gives its root (None where it is empty or refused) and the problems met."""
    problems: list[Problem] = []
    text = ""
    try:
        text = _decode(data, file)
        return _Builder(_place(file, text), problems).build(yaml.parse(text, Loader=_LOADER)), problems
    except _Refused as refusal:
        problems.append(refusal.problem)
    except yaml.MarkedYAMLError as error:
        problems.append(_syntax_problem(error, file, text))
    except (ValueError, OverflowError):
        escape = _NO_CHARACTER.search(text)
        origin = _place(file, text[: escape.start() if escape else 0])
        problems.append(Problem(origin, "", "this escape names no character", "write the character itself"))
    return None, problems


def _decode(data: bytes, file: str) -> str:
    if len(data) > MAX_BYTES:
        raise _Refused(
            Origin(file, 1, 1),
            f"the file has {len(data)} bytes",
            f"a policy file has at most {MAX_BYTES}: use wildcards",
        )
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        before = data[: error.start].decode()
        raise _Refused(_place(file, before), "this byte is not UTF-8", "save the file as UTF-8") from None
    if wrong := _NOT_YAML.search(text):
        what = f"the character U+{ord(wrong.group()):04X} may not stand in YAML"
        raise _Refused(_place(file, text[: wrong.start()]), what, "delete it")
    if directive := _DIRECTIVE.search(text):
        what = f"the directive {quoted(directive.group())}"
        raise _Refused(_place(file, text[: directive.start()]), what, "delete this line: a policy file needs none")
    return text


def _place(file: str, before: str) -> Origin:
    lines = _LINE_BREAK.split(before)
    return Origin(file, len(lines), len(lines[-1]) + 1)


class _Builder:
    """Builds the tree from events with a stack of its own, refusing what a policy file never needs."""

    def __init__(self, end: Origin, problems: list[Problem]) -> None:
        self._end = end
        self._problems = problems
        self._count = 0
        # Per open collection: is it a mapping, where does it start, and the children so far.
        self._open: list[tuple[bool, Origin, list[Node]]] = []
        self._root: Node | None = None

    def build(self, events: Iterator[Any]) -> Node | None:
        documents = 0
        for event in events:
            # In the order of their frequency, since most of the time of a long file goes here.
            kind = event.__class__
            if kind is yaml.ScalarEvent:
                origin = self._origin(event)
                self._refuse_extras(event, origin)
                self._add(Scalar(origin, event.value, not event.style))
            elif kind in _STARTS:
                origin = self._origin(event)
                self._refuse_extras(event, origin)
                if len(self._open) >= MAX_DEPTH:
                    raise _Refused(origin, f"this nests deeper than {MAX_DEPTH} levels", "a rule needs three")
                self._open.append((kind is yaml.MappingStartEvent, origin, []))
            elif kind in _ENDS:
                is_mapping, start, children = self._open.pop()
                self._add(self._mapping(start, children) if is_mapping else Sequence(start, tuple(children)))
            elif kind is yaml.DocumentStartEvent:
                documents += 1
                if documents > 1:
                    what = "a second document starts here"
                    raise _Refused(self._origin(event), what, "keep one document in a file")
            elif kind is yaml.AliasEvent:
                raise _Refused(self._origin(event), f"the alias {quoted(f'*{event.anchor}')}", _NO_ALIASES)
        return self._root

    def _origin(self, event: Any) -> Origin:
        mark, end = event.start_mark, self._end
        line = mark.line + 1
        # libyaml ends a last line that has no line break by itself, and so points to a line that is not there.
        return Origin(end.file, line, mark.column + 1) if line <= end.line else end

    def _refuse_extras(self, event: Any, origin: Origin) -> None:
        self._count += 1
        if self._count > MAX_NODES:
            raise _Refused(origin, f"the file has more than {MAX_NODES} values", "use wildcards")
        if event.anchor is not None:
            raise _Refused(origin, f"the anchor {quoted('&' + event.anchor)}", _NO_ALIASES)
        if event.tag is not None:
            raise _Refused(origin, f"the tag {quoted(event.tag)}", "remove it: a value's type is given by its key")

    def _add(self, node: Node) -> None:
        if self._open:
            self._open[-1][2].append(node)
        else:
            self._root = node

    def _mapping(self, start: Origin, children: list[Node]) -> Mapping:
        first: dict[str, Origin] = {}
        items: list[tuple[Scalar, Node]] = []
        for key, value in zip(children[::2], children[1::2], strict=True):
            if not isinstance(key, Scalar):
                self._problems.append(Problem(key.origin, "", "a key must be text", "write a name before the colon"))
            elif key.text == "<<" and key.plain:
                raise _Refused(key.origin, "the merge key `<<`", _NO_ALIASES)
            elif key.text in first:
                what = f"{quoted(key.text)} stands twice in this mapping, first in line {first[key.text].line}"
                self._problems.append(Problem(key.origin, "", what, "remove one of the two"))
            else:
                first[key.text] = key.origin
                items.append((key, value))
        return Mapping(start, tuple(items))


_STARTS: Final = (yaml.MappingStartEvent, yaml.SequenceStartEvent)
_ENDS: Final = (yaml.MappingEndEvent, yaml.SequenceEndEvent)
_NO_ALIASES: Final = "write the values out; shared ones go into `defaults`"


def _syntax_problem(error: yaml.MarkedYAMLError, file: str, text: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    # `*.*:` scans as an alias; the scanner's own words name neither the cause nor the cure.
    if "alias" in f"{error.context}" and (start := error.context_mark):
        star = Origin(file, start.line + 1, start.column + 1)
        return Problem(star, "", "a name that starts with `*` must be quoted", 'write "*.*": and so on')
    lines = _LINE_BREAK.split(text)
    if mark is None or mark.line >= len(lines):  # as in _Builder._origin
        return _not_yaml(Origin(file, len(lines), len(lines[-1]) + 1), error)
    origin = Origin(file, mark.line + 1, mark.column + 1)
    if lines[mark.line][mark.column : mark.column + 1] == "\t":
        return Problem(origin, "", "a tab cannot indent YAML", "indent with spaces")
    return _not_yaml(origin, error)


def _not_yaml(origin: Origin, error: yaml.MarkedYAMLError) -> Problem:
    what = f"this is not YAML: {error.problem or 'unreadable'}"
    return Problem(origin, "", what, "check the indentation, quotes and brackets here")
