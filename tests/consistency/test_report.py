"""Reports: every word of the text for small runs, and the forms that programs read."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from cachepolicy.consistency.report import as_github, as_html, as_json, as_junit, as_text
from cachepolicy.consistency.results import Report
from tests.consistency.runs import cell, dirty, done, kept, run, stale, unplayed

VIOLATED = """\
VIOLATED: 3 of 5 cells broke the promise.
The promise: no cached read is older than its rule's timeout.

functions.<b>&co promises 60 s (policies.yaml:12:3)
  UNKNOWN   redis_hung  stalest –           (get)

shop.Price promises 60 s (policies.yaml:12:3)
  ok        none       stalest 0 s         (get)
  VIOLATED  rollback   stalest –           (get)
  VIOLATED  stale_set  stalest 88.994 s    (fetch get)

UNKNOWN functions.<b>&co get under redis_hung on sqlite: the fault did not bite: no invalidation was lost
  fault: What redis_hung does.
  replay: python manage.py cachepolicy verify --model shop.Price --op get --fault redis_hung --seed 7

VIOLATED shop.Price get under rollback on sqlite: of 1 cached reads: 1 DIRTY
  fault: What rollback does.
  DIRTY: reader read 'never', which was never committed
    1.000 ms  writer  writes 'never' and rolls back
    3.000 ms  cache   stores a value
    5.000 ms  reader  reads 'never' from the cache: DIRTY
  1 error, the first: TimeoutError: gave up
  replay: python manage.py cachepolicy verify --model shop.Price --op get --fault rollback --seed 7

VIOLATED shop.Price fetch under stale_set on sqlite: of 2 cached reads: 1 VIOLATION
  fault: What stale_set does.
  violated as well: get
  VIOLATION: reader read 'old', which had been superseded for at least 88.994 s; at most 60 s is promised
        0.000 ms  database  the row holds 'old'
        1.000 ms  reader    reads 'old' from the database, after a miss
        2.000 ms  writer    writes 'new' and commits, superseding what is read below
        3.000 ms  cache     is told to invalidate shop_price, 2 times
    29999.000 ms  cache     stores a value
    89000.000 ms  reader    reads 'old' from the cache, superseded at least 88.994 s before: VIOLATION
  replay: python manage.py cachepolicy verify --model shop.Price --op fetch --fault stale_set --seed 7

