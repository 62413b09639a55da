"""Values as bytes, typed and unambiguous: what keys are hashed from.

Every value is written as type, length and content, so no crafted string can imitate a structure (the ambiguity that
plain concatenation has).
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import pickle
import types
import uuid
from collections.abc import Iterable
from pathlib import PurePath
from typing import Any, Final

from django.db import models
from django.db.models.fields.files import FieldFile
from django.utils.functional import LazyObject, empty

from cachepolicy.runtime.compilations import compiled

__all__ = ["Unkeyed", "blob", "encode", "encode_parameters", "text"]

_BY_REPR: Final = frozenset(
    {bool, int, float, complex, decimal.Decimal, uuid.UUID, type(None), datetime.timedelta, range}
)
_BY_ISO: Final = frozenset({datetime.datetime, datetime.date, datetime.time})
_BYTES: Final = frozenset({bytes, bytearray, memoryview})
# The objects that are being written, outermost first: a row of a prefetched relation holds its parent again.
Path = tuple[int, ...]


class Unkeyed(Exception):
    """A value without a certain key; carries the name of its type."""


def text(kind: str, content: str) -> bytes:
    """A text of some kind."""
    return blob(kind, content.encode("utf-8", "surrogatepass"))


def blob(kind: str, content: bytes) -> bytes:
    """Bytes of some kind."""
    return b"%s %d:%s" % (kind.encode(), len(content), content)


def encode(value: Any, inside: Path = ()) -> bytes:
    """The bytes of a value; raises Unkeyed for one that has none for certain."""
    if type(value) is str:
        return text("builtins.str", value)
    # __class__ and not type(): a SimpleLazyObject is keyed as what it stands for.
    kind = value.__class__
    name = f"{kind.__module__}.{kind.__qualname__}"
    if kind in _BY_REPR or isinstance(value, (enum.Enum, PurePath)):
        return text(name, repr(value))
    if isinstance(value, str):
        return text(name, str(value))
    if kind in _BYTES:
        return blob(name, bytes(value))
    if kind in _BY_ISO:
        return text(name, f"{value.isoformat()} {getattr(value, 'tzinfo', None)} {getattr(value, 'fold', 0)}")
    if kind in (list, tuple) or (isinstance(value, tuple) and hasattr(value, "_fields")):
        return blob(name, b"".join(_each(value, inside)))
    if kind in (set, frozenset):
        return blob(name, b"".join(sorted(_each(value, inside))))
    if kind is dict:
        pairs = [encode(key, inside) + encode(item, inside) for key, item in value.items()]
        return blob(name, b"".join(sorted(pairs)))
    return _encode_object(value, kind, name, inside)


def encode_parameters(parameters: Iterable[Any]) -> bytes:
    """The parameters of a SQL text, in their order; raises Unkeyed for one that cannot even be pickled."""
    return b"".join([_encode_or_pickle(parameter) for parameter in parameters])


def _each(values: Iterable[Any], inside: Path) -> list[bytes]:
    return [encode(value, inside) for value in values]


def _encode_object(value: Any, kind: type, name: str, inside: Path) -> bytes:
    if isinstance(value, types.ModuleType):
        return text("module", value.__name__)
    if isinstance(value, type) or (isinstance(value, types.FunctionType) and not value.__closure__):
        if "<" not in value.__qualname__:
            return text("name", f"{value.__module__}.{value.__qualname__}")
    elif isinstance(value, models.Model):
        return _instance(value, name, inside)
    elif isinstance(value, models.QuerySet):
        return _queryset(value, name, inside)
    elif isinstance(value, FieldFile):
        return text(name, value.name or "")
    elif getattr(value, "is_anonymous", False) is True:
        return text(name, "anonymous")
    elif callable(method := getattr(value, "cache_key", None)):
        return blob(name, encode(method(), inside))
    elif dataclasses.is_dataclass(value) and kind.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        fields = [getattr(value, field.name) for field in dataclasses.fields(value)]
        return blob(name, b"".join(_each(fields, inside)))
    elif hasattr(value, "_proxy____cast"):
        return encode(str(value))  # lazy translations: the text they are now
    raise Unkeyed(name)


def _instance(instance: Any, name: str, inside: Path) -> bytes:
    """A row by what this copy of it holds: its loaded fields, and what it was loaded with."""
    if issubclass(type(instance), LazyObject):
        if instance._wrapped is empty:
            instance._setup()
        instance = instance._wrapped
    if id(instance) in inside:
        return text(name, f"again {inside.index(id(instance))}")
    if instance.pk is None or instance._state.adding:
        raise Unkeyed(f"{name} that is not saved")
    inside = (*inside, id(instance))
    held = dict(instance.__dict__)
    parts = [text("db", instance._state.db or "")]
    for field in instance._meta.concrete_fields:
        if field.attname in held:
            parts += [text("field", field.attname), _encode_or_pickle(held.pop(field.attname))]
    related = {**instance._state.fields_cache, **held.pop("_prefetched_objects_cache", {})}
    for relation in sorted(related):
        parts += [text("relation", relation), encode(related[relation], inside)]
    for attribute in sorted(held):
        if not attribute.startswith("_"):
            try:
                parts += [text("attribute", attribute), encode(held[attribute], inside)]
            except Unkeyed:
                continue  # a cached_property's object, a request: no part of the row
    return blob(name, b"".join(parts))


def _queryset(queryset: Any, name: str, inside: Path) -> bytes:
    """What a queryset asks for, in which shape it gives the rows, and what it holds of them already."""
    found = compiled(queryset)
    query = text("sql", found.sql) + encode_parameters(found.params) if found else b""
    shape = (queryset.model, queryset._iterable_class, queryset._fields, queryset._prefetch_related_lookups)
    parts = [text("db", queryset.db), query, encode(shape), encode(queryset.query.select_related)]
    for field, parents in queryset._known_related_objects.items():
        parts += [text("parents", field.name), *_each(parents.values(), inside)]
    if queryset._result_cache is not None:
        parts.append(blob("rows", b"".join(_each(queryset._result_cache, inside))))
    return blob(name, b"".join(parts))


def _encode_or_pickle(value: Any) -> bytes:
    """A value on its way to or from a database, of whatever type its driver or its field has."""
    kind = type(value)
    if kind not in _BY_REPR and isinstance(value, int) and not isinstance(value, enum.Enum):
        return text(f"{kind.__module__}.{kind.__qualname__}", int.__repr__(value))  # psycopg tells integers by width
    try:
        return encode(value)
    except (Unkeyed, RecursionError):
        name = f"{kind.__module__}.{kind.__qualname__}"
        try:
            return blob(f"pickle {name}", pickle.dumps(value, pickle.HIGHEST_PROTOCOL))
        except Exception:
            raise Unkeyed(name) from None
