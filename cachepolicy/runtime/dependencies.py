"""Dependencies: the tables and rows that a queryset's result depends on; stands in for cacheops' `dnfs`.

cacheops reads conditions out of the query tree and knows the tables of its joins alone. What the compiled SQL names
besides (select_related, subqueries, ordering over a relation, a parent's table) is a dependency on the whole table,
and so is a table whose conditions do not bound what is read of it, or are more than a hundred: cacheops' way to them
is exponential, and each is a stamp in Redis.
"""

from __future__ import annotations

import math
from itertools import product
from typing import Any, Final

from cacheops import tree
from cacheops.conf import settings as cacheops_settings
from django.db.models import Lookup, QuerySet, Subquery
from django.db.models.expressions import BaseExpression
from django.db.models.lookups import In
from django.db.models.sql import OR, Query
from django.db.models.sql.where import XOR, NothingNode

from cachepolicy.runtime import conditions
from cachepolicy.runtime.compilations import compiled, texts_beside
from cachepolicy.runtime.tables import Mention, is_comparable, mention

__all__ = ["REPLACEMENTS", "dnfs"]

Conjunction = dict[str, Any]
_MOST: Final = 100


class _UnboundedError(Exception):
    """cacheops would make too many conditions of it, or wrong ones."""


def dnfs(queryset: Any) -> dict[str, list[Conjunction]]:
    """{table: [{field: value}, …]}: a row that meets one of them may change the result; {} is met by every row."""
    text = compiled(queryset)
    main = queryset.model._meta.db_table
    if text is None:
        return _upstream(queryset) or {main: _whole()}
    said = mention(text.sql)
    if queryset.query.combined_queries:
        return _combined(queryset, said)
    found = {} if said.is_nested else _upstream(queryset)
    # A related row is selected whatever the conditions say of it.
    joins_related = bool(queryset.query.select_related)
    result = {}
    for table in {main, *said.tables, *found}:
        if table not in found or table in said.repeated or (joins_related and table != main):
            result[table] = _whole()
        else:
            result[table] = _certain(table, found[table], said)
    for heir in said.heirs:
        result.setdefault(heir, _whole())
    for sql in texts_beside(queryset):
        more = mention(sql)
        for table in (*more.tables, *more.heirs):
            if more.is_nested or table not in result:
                result[table] = _whole()
    # In one order in every process, for an entry is bound to its stamps in theirs; cacheops' comes from sets.
    return {table: result[table] for table in sorted(result)} if len(result) > 1 else result


def _combined(queryset: Any, said: Mention) -> dict[str, list[Conjunction]]:
    """Of union(), intersection() and difference(): a row matters that matters to one of the parts."""
    result: dict[str, list[Conjunction]] = {}
    for query in queryset.query.combined_queries:
        for table, disjunction in dnfs(type(queryset)(query.model, query, queryset.db)).items():
            result[table] = _distinct([*result.get(table, ()), *disjunction])
    for table in said.tables | set(said.heirs):
        result.setdefault(table, _whole())
    return {table: result[table] for table in sorted(result)}


def _distinct(disjunction: list[Conjunction]) -> list[Conjunction]:
    """Each once, in one order; the whole table if they are too many."""
    if {} in disjunction:
        return _whole()
    kept = {
        tuple(sorted((field, conditions.text_of(value)) for field, value in each.items())): each for each in disjunction
    }
    return [kept[name] for name in sorted(kept)] if len(kept) <= _MOST else _whole()


def _whole() -> list[Conjunction]:
    return [{}]


def _upstream(queryset: Any) -> dict[str, list[Conjunction]]:
    """cacheops' own; nothing where they are too many, or of an expression that it does not know (`~Exists(…)`)."""
    query = queryset.query
    nested = [each.query for each in query.annotations.values() if isinstance(each, Subquery)]
    try:
        for each in (query, *query.combined_queries, *nested):
            _sizes(each.where)
        found: dict[str, list[Conjunction]] = tree.dnfs(queryset)
    except (TypeError, AttributeError, _UnboundedError):
        return {}
    return found


def _sizes(where: Any) -> list[int]:
    """How many terms each of the conjunctions has that cacheops would make of it, equal ones not yet made one."""
    if isinstance(where, Lookup):
        return [1] * _alternatives(where)
    if isinstance(where, NothingNode):
        return []
    children = getattr(where, "children", None)
    if children is None:
        return [1]
    if where.connector == XOR:
        raise _UnboundedError  # which cacheops takes for AND
    parts = [_sizes(child) for child in children]
    if where.connector == OR:
        sizes = [size for part in parts for size in part]
    else:
        _check(math.prod(len(part) for part in parts))
        sizes = [sum(each) for each in product(*parts)]
    _check(len(sizes))
    if not where.negated:
        return sizes
    negated = math.prod(sizes)
    _check(negated)
    return [len(sizes)] * negated


def _alternatives(lookup: Any) -> int:
    values = lookup.rhs
    if not isinstance(lookup, In) or isinstance(values, (QuerySet, Query, BaseExpression)):
        return 1
    return len(values) if len(values) < cacheops_settings.CACHEOPS_LONG_DISJUNCTION else 1


def _check(count: int) -> None:
    if count > _MOST:
        raise _UnboundedError


def _certain(table: str, disjunction: list[Conjunction], said: Mention) -> list[Conjunction]:
    """The conditions that a digest tells; fewer of them mean more rows."""
    kept = []
    for conjunction in disjunction:
        certain = {field: value for field, value in conjunction.items() if _is_certain(table, field, value, said)}
        if not certain:
            return _whole()
        kept.append(certain)
    if len(kept) > 1:
        unique = {tuple((field, conditions.text_of(each[field])) for field in sorted(each)): each for each in kept}
        kept = [unique[name] for name in sorted(unique)] if len(unique) <= _MOST else _whole()
    # cacheops drops `x = 'a' AND x = 'A'` as impossible, which depends on the collation.
    return kept or _whole()


def _is_certain(table: str, field: str, value: Any, said: Mention) -> bool:
    if value is None and said.has_outer_join:
        return False  # IS NULL is met where no row is joined, and no row that comes to be joined is NULL
    return conditions.is_certain(value) and is_comparable(table, field)


REPLACEMENTS: Final = (*conditions.REPLACEMENTS, ("cacheops.query", "dnfs", lambda _: dnfs))
