"""Reads: are the answers right, how long does a hit take, how long a miss that stores."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any, Final

from django.db import connection
from django.db.models import Model

from benchmarks.styles import style

__all__ = ["check", "hits", "misses"]

# After a pause the first calls of a turn pay for cold caches of the processor.
_WARM_UP: Final = 4


def check(question: str, numbers: list[int]) -> dict[str, Any]:
    """The answers at first and again, as text to compare, and how often the second time asked the database."""
    readings = [style().reading(question, n) for n in numbers]
    first = [_text(read()) for read in readings]
    asked: list[str] = []

    def note(execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
        asked.append(sql)
        return execute(sql, *rest)

    with connection.execute_wrapper(note):
        again = [_text(read()) for read in readings]
    return {"first": first, "again": again, "queries": len(asked)}


def hits(question: str, numbers: list[int], times: int) -> list[int]:
    """How long each of so many reads took, in ns, going round the numbers."""
    readings = [style().reading(question, n) for n in numbers]
    for read in readings:
        read()
    return _timed((readings * (times // len(readings) + 1))[:times])


def misses(question: str, start: int, times: int) -> list[int]:
    """How long each of so many reads took that nobody has asked for before, from the number `start` on."""
    readings = [style().reading(question, start + n) for n in range(_WARM_UP + times)]
    for read in readings[:_WARM_UP]:
        read()
    return _timed(readings[_WARM_UP:])


def _timed(readings: list[Callable[[], Any]]) -> list[int]:
    clock, taken = time.perf_counter_ns, []
    for read in readings:
        begin = clock()
        read()
        taken.append(clock() - begin)
    return taken


def _text(value: Any) -> str:
    return json.dumps(value, default=_plain, sort_keys=True)


def _plain(value: Any) -> Any:
    if isinstance(value, Model):
        return {field.attname: getattr(value, field.attname) for field in value._meta.concrete_fields}
    return str(value)
