"""A report for reviewers: one HTML page that needs no explanation, no network and no script."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from itertools import groupby
from pathlib import Path
from string import Template
from typing import Final

from cachepolicy.consistency.report.explanation import Explanation, explanations
from cachepolicy.consistency.report.scatter import band, dots_of, scale_of
from cachepolicy.consistency.report.summary import (
    Row,
    counted,
    gravest,
    headline,
    listed,
    replay,
    rows_of,
    shown,
    totals,
)
from cachepolicy.consistency.report.timeline import timeline
from cachepolicy.consistency.results import Report

__all__ = ["as_html"]

_RULES_IN_A_TABLE: Final = 8


def as_html(report: Report) -> str:
    """The verdict, a matrix of rules and faults, and for each rule its reads and why it is not kept."""
    rows = rows_of(report.cells)
    rules = [list(group) for _, group in groupby(rows, key=lambda row: row.case.rule)]
    template = Template(Path(__file__).with_name("page.html").read_text(encoding="utf-8"))
    return template.substitute(
        status=report.status,
        headline=escape(headline(report)),
        totals=escape(totals(report)),
        matrix="".join(_matrix(rules)),
        rules="".join(_rule(rule, report.seed) for rule in rules),
    )


def _matrix(rules: Sequence[Sequence[Row]]) -> Iterator[str]:
    faults = sorted({row.case.fault for rows in rules for row in rows})
    # Narrow enough for a screen and for paper, however many rules there are.
    width = -(-len(rules) // (-(-len(rules) // _RULES_IN_A_TABLE) or 1))
    for start in range(0, len(rules), width or 1):
        some = rules[start : start + width]
        heads = "".join(f'<th scope="col">{_breakable(rows[0].case.rule)}</th>' for rows in some)
        yield f'<div class="wide"><table class="matrix" style="min-width:{9.5 + 4.6 * len(some):.1f}rem">'
        yield f"<thead><tr><th>fault</th>{heads}</tr></thead><tbody>"
        for fault in faults:
            cells = "".join(_square([row for row in rows if row.case.fault == fault]) for rows in some)
            yield f'<tr><th scope="row">{_breakable(fault)}</th>{cells}</tr>'
        yield "</tbody></table></div>"


def _square(rows: Sequence[Row]) -> str:
    if not rows:
        return '<td class="none">–</td>'
    status = gravest(rows)
    some = [row for row in rows if row.status == status]
    number, of = sum(len(row.cells) for row in some), sum(len(row.cells) for row in rows)
    share = "" if number == of else f" <small>{number} of {of}</small>"
    text = status if status == "ok" else f'<a href="#{_anchor(some[0])}">{status}</a>'
    return f'<td class="{status}">{text}{share}</td>'


def _rule(rows: Sequence[Row], seed: int) -> str:
    case, status = rows[0].case, gravest(rows)
    dots = {id(row): [dot for cell in row.cells for dot in dots_of(cell)] for row in rows}
    scale = scale_of(rows[0].bound_ns, [dot for some in dots.values() for dot in some])
    bands, tried = [], []
    for row in rows:
        name = row.case.fault
        bands.append(
            f'<figure class="{row.status}"><figcaption>{_breakable(name)}<b>{row.status}</b></figcaption>'
            f"{band(dots[id(row)], scale, name)}</figure>"
        )
        tried.append(
            f'<tr><th scope="row">{_breakable(name)}</th><td>{escape(row.case.what)}</td><td>{" ".join(row.ops)}</td>'
            f'<td class="{row.status}">{row.status}</td><td>{shown(row.worst_lower_ns)}</td><td>{row.reads}</td>'
            f"<td>{row.relevant_reads}</td><td>{len(row.errors)}</td></tr>"
        )
    faults = {row.case.fault for row in rows}
    kept = len(faults - {row.case.fault for row in rows if row.status != "ok"})
    stalest = shown(max((worst for row in rows if (worst := row.worst_lower_ns) is not None), default=None))
    # One is shown, as an example of what the others hold.
    problems = [_problem(row, seed, not number) for number, row in enumerate(row for row in rows if row.status != "ok")]
    return (
        f"<details class=rule{' open' if status != 'ok' else ''}><summary><h2>{_breakable(case.rule)}</h2> "
        f'<b class="{status}">{status}</b> <span>promises {shown(rows[0].bound_ns)}; stalest read {stalest}; '
        f"kept under {kept} of {counted(len(faults), 'fault')}; {escape(case.origin)}</span></summary>"
        f'<div class="bands">{"".join(bands)}</div>'
        f"{''.join(problems)}"
        f"<details><summary>What was tried, and how often</summary><div class=wide><table><thead><tr><th>fault</th>"
        f"<th>what happens</th><th>ops</th><th>verdict</th><th>stalest read</th><th>cached reads</th>"
        f"<th>could be wrong</th><th>errors</th></tr></thead><tbody>{''.join(tried)}</tbody></table></div></details>"
        "</details>"
    )


def _problem(row: Row, seed: int, is_open: bool) -> str:
    case, verdict = row.case, row.cell.verdict
    others = [op for op in row.ops if op != case.op]
    also = f" The same for {listed(others)}." if others else ""
    errors = f"<p>{counted(len(row.errors), 'error')}, the first: {escape(row.errors[0])}</p>" if row.errors else ""
    return (
        f'<details{" open" if is_open else ""}><summary><b class="{row.status}">{row.status}</b> '
        f"<h3>under {_breakable(case.fault)}</h3> <span>{escape(case.what)}</span></summary>"
        # The place to jump to is inside, because a browser opens the details that hold its target.
        f'<p id="{_anchor(row)}"><code>{escape(case.op)}</code> on {escape(row.database)}. '
        f"{escape(verdict.reason[:1].upper() + verdict.reason[1:])}.{also}</p>"
        f"{''.join(_explained(explanation) for explanation in explanations(row.cell))}{errors}"
        f"<p>Play it again: <code>{escape(replay(case, seed))}</code></p></details>"
    )


def _explained(explanation: Explanation) -> str:
    steps = "".join(
        f"<li{' class=bad' if step.is_culprit else ''}><b>{escape(step.actor)}</b> {escape(step.text)} "
        f"<small>at {shown(step.start_ns)}</small></li>"
        for step in explanation.steps
    )
    return (
        f"<p><strong>{explanation.finding}</strong>: {escape(explanation.what)}.</p>"
        f'<div class="witness">{timeline(explanation)}<ol>{steps}</ol></div>'
    )


def _anchor(row: Row) -> str:
    return escape(f"{row.case.rule}-{row.case.fault}-{row.database}-{row.status}")


def _breakable(name: str) -> str:
    """A name that may be broken after a dot or an underscore."""
    return escape(name).replace(".", ".<wbr>").replace("_", "_<wbr>")
