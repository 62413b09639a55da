"""The checker: a history and a bound in, a verdict with its evidence out."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Final

from .anomalies import find_fractured_reads, find_session_anomalies
from .findings import Finding, find_reads
from .history import Operation
from .intervals import commit_intervals
from .verdict import Status, Verdict
from .witnesses import Witness, explain

DEFAULT_EPS_NS: Final = 1_000
"""Two processes of one Linux machine that read CLOCK_MONOTONIC at one instant differ by less than this."""

PROMISE: Final = frozenset(
    {
        Finding.VIOLATION,
        Finding.PHANTOM,
        Finding.DIRTY,
        Finding.FUTURE,
        Finding.FRACTURED,
    }
)
"""The findings that break a bounded cache's promise; a session's stale read, within the bound, does not."""

QUANTILES: Final = (0.5, 0.9, 0.99, 0.999)
"""The quantiles of staleness that a verdict reports, by nearest rank."""


def judge(
    history: Sequence[Operation],
    *,
    bound_ns: int,
    eps_ns: int = DEFAULT_EPS_NS,
    committed_tokens: Collection[str] | None = None,
    row_lock: bool = True,
    rollbacks_are_evidence: bool = False,
    breaking: Collection[Finding] = PROMISE,
) -> Verdict:
    """Judge every read of a history against one bound on staleness, in nanoseconds.

    - `bound_ns` ≥ 0: a read that begins at s must return a state that was current at some instant ≥ s − bound.
    - `eps_ns` ≥ 0: how far two clock readings of one instant may differ; every instant is widened by it.
    - `committed_tokens`: the commit log, read after the last write; it settles `info` writes. Without it a read
      of such a write is INDETERMINATE.
    - `row_lock`: the versions of a key are its commit order. False when nothing orders concurrent writers.
    - `rollbacks_are_evidence`: for a history about rollbacks; a read that began after a write which did not
      commit, and so could have been DIRTY, is relevant too.
    - `breaking`: the findings that make the verdict `violated`.

    A row that was there before the history needs an initial write (`Operation.initial`), else reads of it are
    PHANTOM. A history whose writes contradict themselves is refused (`unknown`, see `Verdict.refusals`): its
    harness is wrong. Not seen: rows that a list should have had, and deletions, unless a write with a token of
    its own stands for them. Raises ValueError for a negative bound or eps.

    The algorithm is that of `commit_intervals`, `find_reads` and `find_session_anomalies`.
    """
    for name, value in (("bound_ns", bound_ns), ("eps_ns", eps_ns)):
        if value < 0:
            raise ValueError(f"{name} is {value}; give 0 or more nanoseconds")
    keys, refusals = commit_intervals(history, eps_ns=eps_ns, committed_tokens=committed_tokens, row_lock=row_lock)
    if refusals:
        reason = f"the harness contradicts itself: {refusals[0]}"
        return Verdict("unknown", reason, bound_ns, eps_ns, refusals=refusals)
    tally = _Tally()
    for judged in find_reads(history, keys, bound_ns=bound_ns, eps_ns=eps_ns):
        finding = judged.finding
        if history[judged.read].via == "db":
            tally.control[finding] += 1
            continue
        tally.counts[finding] += 1
        if finding is not Finding.OK and finding is not Finding.INDETERMINATE:
            tally.witnesses.append(explain(history, keys, judged))
        if judged.lower_ns is not None and judged.lower_ns > tally.worst_lower_ns:
            tally.worst_lower_ns = judged.lower_ns
        if judged.upper_ns is not None and judged.upper_ns > tally.worst_upper_ns:
            tally.worst_upper_ns = judged.upper_ns
        if judged.exposure_ns > 0 or (rollbacks_are_evidence and judged.after_abort):
            tally.relevant += 1
            tally.relevant_ok += finding is Finding.OK
            tally.decisive += judged.exposure_ns > bound_ns
            if judged.lower_ns is not None:
                tally.relevant_lowers_ns.append(judged.lower_ns)
    for anomalies in (find_session_anomalies(history, keys), find_fractured_reads(history, keys)):
        # A list of which two rows went back in time is still one read that did.
        once = {(witness.finding, witness.read): witness for witness in anomalies}
        for witness in once.values():
            if history[witness.read].via == "db":
                tally.control[witness.finding] += 1
            else:
                tally.counts[witness.finding] += 1
                tally.witnesses.append(witness)
    return tally.verdict(bound_ns, eps_ns, frozenset(breaking))


@dataclass(slots=True)
class _Tally:
    counts: Counter[Finding] = field(default_factory=Counter)
    control: Counter[Finding] = field(default_factory=Counter)
    witnesses: list[Witness] = field(default_factory=list)
    relevant_lowers_ns: list[int] = field(default_factory=list)
    relevant: int = 0
    relevant_ok: int = 0
    decisive: int = 0
    worst_lower_ns: int = -1
    worst_upper_ns: int = -1

    def verdict(self, bound_ns: int, eps_ns: int, breaking: frozenset[Finding]) -> Verdict:
        """The verdict on what was counted."""
        status, reason = self._conclude(bound_ns, breaking)
        return Verdict(
            status,
            reason,
            bound_ns,
            eps_ns,
            counts=_in_order(self.counts),
            control=_in_order(self.control),
            reads=self._reads(),
            relevant_reads=self.relevant,
            decisive_reads=self.decisive,
            worst_lower_ns=self.worst_lower_ns if self.worst_lower_ns >= 0 else None,
            worst_upper_ns=self.worst_upper_ns if self.worst_upper_ns >= 0 else None,
            quantiles_ns=_quantiles(sorted(self.relevant_lowers_ns)),
            witnesses=tuple(sorted(self.witnesses, key=lambda witness: witness.read)),
        )

    def _conclude(self, bound_ns: int, breaking: frozenset[Finding]) -> tuple[Status, str]:
        broken = [f"{count} {finding}" for finding, count in _in_order(self.counts).items() if finding in breaking]
        reads = self._reads()
        if broken:
            return "violated", f"of {reads} cached reads: {', '.join(broken)}"
        if reads == 0:
            return "unknown", "no read came from a cache"
        if self.relevant == 0:
            return "unknown", f"none of {reads} cached reads could have been wrong"
        if self.relevant_ok == 0:
            return "unknown", f"of {self.relevant} cached reads that could have been wrong, none is certainly right"
        return "ok", (
            f"of {self.relevant} cached reads that could have been wrong, {self.relevant_ok} are certainly "
            f"right and none is certainly older than {bound_ns} ns"
        )

    def _reads(self) -> int:
        return sum(count for finding, count in self.counts.items() if finding not in _ON_TOP)


_ON_TOP = frozenset({Finding.FRACTURED, Finding.NON_MONOTONIC, Finding.READ_YOUR_WRITES})


def _in_order(counts: Counter[Finding]) -> dict[Finding, int]:
    return {finding: counts[finding] for finding in Finding if counts[finding]}


def _quantiles(values_ns: list[int]) -> dict[float, int]:
    """Nearest rank: the smallest value that at least that part of all values does not exceed."""
    if not values_ns:
        return {}
    # ceil(q · n) − 1, in thousandths, because 0.999 · 1000 is not 999 in binary.
    ranks = {quantile: -(-round(quantile * 1000) * len(values_ns) // 1000) - 1 for quantile in QUANTILES}
    return {quantile: values_ns[rank] for quantile, rank in ranks.items()}
