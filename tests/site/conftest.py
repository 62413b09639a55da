"""The newsroom with a small edition in it, and an empty cache for every test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final

import cacheops
import pytest
from django.core.management.color import no_style
from django.db import connection, models
from django.db.transaction import atomic
from django.test.utils import CaptureQueriesContext
from news.loading import load_news
from news.models import Article, Author, Category, Country, Language, Tag

Unasked = Callable[[type[models.Model]], AbstractContextManager[None]]


@pytest.fixture(autouse=True)
def empty_cache() -> None:
    """Forget what another test's rows left in Redis."""
    cacheops.invalidate_all()


@pytest.fixture
def edition(transactional_db: None) -> int:
    """A loaded newsroom; how many articles it has. Committed rows, since cacheops holds back inside a transaction."""
    if not _LOADED:
        load_news(_ARTICLES)
        _LOADED.update({model: _rows(model) for model in _MODELS})
        return _ARTICLES
    with atomic():
        for model, rows in _LOADED.items():
            _insert(model, rows)
        with connection.cursor() as cursor:
            for statement in connection.ops.sequence_reset_sql(no_style(), _MODELS):
                cursor.execute(statement)  # PostgreSQL's, which `flush` has set back
    return _ARTICLES


_ARTICLES: Final = 24
_MODELS: Final[list[type[models.Model]]] = [Country, Language, Category, Tag, Author, Article, Article.tags.through]
# What was loaded first, as the driver gives it: ten times as fast to put back as to load anew.
_LOADED: Final[dict[type[models.Model], list[tuple[Any, ...]]]] = {}


def _rows(model: type[models.Model]) -> list[tuple[Any, ...]]:
    table, columns = _names(model)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {', '.join(columns)} FROM {table}")
        return list(cursor.fetchall())


def _insert(model: type[models.Model], rows: list[tuple[Any, ...]]) -> None:
    table, columns = _names(model)
    places = ", ".join(["%s"] * len(columns))
    with connection.cursor() as cursor:
        cursor.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})", rows)


def _names(model: type[models.Model]) -> tuple[str, list[str]]:
    quote, meta = connection.ops.quote_name, model._meta
    return quote(meta.db_table), [quote(field.column) for field in meta.concrete_fields]


@pytest.fixture
def unasked() -> Unasked:
    """`with unasked(Model):` fails when the database is asked for the model's rows meanwhile."""

    @contextmanager
    def unasked(model: type[models.Model]) -> Iterator[None]:
        with CaptureQueriesContext(connection) as queries:
            yield
        table = connection.ops.quote_name(model._meta.db_table)
        assert [query["sql"] for query in queries if table in query["sql"]] == []

    return unasked
