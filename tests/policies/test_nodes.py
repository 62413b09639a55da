"""YAML text to nodes: places that hold, and every hostile construct refused with its own words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from cachepolicy.policies import nodes
from cachepolicy.policies.nodes import Mapping, Node, Scalar, Sequence, parse
from tests.policies import fuzz

NO_ALIASES = "write the values out; shared ones go into `defaults`"
CHECK = "check the indentation, quotes and brackets here"
LOADERS = [yaml.CSafeLoader, yaml.SafeLoader]


@pytest.fixture(params=LOADERS, ids=["libyaml", "pure"])
def _each_loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "_LOADER", request.param)


def _plain(node: Node | None) -> Any:
    """The tree as Python's own types, without places."""
    match node:
        case Scalar():
            return node.text
        case Sequence():
            return [_plain(item) for item in node.items]
        case Mapping():
            return {key.text: _plain(value) for key, value in node.items}
        case None:
            return None


def _places(node: Node | None) -> dict[str, str]:
    """The place of each scalar by its text."""
    match node:
        case Scalar():
            return {node.text: f"{node.origin.line}:{node.origin.column}"}
        case Sequence():
            parts = [_places(item) for item in node.items]
        case Mapping():
            parts = [_places(part) for item in node.items for part in item]
        case None:
            parts = []
    return {text: place for part in parts for text, place in part.items()}


def _refusals(data: bytes) -> list[str]:
    return [str(problem) for problem in parse(data, "f")[1]]


@pytest.mark.usefixtures("_each_loader")
class TestTree:
    def test_gives_mappings_lists_and_texts(self) -> None:
        root, problems = parse(b"a: {b: [c, 'd'], e: \"f\"}\ng: |\n  h\ni:\n- j\n- k: l\n", "f")
        assert problems == []
        assert _plain(root) == {"a": {"b": ["c", "d"], "e": "f"}, "g": "h\n", "i": ["j", {"k": "l"}]}

    def test_values_stay_texts(self) -> None:
        root, _ = parse(b"[yes, 010, 1:30, 1_000, 0x10, ~, null, 2020-01-01, 1.5, true]", "f")
        assert _plain(root) == ["yes", "010", "1:30", "1_000", "0x10", "~", "null", "2020-01-01", "1.5", "true"]

    def test_quotes_are_told_from_plain_texts(self) -> None:
        root, _ = parse(b"[a, 'b', \"c\", ~]", "f")
        assert isinstance(root, Sequence)
        assert [item.plain for item in root.items if isinstance(item, Scalar)] == [True, False, False, True]

    @pytest.mark.parametrize(
        ("text", "places"),
        [
            ("a: b", {"a": "1:1", "b": "1:4"}),
            ("a:\n  b: c\n", {"a": "1:1", "b": "2:3", "c": "2:6"}),
            ("\n\n# é\na: [b, c]", {"a": "4:1", "b": "4:5", "c": "4:8"}),
            ("a: {é: b, 🎉🎉: c}", {"a": "1:1", "é": "1:5", "b": "1:8", "🎉🎉": "1:11", "c": "1:15"}),
            ('"é🎉": b', {"é🎉": "1:1", "b": "1:7"}),
            ("a: b\r\nc: d\r\n", {"a": "1:1", "b": "1:4", "c": "2:1", "d": "2:4"}),
            ("a: b\rc: d", {"a": "1:1", "b": "1:4", "c": "2:1", "d": "2:4"}),
            ("\ufeffa: b\nc: d", {"a": "1:1", "b": "1:4", "c": "2:1", "d": "2:4"}),
            ("# x\x0b\n".replace("\x0b", "\u00a0") + "a: b", {"a": "2:1", "b": "2:4"}),
            ("# x\u2028a: b", {"a": "2:1", "b": "2:4"}),
            ("a: b\x85c: d", {"a": "1:1", "b": "1:4", "c": "2:1", "d": "2:4"}),
            ("a:", {"a": "1:1", "": "1:3"}),
            ("---", {"": "1:4"}),
            ("---\n", {"": "2:1"}),
        ],
    )
    def test_places_count_characters_from_1(self, text: str, places: dict[str, str]) -> None:
        root, problems = parse(text.encode(), "f")
        assert problems == []
        assert _places(root) == places

    @pytest.mark.parametrize("text", ["", " ", "\n\n", "# only a comment\n", "\ufeff", "\r\n"])
    def test_an_empty_file_has_no_root(self, text: str) -> None:
        assert parse(text.encode(), "f") == (None, [])


