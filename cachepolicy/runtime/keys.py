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
import marshal
import types
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Final

from django.db import models

from cachepolicy.exceptions import CacheKeyError

__all__ = ["CallKeys"]

_BY_REPR: Final = (bool, int, float, complex, decimal.Decimal, uuid.UUID, type(None))
_BY_ISO: Final = (datetime.datetime, datetime.date, datetime.time)


class CallKeys:
    """The keys of one function's calls."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._place = f"{function.__module__}.{function.__qualname__}"
        self._closure = getattr(function, "__closure__", None) or ()
        code = getattr(function, "__code__", None)
        # Two lambdas on a line share name and line; only their code tells them apart (format 2: no reference counts).
        body = marshal.dumps(code, 2) if code and "<lambda>" in code.co_name else b""
        self._identity = _text("def", f"{self._place}:{code.co_firstlineno if code else 0}") + _blob("code", body)

    def key(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], extra: Any = None) -> str:
        """The key of one call, 40 hex digits; raises CacheKeyError naming the argument that has none."""
        parts = [self._identity]
        named: list[tuple[str, Any]] = [(f"argument {position}", arg) for position, arg in enumerate(args, start=1)]
        named += [(f"argument {name}", arg) for name, arg in sorted(kwargs.items())]
        named += [(f"enclosed variable {number}", cell.cell_contents) for number, cell in enumerate(self._closure)]
        for name, value in [*named, ("extra", extra)]:
            try:
                parts.append(_text("arg", name) + _encode(value))
            except _NoKey as refusal:
                raise CacheKeyError(
                    f"{self._place}: {name} holds a {refusal}, which has no certain cache key; pass plain values or "
                    f"saved model instances, or give the class a `cache_key()` method that returns one"
                ) from None
        return hashlib.blake2b(b"".join(parts), digest_size=20).hexdigest()


class _NoKey(Exception):
    """Carries the type's name out of the recursion."""


def _text(kind: str, content: str) -> bytes:
    return _blob(kind, content.encode("utf-8", "surrogatepass"))


def _blob(kind: str, content: bytes) -> bytes:
    return b"%s %d:%s" % (kind.encode(), len(content), content)


def _encode(value: Any) -> bytes:
    kind = type(value)
    name = f"{kind.__module__}.{kind.__qualname__}"
    if kind in _BY_REPR:
        return _text(name, repr(value))
    if isinstance(value, enum.Enum):
        return _text(name, value.name)
    if isinstance(value, str):
        return _text(name, str(value))
    if kind in (bytes, bytearray):
        return _blob(name, bytes(value))
    if kind in _BY_ISO:
        return _text(name, f"{value.isoformat()} {getattr(value, 'tzinfo', None)} {getattr(value, 'fold', 0)}")
    if kind is datetime.timedelta:
        return _text(name, repr(value))
    if kind in (list, tuple) or (isinstance(value, tuple) and hasattr(value, "_fields")):
        return _blob(name, b"".join(map(_encode, value)))
    if kind in (set, frozenset):
        return _blob(name, b"".join(sorted(map(_encode, value))))
    if kind is dict:
        return _blob(name, b"".join(sorted(_encode(key) + _encode(item) for key, item in value.items())))
    return _encode_object(value, kind, name)


def _encode_object(value: Any, kind: type, name: str) -> bytes:
    if isinstance(value, type) or (isinstance(value, types.FunctionType) and not value.__closure__):
        if "<" not in value.__qualname__:
            return _text("name", f"{value.__module__}.{value.__qualname__}")
    elif isinstance(value, models.Model):
        if value.pk is None or value._state.adding:
            raise _NoKey(f"{name} that is not saved")
        return _blob(name, _text("db", value._state.db or "") + _encode(value.pk))
    elif isinstance(value, models.QuerySet):
        sql, params = value.query.sql_with_params()
        return _blob(name, _text("db", value.db) + _text("sql", sql) + _encode(tuple(params)))
    elif callable(method := getattr(value, "cache_key", None)):
        return _blob(name, _encode(method()))
    elif dataclasses.is_dataclass(value) and kind.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        fields = (getattr(value, field.name) for field in dataclasses.fields(value))
        return _blob(name, b"".join(map(_encode, fields)))
    elif hasattr(value, "_proxy____cast"):
        return _encode(str(value))  # lazy translations: the text they are now
    raise _NoKey(name)
