"""Run the benchmarks: `python -m benchmarks`. Compare within one run only: absolute times are the machine's."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from benchmarks.bars import ratios
from benchmarks.contenders import contenders
from benchmarks.figures import Figures
from benchmarks.measures import MEASURES, QUICK, THOROUGH
from benchmarks.pages import pages
from benchmarks.picture import drawn
from benchmarks.report import as_json, as_text
from benchmarks.servers import homes
from benchmarks.startup import startup
from benchmarks.turns import players


def main() -> None:
    """Measure what is asked for, print it, and write the JSON file."""
    parts = [*MEASURES, "pages", "startup"]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds: in a few minutes, less certain")
    parser.add_argument("--format", choices=("table", "json"), default="table", help="what to print")
    parser.add_argument("--output", type=Path, default=Path(".cache/bench.json"), help="JSON file (%(default)s)")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="SVG file: the reads as a picture")
    parser.add_argument("--only", nargs="+", choices=parts, default=parts, metavar="PART", help=", ".join(parts))
    arguments = parser.parse_args()
    if arguments.picture and "reads" not in arguments.only:
        parser.error("--picture draws the reads: leave --only out, or name reads")

    effort, figures = QUICK if arguments.quick else THOROUGH, Figures()
    with homes(contenders()) as furnished:
        with players(furnished) as present:
            for name, measure in {**MEASURES, "pages": pages}.items():
                if name in arguments.only:
                    _say(name)
                    measure(present, effort, figures)
        if "startup" in arguments.only:
            _say("startup")
            startup(effort, figures)
    bars = ratios(figures)
    document = as_json(figures, bars)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(document + "\n")
    if arguments.picture:
        arguments.picture.write_text(drawn(json.loads(document)["measures"]))
    if arguments.only != parts:
        bars = [bar for bar in bars if bar.value is not None]
    print(document if arguments.format == "json" else as_text(figures, bars))


def _say(name: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {name}", file=sys.stderr)


if __name__ == "__main__":
    main()
