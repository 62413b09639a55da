"""A relation's known parent stays out of the cache: it is an object in memory, as old and as edited as it may be.

Django hands the parent of `category.articles.all()` to every row, and cacheops would store each row with it: its age
would be unknown, its unsaved edits everyone's, and one that cannot be pickled the end of the read. Here rows are stored
and loaded without it, and get it afterwards, by the identity that callers rely on.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import Any, Final

from django.db.models.query import ModelIterable

__all__ = ["REPLACEMENTS"]


def _fetch_all(upstream: Callable[[Any], None]) -> Callable[[Any], None]:
    """QuerySet._fetch_all, where the known parents come in after the rows and before what is prefetched."""

    @functools.wraps(upstream)
    def fetch_all(self: Any) -> None:
        parents = self._known_related_objects
        if not parents or self._result_cache is not None:
            return upstream(self)
        prefetched = self._prefetch_done
        self._known_related_objects, self._prefetch_done = {}, True
        try:
            upstream(self)
        finally:
            self._known_related_objects, self._prefetch_done = parents, prefetched
        if self._result_cache is not None and issubclass(self._iterable_class, ModelIterable):
            _attach(self.model, parents, self._result_cache)
        return upstream(self)  # the rows are there: it prefetches alone, and finds the parents loaded

    return fetch_all


def _attach(model: Any, parents: dict[Any, dict[Any, Any]], rows: Iterable[Any]) -> None:
    """What ModelIterable does with the parents of each row it makes."""
    for field, by_value in parents.items():
        value_of = attrgetter(
            *(field.attname if name == "self" else model._meta.get_field(name).attname for name in field.from_fields)
        )
        for row in rows:
            # One that select_related() has loaded stays; of `one | other` a row may have another parent.
            if not field.is_cached(row) and (parent := by_value.get(value_of(row))) is not None:
                setattr(row, field.name, parent)


REPLACEMENTS: Final = (("django.db.models:QuerySet", "_fetch_all", _fetch_all),)
