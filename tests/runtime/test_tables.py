"""Which known tables a SQL text names, how their fields look, and how old they may be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.db import models
from django.test.utils import isolate_apps
from news.models import Article, Author, Tag

from cachepolicy.policies.loader import parse_policies
from cachepolicy.runtime.tables import bound_ms, fingerprint, is_comparable, known_tables, mention
from tests.projects import Project

ARTICLE, AUTHOR, TAG = Article._meta.db_table, Author._meta.db_table, Tag._meta.db_table
LINKS = Article.tags.through._meta.db_table


def test_every_table_is_known_by_its_model_those_of_many_to_many_fields_too() -> None:
    assert known_tables()[ARTICLE] is Article
    assert known_tables()[LINKS] is Article.tags.through
    assert known_tables() is known_tables()


@pytest.mark.parametrize(
    "sql",
    [
        'SELECT * FROM "news_article"',
        "SELECT * FROM `news_article` WHERE 1",
        "select * from [news_article]",
        "SELECT * FROM NEWS_ARTICLE a, news_articles",
        "UPDATE public.news_article SET x = 1",
        'UPDATE "public"."news_article" SET x = 1',
        "DELETE FROM news_article;",
        "TRUNCATE/**/news_article/**/",
    ],
)
def test_a_table_is_found_by_its_name_in_any_case_and_quotes(sql: str) -> None:
    assert mention(sql).tables == {ARTICLE}


@pytest.mark.parametrize("sql", ["SELECT 1", "SELECT * FROM xnews_article", "SELECT * FROM news_article2", ""])
def test_no_table_is_found_in_a_longer_name(sql: str) -> None:
    assert mention(sql).tables == frozenset()


def test_a_table_that_occurs_twice_is_told_from_its_columns() -> None:
    once = f'SELECT "{ARTICLE}"."id" FROM "{ARTICLE}" INNER JOIN "{TAG}" ON ("{ARTICLE}"."id" = "{TAG}"."id")'
    assert mention(once) == (frozenset({ARTICLE, TAG}), frozenset(), frozenset(), False, False)
    assert mention(f'{once} LEFT OUTER JOIN "{TAG}" T3').repeated == {TAG}
    assert mention(f'{once} LEFT OUTER JOIN "{TAG}" T3').has_outer_join
    assert mention(f"SELECT 1 FROM {ARTICLE}, {ARTICLE} T2").repeated == {ARTICLE}
    assert mention(f"SELECT (SELECT 1) FROM {ARTICLE}").is_nested


def test_odd_names_are_found(tmp_path: Path) -> None:
    names = ["Mixed Case", 'sch"."tab', '"quoted"', "per%cent", "with-dash", "ünïcode", "select"]
    project = Project(tmp_path)
    project.policies("version: 1\n")
    lines = ["from django.db import models"]
    for number, name in enumerate(names):
        lines += [f"class M{number}(models.Model):", "    class Meta:", f"        db_table = {name!r}"]
    project.write("shop/models.py", "\n".join(lines))
    ran = project.serve(
        "import json; from django.apps import apps; from cachepolicy.runtime.tables import *;"
        "sql = lambda m: m.objects.filter(pk=1).query.get_compiler('default').as_sql()[0];"
        "models = apps.get_app_config('shop').get_models();"
        "print(json.dumps({m._meta.db_table: sorted(mention(sql(m)).tables) for m in models}))"
    )
    assert ran.code == 0, ran.err
    assert ran.json.keys() == set(names)
    for name, found in ran.json.items():
        assert set(found) == {name, "select"}


def test_a_model_that_is_registered_later_is_known() -> None:
    before = known_tables()
    with isolate_apps("news"):

        class Late(models.Model):
            class Meta:
                app_label = "news"

    assert Late._meta.db_table not in known_tables()
    apps.clear_cache()
    assert known_tables() is not before
    assert known_tables() == before


def test_a_fingerprint_changes_with_the_fields(tmp_path: Path) -> None:
    assert fingerprint(frozenset({ARTICLE})) == fingerprint(frozenset({ARTICLE}))
    assert fingerprint(frozenset({ARTICLE})) != fingerprint(frozenset({TAG}))
    assert fingerprint(frozenset({ARTICLE, TAG})) != fingerprint(frozenset({ARTICLE}))
    assert len(fingerprint(frozenset({"no such table"}))) == 8
    prints = set()
    for number, field in enumerate(
        ["x = models.CharField(max_length=9)", "x = models.TextField()", "x = models.TextField(db_column='y')", "pass"]
    ):
        (tmp_path / str(number)).mkdir()
        project = Project(tmp_path / str(number))
        project.policies("version: 1\n")
        project.write("shop/models.py", f"from django.db import models\n\nclass Thing(models.Model):\n    {field}\n")
        ran = project.serve(
            "from cachepolicy.runtime.tables import fingerprint; print(fingerprint(frozenset({'shop_thing'})).hex())"
        )
        assert ran.code == 0, ran.err
        prints.add(ran.out)
    assert len(prints) == 4


def test_a_bound_is_the_shortest_of_the_tables_rules(settings: Any) -> None:
    settings.CACHEPOLICY = parse_policies(
        b"version: 1\nmodels:\n  news.Article: {ops: [get], timeout: 60s}\n  news.Tag: {ops: [], timeout: 2500ms}\n"
        b"  news.Author: off\n"
    )
    assert bound_ms(frozenset({ARTICLE})) == 60_000
    assert bound_ms(frozenset({ARTICLE, TAG, AUTHOR, LINKS})) == 2_500
    assert bound_ms(frozenset({AUTHOR, LINKS, "no such table"})) is None
    assert bound_ms(frozenset()) is None
    settings.CACHEPOLICY = parse_policies(b"version: 1\nmodels:\n  news.Article: {ops: [get], timeout: 5s}\n")
    assert bound_ms(frozenset({ARTICLE})) == 5_000


def test_fields_are_comparable_where_the_database_stores_what_it_is_given(tmp_path: Path) -> None:
    assert is_comparable(ARTICLE, "slug")
    assert is_comparable(ARTICLE, "category_id")
    assert is_comparable(AUTHOR, "country_id")
    assert is_comparable(ARTICLE, "published")
    assert is_comparable(LINKS, "article_id")
    assert not is_comparable(LINKS, "id")
    assert not is_comparable(ARTICLE, "category")
    assert not is_comparable(ARTICLE, "body")
    assert not is_comparable("no such table", "id")
    project = Project(tmp_path)
    project.policies("version: 1\n")
    project.write(
        "shop/models.py",
        """\
