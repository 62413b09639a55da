"""Dependencies: the tables and rows that a queryset's result depends on; stands in for cacheops' `dnfs`.

cacheops reads conditions out of the query tree and knows the tables of its joins alone. What the compiled SQL names
besides (select_related, subqueries, ordering over a relation, a parent's table) is a dependency on the whole table,
and so is a table whose conditions do not bound what is read of it.
"""

from __future__ import annotations

from typing import Any, Final

from cacheops import tree

from cachepolicy.runtime import conditions
from cachepolicy.runtime.compilations import compiled, texts_beside
from cachepolicy.runtime.tables import (
    Mention,
    bound_ms,
    fingerprint,
    is_comparable,
    known_tables,
    mention,
    tables_in,
)

__all__ = ["REPLACEMENTS", "bound_ms", "dnfs", "fingerprint", "known_tables", "tables_in"]

Conjunction = dict[str, Any]


def dnfs(queryset: Any) -> dict[str, list[Conjunction]]:
    """{table: [{field: value}, …]}: a row that meets one of them may change the result; {} is met by every row."""
    text = compiled(queryset)
    if text is None:
        return _upstream(queryset)
    said = mention(text.sql)
    if queryset.query.combined_queries:
        return _combined(queryset, said)
    found = {} if said.is_nested else _upstream(queryset)
    main = queryset.model._meta.db_table
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
    if {} in disjunction:
        return _whole()
    kept = {
        tuple(sorted((field, conditions.text_of(value)) for field, value in each.items())): each for each in disjunction
    }
    return [kept[name] for name in sorted(kept)]


def _whole() -> list[Conjunction]:
    return [{}]


def _upstream(queryset: Any) -> dict[str, list[Conjunction]]:
    """cacheops' own; nothing where it meets an expression that it does not know, as `filter(~Exists(…))`."""
    try:
        found: dict[str, list[Conjunction]] = tree.dnfs(queryset)
    except (TypeError, AttributeError):
        return {}
    return found


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
        kept = [unique[name] for name in sorted(unique)]
    # cacheops drops `x = 'a' AND x = 'A'` as impossible, which depends on the collation.
    return kept or _whole()


def _is_certain(table: str, field: str, value: Any, said: Mention) -> bool:
    if value is None and said.has_outer_join:
        return False  # IS NULL is met where no row is joined, and no row that comes to be joined is NULL
    return conditions.is_certain(value) and is_comparable(table, field)


REPLACEMENTS: Final = (*conditions.REPLACEMENTS, ("cacheops.query", "dnfs", lambda _: dnfs))
