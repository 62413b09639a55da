"""Places: where a value lies, and what it depends on; of a queryset found without its SQL wherever that can be."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, Final

from cacheops.sharding import get_prefix
from django.core.signals import setting_changed

from cachepolicy import conf
from cachepolicy.runtime import scripts
from cachepolicy.runtime.compilations import share, unshare
from cachepolicy.runtime.conditions import digest
from cachepolicy.runtime.dependencies import dnfs
from cachepolicy.runtime.encoding import Unkeyed
from cachepolicy.runtime.identities import aggregates_identity, identity
from cachepolicy.runtime.queryset_keys import aggregates_key, cache_key
from cachepolicy.runtime.tables import Bounds, bounds, fingerprint, known_tables

__all__ = ["Place", "place_of"]

# Of about 3 kB each.
_MOST: Final = 4_000


class Place:
    """Where a value lies, and what it depends on: {table: [conditions]} as cacheops has it.

    `allowed` is how old it may get; what the rules of its tables say where the call site does not.
    """

    __slots__ = ("_asked", "_fingerprint", "_stamps", "allowed", "conditions", "key", "near_ns", "prefix", "tables")

    def __init__(
        self, key: str, prefix: str, conditions: dict[str, list[dict[str, Any]]], allowed: Bounds | None = None
    ) -> None:
        self.key, self.prefix, self.conditions = key, prefix, conditions
        self.tables: tuple[str, ...] = tuple(conditions)
        self.allowed = allowed = allowed or bounds(frozenset(conditions))
        self.near_ns = allowed.near * 1_000_000
        self._stamps: list[tuple[int, str, str, str]] | None = None
        self._asked: list[str] | None = None
        self._fingerprint: bytes | None = None

    def under(self, key: str) -> Place:
        """The place of another key that depends on the same."""
        twin = Place.__new__(Place)
        twin.key, twin.prefix, twin.conditions, twin.tables = key, self.prefix, self.conditions, self.tables
        twin.allowed, twin.near_ns = self.allowed, self.near_ns
        twin._stamps, twin._fingerprint = self.stamps(), self.fingerprint()
        twin._asked = [key, *self.asked()[1:]]
        return twin

    def stamps(self) -> list[tuple[int, str, str, str]]:
        """The number of the table, its name, the scheme and the key of each stamp it depends on."""
        found = self._stamps
        if found is None:
            found = self._stamps = [
                (number, table, ",".join(fields), self._stamp(table, fields, conjunction))
                for number, (table, disjunction) in enumerate(self.conditions.items(), 1)
                for conjunction in disjunction
                for fields in (sorted(conjunction),)
            ]
        return found

    def _stamp(self, table: str, fields: Sequence[str], conjunction: dict[str, Any]) -> str:
        digests = "".join([digest(field, conjunction[field]) for field in fields])
        return scripts.stamp_key(self.prefix, table, ",".join(fields), digests)

    def asked(self) -> list[str]:
        """What is asked of Redis for it: the entry, the generation, the epochs of its tables and its stamps."""
        found = self._asked
        if found is None:
            epochs = [f"{self.prefix}epoch:{table}" for table in self.tables]
            stamps = [key for *_, key in self.stamps()]
            found = self._asked = [self.key, scripts.server_keys(self.prefix)[0], *epochs, *stamps]
        return found

    def fingerprint(self) -> bytes:
        """The fields of its tables, as they are in this deploy."""
        found = self._fingerprint
        if found is None:
            found = self._fingerprint = fingerprint(frozenset(self.tables))
        return found


class _Places:
    """Those found by identity, of one state of the app registry and of the policies."""

    def __init__(self) -> None:
        self.found: dict[Hashable, Place] = {}
        self.of: tuple[object, object] = (None, None)

    def get(self, key: Hashable) -> Place | None:
        of = (known_tables(), conf.policies())
        if self.of[0] is not of[0] or self.of[1] is not of[1]:
            self.found, self.of = {}, of
        return self.found.get(key)

    def add(self, key: Hashable, place: Place) -> None:
        found = self.found
        if len(found) >= _MOST:
            found.clear()  # whatever is asked for often comes back at once
        found[key] = place

    def clear(self, **_: Any) -> None:
        self.found = {}


_places: Final = _Places()
# Keys and digests are made from SECRET_KEY, CACHEOPS_PREFIX, TIME_ZONE …: tests change them.
setting_changed.connect(_places.clear, dispatch_uid="cachepolicy.places")


def place_of(queryset: Any, op: str, aggregates: dict[str, Any] | None = None) -> Place | None:
    """Where the answer of an op lies: `fetch`, `count`, `exists`, or `aggregate` with its expressions by name.

    None where it has no certain key.
    """
    asked = identity(queryset)
    if asked is not None and aggregates is not None:
        added = aggregates_identity(queryset.model, aggregates)
        asked = None if added is None else (asked, added)
    if asked is None:
        return _compiled(queryset, op, aggregates)
    profile = queryset._cacheprofile
    key = (op, asked, profile["timeout"], profile["db_agnostic"])
    place = _places.get(key)
    if place is None and (place := _compiled(queryset, op, aggregates)) is not None:
        _places.add(key, place)
    return place


def _compiled(queryset: Any, op: str, aggregates: dict[str, Any] | None) -> Place | None:
    added = ""
    if aggregates is not None:
        queryset, aggregates = _resolved(queryset, aggregates)
    share((queryset,))
    try:
        if aggregates is not None:
            added = aggregates_key(queryset, aggregates)
        key = cache_key(queryset, prefix=False)
        conditions = dnfs(queryset)
    except Unkeyed:
        return None
    finally:
        unshare((queryset,), about_to_fetch=op == "fetch")
    prefix = get_prefix(_queryset=queryset, _cond_dnfs=conditions, dbs=[queryset.db])
    return Place(f"{prefix}{key}" if op == "fetch" else f"{prefix}as:{op}:{key}{added}", prefix, conditions)


def _resolved(queryset: Any, aggregates: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """A copy of the queryset with the joins that its aggregates ask for, as Query.get_aggregation() prepares it."""
    copy = queryset._clone()
    resolved = {
        name: aggregate.resolve_expression(copy.query, allow_joins=True, reuse=None, summarize=True)
        for name, aggregate in aggregates.items()
    }
    return copy, resolved
