"""Scenarios in real time: writers and readers at once, in threads and in a process; a bound that really passes."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
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
        while time.monotonic() < until - 10 * _PAUSE_S:
            value, invoke_ns = scene.row.new_value(scene.after), clock.now_ns()
            scene.row.save(value)
            scene.recording.wrote(value, invoke_ns, "ok")
            time.sleep(_PAUSE_S)
        with scene.writing() as value:
            scene.row.save(value)

    def read(session: str) -> Callable[[], None]:
        def reading() -> None:
            while time.monotonic() < until:
                scene.read(session)

        return reading

    from_elsewhere: list[Operation] = []
    with (
        scene.another_thread(write),
        scene.another_thread(read("thread-1")),
        scene.another_thread(lambda: from_elsewhere.extend(_read_in_a_process(scene, until))),
    ):
        read("thread-2")()
    scene.recording.operations += from_elsewhere
    played = scene.recording.operations[first:]
    scene.require(sum(operation.f == "write" for operation in played) > 2, "the writer hardly came to write")
    scene.require(from_elsewhere, "the other process did not read")
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


def _read_in_a_process(scene: Scene, until: float) -> list[Operation]:
    """What a process of its own read until that instant of the clock that all processes share."""
    ours, theirs = os.pipe()

    def play() -> None:
        scene.recording.operations.clear()
        while time.monotonic() < until:
            scene.read("process")
        with os.fdopen(theirs, "w") as out:
            out.write(History(scene.recording.operations).to_jsonl())

    got: list[str] = []

    def collect() -> None:
        with os.fdopen(ours) as lines:
            got.append(lines.read())

    # Read while the child writes: a pipe holds 64 kB, and more is written.
    collecting = threading.Thread(target=collect)
    collecting.start()
    status = processes.in_another_process(play)
    os.close(theirs)
    collecting.join()
    scene.require(status == 0, f"the reading process failed with status {status}")
    return list(History.from_jsonl(got[0]))
