"""The runtime's defences, each by name, and how it is switched off: in the tests alone, by replacing its insides."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Final

import cacheops.query
import cacheops.tree
import pytest
from django.db.models import QuerySet

from cachepolicy import clock, conf
from cachepolicy.runtime import (
    births,
    connection_state,
    drivers,
    entry,
    fills,
    near,
    orm_writes,
    places,
    queries,
    reads,
    scripts,
    simple_cache,
    transactions,
)
from cachepolicy.runtime.births import Computation
from cachepolicy.runtime.connection_state import ConnectionState
from cachepolicy.runtime.journal import Journal
from cachepolicy.runtime.rows import Rows
from cachepolicy.runtime.statements import READ

__all__ = ["DEFENCES", "NEAR_DEFENCES", "without"]

Off = Callable[[pytest.MonkeyPatch], None]

# What a call site would get that nobody clamps: as long as it asks, and where it does not ask a year.
_FOR_EVER_MS: Final = 365 * 86_400_000
_REFUSALS: Final = (
    "everything was invalidated|Redis lost what it knew of a table|a table was invalidated|a row was[^']*"
)


class _Anything(str):
    """Equal to whatever it is compared with."""

    __hash__ = None  # type: ignore[assignment]

    def encode(self, *_: Any) -> Any:
        return self

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False


def _seal(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(entry, "_mac", lambda *_: bytes(entry._MAC_BYTES))


def _seal_bound_to_the_key(patch: pytest.MonkeyPatch) -> None:
    upstream = entry._mac
    patch.setattr(entry, "_mac", lambda keyed, body, _name, fingerprint: upstream(keyed, body, b"", fingerprint))


def _unreadable_is_a_miss(patch: pytest.MonkeyPatch) -> None:
    def unseal(data: bytes, _key: str, _fingerprint: bytes) -> entry.Entry:
        *_, birth_us, wall_us, bound_ms = entry._HEADER.unpack_from(data, entry._MAC_BYTES)
        return entry.Entry(birth_us, wall_us, bound_ms * 1000, entry.from_payload(data[entry._START :]))

    patch.setattr(reads, "unseal", unseal)


def _age_of_what_is_read_inside(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(births, "lowered", lambda *_: None)


def _age_of_a_frozen_snapshot(patch: pytest.MonkeyPatch) -> None:
    upstream = births.statement
    patch.setattr(births, "statement", lambda alias, _snapshot_ns, dirty: upstream(alias, None, dirty))


def _lag_of_a_replica(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(conf, "max_lag_ns", lambda _alias: 0)


def _birth_before_the_read(patch: pytest.MonkeyPatch) -> None:
    upstream = fills._store

    def store(place: Any, data: Any, ms: int, computation: Computation) -> str:
        began_ns = computation.started_ns
        computation.restart()
        computation.redis_ns += computation.started_ns - began_ns
        return upstream(place, data, ms, computation)

    patch.setattr(fills, "_store", store)


def _clamp_of_call_sites(patch: pytest.MonkeyPatch) -> None:
    def bounded_ms(timeout_s: float | None, _longest_ms: int | None) -> int:
        return int(timeout_s * 1000) if timeout_s else _FOR_EVER_MS

    for module in (fills, queries, simple_cache):
        patch.setattr(module, "bounded_ms", bounded_ms)


def _age_in_the_ttl(patch: pytest.MonkeyPatch) -> None:
    lines = "local ttl = math.min(bound, bound - math.ceil((now - birth) / 1000))"
    _in_script(patch, "FILL", lines, "local ttl = bound")
    patch.setattr(fills, "_store", _without_its_own_look_at_the_age(fills._store))


def _without_its_own_look_at_the_age(upstream: Callable[..., str]) -> Callable[..., str]:
    """The store whose process does not look either, so that the script alone decides."""

    def store(place: Any, data: Any, ms: int, computation: Computation) -> str:
        born_ns = computation.born_ns
        computation.born_ns = max(born_ns, clock.now_ns() - ms * 1_000_000 + 1_000_000)
        return upstream(place, data, ms, computation)

    return store


def _lease(patch: pytest.MonkeyPatch) -> None:
    text, count = re.subn(rf"refusal = '(?:{_REFUSALS})'", "refusal = refusal", scripts.FILL)
    assert count == 5, "each of the script's refusals but that of an old one"
    patch.setattr(scripts, "FILL", text)


def _stamps(patch: pytest.MonkeyPatch) -> None:
    class Agreeing:
        sha1 = staticmethod(lambda *_: Agreeing())
        hexdigest = staticmethod(lambda: _Anything())

    patch.setattr(reads, "hashlib", Agreeing)


def _in_script(patch: pytest.MonkeyPatch, name: str, lines: str, instead: str) -> None:
    text = getattr(scripts, name)
    assert lines in text, f"{name} has no such lines: {lines}"
    patch.setattr(scripts, name, text.replace(lines, instead))


def _records_whole_or_void(patch: pytest.MonkeyPatch) -> None:
    _in_script(patch, "INVALIDATE", "if not is_whole(KEYS[e], KEYS[e + 1], KEYS[e + 2], current)", "if false")


def _generation(patch: pytest.MonkeyPatch) -> None:
    for name in ("FILL", "INVALIDATE", "OPEN"):
        _in_script(patch, name, "if now < highest or not found then", "if not found then")
    _in_script(patch, "OPEN", "if ARGV[3] == '1' then", "if false then")


def _deadline_by(patch: pytest.MonkeyPatch, *clocks: str) -> None:
    """Judge a hit's age by these clocks, of those that are left."""
    left = [name for name in getattr(reads._within_bound, "clocks", ("redis", "wall")) if name in clocks]

    def within_bound(here: Any, found: entry.Entry | None) -> tuple[entry.Entry, int] | None:
        if found is None:
            return None
        ages = {"redis": here.clock.now_us() - found.birth_us, "wall": clock.wall_us() - found.wall_us}
        age_us = max((ages[name] for name in left), default=0)
        return (found, age_us) if age_us <= found.bound_us else None

    within_bound.clocks = left  # type: ignore[attr-defined]
    patch.setattr(reads, "_within_bound", within_bound)


