"""What the benchmarks make of a run, without running one: JSON, tables, bars, the picture, the README."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from benchmarks.bars import ratios
from benchmarks.contenders import READS, contenders
from benchmarks.figures import Figures
from benchmarks.measures import DEPENDENTS
from benchmarks.picture import drawn
from benchmarks.report import as_json, as_text

ROOT = Path(__file__).parent.parent
SVG = "{http://www.w3.org/2000/svg}"


def whole_run() -> Figures:
    """Figures of all that the bars look at: each contender takes as many µs as its name has letters."""
    figures = Figures()
    asked = [
        "miss + store, get",
        "miss + store, 20 rows",
        "transaction of 20 saves",
        "page, sync",
        "startup, 500 rules",
    ]
    asked += [f"save, {number} dependents" for number in DEPENDENTS]
    for contender in contenders():
        for name in (*contender.reads, *(asked if contender.is_whole else ())):
            figures.took(name, contender.name, *[len(contender.name) * 1_000] * 3)
        figures.counted("transaction of 20 saves, Redis round trips", contender.name, 1, "round trips")
        for counted in ("computed", "waited"):
            figures.counted(f"stampede of 50, ahead: {counted}", contender.name, 0, "readers")
    return figures


def measure(name: str, contender: str, median_us: float) -> dict[str, Any]:
    return {"name": name, "contender": contender, "median_us": median_us, "n": 3}


def texts(svg: str) -> dict[str, list[str]]:
    """What a picture says, line by line, by their y; each text has its class before it."""
    found: dict[str, list[str]] = {}
    for text in ElementTree.fromstring(svg).iter(f"{SVG}text"):
        kind = f"{text.get('class')} ".lstrip()
        found.setdefault(text.attrib["y"], []).append(f"{kind}{text.text}")
    return found


def test_the_json_has_times_by_name_and_contender_and_ratios_with_their_bars() -> None:
    figures = Figures()
    figures.took("get", "cacheops", 300_000, 100_000, 200_000)
    figures.took("get", "cachepolicy", 100_000)
    figures.counted("memory per entry, redis", "cacheops", 900, "bytes")
    document = json.loads(as_json(figures, ratios(figures)))
    assert document["measures"] == [
        {"name": "get", "contender": "cacheops", "median_us": 200.0, "n": 3},
        {"name": "get", "contender": "cachepolicy", "median_us": 100.0, "n": 1},
    ]
    assert document["counts"] == [
        {"name": "memory per entry, redis", "contender": "cacheops", "value": 900, "unit": "bytes", "n": 1}
    ]
    by_name = {ratio.pop("name"): ratio for ratio in document["ratios"]}
    found = by_name.pop("get: cachepolicy, times as fast as cacheops")
    assert found == {"value": 2.0, "bar": 1, "side": "at least", "ok": True}
    for unmeasured in by_name.values():
        assert (unmeasured["value"], unmeasured["ok"]) == (None, None)


def test_every_bar_finds_what_it_compares_in_a_whole_run() -> None:
    figures = whole_run()
    assert [ratio.name for ratio in ratios(figures) if ratio.value is None] == []
    assert "absent" not in as_text(figures, ratios(figures))


def test_a_bar_is_missed_on_its_wrong_side_and_reached_on_the_line() -> None:
    figures = Figures()
    for contender, us in (("cacheops", 59), ("cachalot, Redis", 90), ("cachepolicy near", 1)):
        figures.took("get", contender, us * 1_000)
    figures.took("get", "limit: dict + shallow copy", 200)
    found = {ratio.name: ratio.ok for ratio in ratios(figures) if ratio.value is not None}
    assert found == {
        "get: cachepolicy near, times as fast as cacheops": False,
        "get: cachepolicy near, times as fast as cachalot, Redis": True,
        "get: cachepolicy near, time by that of limit: dict + shallow copy": False,
    }


def test_the_picture_has_a_row_for_each_contender_ours_and_the_limits_last() -> None:
    measures = json.loads(as_json(whole_run(), []))["measures"]
    title, heads, *rows, _, _ = texts(drawn(measures)).values()
    assert (title, heads) == (["title A hit, median in µs"], [f"number {question}" for question in READS])
    assert [re.sub("^(title|limit) ", "", row[0]) for row in rows[-4:]] == [
        "cachepolicy",
        "cachepolicy near",
        "limit: socket GET + unpickle",
        "limit: dict + shallow copy",
    ]
    assert len(rows) == len(contenders())
    assert [row[1:] for row in rows if row[0] == "cacheops"] == [["number best 8"] * len(READS)]


def test_the_picture_sets_off_the_fastest_that_is_no_limit_whoever_it_is() -> None:
    svg = drawn(
        [measure("get", "limit: <1>", 0.14), measure("get", "by hand", 5), measure("get", "cachepolicy", 1234.5)]
    )
    assert list(texts(svg).values())[2:5] == [
        ["by hand", "number best 5"],
        ["title cachepolicy", "number 1,234"],
        ["limit limit: <1>", "number limit 0.14"],
    ]
    bars = [bar.attrib for bar in ElementTree.fromstring(svg).iter(f"{SVG}rect") if "bar" in bar.attrib["class"]]
    widths = {bar["class"]: float(bar["width"]) for bar in bars}
    assert widths["bar"] / widths["bar of-ours"] == pytest.approx(5 / 1234.5, abs=0.01)


def test_a_picture_of_no_reads_is_refused() -> None:
    with pytest.raises(ValueError, match="there is nothing to draw: no reads were measured"):
        drawn([measure("page, sync", "cacheops", 5)])


def test_the_readme_shows_the_picture_and_the_bars_as_they_are() -> None:
    readme = (ROOT / "README.md").read_text()
    assert "](docs/benchmarks.svg)" in readme
    ElementTree.parse(ROOT / "docs/benchmarks.svg")
    block = re.search(r"```bench\n(.*?)```", readme, re.S)
    assert block is not None
    bars = {ratio.name: ratio for ratio in ratios(Figures())}
    for line in block[1].splitlines()[1:]:
        name, value, sign, bar, verdict = re.split(r"\s{2,}|(?<=\d) (?=[≥≤])|(?<=[≥≤]) ", line)
        known = bars[name]
        assert (sign, float(bar)) == ("≥" if known.side == "at least" else "≤", known.bar)
        is_reached = float(value) >= known.bar if known.side == "at least" else float(value) <= known.bar
        assert (verdict == "ok") == is_reached or float(value) == known.bar  # it is rounded