REFUSED: list[tuple[str, str, list[str]]] = [
    ("an alias", "a: *b", [f"f:1:4: the alias `*b`; {NO_ALIASES}"]),
    ("an anchor", "a: &b c", [f"f:1:4: the anchor `&b`; {NO_ALIASES}"]),
    ("an anchor of a mapping", "x: 1\ny: &b {c: d}", [f"f:2:4: the anchor `&b`; {NO_ALIASES}"]),
    ("a long anchor", f"&{'a' * 99} x", [f"f:1:1: the anchor `&{'a' * 58}…`; {NO_ALIASES}"]),
    ("a merge key", "models:\n  <<: {a: b}", [f"f:2:3: the merge key `<<`; {NO_ALIASES}"]),
    ("a tag", "a: !!str b", ["f:1:4: the tag `tag:yaml.org,2002:str`; remove it: a value's type is given by its key"]),
    ("a tag of one's own", "!x [a]", ["f:1:1: the tag `!x`; remove it: a value's type is given by its key"]),
    ("the tag of no type", "a: ! b", ["f:1:4: the tag `!`; remove it: a value's type is given by its key"]),
    ("Python's tag", "!!python/object:os.system []", [
        "f:1:1: the tag `tag:yaml.org,2002:python/object:os.system`; remove it: a value's type is given by its key"
    ]),
    ("a second document", "a: b\n---\nc: d", ["f:2:1: a second document starts here; keep one document in a file"]),
    ("an empty second document", "a: b\n---\n", ["f:2:1: a second document starts here; keep one document in a file"]),
    ("depth 21", "[" * 21, ["f:1:21: this nests deeper than 20 levels; a rule needs three"]),
    ("depth 21 in blocks", "- " * 21 + "a", ["f:1:41: this nests deeper than 20 levels; a rule needs three"]),
    ("depth 21 in mappings", "{a: " * 21, ["f:1:81: this nests deeper than 20 levels; a rule needs three"]),
    ("256 kB and a byte", "#" * 262_145, [
        "f:1:1: the file has 262145 bytes; a policy file has at most 262144: use wildcards"
    ]),
    ("6 001 values", "[" + "a,\n" * 6_000 + "]", ["f:6000:1: the file has more than 6000 values; use wildcards"]),
    ("a key twice", "a: 1\nb: 2\na: 3", [
        "f:3:1: `a` stands twice in this mapping, first in line 1; remove one of the two"
    ]),
    ("a key thrice, quoted once", "a: 1\n'a': 2\na: 3", [
        "f:2:1: `a` stands twice in this mapping, first in line 1; remove one of the two",
        "f:3:1: `a` stands twice in this mapping, first in line 1; remove one of the two",
    ]),
    ("a list as a key", "? [a]\n: b", ["f:1:3: a key must be text; write a name before the colon"]),
    ("a mapping as a key", "{{a: b}: c}", ["f:1:2: a key must be text; write a name before the colon"]),
    ("NUL", "a: \x00", ["f:1:4: the character U+0000 may not stand in YAML; delete it"]),
    ("an escape character", "a: b\n\n é\x1b[0m", ["f:3:3: the character U+001B may not stand in YAML; delete it"]),
    ("DEL", "\x7f", ["f:1:1: the character U+007F may not stand in YAML; delete it"]),
    ("a C1 control", "a\x80", ["f:1:2: the character U+0080 may not stand in YAML; delete it"]),
    ("a noncharacter", "a: \uffff", ["f:1:4: the character U+FFFF may not stand in YAML; delete it"]),
    ("a second byte order mark", "\ufeff\ufeffa: b", ["f:1:1: the character U+FEFF may not stand in YAML; delete it"]),
    ("a byte order mark in a line", "a: \ufeffb", ["f:1:4: the character U+FEFF may not stand in YAML; delete it"]),
    ("%TAG", "%TAG ! x\n---\na: b", ["f:1:1: the directive `%TAG`; delete this line: a policy file needs none"]),
    ("%YAML", "# x\n%YAML 1.2\n---\n", ["f:2:1: the directive `%YAML`; delete this line: a policy file needs none"]),
    ("an unquoted *.*", "models:\n  *.*: off", [
        'f:2:3: a name that starts with `*` must be quoted; write "*.*": and so on'
    ]),
    ("an unquoted *.Article", "models: {a.b: off, *.Article: off}", [
        'f:1:20: a name that starts with `*` must be quoted; write "*.*": and so on'
    ]),
    ("an unquoted *news.*", "models:\n  *news.*: off", [
        'f:2:3: a name that starts with `*` must be quoted; write "*.*": and so on'
    ]),
    ("a lone *", "a: *", ['f:1:4: a name that starts with `*` must be quoted; write "*.*": and so on']),
    ("a tab that indents", "a:\n\tb: c", ["f:2:1: a tab cannot indent YAML; indent with spaces"]),
    ("a tab that continues", "a:\n  b: c\n\td: e", ["f:3:1: a tab cannot indent YAML; indent with spaces"]),
    ("an open quote", 'a: "b', [f"f:1:6: this is not YAML: found unexpected end of stream; {CHECK}"]),
    ("an open quote and a break", "a: 'b\n", [f"f:2:1: this is not YAML: found unexpected end of stream; {CHECK}"]),
]  # fmt: skip