def _deadline(patch: pytest.MonkeyPatch) -> None:
    _deadline_by(patch)


def _deadline_by_redis_clock(patch: pytest.MonkeyPatch) -> None:
    _deadline_by(patch, "wall")


def _deadline_by_the_walls_clock(patch: pytest.MonkeyPatch) -> None:
    _deadline_by(patch, "redis")


def _classifier(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(transactions, "classify", lambda *_: READ)


def _count_of_changes(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(drivers, "changes", lambda _connection: None)


def _tables_of_statements(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(connection_state, "left_to_invalidate", lambda _words: frozenset())


def _unanswered_commits(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ConnectionState, "outcome_unknown", lambda *_: None)


def _journal(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Journal, "add", lambda *_: None)


def _tables_beside_the_conditions(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(places, "dnfs", cacheops.tree.dnfs)
    patch.setattr(places, "_places", places._Places())


def _typed_keys(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(places, "cache_key", cacheops.query.QuerySetMixin._cache_key)
    patch.setattr(places, "_places", places._Places())


def _parents_outside(patch: pytest.MonkeyPatch) -> None:
    outermost: Any = QuerySet._fetch_all
    assert "known_parents" in outermost.__code__.co_filename
    patch.setattr(QuerySet, "_fetch_all", outermost.__wrapped__)


def _fresh_old_row(patch: pytest.MonkeyPatch) -> None:
    def standing(rows: Rows, pk: Any) -> Any:
        return rows.of(rows.model.objects.using(rows.alias).get(pk=pk))

    patch.setattr(orm_writes, "nothing_served", lambda _alias: nullcontext())
    patch.setattr(Rows, "standing", standing)
    patch.setattr(Rows, "updated", lambda *_: None)  # which PostgreSQL's UPDATE gives


DEFENCES: Final[dict[str, Off]] = {
    # 1. Entry.
    "seal": _seal,
    "seal bound to the key": _seal_bound_to_the_key,
    "unreadable is a miss": _unreadable_is_a_miss,
    # 2. Birth.
    "age of what is read inside": _age_of_what_is_read_inside,
    "age of a frozen snapshot": _age_of_a_frozen_snapshot,
    "lag of a replica": _lag_of_a_replica,
    "birth before the read": _birth_before_the_read,
    # 3. TTL.
    "age in the TTL": _age_in_the_ttl,
    "clamp of call sites": _clamp_of_call_sites,
    # 4. Lease.
    "lease": _lease,
    "stamps": _stamps,
    "records whole or void": _records_whole_or_void,
    # 5. Deadline.
    "generation": _generation,
    "deadline": _deadline,
    "deadline by Redis' clock": _deadline_by_redis_clock,
    "deadline by the wall's clock": _deadline_by_the_walls_clock,
    # 6. Transactions.
    "classifier": _classifier,
    "count of changes": _count_of_changes,
    "tables of statements": _tables_of_statements,
    "unanswered commits": _unanswered_commits,
    # 7. Failure.
    "journal": _journal,
    # 8 and 9. Dependencies, keys, fresh reads.
    "tables beside the conditions": _tables_beside_the_conditions,
    "typed keys": _typed_keys,
    "parents outside": _parents_outside,
    "fresh old row": _fresh_old_row,
}


def _copies_out(patch: pytest.MonkeyPatch) -> None:
    class Shared:
        def __init__(self, kept: Any) -> None:
            self.size, self._value = kept.size, kept.value()

        def value(self) -> Any:
            return self._value

    upstream = near.Copy.__init__

    def made(self: Any, place: Any, kept: Any, *instants: int) -> None:
        upstream(self, place, kept if isinstance(kept, Shared) else Shared(kept), *instants)  # type: ignore[arg-type]

    patch.setattr(near.Copy, "__init__", made)


def _bound_of_near(patch: pytest.MonkeyPatch) -> None:
    upstream = near.keep

    def keep(place: Any, *kept: Any) -> Any:
        if place.near_ns:
            place = place.under(place.key)
            place.near_ns = _FOR_EVER_MS * 1_000_000
        return upstream(place, *kept)

    patch.setattr(near, "keep", keep)


def _bound_of_the_entry(patch: pytest.MonkeyPatch) -> None:
    upstream = near.keep
    patch.setattr(near, "keep", lambda *kept: upstream(*kept[:-1], _FOR_EVER_MS))


def _own_writes(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(near, "invalidated", lambda *_: None)


def _late_copies(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(near._Table, "last_ns", property(lambda _: 0, lambda *_: None))


def _dirty_before_near(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(queries, "suspects", ())
    patch.setattr("cachepolicy.runtime.transaction_states.suspects", ())


def _fresh_before_near(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(reads, "is_fresh", lambda: False)


def _switch_before_near(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(reads.switch, "current", lambda *_: reads.switch.Switches())


def _fork(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(near._Copies, "clear", lambda _: None)


def _instant_of_near_copies(patch: pytest.MonkeyPatch) -> None:
    upstream = births.lowered
    patch.setattr(births, "lowered", lambda born_ns, _since_ns=None: upstream(born_ns))


# Those of the copies in a process's memory.
NEAR_DEFENCES: Final[dict[str, Off]] = {
    "copies out": _copies_out,
    "bound of near": _bound_of_near,
    "bound of the entry": _bound_of_the_entry,
    "own writes": _own_writes,
    "late copies": _late_copies,
    "dirty before near": _dirty_before_near,
    "fresh before near": _fresh_before_near,
    "switch before near": _switch_before_near,
    "fork": _fork,
    "instant of near copies": _instant_of_near_copies,
}


@contextmanager
def without(*names: str) -> Iterator[None]:
    """Inside the block these defences are off."""
    with pytest.MonkeyPatch.context() as patch:
        for name in names:
            (DEFENCES | NEAR_DEFENCES)[name](patch)
        yield
