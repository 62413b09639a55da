"""A contender's own process: does the jobs that come in as lines of JSON, until there are no more.

cacheops and django-cachalot patch Django for the whole process, and settings are read once: hence one for each.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any, Final

import django

__all__ = ["main"]


def main() -> None:
    """Answer each job; what anything else prints goes to stderr."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    django.setup()
    from benchmarks.jobs import herd, memory, reads, writes

    jobs: Final[tuple[Callable[..., Any], ...]] = (
        *(reads.check, reads.hits, reads.misses),
        *(writes.save, writes.transaction, writes.round_trips, writes.forget),
        *(herd.stampede, memory.memory),
    )
    by_name = {job.__name__: job for job in jobs}
    for line in sys.stdin:
        name, arguments = json.loads(line)
        print(json.dumps(by_name[name](*arguments)), file=answers)


if __name__ == "__main__":
    main()
