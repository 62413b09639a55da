"""Every test here starts with an empty cache and a clock of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cacheops
import cacheops.query
import pytest

from cachepolicy import clock
from cachepolicy.policies.loader import parse_policies


@pytest.fixture(autouse=True)
def _empty_cache(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(clock, "_advanced_ns", clock._advanced_ns)
    cacheops.invalidate_all()
    cacheops.query._local_get_cache.clear()
    yield
    cacheops.query._local_get_cache.clear()


@pytest.fixture
def policies(settings: Any) -> None:
    text = b"""\
version: 1
max_staleness: 90s
models:
  news.Article: {ops: [get], timeout: 60s}
  news.Category: {ops: [get], timeout: 2s}
  news.Tag: {ops: [], timeout: 30s}
functions:
  by_rule: {depends_on: [news.Article, news.Tag], timeout: 20s}
  of_models: {depends_on: [news.Article, news.Tag]}
  timed: {timeout: 40s}
  locked: {timeout: 40s, lock: true}
"""
    settings.CACHEPOLICY = parse_policies(text, "rules.yaml")
