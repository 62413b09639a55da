"""What is measured of every contender, in turns: reads, fills, writes, stampedes and the weight of an entry."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.contenders import READS
from benchmarks.figures import Figures
from benchmarks.turns import Player, turns, whole

__all__ = ["DEPENDENTS", "MEASURES", "Effort"]

DEPENDENTS: Final = (10, 1_000, 10_000, 100_000)
_NUMBERS: Final = list(range(1, 9))
# Numbers that no other measure asks for: the newspaper has 5,000 articles, its categories 4,600 slices of 20 rows.
_FIRST_MISS: Final = 1_000
_FIRST_WEIGHED: Final = 4_000
_WEIGHED: Final = 400


@dataclass(frozen=True, slots=True)
class Effort:
    """How often everything is done."""

    rounds: int
    # Calls in a turn.
    hits: int
    misses: int
    # Rounds of saves, each with every number of dependents.
    saves: int
    # Rounds of what takes long by itself.
    few: int
    pages: int


THOROUGH: Final = Effort(rounds=15, hits=100, misses=40, saves=21, few=9, pages=150)
QUICK: Final = Effort(rounds=7, hits=50, misses=25, saves=9, few=4, pages=30)


def reads(players: Sequence[Player], effort: Effort, figures: Figures) -> None:
    """Each question, answered from the cache; its answers are compared before and its hits verified after."""
    for question in READS:
        asked = [player for player in players if question in player.contender.reads]
        _compare(question, asked)
        for _, player in turns(asked, effort.rounds):
            figures.took(question, player.name, *player.do("hits", question, _NUMBERS, effort.hits))
        _compare(question, asked)


def _compare(question: str, players: Sequence[Player]) -> None:
    expected: list[str] | None = None
    for player in players:
        found = player.do("check", question, _NUMBERS)
        expected = expected or found["first"]
        for answers in (found["first"], found["again"]):
            for n, (right, answer) in enumerate(zip(expected, answers, strict=True), _NUMBERS[0]):
                if answer != right:
                    raise RuntimeError(f"{player.name} answers {question} {n} with {answer:.300}, not {right:.300}")
        if player.contender.caches and found["queries"]:
            raise RuntimeError(f"{player.name} asked the database {found['queries']} times for {question} once cached")


def fills(players: Sequence[Player], effort: Effort, figures: Figures) -> None:
    """Reads that nobody has asked for before, stored for the next."""
    for question in ("get", "20 rows"):
        for number, player in turns(whole(players), effort.rounds):
            start = _FIRST_MISS + number * (effort.misses + 10)
            figures.took(f"miss + store, {question}", player.name, *player.do("misses", question, start, effort.misses))


def memory(players: Sequence[Player], _effort: Effort, figures: Figures) -> None:
    """What an entry of a get weighs."""
    for _, player in turns(whole(players), 1):
        weight = player.do("memory", _FIRST_WEIGHED, _WEIGHED)
        for where, value in weight.items():
            figures.counted(f"memory per entry, {where}", player.name, value, "bytes")


def saves(players: Sequence[Player], effort: Effort, figures: Figures) -> None:
    """A save with few and with many entries that depend on its row; all numbers in each round, to compare them too."""
    for _ in range(effort.saves + 1):
        for dependents in DEPENDENTS:
            for player in whole(players):
                figures.took(f"save, {dependents} dependents", player.name, player.do("save", dependents))
    for player in whole(players):
        player.do("forget")
        for dependents in DEPENDENTS:
            figures.forget_first(f"save, {dependents} dependents", player.name)


def transactions(players: Sequence[Player], effort: Effort, figures: Figures) -> None:
    """Twenty saves in a transaction."""
    for player in whole(players):
        player.do("transaction")
        trips = player.do("round_trips")
        figures.counted("transaction of 20 saves, Redis round trips", player.name, trips, "round trips")
    for _, player in turns(whole(players), effort.rounds):
        figures.took("transaction of 20 saves", player.name, player.do("transaction"))


def stampedes(players: Sequence[Player], effort: Effort, figures: Figures) -> None:
    """Fifty threads for one function: nobody has computed it before, or it is due for a refresh."""
    cold = [player for player in players if "function" in player.contender.reads and _is_herd(player)]
    ahead = [player for player in players if player.contender.refreshes_ahead]
    for rule, herd in (("cold", cold), ("ahead", ahead)):
        for _, player in turns(herd, effort.few):
            found = player.do("stampede", rule)
            figures.took(f"stampede of 50, {rule}", player.name, found["ns"])
            figures.counted(f"stampede of 50, {rule}: computed", player.name, found["computed"], "times")
            figures.counted(f"stampede of 50, {rule}: waited", player.name, found["waited"], "readers")


def _is_herd(player: Player) -> bool:
    return player.contender.is_whole or player.contender.style == "dogpile"


MEASURES: Final[dict[str, Callable[[Sequence[Player], Effort, Figures], None]]] = {
    "reads": reads,
    "fills": fills,
    "memory": memory,
    "saves": saves,
    "transactions": transactions,
    "stampedes": stampedes,
}
