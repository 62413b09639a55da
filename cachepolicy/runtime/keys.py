"""Arguments → a cache key, typed and unambiguous: 1, '1' and Decimal('1') differ; what has no certain key is refused.

Every value is written as type, length and content, so no crafted string can imitate a structure (the ambiguity that
plain concatenation has); the whole is hashed with BLAKE2b.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import hashlib
import inspect
import marshal
import types
import uuid
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, Final

from django.core.exceptions import EmptyResultSet
from django.db import models

from cachepolicy.exceptions import CacheKeyError

__all__ = ["CallKeys"]

_BY_REPR: Final = (bool, int, float, complex, decimal.Decimal, uuid.UUID, type(None), datetime.timedelta, range)
_BY_ISO: Final = (datetime.datetime, datetime.date, datetime.time)
_PLAIN: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class CallKeys:
    """The keys of one function's calls: `f(1)`, `f(x=1)` and `f(1, y=2)` have one where y is 2 by default."""

    def __init__(self, function: types.FunctionType) -> None:
        self.place = f"{function.__module__}.{function.__qualname__}"
        self._signature = inspect.signature(function)
        parameters = self._signature.parameters.values()
        self._names = [parameter.name for parameter in parameters]
        self._is_plain = all(parameter.kind in _PLAIN for parameter in parameters)
        self._closure = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
        code = function.__code__
        # Two lambdas on a line share name and line; only their code tells them apart (format 2: no reference counts).
        body = marshal.dumps(code, 2) if "<lambda>" in code.co_name else b""
        self._identity = _text("def", f"{self.place}:{code.co_firstlineno}") + _blob("code", body)

    def key(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], extra: Any = None) -> str:
        """The key of one call, 40 hex digits.

        Raises TypeError for arguments the function does not take, CacheKeyError naming one that has no certain key.
        """
        if not kwargs and self._is_plain and len(args) == len(self._names):
            arguments: Mapping[str, Any] = dict(zip(self._names, args, strict=True))
        else:
            bound = self._signature.bind(*args, **kwargs)
            bound.apply_defaults()
            arguments = bound.arguments
        parts = [self._identity]
        parts += [self._part("argument", name, value) for name, value in arguments.items()]
        parts += [self._part("enclosed variable", name, _content(cell)) for name, cell in self._closure.items()]
        parts.append(self._part("the value of", "extra", extra))
        return hashlib.blake2b(b"".join(parts), digest_size=20).hexdigest()

    def _part(self, what: str, name: str, value: Any) -> bytes:
        try:
            return _text(what, name) + _encode(value)
        except _NoKey as refusal:
            reason = f"holds a {refusal}"
        except RecursionError:
            reason = "contains itself, or is nested too deep"
        remedy = "pass plain values or saved model instances, or give the class a `cache_key()` method that returns one"
        if what == "enclosed variable":
            remedy = "move the function to module level and pass what it needs as an argument"
        raise CacheKeyError(f"{self.place}: {what} {name} {reason}, which has no certain cache key; {remedy}")


class _NoKey(Exception):
    """Carries the type's name out of the recursion."""


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return types.CellType  # not assigned yet


def _text(kind: str, content: str) -> bytes:
    return _blob(kind, content.encode("utf-8", "surrogatepass"))


def _blob(kind: str, content: bytes) -> bytes:
    return b"%s %d:%s" % (kind.encode(), len(content), content)


def _encode(value: Any) -> bytes:
    # __class__ and not type(): a SimpleLazyObject is keyed as what it stands for.
    kind = value.__class__
    name = f"{kind.__module__}.{kind.__qualname__}"
    if kind in _BY_REPR or isinstance(value, (enum.Enum, PurePath)):
        return _text(name, repr(value))
    if isinstance(value, str):
        return _text(name, str(value))
    if kind in (bytes, bytearray):
        return _blob(name, bytes(value))
    if kind in _BY_ISO:
        return _text(name, f"{value.isoformat()} {getattr(value, 'tzinfo', None)} {getattr(value, 'fold', 0)}")
    if kind in (list, tuple) or (isinstance(value, tuple) and hasattr(value, "_fields")):
        return _blob(name, b"".join(map(_encode, value)))
    if kind in (set, frozenset):
        return _blob(name, b"".join(sorted(map(_encode, value))))
    if kind is dict:
        return _blob(name, b"".join(sorted(_encode(key) + _encode(item) for key, item in value.items())))
    return _encode_object(value, kind, name)


def _encode_object(value: Any, kind: type, name: str) -> bytes:
    if isinstance(value, types.ModuleType):
        return _text("module", value.__name__)
    if isinstance(value, type) or (isinstance(value, types.FunctionType) and not value.__closure__):
        if "<" not in value.__qualname__:
            return _text("name", f"{value.__module__}.{value.__qualname__}")
    elif isinstance(value, models.Model):
        if value.pk is None or value._state.adding:
            raise _NoKey(f"{name} that is not saved")
        return _blob(name, _text("db", value._state.db or "") + _encode(value.pk))
    elif isinstance(value, models.QuerySet):
        return _blob(name, _queryset(value))
    elif getattr(value, "is_anonymous", False) is True:
        return _text(name, "anonymous")
    elif callable(method := getattr(value, "cache_key", None)):
        return _blob(name, _encode(method()))
    elif dataclasses.is_dataclass(value) and kind.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        fields = (getattr(value, field.name) for field in dataclasses.fields(value))
        return _blob(name, b"".join(map(_encode, fields)))
    elif hasattr(value, "_proxy____cast"):
        return _encode(str(value))  # lazy translations: the text they are now
    raise _NoKey(name)


def _queryset(queryset: Any) -> bytes:
    """What a queryset asks for, and in which shape it gives the rows."""
    try:
        sql, params = queryset.query.get_compiler(using=queryset.db).as_sql()
    except EmptyResultSet:
        sql, params = "", ()
    shape = (queryset.model, queryset._iterable_class, queryset._fields, queryset._prefetch_related_lookups)
    return _text("db", queryset.db) + _text("sql", sql) + _encode(tuple(params)) + _encode(shape)
