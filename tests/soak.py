"""`make soak`: the sample site's `manage.py cachepolicy soak`, on a database server of its own."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import ExitStack

from tests.database_option import DATABASES
from tests.servers import Unavailable


def main() -> int:
    """Start the database that `--database` names and soak; the other options are the command's."""
    parser = argparse.ArgumentParser(prog="make soak", add_help=False)
    parser.add_argument("--database", choices=sorted(DATABASES), default="sqlite")
    own, others = parser.parse_known_args()
    with ExitStack() as servers:
        try:
            os.environ["DATABASE_URL"] = DATABASES[own.database](servers)
        except Unavailable as error:
            sys.stderr.write(f"{error}\n")
            return 2
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "newsroom.settings")
        from django.core.management import execute_from_command_line

        execute_from_command_line(["manage.py", "cachepolicy", "soak", *others])
    return 0


if __name__ == "__main__":
    sys.exit(main())
