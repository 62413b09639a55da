"""A report for CI servers: JUnit's XML."""

from __future__ import annotations

import re
from collections import Counter
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from cachepolicy.consistency.report.explanation import explanations
from cachepolicy.consistency.report.summary import replay
from cachepolicy.consistency.report.text import told
from cachepolicy.consistency.results import Cell, Report

__all__ = ["as_junit"]

# What XML 1.0 cannot hold even escaped; the message of an exception may well have it.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def as_junit(report: Report) -> str:
    """One test case for each cell: a failure where it is violated, an error where it is unknown."""
    found = Counter(cell.verdict.status for cell in report.cells)
    numbers = {
        "tests": str(len(report.cells)),
        "failures": str(found["violated"]),
        "errors": str(found["unknown"]),
    }
    suites = Element("testsuites", numbers)
    suite = SubElement(suites, "testsuite", {"name": "cachepolicy", **numbers})
    SubElement(SubElement(suite, "properties"), "property", name="seed", value=str(report.seed))
    for cell in report.cells:
        _add(suite, cell, report.seed)
    indent(suites)
    xml: bytes = tostring(suites, encoding="utf-8", xml_declaration=True)
    return xml.decode() + "\n"


def _add(suite: Element, cell: Cell, seed: int) -> None:
    case, verdict = cell.case, cell.verdict
    name = f"{case.op} under {case.fault} on {cell.database}"
    test = SubElement(suite, "testcase", classname=case.rule, name=name)
    if verdict.status != "ok":
        tag = "failure" if verdict.status == "violated" else "error"
        lines = [line for explanation in explanations(cell) for line in told(explanation)]
        lines += [*cell.errors, f"replay: {replay(case, seed)}"]
        problem = SubElement(test, tag, type=verdict.status, message=_clean(verdict.reason))
        problem.text = _clean("\n".join(lines))


def _clean(text: str) -> str:
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)
