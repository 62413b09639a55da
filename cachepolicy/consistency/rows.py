"""One row of the project's own table, written by token and read by one op: what a scene is played on."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from typing import Any, Final

from django.db import connections, models, router

__all__ = ["NoWritableField", "Row", "writable_field"]

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
    """A row and the field of it that scenes write; `alias` is the database the model is written to.

    `original` is every value that stood in the row before the kit came.
    """

    model: type[models.Model]
    pk: Any
    field: models.Field[Any, Any]
    original: dict[str, Any]
    alias: str
    given: set[Any] = dataclasses.field(default_factory=set)

    @classmethod
    def of(cls, instance: models.Model, field: str | None = None) -> Row:
        """The row of a saved instance. Raises NoWritableField, and DoesNotExist where the instance is not saved."""
        model = type(instance)
        alias = instance._state.db or router.db_for_write(model)
        row = cls(model, instance.pk, writable_field(model, field), {}, alias)
        # Not only the token's field: save() may set others, a time of change for instance.
        kept = [f.attname for f in model._meta.concrete_fields if not (f.primary_key or getattr(f, "generated", False))]
        row.original = row.rows().values(*kept).get()
        return row

    def new_value(self, *taken: Any) -> Any:
        """A value nobody has written to this field before; `taken` are values it must not be."""
        while True:
            value = self._random_value()
            # A small integer has few values: two writes of one would be one token to the checker.
            if value not in (*taken, *self.given, self.original.get(self.field.attname)):
                self.given.add(value)
                return value

    def _random_value(self) -> Any:
        if not isinstance(self.field, models.IntegerField):
            return f"tok{os.urandom(4).hex()}"
        _, greatest = connections[self.alias].ops.integer_field_range(self.field.get_internal_type())
        # 24 bits are enough to be new, and a column may have validators for what is enormous.
        return int.from_bytes(os.urandom(3), "big") % (greatest or 2**24)

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

    def invalidated_update(self, value: Any) -> None:
        """Write by cacheops' invalidated_update()."""
        self.rows().invalidated_update(**{self.field.attname: value})

    def sql(self, value: Any) -> tuple[str, list[Any]]:
        """An UPDATE for this row, for cursors and other programs."""
        connection = connections[self.alias]
        quote = connection.ops.quote_name
        # An inherited field lies in its parent's table, under the same key.
        table: Any = self.field.model._meta
        statement = f"UPDATE {quote(table.db_table)} SET {quote(str(self.field.column))} = %s"
        return f"{statement} WHERE {quote(table.pk.column)} = %s", [
            self.field.get_db_prep_save(value, connection),
            table.pk.get_db_prep_value(self.pk, connection),
        ]

    def restore(self) -> None:
        """Put back every value that stood in the row before the kit came, past signals and invalidation."""
        self.rows().update(**self.original)
