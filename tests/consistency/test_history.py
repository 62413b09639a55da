"""Histories: exact round trips, and bad lines refused with their number and what to do."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachepolicy.consistency.history import History, HistoryError, Operation
from cachepolicy.exceptions import CachePolicyError

# Any code point, lone surrogates and line separators included.
texts = st.text(st.characters(), max_size=8)
instants = st.integers(min_value=-(2**70), max_value=2**70)
versions = st.none() | st.integers(min_value=-(2**70), max_value=2**70)


@st.composite
def operations(draw: st.DrawFn) -> Operation:
    invoke_ns, return_ns = sorted((draw(instants), draw(instants)))
    f: Any = draw(st.sampled_from(["read", "write"]))
    outcome: Any = draw(st.sampled_from(["ok", "fail", "info"]))
    rows = None
    if f == "read" and draw(st.booleans()):
        rows = draw(st.dictionaries(texts, st.tuples(versions, texts), max_size=3))
    required = f == "write" or outcome == "ok"
    token = None if rows is not None else draw(texts if required else st.none() | texts)
    version = None if rows is not None else draw(versions)
    via: Any = draw(st.sampled_from(["cache", "db"]))
    return Operation(draw(texts), draw(texts), f, draw(texts), invoke_ns, return_ns, outcome, version, token, via, rows)


@given(st.lists(operations(), max_size=6))
def test_a_history_survives_json_lines_exactly(drawn: list[Operation]) -> None:
    history = History(drawn)
    text = history.to_jsonl()
    assert text.isascii()
    assert text.count("\n") == len(drawn)
    again = History.from_jsonl(text)
    assert again == history
    assert [type(operation.rows) for operation in again] == [type(operation.rows) for operation in history]
    assert again.to_jsonl() == text


def test_a_history_survives_a_file_and_a_process_boundary(tmp_path: Path) -> None:
    history = History(
        [
            Operation("p1", "s1", "write", "é\u2028", 1, 2, "ok", 1, "t1", "db"),
            Operation("p2", "s2", "read", "all", 3, 4, "ok", None, None, "cache", {"a": (1, "t1")}),
        ]
    )
    history.save(tmp_path / "history.jsonl")
    assert History.load(tmp_path / "history.jsonl") == history
    assert pickle.loads(pickle.dumps(history)) == history


def test_a_history_is_a_sequence_of_operations() -> None:
    first = Operation.initial("a", 0, "t0", 5)
    second = Operation("p", "s", "read", "a", 6, 7, "ok", 0, "t0", "cache")
    history = History([first, second])
    assert first == Operation("initial", "initial", "write", "a", 0, 5, "ok", 0, "t0", "db")
    assert list(history) == [first, second]
    assert (len(history), history[1], history[1:]) == (2, second, History([second]))
    assert hash(history) == hash(History([first, second]))
    assert history != History([second, first])
    assert history != [first, second]
    assert repr(History([first])) == f"History([{first!r}])"


LINE: dict[str, Any] = {
    "process": "p1",
    "session": "s1",
    "f": "read",
    "key": "a",
    "invoke_ns": 5,
    "return_ns": 6,
    "outcome": "ok",
    "version": 1,
    "token": "t1",
    "via": "cache",
}


def test_version_token_and_rows_may_be_left_out() -> None:
    line = {**LINE, "outcome": "fail"}
    del line["version"], line["token"]
    expected = Operation("p1", "s1", "read", "a", 5, 6, "fail", None, None, "cache")
    assert History.from_jsonl(json.dumps(line)) == History([expected])


def without(name: str) -> str:
    return json.dumps({field: value for field, value in LINE.items() if field != name})


def having(**fields: Any) -> str:
    return json.dumps({**LINE, **fields})


REFUSALS = {
    '{"process": "p1", "ses': (
        "not JSON at column 19: Unterminated string starting at; mend the line, or delete it if its writer was cut off"
    ),
    "": "not JSON at column 1: Expecting value; mend the line, or delete it if its writer was cut off",
    "[" * 100_000: "nested too deeply; write one flat object per line",
    "[1]": "list instead of an object; write one object per line",
    '"é\udcff"': "not UTF-8 at column 3; save the file as UTF-8",
    '{"f": "read", "key": "a", "key": "b"}': "field 'key' is given twice; keep one",
    having(ok=True): (
        "unknown field 'ok'; the fields are f, invoke_ns, key, outcome, process, return_ns, rows, session, token, "
        "version, via"
    ),
    without("via"): "no field 'via'; add it",
    having(key=7): "key is 7; write a string",
    having(f=None): "f is None; write a string",
    having(invoke_ns=5.0): "invoke_ns is 5.0; write whole nanoseconds",
    having(return_ns=True): "return_ns is True; write whole nanoseconds",
    having(version="1"): "version is '1'; write a whole number or null",
    having(version=True): "version is True; write a whole number or null",
    having(token=7): "token is 7; write a string or null",
    having(f="cas"): "f is 'cas'; use one of read, write",
    having(outcome="timeout"): "outcome is 'timeout'; use one of ok, fail, info",
    having(via="near"): "via is 'near'; use one of cache, db",
    having(return_ns=4): "return_ns 4 is before invoke_ns 5; read the clock before and after",
    having(token=None): "this read has no token; record the token it returned",
    having(f="write", token=None, outcome="info"): "this write has no token; record the token it wrote",
    having(rows=[1]): "rows is [1]; write an object of row key: [version, token]",
    having(rows={"a": [1]}): "row 'a' is [1]; write [version, token]",
    having(rows={"a": [1.5, "t"]}): "row 'a' is [1.5, 't']; write [version, token]",
    having(rows={"a": [1, None]}): "row 'a' is [1, None]; write [version, token]",
    having(rows={"a": [1, "t1"]}): "a list read has rows and its own version or token; leave those two null",
    having(f="write", rows={}): "a write has no rows; record one write per row",
}


@pytest.mark.parametrize(("line", "expected"), REFUSALS.items(), ids=range(len(REFUSALS)))
def test_a_bad_line_is_refused_with_its_number_and_what_to_do(line: str, expected: str) -> None:
    good = having()
    with pytest.raises(HistoryError) as caught:
        History.from_jsonl(f"{good}\n{line}\n{good}\n")
    assert caught.value.problems == (f"line 2: {expected}",)
    assert str(caught.value) == f"line 2: {expected}"
    assert caught.value.readable == History.from_jsonl(f"{good}\n{good}")
    assert isinstance(caught.value, CachePolicyError)


def test_every_bad_line_is_reported_and_the_message_stays_short() -> None:
    with pytest.raises(HistoryError) as caught:
        History.from_jsonl("\n".join(["{}"] * 25))
    assert len(caught.value.problems) == 25
    assert len(str(caught.value).splitlines()) == 21
    assert str(caught.value).splitlines()[0] == "line 1: no field 'process'; add it"
    assert str(caught.value).splitlines()[19:] == ["line 20: no field 'process'; add it", "and 5 more lines"]


def test_as_many_bad_lines_as_fit_are_all_shown() -> None:
    with pytest.raises(HistoryError) as caught:
        History.from_jsonl("\n".join(["{}"] * 20))
    assert str(caught.value).splitlines() == [f"line {number}: no field 'process'; add it" for number in range(1, 21)]


def test_bytes_that_are_not_utf_8_are_refused_with_their_line(tmp_path: Path) -> None:
    (tmp_path / "history.jsonl").write_bytes(having().encode() + b'\n{"key": "\xff"}\n')
    with pytest.raises(HistoryError, match=r"^line 2: not UTF-8 at column 10; save the file as UTF-8$"):
        History.load(tmp_path / "history.jsonl")
