"""A stampede: fifty threads ask at once for what takes a while to compute."""

from __future__ import annotations

import functools
import itertools
import threading
import time
from collections.abc import Callable
from typing import Final

from django.db import connections

from benchmarks.newspaper.reads import latest
from benchmarks.styles import style

__all__ = ["stampede"]

_THREADS: Final = 50
# Fifty threads queue for one interpreter for 50 ms: that is no waiting for what is computed.
_SLOW_S: Final = 0.2
# After this the value of a rule with a timeout of 2 s that is refreshed 1 s ahead is there, and due for a refresh.
_DUE_S: Final = 1.3

_numbers: Final = itertools.count(1)
_computed: Final[list[int]] = []


def stampede(rule: str) -> dict[str, int]:
    """How long until all are answered, in ns, how often it was computed, and how many waited as long as that takes.

    Under `cold` nobody has asked before; under `ahead` what was computed before is due for a refresh.
    """
    function, n = _function(rule), next(_numbers)
    if rule == "ahead":
        function(n)
        time.sleep(_DUE_S)
    _computed.clear()
    taken: list[float] = []
    barrier = threading.Barrier(_THREADS + 1)

    def ask() -> None:
        try:
            barrier.wait()
            begin = time.perf_counter()
            function(n)
            taken.append(time.perf_counter() - begin)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=ask) for _ in range(_THREADS)]
    for thread in threads:
        thread.start()
    barrier.wait()
    begin = time.perf_counter_ns()
    for thread in threads:
        thread.join()
    if len(taken) != _THREADS:
        raise RuntimeError(f"{_THREADS - len(taken)} of {_THREADS} threads got no answer")
    ended = time.perf_counter_ns() - begin
    if rule == "ahead":
        time.sleep(2 * _SLOW_S)  # a refresh in the background ends, and counts
    return {"ns": ended, "computed": len(_computed), "waited": sum(each >= _SLOW_S for each in taken)}


@functools.cache
def _function(rule: str) -> Callable[[int], object]:
    def slow(n: int) -> object:
        _computed.append(n)
        time.sleep(_SLOW_S)
        return latest(n)

    slow.__qualname__ = f"slow_{rule}"
    return style().cached(slow, rule)
