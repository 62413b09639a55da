"""A page of five questions, served by every contender under gunicorn, in turns."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Final

from benchmarks.figures import Figures
from benchmarks.measures import Effort
from benchmarks.turns import Player, whole
from benchmarks.website import PATHS, Website

__all__ = ["pages"]

_WORKER_CLASSES: Final = ("sync", "gevent")


def pages(players: Sequence[Player], effort: Effort, figures: Figures) -> None:
    """The time for a page under load, as the whole load's time by its pages, and the pages that makes in a second."""
    for worker_class in _WORKER_CLASSES:
        name = f"page, {worker_class}"
        with ExitStack() as stack:
            sites = {player.name: stack.enter_context(Website(player.home, worker_class)) for player in whole(players)}
            for _ in range(2):  # in the second everything is cached
                _compare(sites)
            for _ in range(effort.few):
                for contender, site in sites.items():
                    took, _ = site.load(effort.pages)
                    figures.took(name, contender, took / effort.pages)
                    figures.counted(f"{name}, throughput", contender, effort.pages / took * 1e9, "pages/s")


def _compare(sites: dict[str, Website]) -> None:
    for path in PATHS:
        bodies = {contender: site.page(path) for contender, site in sites.items()}
        expected = next(iter(bodies.values()))
        for contender, body in bodies.items():
            if body != expected:
                raise RuntimeError(f"{contender} serves another page at {path}: {body[:300]!r}, not {expected[:300]!r}")
