"""What a queryset asks, told without compiling its SQL: equal identities have one SQL, one shape and one database.

Compiling is what a read of the ORM costs most, so that a key which needs no SQL pays on every hit. The identity is made
of what Django's compiler reads of a query; where a query holds anything that is not known here to the letter
(annotations, subqueries, transforms, parts of third parties), it has none, and is compiled.
"""

from __future__ import annotations

import datetime
import decimal
import uuid
from collections.abc import Callable, Hashable, Iterable, Mapping
from functools import lru_cache
from typing import Any, Final

from cacheops.conf import Defaults
from cacheops.conf import settings as cacheops_settings
from django.core.exceptions import FieldDoesNotExist
from django.db.models import AutoField, CharField, F, Field, ForeignKey, IntegerField, Q, UUIDField
from django.db.models.constants import LOOKUP_SEP
from django.db.models.expressions import Col, Star
from django.db.models.query import ModelIterable
from django.db.models.sql import Query
from django.db.models.sql.datastructures import BaseTable, Join
from django.db.models.sql.where import NothingNode, WhereNode

from cachepolicy.runtime.tables import is_comparable

__all__ = ["aggregates_identity", "get_identity", "has_one_prefix", "identity", "row_identity"]

_CORE: Final = "django.db.models."
# Types whose equality is that of their SQL.
_EXACT: Final = frozenset({int, str, bool, type(None), uuid.UUID, bytes, datetime.date})
# Two of these may be equal and read differently: Decimal("1.0") and Decimal("1.00"), instants in two zones.
_BY_REPR: Final = frozenset({float, decimal.Decimal, datetime.datetime, datetime.time, datetime.timedelta})
_LISTS: Final = frozenset({list, tuple, set, frozenset})
_MOST_VALUES: Final = 50
_LONGEST: Final = 256


class _Unknown(Exception):
    """The query holds something that this module does not know."""


def identity(queryset: Any) -> Hashable | None:
    """What the queryset asks, of which database and in which shape; None where only its SQL can tell."""
    query, model = queryset.query, queryset.model
    if type(query) is not Query or query.__dict__["model"] is not model or not has_one_prefix():
        return None
    try:
        parts = [
            (name, read(value)) for name, value in query.__dict__.items() if (read := _READERS[name]) is not _no_matter
        ]
    except (_Unknown, KeyError):
        return None
    # What compiling adds to this: columns, joins, an order.
    names = query.order_by or (model._meta.ordering if query.default_ordering else ())
    if not (_is_selected_plainly(model) and all(_is_ordered_plainly(model, name) for name in names)):
        return None
    if query.distinct_fields and not all(_leads(model, name) for name in query.distinct_fields):
        return None
    if query.select_related and not _joins_plainly(model, query.select_related):
        return None
    return (*(queryset.__class__, model, queryset._iterable_class, queryset._fields, queryset.db), tuple(parts))


