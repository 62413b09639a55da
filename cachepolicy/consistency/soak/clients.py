"""The clients of a round that play no faults: readers by every op, and writers that save rows."""

from __future__ import annotations

import random
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from cacheops.signals import cache_read
from django.db import connections

from cachepolicy import signals
from cachepolicy.consistency.history import Operation
from cachepolicy.consistency.probe_reads import Reader
from cachepolicy.consistency.probe_writes import WAYS, Writer
from cachepolicy.consistency.soak.board import Board

__all__ = ["Done", "Table", "in_threads", "kinds", "quietly", "reading", "saving"]

_OPS: Final = ("get", "fetch", "function", "nested function")
_OPS_ODDS: Final = (35, 20, 35, 10)
_CONTROL: Final = 0.01  # of the reads go past the cache
_LONGEST: Final = 5  # times as many reads as asked for are made at most, where the cache serves few of them
_SAVE_S: Final = 0.04
_READS_A_SAVE: Final = 100  # else a busy machine would find nothing in the cache


@dataclass(frozen=True, slots=True)
class Table:
    """The rows of a round: the numbers of each list."""

    round: int
    alias: str
    places: Mapping[int, tuple[int, ...]]

    @property
    def numbers(self) -> tuple[int, ...]:
        """Every row."""
        return tuple(number for numbers in self.places.values() for number in numbers)

    def writer(self, process: str, session: str) -> Writer:
        """A client that writes them."""
        return Writer(process, session, self.alias, series=f".{self.round}")

    def reader(self, process: str, session: str) -> Reader:
        """A client that reads them."""
        return Reader(process, session, self.alias, self.places)


@dataclass
class Done:
    """What clients did; `counts` has `reads`, those that were `cached` and were `hits`, and ops."""

    operations: list[Operation] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    blunt: Counter[str] = field(default_factory=Counter)

    def add(self, other: Done) -> None:
        """Take over what another has done."""
        self.operations += other.operations
        for mine, theirs in (
            (self.errors, other.errors),
            (self.counts, other.counts),
            (self.faults, other.faults),
            (self.blunt, other.blunt),
        ):
            mine.update(theirs)

    def played(self, name: str, *, bit: bool) -> None:
        """Count a fault; one that did not bite is counted apart."""
        (self.faults if bit else self.blunt)[name] += 1


class _Served(threading.local):
    """What the cache told in this thread since it was last asked."""

    hits = 0
    fills = 0

    def on_read(self, hit: bool, **_: Any) -> None:
        self.hits += hit

    def on_fill(self, stored: bool, **_: Any) -> None:
        self.fills += stored


def reading(
    table: Table, session: str, board: Board, slot: int, enough: int, until_s: float, rng: random.Random
) -> Done:
    """Read until `enough` reads of all readers came from the cache or were stored in it, and all faults are played.

    Not for less than until `until_s` of the monotonic clock.
    """
    served = _Served()
    heard = ((cache_read, served.on_read), (signals.fill, served.on_fill))
    for signal, receiver in heard:
        signal.connect(receiver, weak=False)
    reader = table.reader(session.rpartition(" ")[0], session)
    numbers, counts = table.numbers, Counter[str]()
    try:
        while (
            not board.all_played
            or time.monotonic() < until_s
            or (board.cached < enough and board.reads < _LONGEST * enough)
        ):
            op = rng.choices(_OPS, _OPS_ODDS)[0]
            served.hits = served.fills = 0
            read = reader.read(rng.choice(numbers), op.rpartition(" ")[2], nested=op.startswith("nested"))
            counts["reads"] += 1
            if read.outcome == "ok":
                counts["hits"] += served.hits > 0
                counts["cached"] += served.hits + served.fills > 0
            counts[f"op {op}"] += 1
            board.has_read(slot, counts["reads"], counts["cached"])
            if rng.random() < _CONTROL:
                reader.read_past_the_cache(rng.choice(numbers))
    finally:
        board.has_ended(slot)
        for signal, receiver in heard:
            signal.disconnect(receiver)
    return Done(reader.operations, kinds(reader.errors), counts)


def saving(table: Table, session: str, board: Board, rng: random.Random) -> Done:
    """Write by the ORM, now and then with a rollback, for as long as anyone reads, and no faster than they do."""
    writer = table.writer(session.rpartition(" ")[0], session)
    while board.is_read:
        writer.write(rng.choice(table.numbers), WAYS["rolled_back" if rng.random() < 0.1 else "saved"])
        reads = board.reads
        time.sleep(rng.uniform(0, 2 * _SAVE_S))
        board.wait_for_reads(reads + _READS_A_SAVE)
    return Done(writer.operations, kinds(writer.errors))


def kinds(errors: Sequence[str]) -> Counter[str]:
    """How many errors there were of each type: what they say differs with each byte that is wrong."""
    return Counter(error.partition(":")[0] for error in errors)


def in_threads(plays: Sequence[Callable[[], Done]]) -> Done:
    """Run each in a thread with database connections of its own; gives what all of them did, or raises."""
    done, failed = Done(), list[BaseException]()

    def run(play: Callable[[], Done]) -> None:
        try:
            done.add(play())
        except BaseException as error:  # handed to the thread that joins
            failed.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(play,)) for play in plays]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return done


@contextmanager
def quietly() -> Iterator[None]:
    """cacheops warns of every command it loses, which is the point here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        yield
