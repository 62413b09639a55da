"""A soak: round after round until so many cached reads are made and so many faults have bitten; its verdict."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Final, TextIO

from django.db import connections

from cachepolicy.consistency.cases import KITS_TABLE
from cachepolicy.consistency.checker import PROMISE
from cachepolicy.consistency.databases import throwaway_databases
from cachepolicy.consistency.findings import Finding
from cachepolicy.consistency.history import History
from cachepolicy.consistency.probe_table import probe_table
from cachepolicy.consistency.report.explanation import explanations
from cachepolicy.consistency.report.text import told
from cachepolicy.consistency.results import Case, Cell
from cachepolicy.consistency.rig import Rig
from cachepolicy.consistency.selection import SelectionError, sound_policies
from cachepolicy.consistency.session import CouldNotRun, entered
from cachepolicy.consistency.soak.plan import FAULTS
from cachepolicy.consistency.soak.rounds import Round, play_round
from cachepolicy.consistency.verdict import Status
from cachepolicy.exceptions import CachePolicyError
from cachepolicy.policies.durations import Duration
from cachepolicy.policies.problems import did_you_mean

__all__ = ["Soak", "SoakReport", "run_soak", "soaked"]

_ROUND_READS: Final = 50_000
_MORE_ROUNDS: Final = 3  # for the faults that did not bite
_MORE_READS: Final = 1_000
_INDETERMINATE: Final = 0.001  # a greater part of the reads that nobody can judge shows too little


@dataclass(frozen=True, slots=True)
class Soak:
    """What to play: at least so many cached reads and faults that bite, under a bound that really passes.

    `only` names the faults to draw from, empty for all. `near_ms` and `ahead_ms`: the rule's `near`
    and `refresh_ahead`, 0 for none.
    """

    reads: int
    faults: int
    bound_ms: int
    seed: int
    only: Sequence[str] = ()
    near_ms: int = 0
    ahead_ms: int = 0


@dataclass
class SoakReport:
    """What came of it: `faults` are those that bit, `blunt` those that did not; `explained` tells a read a finding."""

    soak: Soak
    database: str = ""
    counts: Counter[str] = field(default_factory=Counter)
    writes: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    blunt: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    findings: Counter[Finding] = field(default_factory=Counter)
    relevant_reads: int = 0
    decisive_reads: int = 0
    worst_lower_ns: int = 0
    reasons: list[str] = field(default_factory=list)
    explained: dict[Finding, str] = field(default_factory=dict)
    violated: bool = False
    seconds: float = 0.0

    @property
    def status(self) -> Status:
        """`violated` once any round is; `unknown` where it shows too little; see `doubts`."""
        return "violated" if self.violated else "unknown" if self.doubts else "ok"

    @property
    def doubts(self) -> list[str]:
        """Why this is no proof of anything, where it is none."""
        doubts = list(self.reasons)
        for made, asked, what in (
            (self.counts["cached"], self.soak.reads, "reads were cached"),
            (self.faults.total(), self.soak.faults, "faults bit"),
        ):
            if made < asked:
                doubts.append(f"{made} of {asked} {what}")
        if not self.decisive_reads:
            doubts.append("no read could have been older than allowed")
        unclear = self.findings[Finding.INDETERMINATE]
        if unclear > _INDETERMINATE * self.counts["reads"]:
            doubts.append(f"of {unclear} reads nobody can tell, which is more than {_INDETERMINATE:.1%}")
        return doubts

    def add(self, played: Round) -> None:
        """Take a round in."""
        done, verdict = played.done, played.verdict
        for mine, theirs in ((self.counts, done.counts), (self.faults, done.faults), (self.blunt, done.blunt)):
            mine.update(theirs)
        self.errors.update(done.errors)
        self.findings.update(verdict.counts)
        self.writes += sum(operation.f == "write" and operation.session != "initial" for operation in done.operations)
        self.relevant_reads += verdict.relevant_reads
        self.decisive_reads += verdict.decisive_reads
        self.worst_lower_ns = max(self.worst_lower_ns, verdict.worst_lower_ns or 0)
        self.violated = self.violated or verdict.status == "violated"
        if verdict.status == "unknown":
            self.reasons.append(verdict.reason)
        wrong = {str(finding): number for finding, number in verdict.control.items() if finding is not Finding.OK}
        if wrong:
            self.reasons.append(f"reads past the cache were wrong: {wrong}")
        if {finding for finding in verdict.counts if finding in PROMISE} - self.explained.keys():
            case = Case(KITS_TABLE, "reads", "", KITS_TABLE, self.soak.bound_ms, "")
            for explanation in explanations(Cell(case, self.database, verdict, History(done.operations))):
                self.explained.setdefault(explanation.finding, "\n".join(told(explanation)))


def soaked(soak: Soak, rig: Rig, on_round: Callable[[SoakReport], object] | None = None) -> SoakReport:
    """Play a soak on the current database, which may be thrown away; raises ValueError for a bound nobody can keep."""
    report = SoakReport(soak)
    began_s = time.monotonic()
    rounds = -(-soak.reads // _ROUND_READS)
    with probe_table(soak.bound_ms, soak.near_ms, soak.ahead_ms) as alias:
        report.database = connections[alias].vendor
        for number in range(rounds + _MORE_ROUNDS):
            reads, faults = soak.reads - report.counts["cached"], soak.faults - report.faults.total()
            left = max(rounds - number, 1)
            if reads <= 0 and faults <= 0:
                break
            report.add(
                play_round(
                    number,
                    rig,
                    alias,
                    reads=max(reads // left, _MORE_READS),
                    faults=max(-(-faults // left), 0),
                    bound_ms=soak.bound_ms,
                    seed=soak.seed,
                    only=soak.only,
                )
            )
            report.seconds = time.monotonic() - began_s
            if on_round is not None:
                on_round(report)
    return report


def run_soak(soak: Soak, err: TextIO) -> SoakReport:
    """Play a soak on databases and a Redis of its own, telling `err` how far it is; raises CouldNotRun."""
    print(f"seed {soak.seed} (the same faults again: --seed {soak.seed})", file=err)
    try:
        sound_policies()
        _refuse_unknown(soak.only)
        _refuse_too_long(soak)
    except CachePolicyError as error:
        raise CouldNotRun(str(error)) from error

    def tell(report: SoakReport) -> None:
        reads, faults = report.counts["cached"], report.faults.total()
        so_far = "violated" if report.violated else "kept so far"
        print(f"{report.seconds:.0f} s: {reads} cached reads, {faults} faults, {so_far}", file=err)

    with ExitStack() as stage:
        rig = entered(stage, Rig(), "the kit's own Redis server did not start")
        entered(stage, throwaway_databases(), "the test database could not be made")
        try:
            return soaked(soak, rig, tell)
        except Exception as error:
            raise CouldNotRun(f"the soak broke off: {type(error).__name__}: {error}") from error


def _refuse_too_long(soak: Soak) -> None:
    for option, ms, longest_ms in (
        ("near", soak.near_ms, soak.bound_ms),
        ("refresh-ahead", soak.ahead_ms, soak.bound_ms - 1),
    ):
        if ms > longest_ms:
            raise SelectionError(f"--{option} {Duration(ms)}: too long for a --bound of {Duration(soak.bound_ms)}")


def _refuse_unknown(names: Sequence[str]) -> None:
    known = [name for named in FAULTS.values() for name in named]
    for name in names:
        if name not in known:
            match = did_you_mean(name, known)
            remedy = f"did you mean {match}?" if match else f"there are {', '.join(sorted(known))}"
            raise SelectionError(f"--fault {name}: no such fault; {remedy}")
