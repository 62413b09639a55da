"""Equality conditions as keyed digests: what a database may find equal has one digest, on both sides of the cache.

The reader digests the typed value of a condition, the invalidation the text that cacheops sends of a row's value.
Two values may share a digest (they share a stamp then, and one is invalidated with the other); two that a database
finds equal never differ: an invalidation would be lost.
"""

from __future__ import annotations

import datetime
import decimal
import re
import uuid
from collections.abc import Callable, Mapping
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final

from django.utils.timezone import get_default_timezone

from cachepolicy.conf import secret_keys
from cachepolicy.runtime.folding import folded, is_foldable

__all__ = ["REPLACEMENTS", "digest", "is_certain", "text_of"]

_PURPOSE: Final = b"cachepolicy.cond"
_BYTES: Final = 8
_LONGEST_KEPT: Final = 256
# A context of its own: what the caller's decimal.localcontext() says must not change a digest.
_EXACT: Final = decimal.Context(prec=60, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN, traps=[])
_NUMBER: Final = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d{1,9})?", re.ASCII)
# Folding has taken the space out, and lowered the T.
_INSTANT: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)t?(\d\d:\d\d(?::\d\d(?:\.\d+)?)?)(z|[+-]\d\d(?::?\d\d(?::\d\d(?:\.\d+)?)?)?)?", re.ASCII
)
_TIME: Final = re.compile(r"\d\d:\d\d(?::\d\d(?:\.\d+)?)?", re.ASCII)
_WORDS: Final = {"true": "1", "false": "0"}
# Types whose text says all that a database compares.
_CERTAIN: Final = (str, int, float, decimal.Decimal, datetime.date, datetime.time, uuid.UUID, type(None))


def digest(field: str, value: object) -> str:
    """16 hex digits for `field = value`; equal for a value and for its text."""
    text = value if type(value) is str else text_of(value)
    current, fallbacks = secret_keys()
    # The oldest key: it is the one that old and new processes both know while keys rotate.
    secret = fallbacks[-1] if fallbacks else current
    if len(text) > _LONGEST_KEPT:
        return _digest(secret, field, text)
    return _kept_digest(secret, field, text)


def text_of(value: object) -> str:
    """The text of a value as it goes to a database: of a `class Kind(str, Enum)` what it holds, not its name."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return int.__repr__(value)
    return str(value)


def is_certain(value: object) -> bool:
    """Whether a condition on the value may be told by its digest: not for texts that some collation confuses."""
    if type(value) is int:
        return True
    if isinstance(value, str):
        return value.isascii() or is_foldable(value)
    return isinstance(value, _CERTAIN)


def _digest(secret: str | bytes, field: str, text: str) -> str:
    content = f"{field}\0{_canonical(text)}".encode("utf-8", "surrogatepass")
    return blake2b(content, digest_size=_BYTES, key=_key(secret)).hexdigest()


_kept_digest: Final = lru_cache(maxsize=8192)(_digest)


@lru_cache(maxsize=8)
def _key(secret: str | bytes) -> bytes:
    content = secret if isinstance(secret, bytes) else secret.encode()
    return blake2b(content, digest_size=32, person=_PURPOSE).digest()


def _canonical(text: str) -> str:
    if len(text) < _EXACT.prec and text.isdecimal() and text.isascii() and text[0] != "0" != text[-1]:
        return text  # most keys; what _number() makes of it
    plain = folded(text)
    if plain[:1] in "0123456789+-." and plain:
        if _NUMBER.fullmatch(plain):
            return _number(plain)
        if found := _INSTANT.fullmatch(plain):
            return _instant(plain, found)
        if _TIME.fullmatch(plain):
            return _clock_time(plain)
    return _WORDS.get(plain, plain)


def _number(text: str) -> str:
    number = _EXACT.create_decimal(text).normalize(_EXACT)
    return "0" if not number else str(number)


def _instant(text: str, found: re.Match[str]) -> str:
    """An instant in UTC; one without a zone is of settings.TIME_ZONE, as a database connection takes it."""
    try:
        instant = datetime.datetime.fromisoformat(f"{found[1]}T{found[2]}{(found[3] or '').upper()}")
        if instant.tzinfo is None:
            instant = instant.replace(tzinfo=get_default_timezone())
        return instant.astimezone(datetime.UTC).isoformat()
    except (ValueError, OverflowError):
        return text


def _clock_time(text: str) -> str:
    try:
        return datetime.time.fromisoformat(text).isoformat()
    except ValueError:
        return text


def _texts(upstream: Callable[..., Any]) -> Callable[..., Any]:
    """What cacheops sends of a row: `str()` of a `class Kind(str, Enum)` would be the name of its member."""

    def walk_values(function: Callable[[Any], Any], values: Mapping[str, Any]) -> Any:
        return upstream(text_of if function is str else function, values)

    return walk_values


REPLACEMENTS: Final = (("cacheops.invalidation", "walk_values", _texts),)
