"""Taking turns: each contender's process works while the others wait, so that noise hits all alike."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from benchmarks.servers import Home

__all__ = ["Player", "players", "turns", "whole"]


class Player:
    """A contender and its process."""

    def __init__(self, home: Home) -> None:
        self.home, self.contender = home, home.contender
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=home.environment(),
        )

    @property
    def name(self) -> str:
        """The contender's name."""
        return self.contender.name

    def do(self, job: str, *arguments: Any) -> Any:
        """Have a job done; raises RuntimeError when the process ended over it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps([job, arguments]) + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            raise RuntimeError(f"{self.name}: its process ended over {job}{arguments}; what it said is above")
        return json.loads(answer)

    def stop(self) -> None:
        """End the process, which ends by itself when there are no more jobs."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextmanager
def players(homes: Iterable[Home]) -> Iterator[list[Player]]:
    """A process for each contender, all waiting for their turns."""
    with ExitStack() as stack:
        started = []
        for home in homes:
            started.append(Player(home))
            stack.callback(started[-1].stop)
        yield started


def turns(players: Iterable[Player], rounds: int) -> Iterator[tuple[int, Player]]:
    """A B C A B C …, with the number of the round."""
    order = list(players)
    return ((number, player) for number in range(rounds) for player in order)


def whole(players: Iterable[Player]) -> list[Player]:
    """Those that fill, save and serve pages too."""
    return [player for player in players if player.contender.is_whole]
