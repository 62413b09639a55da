"""Rows of a table: as they stand in the database when they are written, and told to Redis by the digests of fields.

Both are for tables alone that one model knows all of, and whose key a digest tells: of others nothing is cached by the
row, and they are invalidated whole.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any, Final, NamedTuple

from cacheops.invalidation import serializable_fields
from cacheops.sharding import get_prefix
from django.core.exceptions import EmptyResultSet
from django.db import connections
from django.db.models import ForeignKey, Model, OneToOneField, QuerySet
from django.db.models.sql import UpdateQuery
from django.db.models.sql.constants import GET_ITERATOR_CHUNK_SIZE

from cachepolicy.runtime import invalidations
from cachepolicy.runtime.conditions import digest
from cachepolicy.runtime.connection_state import nothing_served, state_of
from cachepolicy.runtime.tables import is_comparable, known_tables

__all__ = ["Rows", "Values", "is_behind", "rows_of"]

_CONVERTERS: Final = "_cachepolicy_converters"
# A row: what it holds of each of its table's `names`.
Values = tuple[Any, ...]


class Updated(NamedTuple):
    """Whether there was a row to be written, and what it held before."""

    is_there: bool
    before: Values | None


class Rows:
    """The rows of a model in a database; `names` are the fields that cached reads may have conditions on."""

    def __init__(self, model: Any, alias: str, fields: list[Any]) -> None:
        self.model, self.alias = model, alias
        self.table = model._meta.db_table
        self.names: tuple[str, ...] = tuple(field.attname for field in fields)
        self._places = {name: place for place, name in enumerate(self.names)}
        self.key = self._places[model._meta.pk.attname]
        self._prepare = [_preparation(field) for field in fields]
        # Whose rows cacheops invalidates as well when another row becomes their only one.
        self.one_to_one = [
            (self._places[field.attname], field.related_model._meta.db_table, field.target_field.attname)
            for field in fields
            if isinstance(field, OneToOneField)
        ]
        self._compiled: tuple[str, Any, list[Any]] | None = None

    def standing(self, pk: Any) -> Values | None:
        """The row of a key as the database holds it now, if it does."""
        connection: Any = connections[self.alias]
        key = self.model._meta.pk.get_db_prep_value(pk, connection)
        if self._compiled is None:
            self._compiled = self._compile(pk)
        if self._compiled is None or (isinstance(key, int) and key.bit_length() > _LONGEST_INTEGER):
            return None
        sql = self._compiled[0]
        return self._row(connection, f"{sql} FOR UPDATE" if is_behind(connection) else sql, (key,))

    def updated(self, rows: Any, pk: Any, values: list[Any]) -> Updated | None:
        """Write fields of a row, and give what it held right before; None where that takes two statements.

        PostgreSQL has one for both, which saves a round trip, and lets no other writer in between.
        """
        connection: Any = connections[self.alias]
        meta = self.model._meta
        if connection.vendor != "postgresql" or not meta.managed or meta.select_on_save or not _is_plain(rows):
            return None
        if self._compiled is None:
            self._compiled = self._compile(pk)
        query = rows.filter(pk=pk).query.chain(UpdateQuery)
        query.add_update_fields(values)
        try:
            sql, params = query.get_compiler(self.alias).as_sql()
        except EmptyResultSet:
            return None
        quoted = connection.ops.quote_name
        change, _, where = sql.partition(" WHERE ")
        if self._compiled is None or where != f"{quoted(self.table)}.{quoted(meta.pk.column)} = %s":
            return None
        columns = ", ".join(f"was.{quoted(meta.get_field(name).column)}" for name in self.names)
        sql = f"WITH was AS ({self._compiled[0]} FOR NO KEY UPDATE) {change} FROM was WHERE {where} RETURNING {columns}"
        before = self._row(connection, sql, (params[-1], *params))
        return Updated(before is not None, before)

    def _row(self, connection: Any, sql: str, params: tuple[Any, ...]) -> Values | None:
        """The row that a statement gives, in the order of the names."""
        assert self._compiled is not None
        _, query, columns = self._compiled
        with connection.cursor() as cursor:
            cursor.execute(sql, params)
            row = cursor.fetchone()
        if row is None:
            return None
        # Kept on the connection, which its converters hold: elsewhere they would keep it open after its thread.
        known = connection.__dict__.setdefault(_CONVERTERS, {})
        converters = known.get(self)
        if converters is None:
            converters = known[self] = query.get_compiler(connection=connection).get_converters(columns)
        values = list(row)
        for place, (functions, column) in converters.items():
            for function in functions:
                values[place] = function(values[place], column, connection)
        return tuple(values)

    def _compile(self, pk: Any) -> tuple[str, Any, list[Any]] | None:
        """The SELECT of a row by its key, the query and its columns; None where Django itself knows there is none."""
        query = self._all().filter(pk=pk).query
        compiler = query.get_compiler(self.alias)
        try:
            sql, _ = compiler.as_sql()
        except EmptyResultSet:
            return None
        return sql, query, [column for column, *_ in compiler.select]

    def all_standing(self, pks: list[Any]) -> list[Values] | None:
        """The rows of some keys as the database holds them now; None where one is missing."""
        if len(pks) == 1:
            found = self.standing(pks[0])
            return None if found is None else [found]
        rows: list[Values] = []
        all_rows = self._all().select_for_update() if is_behind(connections[self.alias]) else self._all()
        with nothing_served(self.alias):
            for start in range(0, len(pks), GET_ITERATOR_CHUNK_SIZE):
                rows += all_rows.filter(pk__in=pks[start : start + GET_ITERATOR_CHUNK_SIZE])
        return rows if len(rows) == len(set(pks)) else None

    def _all(self) -> Any:
        return QuerySet(self.model, using=self.alias).order_by().values_list(*self.names)

    def of(self, instance: Any) -> Values | None:
        """What an instance holds; None where something is deferred, or left to the database."""
        values = instance.__dict__
        try:
            found = tuple([values[name] for name in self.names])
        except KeyError:
            return None
        return None if any(hasattr(value, "resolve_expression") for value in found) else found

    def written(self, values: Values, fields: Iterable[tuple[Any, Any]]) -> Values | None:
        """A row after a statement has written some fields; None where a value is left to the database."""
        found = list(values)
        for field, value in fields:
            place = self._places.get(field.attname)
            if place is not None:
                if hasattr(value, "resolve_expression"):
                    return None
                was = found[place]
                if type(value) is not type(was) or value != was:  # what is the same need not be digested again
                    found[place] = value
        return tuple(found)

    def tell_whole(self) -> None:
        """Invalidate the whole table, after the commit."""
        connection: Any = connections[self.alias]
        state_of(connection).push(connection, frozenset({self.table}))

    def tell(self, rows: Collection[Values]) -> None:
        """Invalidate what depends on rows of these values, after the commit."""
        if len(rows) > invalidations.MOST_ROWS:
            self.tell_whole()
        else:
            connection: Any = connections[self.alias]
            state_of(connection).push(connection, (self, tuple(rows), {}))

    def __call__(self, *rows: Values) -> None:
        """Invalidate it now: as an item in the queue of a transaction."""
        prefix = get_prefix(tables=[self.table], dbs=[self.alias])
        before, digests = rows[0], [*map(_digest, self.names, self._prepare, rows[0])]
        for values in rows:
            for place, value in enumerate(values):
                if value is not before[place]:
                    digests[place] = _digest(self.names[place], self._prepare[place], value)
            before = values
            invalidations.row(prefix, self.table, zip(self.names, digests, strict=True))
        for place, table, name in self.one_to_one:
            related = {values[place] for values in rows}
            if len(rows) == 1 or len(related) > 1:
                for value in related:
                    fields = [(name, _digest(name, self._prepare[place], value))]
                    invalidations.row(get_prefix(tables=[table], dbs=[self.alias]), table, fields)


def _is_plain(queryset: Any) -> bool:
    return getattr(type(queryset), "_update", None) is getattr(QuerySet, "_update", None)


def is_behind(connection: Any) -> bool:
    """Whether a transaction's reads may see less than its writes hit.

    At REPEATABLE READ MySQL updates the row as it was committed last, and reads it as it was when the transaction
    began, unless it locks it, which its UPDATE is about to do; elsewhere such an update is an error.
    """
    state = state_of(connection)
    return connection.vendor == "mysql" and state.stands_still and state.inside(connection)


def _digest(name: str, prepare: Callable[[Any], Any], value: Any) -> str:
    return digest(name, None if value is None else prepare(value))


_LONGEST_INTEGER: Final = 63


def _preparation(field: Any) -> Callable[[Any], Any]:
    """The field's get_prep_value, which a foreign key leaves to the field it points to."""
    while type(field).get_prep_value is ForeignKey.get_prep_value:
        field = field.target_field
    prepare: Callable[[Any], Any] = field.get_prep_value
    return prepare


class _Known:
    """All rows of one state of the app registry."""

    tables: object = None
    rows: dict[tuple[type[Model], str], Rows | None] = {}


def rows_of(model: type[Model], alias: str) -> Rows | None:
    """The rows of a model's table; None where only the whole of it can be invalidated."""
    tables = known_tables()
    if _Known.tables is not tables:
        _Known.rows = {}  # before the tables: who finds these in place must not find the others' rows
        _Known.tables = tables
    known = _Known.rows
    try:
        return known[model, alias]
    except KeyError:
        found = known[model, alias] = _rows(model._meta.concrete_model or model, alias)
        return found


def _rows(model: type[Model], alias: str) -> Rows | None:
    meta = model._meta
    if known_tables().get(meta.db_table) is not model or meta.parents:
        return None
    if any(field.generated for field in meta.concrete_fields):
        return None
    told = serializable_fields(model) & {
        field for field in meta.concrete_fields if is_comparable(meta.db_table, field.attname)
    }
    if meta.pk not in told or any(isinstance(field, OneToOneField) for field in {*meta.concrete_fields} - told):
        return None
    return Rows(model, alias, [field for field in meta.concrete_fields if field in told])
