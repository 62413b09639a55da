"""Scenarios in real time: writers and readers at once, in threads and in a process; a bound that really passes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from itertools import count
from typing import Final

from cachepolicy import clock
from cachepolicy.consistency.faults import processes
from cachepolicy.consistency.history import History, Operation
from cachepolicy.consistency.scenarios.registry import scenario
from cachepolicy.consistency.scene import Scene

_RACE_S: Final = 0.3
_PAUSE_S: Final = 0.002
_POLL_S: Final = 0.01


@scenario("race", shows_values=True)
def race(scene: Scene) -> None:
    """A writer saves again and again while two threads and another process read."""
    scene.fill()
    until = time.monotonic() + _RACE_S
    first = len(scene.recording.operations)

    def write() -> None:
        # One writer: the kit orders the writes of a row itself. The last one writes the scene's own next version.
        for _ in _rounds(until - 10 * _PAUSE_S):
            value, invoke_ns = scene.row.new_value(scene.after), clock.now_ns()
            scene.row.save(value)
            scene.recording.wrote(value, invoke_ns, "ok")
            time.sleep(_PAUSE_S)
        with scene.writing() as value:
            scene.row.save(value)

    def read(session: str) -> Callable[[], None]:
        def reading() -> None:
            for _ in _rounds(until):
                scene.read(session)

        return reading

    read_elsewhere = _reading_process(scene, until)
    from_elsewhere: list[Operation] = []
    try:
        with scene.another_thread(write), scene.another_thread(read("thread-1")):
            read("thread-2")()
    finally:
        from_elsewhere += read_elsewhere()
    scene.recording.operations += from_elsewhere
    played = scene.recording.operations[first:]
    scene.require(sum(operation.f == "write" for operation in played) > 2, "the writer hardly came to write")
    scene.require(from_elsewhere, "the other process did not read")
    for _ in range(2):
        scene.read()
    scene.require(scene.recorder.count("hit"), "no read was a hit")
    scene.let_pass_until(scene.written_ns, scene.bound_ms + 100)
    scene.read()


@scenario("real_clock", by_orm=False, slow=True, longest_ms=3_000)
def real_clock(scene: Scene) -> None:
    """Another program writes, and the timeout really passes, with a read every 10 ms."""
    scene.fill()
    with scene.writing() as value:
        status = processes.sql_from_outside(*scene.row.sql(value), using=scene.row.alias)
    scene.require(status == 0, f"the other program failed with status {status}")
    while clock.now_ns() < scene.written_ns + (scene.bound_ms + 100) * 1_000_000:
        scene.read()
        time.sleep(_POLL_S)
    scene.read()


def _rounds(until: float) -> Iterator[int]:
    """Count until that instant, and to three at least: this machine may stand still for longer than the race takes."""
    for number in count():
        if number >= 3 and time.monotonic() >= until:
            return
        yield number


def _reading_process(scene: Scene, until: float) -> Callable[[], list[Operation]]:
    """Start a process that reads until that instant of the clock all processes share; gives what collects its reads."""
    ours, theirs = os.pipe()

    def play() -> None:
        os.close(ours)
        scene.recording.operations.clear()
        for _ in _rounds(until):
            scene.read("process")
        with os.fdopen(theirs, "w") as out:
            out.write(History(scene.recording.operations).to_jsonl())

    pid = processes.forked(play)
    os.close(theirs)

    def collect() -> list[Operation]:
        with os.fdopen(ours) as lines:
            text = lines.read()
        status = processes.waited_for(pid)
        scene.require(status == 0, f"the reading process failed with status {status}")
        return list(History.from_jsonl(text))

    return collect
