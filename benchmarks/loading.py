"""What a startup pays for its policy file, beside what YAML alone would cost for the same text."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import yaml

import cachepolicy
from cachepolicy.compiler import compile_policies

_BASELINE = "yaml.safe_load"


def policy_text(rules: int) -> str:
    """A policy file of so many model rules, spread over apps of ten models, of the kinds that people write."""
    kinds = (
        "{ops: [get, fetch], timeout: 30s}",
        "{ops: all, timeout: 1m30s}",
        "{ops: [get], lock: true}",
        "{ops: all, immutable: true, local_get: true, timeout: 1h}",
        "off",
    )
    lines = ["version: 1", "max_staleness: 5m", "defaults: {timeout: 60s, ops: [get]}", "models:"]
    lines += [f"  app{n // 10}.Model{n % 10}: {kinds[n % len(kinds)]}" for n in range(rules)]
    return "\n".join(lines) + "\n"


def measure(rules: int, rounds: int) -> dict[str, float]:
    """The median time of each way to read the file, in milliseconds, taken in turn so that noise hits all alike."""
    text = policy_text(rules)
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "policies.yaml"
        file.write_text(text)
        ways: dict[str, Callable[[], object]] = {
            _BASELINE: lambda: yaml.safe_load(text),
            "yaml.load, C loader": lambda: yaml.load(text, yaml.CSafeLoader),
            "load_policies": lambda: cachepolicy.load_policies(file),
            "load_policies + compile": lambda: compile_policies(cachepolicy.load_policies(file)),
        }
        times: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(rounds):
            for way, run in ways.items():
                begin = time.perf_counter()
                run()
                times[way].append((time.perf_counter() - begin) * 1000)
    return {way: median(taken) for way, taken in times.items()}


def report(medians_ms: dict[str, float], rules: int) -> str:
    """The measured times as a table, each with its ratio to plain yaml.safe_load."""
    head = f"{f'reading {rules} rules':26}{'median':>10}{'ratio':>8}"
    rows = [f"{way:26}{ms:>7.1f} ms{ms / medians_ms[_BASELINE]:>8.2f}" for way, ms in medians_ms.items()]
    return "\n".join([head, *rows])
