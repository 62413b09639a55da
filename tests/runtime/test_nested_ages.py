"""What is computed of cached values is as old as the oldest of them; those older than half its time are read anew."""

from __future__ import annotations

from typing import Any

import pytest
from news.models import Article

from cachepolicy import cached_as, clock

pytestmark = pytest.mark.django_db(transaction=True)

SHORT_S = 10


@cached_as(Article, timeout=SHORT_S)
def number() -> int:
    return len(Article.objects.filter(title="x"))  # by the rule of its own, which is longer


def test_an_older_value_inside_is_read_anew_so_that_the_outer_one_lives(django_assert_num_queries: Any) -> None:
    len(Article.objects.filter(title="x"))
    clock.advance(SHORT_S * 600)
    with django_assert_num_queries(1):
        number()
    clock.advance(SHORT_S * 600)
    with django_assert_num_queries(0):
        number()


def test_a_younger_value_inside_is_taken(django_assert_num_queries: Any) -> None:
    len(Article.objects.filter(title="x"))
    clock.advance(SHORT_S * 400)
    with django_assert_num_queries(0):
        number()
    clock.advance(SHORT_S * 601)
    with django_assert_num_queries(1):
        number()  # as old as what it was made of
