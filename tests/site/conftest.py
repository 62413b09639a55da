"""The newsroom with a small edition in it, and an empty cache for every test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import cacheops
import pytest
from django.db import connection, models
from django.test.utils import CaptureQueriesContext
from news.loading import load_news

Unasked = Callable[[type[models.Model]], AbstractContextManager[None]]


@pytest.fixture(autouse=True)
def empty_cache() -> None:
    """Forget what another test's rows left in Redis."""
    cacheops.invalidate_all()


@pytest.fixture
def edition(transactional_db: None) -> int:
    """A loaded newsroom; how many articles it has. Committed rows, since cacheops holds back inside a transaction."""
    articles = 24
    load_news(articles)
    return articles


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
