"""The seams: every name of cacheops and Django that the runtime replaces, all here, verified before the first is."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.resources import files
from typing import Any, Final

from django.core.exceptions import ImproperlyConfigured

from cachepolicy.compiler import CACHEOPS_VERSION
from cachepolicy.runtime import (
    dependencies,
    fills,
    freshness,
    invalidations,
    known_parents,
    orm_writes,
    queries,
    queryset_keys,
    reads,
    simple_cache,
    transactions,
)

__all__ = ["REPLACEMENTS", "install", "taken_out", "verify"]

# SHA-1 of the modules whose insides are replaced or relied on, as PyPI's cacheops 7.2 has them.
_MODULES: Final = {
    "getset.py": "fa48a23bbf3c8ae0b40b6b37ea4bc96b507984df",
    "invalidation.py": "95d38f8cd5e54cd6bb39ca2a429c6fb7f23699af",
    "query.py": "163caa8ef40dc4294d3debd09d5a806a4c2c90d8",
    "redis.py": "792883a82078e54b0a560f91d3da4fa119c40238",
    "simple.py": "6084c18a450025cdd7f63b3126f90c623f557e35",
    "transaction.py": "ab809e90f18dbbb581dbbf6d99da580c929b95b1",
    "tree.py": "80c478cf641e9f5db5d1d49444d1702c48b03c1d",
}

# Owner ("module" or "module:Class"), attribute, and what makes ours of upstream's.
REPLACEMENTS: Final[tuple[tuple[str, str, Callable[[Any], Any]], ...]] = (
    *reads.REPLACEMENTS,
    *fills.REPLACEMENTS,
    *invalidations.REPLACEMENTS,
    *simple_cache.REPLACEMENTS,
    *transactions.REPLACEMENTS,
    *orm_writes.REPLACEMENTS,
    *dependencies.REPLACEMENTS,
    *queryset_keys.REPLACEMENTS,
    *queries.REPLACEMENTS,
    *known_parents.REPLACEMENTS,
    *freshness.REPLACEMENTS,
)


def verify() -> None:
    """Raise ImproperlyConfigured where cacheops is not the one that the replacements were written for."""
    for name, digest in _MODULES.items():
        source = files("cacheops") / name
        if source.is_file() and hashlib.sha1(source.read_bytes()).hexdigest() != digest:
            raise ImproperlyConfigured(
                f"cacheops/{name} is not that of django-cacheops {CACHEOPS_VERSION}, whose insides cachepolicy "
                f"replaces; install that version unchanged: pip install --force-reinstall "
                f"django-cacheops=={CACHEOPS_VERSION}"
            )


_upstream: list[tuple[Any, str, Any]] = []


def install() -> None:
    """Replace them, in order; called once, when the apps are ready."""
    verify()
    for owner, attribute, replaced in REPLACEMENTS:
        module, _, name = owner.partition(":")
        target: Any = import_module(module)
        target = getattr(target, name) if name else target
        _upstream.append((target, attribute, getattr(target, attribute)))
        setattr(target, attribute, replaced(getattr(target, attribute)))
    transactions.install()


@contextmanager
def taken_out() -> Iterator[None]:
    """Inside the block cacheops and Django are as they come: for tests, which must see what then goes wrong."""
    ours = [(target, attribute, getattr(target, attribute)) for target, attribute, _ in _upstream]
    for target, attribute, upstream in reversed(_upstream):
        setattr(target, attribute, upstream)
    try:
        yield
    finally:
        for target, attribute, replacement in ours:
            setattr(target, attribute, replacement)
