"""Run the benchmarks: `python -m benchmarks`. Compare within one run only: absolute times are the machine's."""

from __future__ import annotations

import argparse

from benchmarks import loading


def main() -> None:
    """Run every benchmark and print what it measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rules", type=int, default=500, help="rules in the generated file (default: %(default)s)")
    parser.add_argument(
        "--rounds", type=int, default=15, help="rounds, each timing every row once (default: %(default)s)"
    )
    arguments = parser.parse_args()
    print(loading.report(loading.measure(arguments.rules, arguments.rounds), arguments.rules))


if __name__ == "__main__":
    main()
