"""A policy file → a PolicySet; or every problem it has, at once and sorted."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Final

from cachepolicy.exceptions import PolicyError, UnreadableError
from cachepolicy.policies import nodes
from cachepolicy.policies.layers import MAX_PROBLEMS, read_layers
from cachepolicy.policies.model import PolicySet
from cachepolicy.policies.problems import Origin, Problem, did_you_mean, quoted
from cachepolicy.policies.resolution import resolve

__all__ = ["ENVIRONMENT_VARIABLE", "load_policies", "parse_policies"]

ENVIRONMENT_VARIABLE: Final = "CACHEPOLICY_ENVIRONMENT"


def load_policies(path: str | os.PathLike[str], environment: str | None = None) -> PolicySet:
    """Read and check a policy file; `environment` (else $CACHEPOLICY_ENVIRONMENT) names the overlay to apply.

    Raises PolicyError with every problem of the file, overlays included; UnreadableError where there is no file.
    """
    return parse_policies(_bytes_of(Path(path)), _shown(Path(path)), environment)


def parse_policies(data: bytes, file: str = "policies.yaml", environment: str | None = None) -> PolicySet:
    """Check the text of a policy file; `file` is the name its problems carry. Raises PolicyError."""
    asked = environment
    environment = environment or os.environ.get(ENVIRONMENT_VARIABLE) or None
    root, problems = nodes.parse(data, file)
    if root is None:
        start = Origin(file, 1, 1)
        raise _error(problems or [Problem(start, "", "the file is empty", "write `version: 1` and rules")])
    base, overlays = read_layers(root, problems)
    faulty = frozenset(problem.path for problem in problems)
    policies, found = resolve(file, base, overlays, None, faulty)
    problems += found
    # Every overlay is checked, not only the chosen one: the mistake in production's must show in the team's CI.
    overlaid: dict[str, PolicySet] = {}
    for name in overlays:
        overlaid[name], found = resolve(file, base, overlays, name, faulty)
        problems += found
    if environment is not None and environment not in overlays and not problems:
        source = "" if asked else f" (from {ENVIRONMENT_VARIABLE})"
        problems.append(_unknown_environment(file, environment, source, list(overlays)))
    if problems:
        raise _error(problems)
    return replace(overlaid.get(environment or "", policies), overlaid=overlaid)


def _error(problems: list[Problem]) -> PolicyError:
    """Every problem once and sorted, or the first ones where there are more than anyone reads."""
    # What is wrong with the base is found again in each environment.
    found = sorted(set(problems), key=_place)
    if len(found) > MAX_PROBLEMS:
        what, remedy = f"there are more than {MAX_PROBLEMS} problems", f"mend these first {MAX_PROBLEMS}"
        found = [Problem(Origin(found[0].origin.file, 1, 1), "", what, remedy), *found[:MAX_PROBLEMS]]
    return PolicyError(found)


def _place(problem: Problem) -> tuple[int, int, str, str, str]:
    # All are of one file; tuples compare ten times faster than dataclasses, and there may be thousands.
    return problem.origin.line, problem.origin.column, problem.path, problem.what, problem.remedy


def _unknown_environment(file: str, environment: str, source: str, known: list[str]) -> Problem:
    match = did_you_mean(environment, known)
    if match:
        remedy = f"did you mean {match}?"
    elif known:
        remedy = "choose from " + ", ".join(known)
    else:
        remedy = f"the file has no `environments`; unset {ENVIRONMENT_VARIABLE}"
    return Problem(Origin(file, 1, 1), "environments", f"there is no environment {quoted(environment)}{source}", remedy)


def _bytes_of(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            # One byte over the limit is enough to refuse it; a device that never ends must not be read whole.
            return file.read(nodes.MAX_BYTES + 1)
    except OSError as error:
        what = f"the file cannot be read: {error.strerror}"
        raise UnreadableError([Problem(Origin(_shown(path)), "", what, "check the path given")]) from error


def _shown(path: Path) -> str:
    """The path as people in the project write it: relative to where they stand, where that is shorter."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except (ValueError, OSError, RuntimeError):  # RuntimeError: a loop of symbolic links, before Python 3.13
        return str(path)
