"""The checker against a simulated cache of which the truth is known: never a false alarm, hardly ever a miss.

CACHEPOLICY_SIMULATED_READS=1000000 runs it at full size, and times it.
"""

from __future__ import annotations

import os
import random
import sys
import time
from bisect import bisect_right

from cachepolicy.consistency.checker import judge
from cachepolicy.consistency.findings import Finding
from cachepolicy.consistency.history import History, Operation

READS = int(os.environ.get("CACHEPOLICY_SIMULATED_READS", "50000"))
BOUND_NS = 1_000_000_000
EPS_NS = 20_000
WIDTH_NS = 1_000_000
KEYS = 20
NEVER_NS = 1 << 62


def simulate(reads: int, over_aged: float, seed: int) -> tuple[History, set[int]]:
    """A cache whose invalidations are all lost and which serves nothing older than the bound, but for a share of reads.

    Every clock reading is wrong by up to eps. Also: the reads that are certainly older than the bound in truth.
    """
    rng = random.Random(seed)
    length_ns = reads * BOUND_NS // 500
    operations, broken = [], set()
    commits: dict[str, list[int]] = {}

    def clock(instant_ns: int) -> int:
        return instant_ns + rng.randint(-EPS_NS, EPS_NS)

    for number in range(KEYS):
        key = f"k{number}"
        instants = [0]
        operations.append(Operation.initial(key, 0, f"{key}.0", 0))
        while (at := instants[-1] + rng.randint(2 * WIDTH_NS + 2 * EPS_NS, BOUND_NS)) < length_ns:
            version = len(instants)
            instants.append(at)
            start, end = clock(at - rng.randint(0, WIDTH_NS)), clock(at + rng.randint(0, WIDTH_NS))
            token = f"{key}.{version}"
            operations.append(Operation("w", "w", "write", key, start, max(start, end), "ok", version, token, "db"))
        commits[key] = instants
    entries = dict.fromkeys(commits, (0, 0))
    now_ns = BOUND_NS * 3
    for index in range(len(operations), len(operations) + reads):
        now_ns += rng.randint(0, 2 * (length_ns - 3 * BOUND_NS) // reads)
        key = f"k{rng.randrange(KEYS)}"
        end_ns = now_ns + rng.randint(1, WIDTH_NS)
        version, birth_ns = entries[key]
        if rng.random() < over_aged:
            state_ns = now_ns - BOUND_NS - rng.randint(1, 2 * BOUND_NS)
            version = bisect_right(commits[key], max(0, state_ns)) - 1
        elif now_ns - birth_ns > BOUND_NS:
            # A miss: birth is the instant before the database is read.
            version = bisect_right(commits[key], rng.randint(now_ns, end_ns)) - 1
            entries[key] = version, now_ns
        following = commits[key][version + 1] if version + 1 < len(commits[key]) else NEVER_NS
        if now_ns - following > BOUND_NS:
            broken.add(index)
        start, end = clock(now_ns), clock(end_ns)
        operations.append(
            Operation("r", "s", "read", key, start, max(start, end), "ok", version, f"{key}.{version}", "cache")
        )
    return History(operations), broken


def report(line: str) -> None:
    """Shown by pytest -rP or -s."""
    sys.stdout.write(f"{line}\n")


def test_no_false_positive_in_a_correct_bounded_cache() -> None:
    history, broken = simulate(READS, over_aged=0.0, seed=1)
    assert not broken
    began_s = time.perf_counter()
    verdict = judge(history, bound_ns=BOUND_NS, eps_ns=EPS_NS)
    took_s = time.perf_counter() - began_s
    report(f"{len(history)} operations in {took_s:.1f} s, {READS} reads: {dict(verdict.counts)}")
    assert verdict.status == "ok"
    assert set(verdict.counts) <= {Finding.OK, Finding.INDETERMINATE}
    assert verdict.counts[Finding.OK] > 0.98 * READS
    assert verdict.relevant_reads > 0.9 * READS
    # The simulated cache uses its bound up, else it would prove nothing.
    assert verdict.worst_lower_ns is not None
    assert 0.95 * BOUND_NS < verdict.worst_lower_ns <= BOUND_NS


def test_detects_over_aged_reads() -> None:
    history, broken = simulate(READS, over_aged=0.05, seed=2)
    began_s = time.perf_counter()
    verdict = judge(history, bound_ns=BOUND_NS, eps_ns=EPS_NS)
    took_s = time.perf_counter() - began_s
    found = {witness.read for witness in verdict.witnesses if witness.finding is Finding.VIOLATION}
    report(f"{len(history)} operations in {took_s:.1f} s, {len(found)} of {len(broken)} over-aged reads found")
    assert verdict.status == "violated"
    assert len(broken) > 0.02 * READS
    assert found <= broken
    assert len(found) >= 0.99 * len(broken)
