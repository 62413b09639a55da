"""What an entry weighs, in Redis and in the process."""

from __future__ import annotations

import gc
import tracemalloc
from typing import Any

import redis
from django.conf import settings

from benchmarks.styles import style

__all__ = ["memory"]


def memory(start: int, entries: int) -> dict[str, float]:
    """Bytes for each of so many gets that nobody has asked for before, with whatever says what they depend on."""
    reading = [style().reading("get", start + n) for n in range(entries)]
    client = redis.Redis.from_url(settings.BENCHMARK_REDIS)
    client.flushdb()
    for warm_up in (1, 2):
        style().read("get", start - warm_up)
    gc.collect()
    tracemalloc.start()
    try:
        in_redis, (in_process, _) = _used(client), tracemalloc.get_traced_memory()
        for read in reading:
            read()
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
        return {"redis": (_used(client) - in_redis) / entries, "process": (after - in_process) / entries}
    finally:
        tracemalloc.stop()


def _used(client: Any) -> int:
    found = client.info("memory")
    used: int = found["used_memory"] - found["mem_clients_normal"]
    return used
