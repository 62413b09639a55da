"""The `cachepolicy` console script: checks policy files without Django, for pre-commit and CI."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from cachepolicy.annotations import Level, annotation
from cachepolicy.compiler import unsupported
from cachepolicy.exceptions import PolicyError, UnreadableError
from cachepolicy.policies.loader import load_policies
from cachepolicy.policies.problems import Problem
from cachepolicy.policies.schema import json_schema

__all__ = ["check_files", "main", "problems_of", "render"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; exit code 0 clean, 1 problems, 2 a file that cannot be read."""
    parser = argparse.ArgumentParser(prog="cachepolicy", description="Check cache policies without Django.")
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("check", help="check policy files")
    check.add_argument("files", nargs="+", metavar="FILE")
    add_check_arguments(check)
    commands.add_parser("schema", help="print the JSON Schema of policy files, for editors")
    options = parser.parse_args(argv)
    if options.command == "schema":
        sys.stdout.write(json.dumps(json_schema(), indent=2) + "\n")
        return 0
    code, output = check_files(options.files, options.environment, options.format)
    sys.stdout.write(output)
    return code


def add_check_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `check`, here and in manage.py."""
    parser.add_argument("--environment", help="the overlay to apply (default: $CACHEPOLICY_ENVIRONMENT)")
    parser.add_argument("--format", choices=("text", "json", "github"), default="text")


def check_files(files: Sequence[str], environment: str | None, form: str) -> tuple[int, str]:
    """The exit code and what to print for these files; every one is read, whatever the others hold."""
    found: list[Problem] = []
    unreadable = False
    for file in files:
        problems, readable = problems_of(file, environment)
        found += problems
        unreadable |= not readable
    return 2 if unreadable else 1 if found else 0, render(found, len(files), form)


def problems_of(file: str, environment: str | None = None) -> tuple[list[Problem], bool]:
    """Every problem of a file, with what this version cannot keep; and whether it could be read at all.

    Without an `environment` every one of the file's is tried: what this version cannot keep in production is a
    problem in CI already.
    """
    try:
        policies = load_policies(file, environment)
        return unsupported(policies.overlaid[environment] if environment else policies), True
    except UnreadableError as error:
        return list(error.problems), False
    except PolicyError as error:
        return list(error.problems), True


def render(problems: Sequence[Problem], files: int, form: str) -> str:
    """The problems as text, as JSON, or as GitHub's workflow annotations."""
    if form == "json":
        return json.dumps({"problems": [_as_json(problem) for problem in problems]}, indent=2) + "\n"
    if form == "github":
        return "".join(f"{_annotation(problem)}\n" for problem in problems)
    warnings = sum(problem.is_warning for problem in problems)
    count = _counted(len(problems) - warnings, "problem") + (f", {_counted(warnings, 'warning')}" if warnings else "")
    return "\n".join([*map(str, problems), f"{_counted(files, 'file')} checked: {count}"]) + "\n"


def _counted(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"


def _as_json(problem: Problem) -> dict[str, str | int]:
    origin = problem.origin
    return {
        "file": origin.file,
        "line": origin.line,
        "column": origin.column,
        "path": problem.path,
        "what": problem.what,
        "remedy": problem.remedy,
        "code": problem.code,
    }


def _annotation(problem: Problem) -> str:
    message = (
        f"{problem.path}: {problem.what}; {problem.remedy}" if problem.path else f"{problem.what}; {problem.remedy}"
    )
    level: Level = "warning" if problem.is_warning else "error"
    origin = problem.origin
    return annotation(level, message, file=origin.file, line=origin.line, column=origin.column)


if __name__ == "__main__":
    sys.exit(main())
