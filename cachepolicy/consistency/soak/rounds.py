"""A round of a soak: processes read and write rows of their own round while faults are played, and all is judged."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from cachepolicy.consistency.checker import judge
from cachepolicy.consistency.faults.processes import answering
from cachepolicy.consistency.probe_reads import READ_OPS
from cachepolicy.consistency.probe_table import committed_tokens, filled
from cachepolicy.consistency.redirect import redirected
from cachepolicy.consistency.rig import Rig
from cachepolicy.consistency.soak.board import Board
from cachepolicy.consistency.soak.clients import Done, Table, in_threads, kinds, quietly, reading, saving
from cachepolicy.consistency.soak.faulty_writes import FaultyWriter
from cachepolicy.consistency.soak.late_fills import LateReader
from cachepolicy.consistency.soak.outages import play_outage
from cachepolicy.consistency.soak.plan import Planned, Player, drawn
from cachepolicy.consistency.verdict import Verdict

__all__ = ["Round", "play_round"]

_PLACES: Final = 10
_ROWS: Final = 4
# Each is a process: how many threads of it read, and whether it reaches Redis through the proxy.
_READERS: Final[Sequence[tuple[int, bool]]] = ((2, False), (1, False), (1, True))
_SAVERS: Final = 2
_PLAYERS: Final[Sequence[Player]] = ("redis", "writer", "reader")
_SLOWEST: Final = 100  # reads a second: a process that takes longer for a round is ended by the kernel
_LONGEST_S: Final = 60
_BOUNDS: Final = 2
_MS_NS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Round:
    """What was done in a round, and the verdict on it."""

    done: Done
    verdict: Verdict


def play_round(
    number: int,
    rig: Rig,
    alias: str,
    *,
    reads: int,
    faults: int,
    bound_ms: int,
    seed: int,
    only: Sequence[str] = (),
) -> Round:
    """Play so many faults (`only`: of these names) during so many cached reads.

    Raises ChildFailed where a process does not come to its end.
    """
    rng = random.Random(f"{seed} {number}")
    first = number * _PLACES * _ROWS
    places = {
        number * _PLACES + place: tuple(range(first + place * _ROWS, first + (place + 1) * _ROWS))
        for place in range(_PLACES)
    }
    table = Table(number, alias, places)
    stage = _Stage(rig, table, Board(sum(threads for threads, _ in _READERS), len(_PLAYERS)), bound_ms)
    done = Done(filled(alias, places))
    plan = drawn(rng, faults, reads, only)
    by_player = {player: [planned for planned in plan if planned.player == player] for player in _PLAYERS}
    longest_s = _LONGEST_S + reads // _SLOWEST
    # Forked before this process has threads of its own; the proxy's is the kit's.
    plays = [*stage.readers(reads, rng), stage.savers(rng)]
    plays += [stage.faulty_writer(by_player["writer"]), stage.late_reader(by_player["reader"])]
    processes = [answering(play, longest_s) for play in plays]
    try:
        done.add(stage.outages(by_player["redis"]))
        while processes:
            done.add(processes.pop().collect())
    finally:
        for process in processes:  # none, unless something went wrong
            process.end()
    verdict = judge(
        done.operations,
        bound_ns=bound_ms * _MS_NS,
        committed_tokens=committed_tokens(alias),
        row_lock=True,
        rollbacks_are_evidence=True,
    )
    return Round(done, verdict)


@dataclass(frozen=True, slots=True)
class _Stage:
    """What the processes of a round have in common, and what each of them does."""

    rig: Rig
    table: Table
    board: Board
    bound_ms: int

    def readers(self, enough: int, rng: random.Random) -> list[Callable[[], Done]]:
        """The processes that read."""
        plays: list[Callable[[], Done]] = []
        slot = 0
        for number, (threads, through_the_proxy) in enumerate(_READERS):
            parts = [
                (f"reader-{number} {thread}", slot + thread, random.Random(rng.getrandbits(32)))
                for thread in range(threads)
            ]
            slot += threads
            plays.append(partial(self._reading_process, parts, enough, through_the_proxy))
        return plays

    def _reading_process(
        self, parts: Sequence[tuple[str, int, random.Random]], enough: int, through_the_proxy: bool
    ) -> Done:
        url = self.rig.proxy.url if through_the_proxy else self.rig.server.url
        # So long that what is read can be too old.
        until_s = time.monotonic() + _BOUNDS * self.bound_ms / 1000
        with quietly(), redirected(url):
            return in_threads(
                [
                    partial(reading, self.table, name, self.board, slot, enough, until_s, rng)
                    for name, slot, rng in parts
                ]
            )

    def savers(self, rng: random.Random) -> Callable[[], Done]:
        """The process whose threads write rows by the ORM."""
        rngs = [random.Random(rng.getrandbits(32)) for _ in range(_SAVERS)]
        plays = [partial(saving, self.table, f"writer {n}", self.board, each) for n, each in enumerate(rngs)]

        def play() -> Done:
            with quietly():
                return in_threads(plays)

        return play

    def faulty_writer(self, plan: Sequence[Planned]) -> Callable[[], Done]:
        """The process whose writes go wrong."""

        def play() -> Done:
            writer = self.table.writer("faulty writer", "faulty writer")
            inside = self.table.reader("faulty writer", "faulty writer")
            client = FaultyWriter(writer, inside, self.board)
            done = self._played("writer", plan, lambda name, rng: client.play(name, rng.choice(self.table.numbers)))
            done.add(Done(writer.operations, kinds(writer.errors)))
            return done

        return play

    def late_reader(self, plan: Sequence[Planned]) -> Callable[[], Done]:
        """The process whose readers store late."""

        def play() -> Done:
            writer = self.table.writer("overtaker", "overtaker")
            late = self.table.reader("late reader", "late reader")
            client = LateReader(late, writer)

            def one(name: str, rng: random.Random) -> bool:
                pause_s = self.bound_ms / 1000 * rng.uniform(0.02, 0.8)
                return client.play(name, rng.choice(self.table.numbers), rng.choice(READ_OPS), pause_s)

            done = self._played("reader", plan, one)
            done.add(Done(writer.operations, kinds(writer.errors)))
            return done

        return play

    def outages(self, plan: Sequence[Planned]) -> Done:
        """What happens to Redis, from this process."""
        return self._played(
            "redis", plan, lambda name, rng: play_outage(name, self.rig, self.board, rng, self.bound_ms)
        )

    def _played(self, player: Player, plan: Sequence[Planned], play: Callable[[str, random.Random], bool]) -> Done:
        done = Done()
        try:
            with quietly():
                for planned in plan:
                    self.board.wait_for_reads(planned.after_reads)
                    done.played(planned.name, bit=play(planned.name, random.Random(planned.seed)))
        finally:
            self.board.has_played(_PLAYERS.index(player))
        return done
