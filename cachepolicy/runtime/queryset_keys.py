"""The key of a queryset's result: typed and unambiguous, where cacheops joins SQL and parameters without quotes."""

from __future__ import annotations

import functools
from collections.abc import Callable
from hashlib import blake2b
from secrets import token_hex
from typing import Any, Final

from django.db.models import QuerySet

from cachepolicy.runtime.compilations import beside, compiled, is_shared, share, unshare
from cachepolicy.runtime.encoding import Unkeyed, encode, encode_parameters, text
from cachepolicy.runtime.tables import bound_ms, fingerprint, mention

__all__ = ["REPLACEMENTS", "aggregates_key", "cache_key"]

_DIGEST_BYTES: Final = 20


def cache_key(self: Any, prefix: bool = True) -> str:
    """Stands in for QuerySet._cache_key: what it asks, of which database, in which shape, under which rule."""
    try:
        key = f"q:{blake2b(_content(self), digest_size=_DIGEST_BYTES).hexdigest()}"
    except Unkeyed:
        if is_shared(self):
            raise  # to where it is known how to read without a cache
        key = f"q:{token_hex(_DIGEST_BYTES)}"  # which nobody else asks for
    return f"{self._prefix}{key}" if prefix else key


def _content(queryset: Any) -> bytes:
    profile = queryset._cacheprofile
    timeout = profile["timeout"] if profile else None
    # A rule may say that all databases hold the same rows.
    alias = "" if profile and profile["db_agnostic"] else queryset.db
    parts = [_shape(queryset.__class__, queryset.model, queryset._iterable_class), text("db", alias)]
    found = compiled(queryset)
    if found is not None:
        # A rule's timeout is part of the key, so that a lowered one holds at once.
        timeouts = (timeout, bound_ms(mention(found.sql).tables))
        parts += [text("sql", found.sql), encode_parameters(found.params), text("bound", repr(timeouts))]
    # values("author_id") and values("author__pk") have one SQL and two shapes.
    if queryset._fields is not None:
        parts.append(encode_parameters([queryset._fields]))
    if queryset.query.select_related:
        parts.append(encode_parameters([queryset.query.select_related]))
    return b"".join(parts)


@functools.lru_cache(maxsize=4096)
def _shape(kind: Any, model: Any, iterable: Any) -> bytes:
    classes = (f"{each.__module__}.{each.__qualname__}" for each in (kind, model, iterable))
    return encode((*classes, fingerprint(frozenset({model._meta.db_table}))))


def _cached_as(upstream: Callable[..., Any]) -> Callable[..., Any]:
    """cacheops' own cached_as, with key and dependencies of one compilation; what has no key is not cached."""

    @functools.wraps(upstream)
    def cached_as(*samples: Any, **options: Any) -> Any:
        querysets = [sample for sample in samples if isinstance(sample, QuerySet)]
        share(querysets)
        try:
            return upstream(*samples, **options)
        except Unkeyed:
            return lambda function: function
        finally:
            unshare(querysets)

    return cached_as


def aggregates_key(queryset: Any, aggregates: dict[str, Any]) -> str:
    """The key of what aggregate() adds to a queryset."""
    compiler = queryset.query.get_compiler(using=queryset.db)
    parts = []
    for name, expression in aggregates.items():
        try:
            sql, params = compiler.compile(expression)
        except Exception:
            raise Unkeyed(type(expression).__name__) from None
        beside(queryset, sql)
        parts += [text("name", name), text("sql", sql), encode_parameters(params)]
    return blake2b(b"".join(parts), digest_size=_DIGEST_BYTES).hexdigest()


REPLACEMENTS: Final = (
    ("django.db.models:QuerySet", "_cache_key", lambda _: cache_key),
    ("cacheops.query", "cached_as", _cached_as),
    ("cacheops", "cached_as", _cached_as),
)
