"""Which faults a soak plays, by whom, and when: drawn from the seed."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

__all__ = ["FAULTS", "Planned", "Player", "drawn"]

Player = Literal["redis", "writer", "reader"]

# By who plays them, with how often each is drawn beside the others; what stops everyone for a while is drawn least.
FAULTS: Final[Mapping[Player, Mapping[str, int]]] = {
    "redis": {
        "redis_refused": 4,
        "redis_hung": 3,
        "redis_paused": 3,
        "redis_restarted_empty": 3,
        "redis_old_dump": 3,
        "redis_read_only": 3,
        "redis_full": 3,
        "redis_flushed": 8,
        "redis_evicting": 8,
        "redis_evicting_some": 8,
        "redis_clock_set_back": 8,
        "corrupt_bytes": 8,
        "swapped_bytes": 8,
    },
    "writer": {
        "raw_sql": 12,
        "raw_sql_outside": 16,
        "rollback": 8,
        "rollback_savepoint": 8,
        "rollback_autocommit_off": 8,
        "rollback_raw": 8,
        "writer_killed": 8,
        "killed_in_commit": 6,
        "killed_before_commit": 6,
    },
    "reader": {"stale_set": 24, "stale_set_raw": 8, "frozen_snapshot": 16},
}


@dataclass(frozen=True, slots=True)
class Planned:
    """A fault to be played by one player, once so many reads of the round are made; `seed` is for its own choices."""

    name: str
    player: Player
    after_reads: int
    seed: int


def drawn(rng: random.Random, faults: int, reads: int, only: Sequence[str] = ()) -> Sequence[Planned]:
    """So many faults, spread evenly over a round of so many reads; `only` names those to draw from, empty for all."""
    every: list[tuple[Player, str, int]] = [
        (player, name, weight)
        for player, named in FAULTS.items()
        for name, weight in named.items()
        if not only or name in only
    ]
    chosen = rng.choices(every, [weight for *_, weight in every], k=faults)
    return [
        Planned(name, player, reads * place // max(faults, 1), rng.getrandbits(32))
        for place, (player, name, _) in enumerate(chosen)
    ]
