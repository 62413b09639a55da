"""The tables this project knows: which of them a SQL text names, what fields they have, how old they may be read."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from functools import lru_cache
from hashlib import blake2b
from types import MappingProxyType
from typing import Final, NamedTuple

from django.apps import apps
from django.db.models import NOT_PROVIDED, Field, ForeignKey, Model

from cachepolicy import conf
from cachepolicy.policies.model import PolicySet

__all__ = [
    "Bounds",
    "Mention",
    "bound_ms",
    "bounds",
    "fingerprint",
    "is_comparable",
    "is_near",
    "known_tables",
    "mention",
]

_TEXTS: Final = 2048
_WORD: Final = re.compile(r"\w+")
# After a table's name in `table.column`, whatever the quotes.
_QUALIFIES: Final = re.compile(r'["`\]]?\s*\.')
# Fields that a database stores as they are given, and compares as conditions.digest() does.
_COMPARABLE: Final = frozenset(
    {"AutoField", "BigAutoField", "SmallAutoField", "IntegerField", "BigIntegerField", "SmallIntegerField"}
    | {"PositiveIntegerField", "PositiveBigIntegerField", "PositiveSmallIntegerField", "BooleanField", "FloatField"}
    | {"CharField", "SlugField", "FilePathField", "UUIDField", "DateField", "DateTimeField", "TimeField"}
)
_STORING: Final = ("get_db_prep_value", "get_db_prep_save", "pre_save", "db_type")
_COLLATIONS: Final = re.compile(
    r"binary|nocase|rtrim|c|posix|ucs_basic|(?:utf8\w*?_)?(?:\w*bin|general_ci|unicode_ci|unicode_520_ci"
    r"|0900_a[is]_c[is]|uca1400_a[is]_c[is])",
    re.IGNORECASE,
)


class Mention(NamedTuple):
    """What a SQL text says of the known tables."""

    tables: frozenset[str]
    repeated: frozenset[str]
    heirs: frozenset[str]
    is_nested: bool
    has_outer_join: bool


class _Catalogue:
    """The tables of one state of the app registry."""

    def __init__(self, models: list[type[Model]]) -> None:
        self.models = models
        by_table: dict[str, type[Model]] = {}
        self.heirs: dict[str, set[str]] = defaultdict(set)
        for model in models:
            table = model._meta.db_table
            if table not in by_table or not model._meta.proxy:
                by_table[table] = model
            for parent in model._meta.all_parents:
                if parent._meta.db_table != table:
                    self.heirs[parent._meta.db_table].add(table)
        self.by_table: Mapping[str, type[Model]] = MappingProxyType(by_table)
        self._words: dict[str, list[str]] = defaultdict(list)
        self._odd: list[tuple[str, str]] = []
        for table in by_table:
            # Django leaves a name alone that is quoted already, and doubles a % for its parameters.
            bare = table.lower().strip('"`[]')
            if _WORD.fullmatch(bare):
                self._words[bare].append(table)
            else:
                self._odd += [(bare, table), (bare.replace("%", "%%"), table)] if "%" in bare else [(bare, table)]
        self.mention = lru_cache(maxsize=_TEXTS)(self._mention)
        self.fingerprint = lru_cache(maxsize=_TEXTS)(self._fingerprint)
        self.comparable: dict[tuple[str, str], bool] = {}
        self.policies: PolicySet | None = None
        self.bounds: dict[frozenset[str], Bounds] = {}

    def _mention(self, sql: str) -> Mention:
        text = sql.lower()
        tables, counts = set(), Counter[str]()
        for end, names in self._places(text):
            tables.update(names)
            if not _QUALIFIES.match(text, end):
                counts.update(names)
        words = Counter(_WORD.findall(text))
        repeated = frozenset(table for table, count in counts.items() if count > 1)
        heirs = frozenset(heir for table in tables for heir in self.heirs.get(table, ()))
        has_outer_join = words["outer"] > 0 or words["left"] > 0
        return Mention(frozenset(tables), repeated, heirs, words["select"] > 1, has_outer_join)

    def _places(self, text: str) -> Iterator[tuple[int, list[str]]]:
        for found in _WORD.finditer(text):
            if names := self._words.get(found[0]):
                yield found.end(), names
        for bare, table in self._odd:
            start = text.find(bare)
            while start >= 0:
                yield start + len(bare), [table]
                start = text.find(bare, start + 1)

    def _fingerprint(self, tables: frozenset[str]) -> bytes:
        parts: list[object] = []
        for table in sorted(tables):
            model = self.by_table.get(table)
            fields = model._meta.concrete_fields if model else ()
            named = (
                (field.attname, field.column, type(field).__module__, type(field).__qualname__) for field in fields
            )
            parts.append((table, sorted(named)))
        return blake2b(repr(parts).encode(), digest_size=8).digest()


_current: _Catalogue | None = None


def _catalogue() -> _Catalogue:
    global _current
    # Django keeps this list until a model is registered, so that its identity tells whether anything is new.
    models = apps.get_models(include_auto_created=True)
    found = _current
    if found is None or found.models is not models:
        found = _current = _Catalogue(models)
    return found


def known_tables() -> Mapping[str, type[Model]]:
    """The model of each table, those of many-to-many fields included."""
    return _catalogue().by_table


def mention(sql: str) -> Mention:
    """What the SQL says of the known tables, whose names are words of it; rather of too many than of too few."""
    return _catalogue().mention(sql)


def fingerprint(tables: frozenset[str]) -> bytes:
    """The fields of the tables, as this deploy has them."""
    return _catalogue().fingerprint(tables)


def is_comparable(table: str, attname: str) -> bool:
    """Whether `attname = value` on the table is told by a digest of the value: the stored value is the given one."""
    catalogue = _current or _catalogue()
    found = catalogue.comparable.get((table, attname))
    if found is None:
        model = known_tables().get(table)
        fields = model._meta.concrete_fields if model else ()
        found = any(field.attname == attname and _is_stored_as_given(field) for field in fields)
        catalogue.comparable[table, attname] = found
    return found


def _is_stored_as_given(field: Field) -> bool:  # type: ignore[type-arg]
    # What the database makes up itself, an instance may not have after save().
    if field.generated or field.db_default is not NOT_PROVIDED:
        return False
    # cacheops tells of a link between two rows which two they are, and not its number.
    if field.primary_key and field.model._meta.auto_created:
        return False
    while isinstance(field, ForeignKey):
        field = field.target_field
    # What comes out otherwise than it went in is not told by the row, as NULL that is read as "".
    if hasattr(field, "from_db_value") and type(field).get_prep_value.__module__.startswith("django."):
        return False
    storing = [getattr(type(field), name) for name in _STORING]
    storing += [field.get_lookup(name) for name in ("exact", "in", "isnull")]
    collation = getattr(field, "db_collation", None)
    return (
        field.get_internal_type() in _COMPARABLE
        and all(method.__module__.startswith("django.") for method in storing)
        and (collation is None or _COLLATIONS.fullmatch(collation) is not None)
    )


class Bounds(NamedTuple):
    """What the rules of some tables allow together, in ms: the shortest timeout, and the shortest `near`.

    `timeout` is None where no table has a rule; `near` and `ahead` are 0 where one of the rules has none.
    """

    timeout: int | None
    near: int
    ahead: int

    def ahead_of(self, bound_ms: int) -> int:
        """How long before its end a value of this bound is computed anew; a call site may have shortened it."""
        return self.ahead if self.ahead < bound_ms else bound_ms // 2


def bounds(tables: frozenset[str]) -> Bounds:
    """What the rules in force allow of the tables."""
    catalogue, policies = _current or _catalogue(), conf.policies()
    if catalogue.policies is not policies:
        catalogue.bounds = {}  # before the policies: who finds these in place must not find the others' bounds
        catalogue.policies = policies
    found = catalogue.bounds
    try:
        return found[tables]
    except KeyError:
        models = (catalogue.by_table.get(table) for table in tables)
        rules = [policies.rule_for(model._meta.label) for model in models if model is not None]
        kept = [rule for rule in rules if rule is not None]
        timeout = min((rule.timeout.value.ms for rule in kept), default=None)
        near = min((rule.near.value.ms if rule.near.value else 0 for rule in kept), default=0)
        ahead = min((rule.refresh_ahead.value.ms if rule.refresh_ahead.value else 0 for rule in kept), default=0)
        bound = Bounds(timeout, near, ahead)
        if len(found) < _TEXTS:
            found[tables] = bound
        return bound


def bound_ms(tables: frozenset[str]) -> int | None:
    """The shortest timeout of the tables' rules in force; None where no table has a rule."""
    return bounds(tables).timeout


def is_near(model: type[Model]) -> bool:
    """Whether a process may keep the rows of the model's table."""
    return bounds(_alone(model._meta.db_table)).near > 0


@lru_cache(maxsize=_TEXTS)
def _alone(table: str) -> frozenset[str]:
    return frozenset({table})