5 cells: 1 ok, 1 unknown, 3 violated; 6 cached reads, 4 of which could have been wrong; 1 error; seed 7
"""
MIXED = run(stale("get"), stale("fetch"), kept(), dirty(), unplayed())


def test_the_text_gives_the_verdict_and_explains_each_witness() -> None:
    assert as_text(MIXED) == VIOLATED


def test_the_text_of_a_kept_promise_is_short() -> None:
    assert as_text(run(kept())) == (
        "OK: the promise was kept in the one cell.\n"
        "The promise: no cached read is older than its rule's timeout.\n\n"
        "shop.Price promises 60 s (policies.yaml:12:3)\n"
        "  ok        none  stalest 0 s         (get)\n\n"
        "1 cell: 1 ok, 0 unknown, 0 violated; 1 cached read, 1 of which could have been wrong; 0 errors; seed 7\n"
    )


def test_a_run_without_cells_is_not_ok() -> None:
    assert as_text(run()).startswith("UNKNOWN: nothing was tried.\n")
    assert json.loads(as_json(run())) == {"seed": 7, "verdict": "unknown", "cells": []}
    assert "UNKNOWN: nothing was tried." in as_html(run())


def test_ops_that_disagree_have_lines_of_their_own() -> None:
    assert "  VIOLATED  stale_set  stalest 88.994 s    (get)\n  ok        stale_set  stalest 0 s         (count)\n" in (
        as_text(run(kept("count", "stale_set"), stale()))
    )


def test_a_write_that_no_invalidation_follows_says_so() -> None:
    silent = cell("get", "raw_sql", done("write", "writer", "new", 2, 5), done("read", "reader", "old", 70_000, 70_001))
    assert "writes 'new' and commits, superseding what is read below; no invalidation follows\n" in as_text(run(silent))


def test_json_has_the_documented_keys() -> None:
    document = json.loads(as_json(run(stale(), dirty())))
    assert (document["seed"], document["verdict"]) == (7, "violated")
    assert document["cells"][0] == {
        "rule": "shop.Price",
        "op": "get",
        "fault": "stale_set",
        "database": "sqlite",
        "verdict": "violated",
        "bound_ms": 60000,
        "worst_lower_ms": 88994.998,
        "reads": 2,
        "relevant_reads": 1,
        "findings": {"OK": 1, "VIOLATION": 1},
        "reason": "of 2 cached reads: 1 VIOLATION",
        "errors": [],
        "origin": "policies.yaml:12:3",
    }
    assert document["cells"][1]["worst_lower_ms"] is None


def test_junit_fails_what_is_violated_and_errs_on_what_is_unknown() -> None:
    suites = ElementTree.fromstring(as_junit(MIXED).encode())
    assert suites.attrib == {"tests": "5", "failures": "3", "errors": "1"}
    assert [case.get("classname") for case in suites.iter("testcase")] == ["shop.Price"] * 4 + ["functions.<b>&co"]
    assert [[child.tag for child in case] for case in suites.iter("testcase")] == [
        ["failure"],
        ["failure"],
        [],
        ["failure"],
        ["error"],
    ]
    failure = suites.find(".//failure")
    assert failure is not None
    assert "is told to invalidate shop_price, 2 times" in str(failure.text)
    assert "--op get --fault stale_set --seed 7" in str(failure.text)


def test_junit_is_xml_whatever_an_exception_says() -> None:
    broken = cell("get", "none", reason="\x00\x1b[31m]]>\ud800 <a>")
    error = ElementTree.fromstring(as_junit(run(broken)).encode()).find(".//error")
    assert error is not None
    assert error.get("message") == "��[31m]]>� <a>"


def test_github_marks_the_lines_of_rules_that_are_not_kept() -> None:
    nowhere = cell("get", "none", reason="50% of\nnothing", rule="shop.Stock", origin="built in")
    assert as_github(run(kept())) == ""
    assert as_github(run(stale(), dirty(), kept(), nowhere)).splitlines() == [
        "::error file=policies.yaml,line=12,col=3::shop.Price is violated under 2 faults: rollback and stale_set; a "
        "read was at least 88.994 s stale, 60 s are promised; python manage.py cachepolicy verify --model shop.Price "
        "--op get --fault stale_set --seed 7",
        "::warning file=built in::shop.Stock is unknown under 1 fault: none; 50%25 of%0Anothing; python manage.py "
        "cachepolicy verify --model shop.Price --op get --fault none --seed 7",
    ]


class _Checked(HTMLParser):
    """Fails on elements that are not closed in order, and collects what a browser would load."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loaded: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in {"meta", "wbr"}:
            self.open.append(tag)
        self.loaded += [tag] if tag in {"script", "link", "img", "iframe", "object"} else []
        for name, value in attrs:
            {"id": self.ids, "href": self.links}.get(name, []).append(value or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """`<path …/>` stands alone."""

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("report", [MIXED, run(kept()), run()])
def test_the_page_is_well_formed_and_loads_nothing(report: Report) -> None:
    page = as_html(report)
    checked = _Checked()
    checked.feed(page)
    checked.close()
    assert (checked.open, checked.loaded) == ([], [])
    assert not re.search(r"https?:|url\(|@import|\bsrc=", page)
    assert {link.removeprefix("#") for link in checked.links} <= set(checked.ids)
    assert len(set(checked.ids)) == len(checked.ids)


def test_the_page_names_every_rule_with_its_verdict_and_escapes_it() -> None:
    page = as_html(MIXED).replace("<wbr>", "")
    assert "<h1>VIOLATED: 3 of 5 cells broke the promise.</h1>" in page
    assert '<h2>shop.Price</h2> <b class="violated">violated</b>' in page
    assert '<h2>functions.&lt;b&gt;&amp;co</h2> <b class="unknown">unknown</b>' in page
    assert "<b>&co" not in page
    assert "--op fetch --fault stale_set --seed 7" in page


def test_the_page_draws_reads_against_the_bound() -> None:
    page = as_html(run(stale(), kept()))
    assert "<title>VIOLATION: get at 89 s, 88.994 s to 88.999 s stale</title>" in page
    assert "<title>OK: get at 6 ms, 0 s to 0 s stale</title>" in page


def test_the_page_of_a_big_run_stays_small() -> None:
    rules = [f"shop.Model{number}" for number in range(18)]
    many = [kept("get", f"fault_{number}", rule) for rule in rules for number in range(20)]
    page = as_html(run(*many, *(stale(f"op{number}") for number in range(100))))
    assert len(page) < 1_000_000
    assert all(rule in page.replace("<wbr>", "") for rule in rules)
