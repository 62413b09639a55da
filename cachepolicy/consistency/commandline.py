"""`verify` and `soak` on the command line: their options, and a run's way from them to its report and exit code."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TextIO

from cachepolicy.exceptions import CachePolicyError
from cachepolicy.policies.durations import Duration

__all__ = ["add_soak_arguments", "add_verify_arguments", "run", "run_soak"]

_FORMATS: Final = ("text", "json", "junit", "html", "github")


def add_verify_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `verify`; a filter takes several words, and may be repeated."""
    many: dict[str, Any] = {"nargs": "+", "action": "extend", "default": []}
    parser.add_argument("--model", metavar="app.Model", help="try the rules of these models, or functions.name", **many)
    parser.add_argument("--op", metavar="OP", help="try these ops: get, fetch, …, local_get, function", **many)
    parser.add_argument("--fault", metavar="FAULT", help="try these faults", **many)
    parser.add_argument("--seed", type=int, help="play the same schedule again (default: a new one)")
    parser.add_argument(
        "--time-budget", type=_duration, metavar="60s", help="begin no case later; those left out are unknown"
    )
    parser.add_argument("--format", choices=_FORMATS, default="text")
    parser.add_argument("--output", metavar="FILE", help="where the report goes (default: stdout)")
    parser.add_argument("--allow-unknown", action="store_true", help="exit with 0 though cells are unknown")


def run(options: dict[str, Any], out: TextIO) -> int:
    """Play what the options say and write the report; gives the exit code. Raises CouldNotRun."""
    from cachepolicy.consistency.selection import Selection, new_seed
    from cachepolicy.consistency.session import Session, exit_code

    selection = Selection(options["model"], options["op"], options["fault"])
    seed = new_seed() if options["seed"] is None else options["seed"]
    with _opened(options["output"], out) as file:
        report = Session(selection, seed, options["time_budget"]).run()
        file.write(_renderer(options["format"])(report))
    return exit_code(report, allow_unknown=options["allow_unknown"], err=sys.stderr)


def add_soak_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `soak`."""
    parser.add_argument("--reads", type=_number, default=1_000_000, help="cached reads, at least (default: 1000000)")
    parser.add_argument("--faults", type=_number, default=1_000, help="faults that bite, at least (default: 1000)")
    parser.add_argument("--bound", type=_duration, default="1s", metavar="1s", help="the timeout, which really passes")
    parser.add_argument("--near", type=_duration, metavar="500ms", help="for so long processes keep copies in memory")
    parser.add_argument(
        "--refresh-ahead", type=_duration, metavar="300ms", help="so long before its end a value is computed anew"
    )
    parser.add_argument(
        "--fault", metavar="FAULT", nargs="+", action="extend", default=[], help="draw from these alone"
    )
    parser.add_argument("--seed", type=int, help="draw the same faults again (default: others)")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    parser.add_argument("--output", metavar="FILE", help="where the report goes (default: stdout)")


def run_soak(options: dict[str, Any], out: TextIO) -> int:
    """Soak as the options say and write the report; gives the exit code. Raises CouldNotRun."""
    from cachepolicy.consistency.selection import new_seed
    from cachepolicy.consistency.soak.report import as_json, as_text
    from cachepolicy.consistency.soak.run import Soak, run_soak

    seed = new_seed() if options["seed"] is None else options["seed"]
    near_ms, ahead_ms = (options[name].ms if options[name] else 0 for name in ("near", "refresh_ahead"))
    soak = Soak(options["reads"], options["faults"], options["bound"].ms, seed, options["fault"], near_ms, ahead_ms)
    with _opened(options["output"], out) as file:
        report = run_soak(soak, sys.stderr)
        file.write(as_json(report) if options["format"] == "json" else as_text(report))
    return {"ok": 0, "violated": 1, "unknown": 2}[report.status]


def _renderer(form: str) -> Callable[[Any], str]:
    from cachepolicy.consistency import report

    render: Callable[[Any], str] = getattr(report, f"as_{form}")
    return render


@contextmanager
def _opened(name: str | None, out: TextIO) -> Iterator[TextIO]:
    """The file of the report, opened before a minute is spent on what goes into it."""
    if name is None:
        yield out
        return
    try:
        Path(name).write_text("")
    except OSError as error:
        raise CachePolicyError(f"--output {name} cannot be written: {error.strerror}; name another file") from error
    with Path(name).open("w", encoding="utf-8") as file:
        yield file


def _duration(text: str) -> Duration:
    try:
        return Duration.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"`{text}` is not a duration; {error}") from None


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"`{text}` is no number; write 0 or more, as in 100000")
    return int(text)