from django.db import models
from django.db.models.functions import Lower

class Lowered(models.CharField):
    def get_db_prep_value(self, value, connection, prepared=False):
        return value.lower()

class Prepared(models.CharField):
    def get_prep_value(self, value):
        return value and value.strip()

class Loose(models.CharField):
    pass

@Loose.register_lookup
class LooseExact(models.lookups.Exact):
    pass

class Thing(models.Model):
    price = models.DecimalField(max_digits=9, decimal_places=2)
    span = models.DurationField()
    address = models.GenericIPAddressField()
    made = models.CharField(max_length=9, db_default="x")
    lower = models.GeneratedField(expression=Lower("made"), output_field=models.CharField(), db_persist=True)
    german = models.CharField(max_length=9, db_collation="utf8mb4_german2_ci")
    lowered, loose = Lowered(max_length=9), Loose(max_length=9)
    column = models.CharField(max_length=9, db_column="other")
    nocase = models.CharField(max_length=9, db_collation="NOCASE")
    general = models.CharField(max_length=9, db_collation="utf8mb4_general_ci")
    prepared, email, number = Prepared(max_length=9), models.EmailField(), models.FloatField()
""",
    )
    ran = project.serve(
        "import json; from shop.models import Thing; from cachepolicy.runtime.tables import is_comparable;"
        "print(json.dumps([f.attname for f in Thing._meta.fields if is_comparable('shop_thing', f.attname)]))"
    )
    assert ran.code == 0, ran.err
    assert ran.json == ["id", "column", "nocase", "general", "prepared", "email", "number"]
