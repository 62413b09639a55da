"""One row of the project's own table, written by token and read by one op: what a scene is played on."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from django.db import connections, models, router

__all__ = ["NoWritableField", "Row", "reader_of", "writable_field"]

_TEXT: Final = (models.CharField, models.TextField)
_SHORTEST: Final = 12


class NoWritableField(Exception):
    """A model without a field that can carry a token; says why."""


def writable_field(model: type[models.Model], name: str | None = None) -> models.Field[Any, Any]:
    """The field that carries the token: `name`, else the first plain text field of 12 characters, else an integer.

    Raises NoWritableField saying what the model would need.
    """
    fields = [field for field in model._meta.concrete_fields if name in (None, field.name) and _is_plain(field)]
    texts = [field for field in fields if isinstance(field, _TEXT) and (field.max_length or _SHORTEST) >= _SHORTEST]
    numbers = [field for field in fields if isinstance(field, models.IntegerField)]
    for field in [*texts, *numbers]:
        return field
    wanted = f"{model._meta.label}.{name}" if name else f"{model._meta.label} has no field that"
    raise NoWritableField(f"{wanted} can carry a token; it takes text of {_SHORTEST} characters or an integer, no key")


def _is_plain(field: models.Field[Any, Any]) -> bool:
    return not (field.primary_key or field.is_relation or field.choices) and field.get_internal_type() not in (
        "SlugField",
        "UUIDField",
    )


@dataclass(slots=True)
class Row:
    """A row and the field of it that scenes write; `alias` is the database the model is written to."""

    model: type[models.Model]
    pk: Any
    field: models.Field[Any, Any]
    original: Any
    alias: str

    @classmethod
    def of(cls, instance: models.Model, field: str | None = None) -> Row:
        """The row of a saved instance."""
        model = type(instance)
        found = writable_field(model, field)
        alias = instance._state.db or router.db_for_write(model)
        return cls(model, instance.pk, found, getattr(instance, found.attname), alias)

    def new_value(self) -> Any:
        """A value nobody has written to this field before."""
        if isinstance(self.field, models.IntegerField):
            return int.from_bytes(os.urandom(3), "big") % 2_000_000_000
        return f"tok{os.urandom(4).hex()}"

    def rows(self) -> Any:
        """This row's queryset, on the database it is written to, past the cache."""
        manager: Any = self.model._base_manager
        return manager.using(self.alias).filter(pk=self.pk).nocache()

    def current(self) -> Any:
        """The value in the database."""
        return self.rows().values_list(self.field.attname, flat=True)[0]

    def save(self, value: Any) -> None:
        """Write by the ORM, as the project does."""
        instance = self.rows()[0]
        setattr(instance, self.field.attname, value)
        instance.save(using=self.alias)

    def update(self, value: Any) -> None:
        """Write by QuerySet.update(), which sends no signals."""
        self.rows().update(**{self.field.attname: value})

    def sql(self, value: Any) -> tuple[str, list[Any]]:
        """An UPDATE for this row, for cursors and other programs."""
        connection = connections[self.alias]
        quote = connection.ops.quote_name
        key: Any = self.model._meta.pk
        table, column = quote(self.model._meta.db_table), quote(str(self.field.column))
        statement = f"UPDATE {table} SET {column} = %s WHERE {quote(key.column)} = %s"
        return statement, [
            self.field.get_db_prep_save(value, connection),
            key.get_db_prep_value(self.pk, connection),
        ]

    def restore(self) -> None:
        """Put back what stood in the row before the kit came, by plain SQL."""
        with connections[self.alias].cursor() as cursor:
            cursor.execute(*self.sql(self.original))


def reader_of(row: Row, op: str, before: Any, after: Any) -> Callable[[], Any]:
    """How one op reads the row: a function that gives the value it shows.

    count and exists ask for rows with the value `after`, so that one answer means `before` and the other `after`.
    """
    manager: Any = row.model._default_manager
    name = row.field.name

    def of_row() -> Any:
        return manager.using(row.alias).filter(pk=row.pk)

    match op:
        case "get" | "local_get":
            return lambda: getattr(manager.using(row.alias).get(pk=row.pk), row.field.attname)
        case "fetch":
            return lambda: next(getattr(found, row.field.attname) for found in list(of_row()))
        case "aggregate":
            return lambda: of_row().aggregate(value=models.Max(name))["value"]
        case "count":
            return lambda: after if of_row().filter(**{name: after}).count() else before
        case "exists":
            return lambda: after if of_row().filter(**{name: after}).exists() else before
    raise ValueError(f"no reader for the op {op!r}")