@pytest.mark.usefixtures("_each_loader")
@pytest.mark.parametrize(("text", "refusals"), [pytest.param(*row[1:], id=row[0]) for row in REFUSED])
def test_refuses(text: str, refusals: list[str]) -> None:
    root, problems = parse(text.encode(), "f")
    assert [str(problem) for problem in problems] == refusals
    is_tree = "stands twice" in refusals[0] or "must be text" in refusals[0]
    assert (root is not None) == is_tree, "what follows a refusal has no meaning; a wrong key is one mistake of many"


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        ("a: b: c", f"f:1:5: this is not YAML: mapping values are not allowed in this context; {CHECK}"),
        ("a: [b", f"f:1:6: this is not YAML: did not find expected ',' or ']'; {CHECK}"),
        ("a: [b\n", f"f:2:1: this is not YAML: did not find expected ',' or ']'; {CHECK}"),
        ("a: @b", f"f:1:4: this is not YAML: found character that cannot start any token; {CHECK}"),
        ("a: }", f"f:1:4: this is not YAML: did not find expected node content; {CHECK}"),
        ("- a\nb: c", f"f:2:1: this is not YAML: did not find expected '-' indicator; {CHECK}"),
        (r'"\q"', f"f:1:2: this is not YAML: found unknown escape character; {CHECK}"),
        (r'"\UFFFFFFFF"', f"f:1:4: this is not YAML: found invalid Unicode character escape code; {CHECK}"),
        ("a: b\n...\nc: d", f"f:3:1: this is not YAML: did not find expected <document start>; {CHECK}"),
    ],
)
def test_refuses_what_is_not_yaml(text: str, refusal: str) -> None:
    assert _refusals(text.encode()) == [refusal]


def test_a_tab_between_two_values_counts_as_a_character() -> None:
    root, problems = parse(b"a:\tb", "f")
    assert problems == []
    assert _places(root) == {"a": "1:1", "b": "1:4"}


def test_the_pure_loader_refuses_a_tab_between_two_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyYAML's own parser is stricter here than the YAML it implements, and than libyaml."""
    monkeypatch.setattr(nodes, "_LOADER", yaml.SafeLoader)
    assert _refusals(b"a:\tb") == ["f:1:3: a tab cannot indent YAML; indent with spaces"]


def test_the_pure_loader_refuses_an_escape_beyond_unicode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "_LOADER", yaml.SafeLoader)
    remedy = "this escape names no character; write the character itself"
    assert _refusals(rb'a: "\UFFFFFFFF"') == [f"f:1:5: {remedy}"]
    assert _refusals(rb'a: "\U00110000"') == [f"f:1:5: {remedy}"]


