"""Run django-cacheops' own test suite against this runtime and compare what fails with what is expected to.

The suite is not part of this repository. Take it and its packages first:

    git clone --depth 1 --branch 7.2 https://github.com/Suor/django-cacheops /tmp/django-cacheops
    pip install before-after dill jinja2
    python -m tests.upstream /tmp/django-cacheops

It runs on SQLite and a Redis server of its own, the tests as they are, with a policy made from the suite's CACHEOPS.
The exit code is 0 where exactly the tests of expected.py fail, 1 where they differ, 2 where the suite cannot run.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cachepolicy.compiler import CACHEOPS_VERSION
from cachepolicy.consistency.redis_server import RedisServer
from tests.upstream.expected import EXPECTED

_PACKAGES = ("before_after", "dill", "jinja2")


class CannotRunError(Exception):
    """The suite is not there, is another version's, or lacks a package."""


@dataclass(frozen=True)
class Outcome:
    """What became of the tests: how many there are; why each one failed; skipped too is what fails upstream."""

    count: int
    skipped: frozenset[str] = frozenset()
    failed: Mapping[str, str] = field(default_factory=dict)


def main(argv: list[str] | None = None) -> int:
    """Run the suite and print the difference."""
    parser = argparse.ArgumentParser(prog="python -m tests.upstream", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("checkout", type=Path, help=f"a checkout of django-cacheops {CACHEOPS_VERSION}")
    parser.add_argument("--prefix", action="store_true", help="run it with CACHEOPS_PREFIX, as its own CI does too")
    parser.add_argument("pytest", nargs="*", metavar="ARG", help="arguments for pytest, after --; nothing is compared")
    options = parser.parse_args(argv)
    try:
        _require(options.checkout)
        outcome = _run(options.checkout, options.pytest, prefix=options.prefix)
    except CannotRunError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    if options.pytest:
        return int(bool(outcome.failed))
    text, differs = compared(outcome, EXPECTED)
    sys.stdout.write(text)
    return int(differs)


def compared(outcome: Outcome, expected: Mapping[str, str]) -> tuple[str, bool]:
    """What to print, and whether anything is not as expected."""
    lines = []
    for test in sorted(outcome.failed.keys() & expected.keys()):
        lines.append(f"expected   {test}\n             {expected[test]}")
    for test in sorted(outcome.failed.keys() - expected.keys()):
        lines.append(f"FAILED     {test}\n             {outcome.failed[test]}")
    for test in sorted(expected.keys() - outcome.failed.keys()):
        lines.append(f"NOT FAILED {test}\n             expected to, because: {expected[test]}")
    passed = outcome.count - len(outcome.skipped) - len(outcome.failed)
    differs = outcome.failed.keys() != expected.keys()
    counts = f"{passed} passed, {len(outcome.skipped)} skipped or marked as failing, {len(outcome.failed)} failed"
    verdict = "NOT as expected" if differs else "as expected"
    lines.append(f"{outcome.count} tests of django-cacheops {CACHEOPS_VERSION}: {counts}; {verdict}")
    return "".join(f"{line}\n" for line in lines), differs


def _require(checkout: Path) -> None:
    version = checkout / "cacheops" / "__init__.py"
    found = re.search(r"__version__ = '(.+)'", version.read_text()) if version.is_file() else None
    if found is None or not (checkout / "tests" / "tests.py").is_file():
        raise CannotRunError(f"{checkout} is no checkout of django-cacheops")
    if found[1] != CACHEOPS_VERSION:
        raise CannotRunError(f"{checkout} is django-cacheops {found[1]}; check out the tag {CACHEOPS_VERSION}")
    missing = [package for package in _PACKAGES if importlib.util.find_spec(package) is None]
    if missing:
        raise CannotRunError(f"the suite needs {', '.join(missing)}: pip install before-after dill jinja2")


def _run(checkout: Path, arguments: list[str], *, prefix: bool) -> Outcome:
    root = Path(__file__).resolve().parents[2]
    with tempfile.TemporaryDirectory(prefix="cacheops-suite-") as name, RedisServer() as server:
        # The tests alone, so that cacheops is the installed one, and without the files that they leave behind.
        directory = Path(name)
        shutil.copytree(checkout / "tests", directory / "tests", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(checkout / "pytest.ini", directory)
        report = directory / "report.xml"
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("CACHEOPS_", "CACHEPOLICY_"))},
            # The suite's package `tests` before ours, and ours not by that name but for its settings.
            "PYTHONPATH": os.pathsep.join(map(str, (directory, Path(__file__).parent, root))),
            "REDIS_URL": server.url,
        }
        if prefix:
            environment["CACHEOPS_PREFIX"] = "1"
        command = [sys.executable, "-m", "pytest", "--ds=upstream_settings", f"--junit-xml={report}"]
        command += [
            "-p",
            "upstream_plugin",
            "-p",
            "no:cacheprovider",
            *(arguments or ["--quiet", "--tb=no", "--no-summary"]),
        ]
        done = subprocess.run(command, cwd=directory, env=environment, check=False)
        if done.returncode not in (0, 1) or not report.is_file():
            raise CannotRunError(f"pytest exited with {done.returncode}")
        return outcome_of(report)


def outcome_of(report: Path) -> Outcome:
    """What a JUnit report says."""
    cases = {f"{case.get('classname')}.{case.get('name')}": case for case in ElementTree.parse(report).iter("testcase")}
    failed = {}
    for test, case in cases.items():
        for problem in (*case.findall("failure"), *case.findall("error")):
            message = (problem.get("message") or "").partition("\n")[0]
            # What upstream marks as failing may well pass here.
            if message != "Failed: Unexpected success":
                failed[test] = message
    skipped = frozenset(test for test, case in cases.items() if case.find("skipped") is not None)
    return Outcome(len(cases), skipped, failed)


if __name__ == "__main__":
    sys.exit(main())