def get_identity(queryset: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Hashable | None:
    """The same of `get(...)` by exact values of the model's own fields, on a queryset that asks nothing else."""
    query: Any = queryset.query
    if (
        type(query) is not Query
        or query.model is not queryset.model
        or not _PLAIN.issuperset(query.__dict__)
        or query.where.children
        or query.annotations
        or query.extra
        or query.__dict__["_filtered_relations"]
        or queryset._iterable_class is not ModelIterable
        or queryset._fields is not None
        or queryset._prefetch_related_lookups
        or queryset._known_related_objects
    ):
        return None
    pairs: Any = kwargs.items()
    if args:
        pairs = [*_of_q(args), *pairs]
    return row_identity(queryset.__class__, queryset.model, queryset.db, pairs)


def row_identity(kind: type, model: Any, alias: str, pairs: Iterable[tuple[str, Any]]) -> Hashable | None:
    """The same of a get() on all rows of a model, by pairs of field and value; None where they are not plain."""
    asked: tuple[Any, ...] = (kind, model, alias)
    for name, value in pairs:
        value_type = type(value)
        if value_type not in _GET_TYPES or not _is_own(model, name):
            return None
        if value_type is str and len(value) > _LONGEST:
            return None
        asked += (name, value_type, value)
    return asked if len(asked) > 3 and has_one_prefix() else None


def aggregates_identity(model: Any, aggregates: Mapping[str, Any]) -> Hashable | None:
    """What aggregate() adds to a queryset of a model, of Django's own aggregates over fields."""
    parts = []
    for name, aggregate in aggregates.items():
        kind = type(aggregate)
        if kind.__module__ != "django.db.models.aggregates":
            return None
        args, kwargs = aggregate._constructor_args
        if not all(type(value) in (str, bool) for value in (*args, *kwargs.values())):
            return None
        # Not as it was called, `Count(expression="at__date")`, but of what it is made.
        fields = tuple([_field_of(model, source) for source in aggregate.source_expressions])
        if aggregate.filter is not None or None in fields:
            return None
        parts.append((name, kind, fields, aggregate.distinct, args, tuple(kwargs.items())))
    return tuple(parts)


def _field_of(model: Any, source: Any) -> str | None:
    """The name of the field that an aggregate is of, or the star; None where it is of anything else."""
    kind = type(source)
    if kind is F:
        return source.name if _leads(model, source.name) else None
    return "*" if kind is Star else None


def has_one_prefix() -> bool:
    """Whether the project's keys have one prefix, which need not be asked for each read."""
    return cacheops_settings.CACHEOPS_PREFIX is _NO_PREFIX


_NO_PREFIX: Final = Defaults.CACHEOPS_PREFIX
_GET_TYPES: Final = frozenset({int, str, uuid.UUID})
# What a query has that nobody has asked anything of yet, and what cloning adds to it.
_PLAIN: Final = frozenset(
    {"model", "alias_refcount", "alias_map", "alias_cols", "external_aliases", "table_map", "used_aliases", "where"}
    | {"annotations", "extra", "_filtered_relations", "_annotation_select_cache", "_extra_select_cache"}
    | {"filter_is_sticky", "base_table"}
)


def _of_q(args: tuple[Any, ...]) -> list[Any]:
    """The pairs of one Q, as `article.author` asks; a pair that is none makes it unknown by its type."""
    if len(args) != 1 or type(args[0]) is not Q:
        return [("", None)]
    q = args[0]
    is_plain = q.connector == Q.AND and not q.negated and all(type(child) is tuple for child in q.children)
    return q.children if is_plain else [("", None)]


@lru_cache(maxsize=4096)
def _is_own(model: Any, name: str) -> bool:
    """Whether `name=value` compares a field of the model's own, whose values have one reading."""
    field = (
        model._meta.pk
        if name == "pk"
        else next((each for each in model._meta.concrete_fields if name in (each.name, each.attname)), None)
    )
    if field is None or field.model._meta.concrete_model is not model._meta.concrete_model:
        return False
    target: Field[Any, Any] = field
    while isinstance(target, ForeignKey):
        target = target.target_field
    # No dates: what a text means as a DateTimeField is up to the time zone of the hour.
    is_plain = _is_core(target) and isinstance(target, (IntegerField, AutoField, CharField, UUIDField))
    return is_plain and _is_selected_plainly(model) and is_comparable(model._meta.db_table, field.attname)


def _is_core(found: Any) -> bool:
    return type(found).__module__.startswith(_CORE)


@lru_cache(maxsize=1024)
def _is_selected_plainly(model: Any) -> bool:
    """Whether each column of the model is selected as Django does it, and not by the reader's language."""
    return all(map(_is_read_plainly, model._meta.concrete_fields))


def _is_read_plainly(field: Any) -> bool:
    methods = (type(field).get_col, type(field).select_format)
    return all(method.__module__.startswith("django.") for method in methods)


@lru_cache(maxsize=4096)
def _leads(model: Any, name: str) -> Any:
    """The field that a name leads to over joins of Django's own; None where it is a transform of one, or unknown."""
    field = None
    for piece in name.removeprefix("-").split(LOOKUP_SEP):
        if field is not None and (model := _joined(field)) is None:
            return None
        try:
            field = model._meta.pk if piece == "pk" else model._meta.get_field(piece)
        except FieldDoesNotExist:
            return None
    return field if field is not None and _is_end(field) else None


def _is_end(field: Any) -> bool:
    return _joined(field) is not None if field.is_relation else _is_read_plainly(field)


def _joined(field: Any) -> Any:
    """The model that a relation joins; None where a third party says how."""
    paths = getattr(field, "path_infos", ())
    is_plain = all(_is_core(path.join_field) and _is_core(path.join_field.remote_field) for path in paths)
    return paths[-1].to_opts.model if paths and is_plain else None


@lru_cache(maxsize=4096)
def _is_ordered_plainly(model: Any, name: Any) -> bool:
    """Whether an item of order_by() or Meta.ordering is a field, or a relation whose rows are ordered by fields."""
    if type(name) is not str:
        return False
    if (field := _leads(model, name)) is None:
        return name == "?"
    bare = name.removeprefix("-")
    if not field.is_relation or bare == "pk" or bare.split(LOOKUP_SEP)[-1] == getattr(field, "attname", None):
        return True
    joined = _joined(field)
    ends = [_leads(joined, each) if type(each) is str else None for each in joined._meta.ordering]
    return all(end is not None and not end.is_relation for end in ends)


@lru_cache(maxsize=4096)
def _selected_with(model: Any, name: str) -> Any:
    """The model whose row select_related() adds under a name; None where a third party says how."""
    field = _leads(model, name)
    joined = None if field is None else _joined(field)
    return joined if joined is not None and _is_selected_plainly(joined) else None


def _joins_plainly(model: Any, names: Any) -> bool:
    if type(names) is not dict:
        return False  # whatever is not null
    return all(
        (joined := _selected_with(model, name)) is not None and _joins_plainly(joined, inside)
        for name, inside in names.items()
    )


def _no_matter(_value: Any) -> None:
    """Of an attribute that does not change the SQL."""


def _only(*values: Any) -> Callable[[Any], None]:
    def read(value: Any) -> None:
        if value not in values:
            raise _Unknown

    return read


def _empty(value: Any) -> None:
    if value:
        raise _Unknown


def _names(value: Any) -> Hashable:
    if not all(type(each) is str for each in value):
        raise _Unknown
    return tuple(value)


def _counts(value: Any) -> Hashable:
    return tuple(value.items())


def _plain(value: Any) -> Hashable:
    kind = type(value)
    if kind in _EXACT:
        if (kind is str or kind is bytes) and len(value) > _LONGEST:
            raise _Unknown  # whoever fills a form in chooses how much memory the identity takes
        return (kind, value)
    if kind in _BY_REPR:
        return (kind, repr(value))
    if kind in _LISTS:
        if len(value) > _MOST_VALUES:
            raise _Unknown
        return (kind, tuple([_plain(each) for each in value]))
    raise _Unknown


def _aliases(value: Any) -> Hashable:
    parts: list[Hashable] = []
    for alias, table in value.items():
        kind = type(table)
        if kind is BaseTable:
            parts.append((alias, table.table_name, table.table_alias))
        elif kind is Join and table.filtered_relation is None:
            field = table.join_field
            # Of a reverse join, the field says how.
            if not (_is_core(field) and _is_core(field.remote_field)):
                raise _Unknown
            where = (table.table_name, table.parent_alias, table.table_alias, table.join_type, table.nullable)
            parts.append((alias, field, *where))
        else:
            raise _Unknown
    return tuple(parts)


def _where(node: Any) -> Hashable:
    kind = type(node)
    if kind is WhereNode:
        return (node.connector, node.negated, *[_where(child) for child in node.children])
    if kind is NothingNode:
        return "nothing"
    if not kind.__module__.startswith(_CORE) or not _LOOKUP.issuperset(node.__dict__) or node.bilateral_transforms:
        raise _Unknown
    return (kind, _column(node.lhs), _plain(node.rhs))


# What a lookup holds, and what it has cached of itself.
_LOOKUP: Final = frozenset(
    {"_constructor_args", "lhs", "rhs", "bilateral_transforms", "contains_aggregate", "contains_over_clause"}
    | {"contains_column_references", "contains_subquery", "identity", "output_field", "_output_field_or_none"}
)


def _column(value: Any) -> Hashable:
    if type(value) is not Col or not (_is_prepared_plainly(value.target) and _is_prepared_plainly(value.output_field)):
        raise _Unknown
    return (value.alias, value.target, value.output_field)


def _is_prepared_plainly(field: Any) -> bool:
    """Whether Django prepares the values of a field for the database: a foreign key leaves it to what it points to."""
    return _is_core(field) and (not isinstance(field, ForeignKey) or _points_plainly(field))


@lru_cache(maxsize=4096)
def _points_plainly(field: Any) -> bool:
    return _is_prepared_plainly(field.target_field)


def _columns(value: Any) -> Hashable:
    return tuple([_column(each) for each in value])


def _related(value: Any) -> Hashable:
    if isinstance(value, dict):
        return tuple([(name, _related(each)) for name, each in value.items()])
    return bool(value)


def _selected(value: Any) -> Hashable:
    if value is None:
        return None
    if not all(type(name) is str and type(each) in (int, str) for name, each in value.items()):
        raise _Unknown
    return tuple(value.items())


def _deferred(value: Any) -> Hashable:
    names, defer = value
    return (frozenset(names), defer)


_READERS: Final[dict[str, Callable[[Any], Any]]] = {
    "model": _no_matter,  # the queryset's
    "alias_refcount": _counts,
    "alias_map": _aliases,
    "alias_cols": _only(True),
    "external_aliases": _empty,
    "table_map": _no_matter,  # of use to joins yet to come
    "used_aliases": _no_matter,
    "_lookup_joins": _no_matter,
    "filter_is_sticky": _no_matter,
    "base_table": _no_matter,
    "where": _where,
    "annotations": _empty,
    "extra": _empty,
    "_filtered_relations": _empty,
    "_annotation_select_cache": _no_matter,
    "_extra_select_cache": _no_matter,
    "annotation_select_mask": _empty,
    "extra_select_mask": _empty,
    "extra_tables": _empty,
    "extra_order_by": _empty,
    "default_cols": bool,
    "default_ordering": bool,
    "standard_ordering": bool,
    "subquery": _only(False),
    "select": _columns,
    "group_by": _only(None),
    "order_by": _names,
    "low_mark": _plain,
    "high_mark": _plain,
    "distinct": bool,
    "distinct_fields": _names,
    "select_for_update": _only(False),
    "select_related": _related,
    "max_depth": _plain,
    "values_select": _names,
    "selected": _selected,
    "has_select_fields": _no_matter,
    "combinator": _only(None),
    "combined_queries": _empty,
    "deferred_loading": _deferred,
    "explain_info": _only(None),
}