@pytest.mark.parametrize(
    ("data", "refusal"),
    [
        (b"a: b\xff", "f:1:5: this byte is not UTF-8; save the file as UTF-8"),
        ("é: 1\nü".encode() + b"\xc3", "f:2:2: this byte is not UTF-8; save the file as UTF-8"),
        (b"\xef\xbb\xbfab\xff", "f:1:3: this byte is not UTF-8; save the file as UTF-8"),
        (b"\xed\xa0\x80", "f:1:1: this byte is not UTF-8; save the file as UTF-8"),
        ("version: 1".encode("utf-16"), "f:1:1: this byte is not UTF-8; save the file as UTF-8"),
        ("version: 1".encode("utf-16-be"), "f:1:1: the character U+0000 may not stand in YAML; delete it"),
        ("version: 1".encode("utf-16-le"), "f:1:2: the character U+0000 may not stand in YAML; delete it"),
    ],
)
def test_refuses_bytes_that_are_not_utf_8(data: bytes, refusal: str) -> None:
    assert parse(data, "f")[0] is None
    assert _refusals(data) == [refusal]


@pytest.mark.usefixtures("_each_loader")
@pytest.mark.parametrize(
    "text",
    [
        pytest.param("[" * 20 + "]" * 20, id="depth 20"),
        pytest.param("#" * 262_144, id="256 kB"),
        pytest.param("[" + "a," * 5_999 + "]", id="6 000 values"),
        pytest.param("{a: {x: 1}, b: {x: 1}}", id="a key in two mappings"),
        pytest.param("{a: 1, A: 1}", id="keys that differ in case"),
        pytest.param("'<<': a", id="a quoted merge key"),
        pytest.param("a: <<", id="a merge key as a value"),
        pytest.param("'*.*': off", id="a quoted wildcard"),
        pytest.param("news.*: off", id="a wildcard at the end"),
        pytest.param("a: '&b *c !d %e'", id="indicators in quotes"),
        pytest.param("a: b%c\nd: 5%", id="per cent within a line"),
        pytest.param("a: b&c*d!e", id="indicators within a text"),
        pytest.param("---\na: b\n...\n", id="one document with its marks"),
        pytest.param("a: 'b\tc' # tab\t\n", id="tabs in quotes and comments"),
        pytest.param('a: "é\\u00e9🎉\u2028"', id="characters beyond ASCII"),
    ],
)
def test_no_refusal_of(text: str) -> None:
    assert parse(text.encode(), "f")[1] == []


def _trees(data: bytes, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Node | None, list[Any]]]:
    trees = []
    for loader in LOADERS:
        with monkeypatch.context() as patch:
            patch.setattr(nodes, "_LOADER", loader)
            trees.append(parse(data, "f"))
    return trees


def _flat(node: Node | None) -> Iterator[object]:
    """Every value with its place, in order; where nothing stands, the parsers agree on the line only."""
    match node:
        case Scalar(origin, "", True):
            yield origin.line
        case Scalar():
            yield node
        case Sequence(origin, items):
            yield origin
            yield from (value for item in items for value in _flat(item))
        case Mapping(origin, pairs):
            yield origin
            yield from (value for pair in pairs for item in pair for value in _flat(item))


def test_both_loaders_read_the_shipped_example_alike(
    pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast, pure = _trees((pytestconfig.rootpath / "policies.yaml").read_bytes(), monkeypatch)
    assert fast == pure
    assert fast[0] is not None


def test_both_loaders_read_generated_policies_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same values at the same places, or the same problems; of what is not YAML they tell in their own words."""
    compared = 0
    for index in range(400):
        data = fuzz.case(11, index)
        if len(data) > 10_000:
            continue
        fast, pure = _trees(data, monkeypatch)
        if any("not YAML" in problem.what or "tab" in problem.what for tree in (fast, pure) for problem in tree[1]):
            continue
        assert list(_flat(fast[0])) == list(_flat(pure[0])), f"fuzz.py --seed 11 --only {index}"
        assert fast[1] == pure[1], f"fuzz.py --seed 11 --only {index}"
        compared += 1
    assert compared > 150


texts = st.text(st.characters(exclude_categories=["Cs", "Cc", "Cn"], exclude_characters="\ufeff"), max_size=8)
trees = st.recursive(texts, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3))


@given(trees, st.booleans(), st.booleans())
@settings(max_examples=150, deadline=None)
def test_a_tree_written_by_pyyaml_reads_back(tree: Any, flow: bool, unicode: bool) -> None:
    written = yaml.safe_dump(tree, default_flow_style=flow, allow_unicode=unicode, sort_keys=False, width=1000)
    root, problems = parse(written.encode(), "f")
    assert problems == []
    assert _plain(root) == tree
