"""Every write of the ORM is read at once; those whose rows cacheops knows leave other rows' cached reads alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import cacheops
import cacheops.signals
import pytest
from cacheops.redis import redis_client
from django.db import OperationalError, connection, models, transaction
from django.db.models import F
from django.db.models.deletion import Collector
from django.test.utils import CaptureQueriesContext
from news.models import Article, Category, Language, Tag

import cachepolicy
from cachepolicy import signals
from cachepolicy.policies.loader import parse_policies
from tests.site.conftest import Unasked

Through: Any = Article.tags.through


@pytest.fixture
def article(edition: int) -> Article:
    return Article.objects.select_related(None).nocache()[0]  # type: ignore[attr-defined]


@pytest.fixture
def other(article: Article) -> Article:
    return Article.objects.exclude(pk=article.pk).select_related(None).nocache()[0]  # type: ignore[attr-defined]


@contextmanager
def sent() -> Iterator[list[str]]:
    """The tables that were invalidated inside."""
    tables: list[str] = []

    def hear(table: str, **_: Any) -> None:
        tables.append(table)

    signals.invalidation.connect(hear)
    try:
        yield tables
    finally:
        signals.invalidation.disconnect(hear)


def scripts_run() -> int:
    return int(redis_client.info("commandstats").get("cmdstat_evalsha", {"calls": 0})["calls"])


def new_article(like: Article, slug: str) -> Article:
    row = Article.objects.nocache().get(pk=like.pk)  # type: ignore[attr-defined]
    row.pk, row.slug, row._state.adding = None, slug, True
    return row


def titles() -> list[str]:
    return sorted(Article.objects.filter(title__startswith="New").values_list("title", flat=True))


def saved(row: Article, **values: Any) -> None:
    for name, value in values.items():
        setattr(row, name, value)
    row.save()


# Of the lists of what plain cacheops misses, and of what it sees.
OVERLOOKED: dict[str, Callable[[Article], Any]] = {
    "update()": lambda row: Article.objects.filter(pk=row.pk).update(title="New"),
    "bulk_update()": lambda row: _bulk_update(row),
    "save() with F()": lambda row: saved(row, title="New", revision=F("revision") + 1),
    "bulk_create(update_conflicts)": lambda row: _upsert(row),
    "save() over a row that is there": lambda row: _overwrite(row),
    "raw SQL": lambda row: _execute("UPDATE news_article SET title = 'New' WHERE id = %s", row.pk),
    "executemany()": lambda row: _executemany(row),
    "UpdateQuery": lambda row: models.sql.UpdateQuery(Article).update_batch([row.pk], {"title": "New"}, "default"),
    "save() of a deferred row": lambda row: _save_deferred(row),
    "save(update_fields)": lambda row: _save_fields(row),
}


def _bulk_update(row: Article) -> None:
    row.title = "New"
    Article.objects.bulk_update([row], ["title"])


def _upsert(row: Article) -> None:
    row.title = "New"
    unique = None if connection.vendor == "mysql" else ["id"]
    Article.objects.bulk_create([row], update_conflicts=True, update_fields=["title"], unique_fields=unique)


def _overwrite(row: Article) -> None:
    values = {field.attname: getattr(row, field.attname) for field in Article._meta.concrete_fields}
    Article(**{**values, "title": "New"}).save()


def _execute(sql: str, *params: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)


def _executemany(row: Article) -> None:
    with connection.cursor() as cursor:
        cursor.executemany("UPDATE news_article SET title = %s WHERE id = %s", [("New", row.pk)])


def _save_deferred(row: Article) -> None:
    saved(Article.objects.defer("slug", "body").nocache().get(pk=row.pk), title="New")  # type: ignore[attr-defined]


def _save_fields(row: Article) -> None:
    row.title = "New"
    row.save(update_fields=["title"])


@pytest.mark.parametrize("how", ["autocommit", "atomic()"])
@pytest.mark.parametrize("write", OVERLOOKED)
def test_the_old_value_and_the_new_are_read_anew(article: Article, write: str, how: str) -> None:
    reads: list[Callable[[], Any]] = [
        lambda: Article.objects.get(pk=article.pk).title,
        lambda: Article.objects.filter(title=old).count(),
        lambda: Article.objects.filter(title="New").count(),
        lambda: Article.objects.filter(title="New", revision=article.revision).count(),
        titles,
    ]
    old = article.title
    before = [read() for read in reads]
    if how == "atomic()":
        with transaction.atomic():
            OVERLOOKED[write](article)
    else:
        OVERLOOKED[write](article)
    after = [read() for read in reads]
    cacheops.invalidate_all()
    assert after == [read() for read in reads]
    assert after[:3] == ["New", before[1] - 1, before[2] + 1]


def test_a_row_that_raw_delete_removes_is_gone(article: Article) -> None:
    row = Tag.objects.create(name="Unused", slug="unused")
    assert Tag.objects.filter(slug="unused").count() == 1
    Tag.objects.filter(pk=row.pk)._raw_delete("default")  # type: ignore[attr-defined]
    assert Tag.objects.filter(slug="unused").count() == 0


def test_writers_with_cacheops_switched_off_invalidate_too(article: Article, settings: Any) -> None:
    old = Article.objects.get(pk=article.pk).title
    settings.CACHEOPS_ENABLED = False
    saved(article, title="New")
    settings.CACHEOPS_ENABLED = True
    assert Article.objects.get(pk=article.pk).title == "New" != old


PRECISE: dict[str, Callable[[Article, Article], Any]] = {
    "save()": lambda row, _: saved(row, title="New"),
    "save(update_fields)": lambda row, _: _save_fields(row),
    "save() of a deferred row": lambda row, _: _save_deferred(row),
    "create()": lambda row, _: new_article(row, "new").save(),
    "delete()": lambda row, _: row.delete(),
    "QuerySet.delete()": lambda row, _: Article.objects.filter(pk=row.pk).delete(),
    "bulk_create()": lambda row, _: Article.objects.bulk_create([new_article(row, "a"), new_article(row, "b")]),
    "invalidated_update()": lambda row, _: Article.objects.filter(pk=row.pk).invalidated_update(title="New"),  # type: ignore[attr-defined]
    "invalidated_update() with F()": lambda row, _: Article.objects.filter(pk=row.pk).invalidated_update(  # type: ignore[attr-defined]
        revision=F("revision") + 1
    ),
}


@pytest.mark.parametrize("how", ["autocommit", "atomic()"])
@pytest.mark.parametrize("write", PRECISE)
def test_other_rows_stay_cached(article: Article, other: Article, unasked: Unasked, write: str, how: str) -> None:
    Article.objects.get(pk=other.pk)
    Article.objects.get(pk=article.pk)
    Article.objects.filter(slug=other.slug).count()
    if how == "atomic()":
        with transaction.atomic():
            PRECISE[write](article, other)
    else:
        PRECISE[write](article, other)
    with unasked(Article):
        Article.objects.get(pk=other.pk)
        Article.objects.filter(slug=other.slug).count()
    if write not in ("create()", "bulk_create()"):
        with pytest.raises(AssertionError), unasked(Article):
            Article.objects.filter(pk=article.pk).count()


@pytest.mark.parametrize("write", OVERLOOKED.keys() - PRECISE.keys())
def test_what_is_not_known_row_by_row_invalidates_the_table(article: Article, other: Article, write: str) -> None:
    Article.objects.get(pk=other.pk)
    OVERLOOKED[write](article)
    with CaptureQueriesContext(connection) as queries:
        Article.objects.get(pk=other.pk)
    assert len(queries) == 1


RELATIONS: dict[str, Callable[[Article, Tag], Any]] = {
    "add()": lambda row, tag: row.tags.add(tag),
    "remove()": lambda row, tag: row.tags.remove(tag),
    "set()": lambda row, tag: row.tags.set([tag]),
    "clear()": lambda row, _: row.tags.clear(),
    "add() from the other side": lambda row, tag: tag.articles.add(row),
    "clear() from the other side": lambda _, tag: tag.articles.clear(),
}


@pytest.fixture
def tags(article: Article) -> tuple[Tag, Tag]:
    mine = Tag.objects.create(name="Mine", slug="mine")
    return mine, Tag.objects.create(name="Not mine", slug="not-mine")


@pytest.mark.parametrize("relate", RELATIONS)
def test_a_relations_rows_are_read_anew_and_no_others(
    article: Article, other: Article, tags: tuple[Tag, Tag], unasked: Unasked, relate: str
) -> None:
    mine, not_mine = tags
    if relate in ("remove()", "clear() from the other side"):
        article.tags.add(mine)
    other.tags.add(not_mine)
    reads: list[Callable[[], Any]] = [
        lambda: Article.objects.filter(tags=mine).count(),
        lambda: sorted(tag.name for tag in article.tags.all()),
    ]
    before = [read() for read in reads]
    list(Article.objects.filter(tags=not_mine))
    RELATIONS[relate](article, mine)
    after = [read() for read in reads]
    cacheops.invalidate_all()
    assert after == [read() for read in reads]
    assert after != before


def test_a_relation_leaves_other_rows_of_its_table_cached(
    article: Article, other: Article, tags: tuple[Tag, Tag], unasked: Unasked
) -> None:
    mine, not_mine = tags
    with sent() as tables:
        article.tags.add(mine)
    assert set(tables) == {"news_article_tags"}
    list(Through.objects.filter(article_id=other.pk))
    with sent() as tables:
        article.tags.remove(mine)
        article.tags.add(not_mine)
        article.tags.clear()
    assert set(tables) == {"news_article_tags"}


def test_rows_between_two_that_no_manager_wrote_are_read_anew(article: Article, tags: tuple[Tag, Tag]) -> None:
    mine, _ = tags
    assert Article.objects.filter(tags=mine).count() == 0
    Through.objects.bulk_create([Through(article=article, tag=mine)], ignore_conflicts=True)
    assert Article.objects.filter(tags=mine).count() == 1
    Through.objects.filter(tag=mine).delete()
    assert Article.objects.filter(tags=mine).count() == 0
    Through.objects.create(article=article, tag=mine)
    assert Article.objects.filter(tags=mine).count() == 1


def test_a_cascade_takes_the_rows_between_two_along(article: Article, tags: tuple[Tag, Tag]) -> None:
    mine, _ = tags
    article.tags.add(mine)
    assert Article.objects.filter(tags=mine).count() == 1
    article.delete()
    assert Article.objects.filter(tags=mine).count() == 0


def test_what_a_deletion_updates_is_read_anew(article: Article) -> None:
    """As SET_NULL does: an UPDATE that sends no signal."""
    language = Language.objects.exclude(pk=article.language_id)[0]
    assert Article.objects.get(pk=article.pk).language_id != language.pk
    collector = Collector(using="default")
    collector.add_field_update(Article._meta.get_field("language"), language, Article.objects.filter(pk=article.pk))
    spare = Tag.objects.create(name="Spare", slug="spare")
    collector.collect([spare])
    collector.delete()
    assert Article.objects.get(pk=article.pk).language_id == language.pk


@pytest.fixture
def ignoring(settings: Any) -> None:
    rule = b"""\
version: 1
models:
  news.Article: {ops: all, timeout: 60s, update: ignore}
  news.Tag: {ops: all, timeout: 60s}
"""
    settings.CACHEPOLICY = parse_policies(rule, "rules.yaml")


def test_a_rule_may_leave_update_to_the_timeout(article: Article, ignoring: None) -> None:
    before = Article.objects.get(pk=article.pk).title
    Article.objects.filter(pk=article.pk).update(title="New")
    _bulk_update(article)
    assert Article.objects.get(pk=article.pk).title == before
    with transaction.atomic():
        Article.objects.filter(pk=article.pk).update(title="Newer")
        assert Article.objects.get(pk=article.pk).title == "Newer", "inside, the transaction is dirty all the same"
    assert Article.objects.get(pk=article.pk).title == before


def test_such_a_rule_is_about_update_alone(article: Article, ignoring: None) -> None:
    Article.objects.get(pk=article.pk)
    _execute("UPDATE news_article SET title = 'New' WHERE id = %s", article.pk)
    assert Article.objects.get(pk=article.pk).title == "New"
    saved(article, title="Newer", revision=F("revision") + 1)
    assert Article.objects.get(pk=article.pk).title == "Newer"
    tag = Tag.objects.create(name="Old", slug="old")
    assert Tag.objects.get(pk=tag.pk).name == "Old"
    Tag.objects.filter(pk=tag.pk).update(name="New")
    assert Tag.objects.get(pk=tag.pk).name == "New"
    test_what_a_deletion_updates_is_read_anew(article)


def test_no_invalidation_means_none(article: Article) -> None:
    before = Article.objects.get(pk=article.pk).title
    with sent() as tables, cacheops.no_invalidation:
        saved(article, title="A")
        Article.objects.filter(pk=article.pk).update(title="B")
        _execute("UPDATE news_article SET title = 'C' WHERE id = %s", article.pk)
    assert tables == []
    assert Article.objects.get(pk=article.pk).title == before


def test_what_was_written_outside_of_no_invalidation_is_meant_at_a_commit_inside(article: Article) -> None:
    Article.objects.get(pk=article.pk)
    transaction.set_autocommit(False)
    saved(article, title="New")
    with cacheops.no_invalidation:
        transaction.commit()
    transaction.set_autocommit(True)
    assert Article.objects.get(pk=article.pk).title == "New"


def test_the_row_as_it_was_comes_from_the_database(article: Article) -> None:
    """Another program moved the article: the cached row, which does not know, must not say what to invalidate."""
    here, there, beyond = Category.objects.all()[:3]
    saved(article, category=here)
    Article.objects.get(pk=article.pk)
    with cacheops.no_invalidation:
        Article.objects.filter(pk=article.pk).update(category=there)
    listed = Article.objects.filter(category=there).count()
    article.category = beyond
    article.save()
    assert Article.objects.filter(category=there).count() == listed - 1


def test_the_row_as_it_was_is_read_right_before_it_is_written(article: Article) -> None:
    """A handler of pre_save, or another program meanwhile, moves the article."""
    here, there, beyond = Category.objects.all()[:3]
    saved(article, category=here)

    def handler(instance: Article, **_: Any) -> None:
        with cacheops.no_invalidation:
            Article.objects.filter(pk=instance.pk).update(category=there)

    listed = len(_slugs_of(there))
    models.signals.pre_save.connect(handler, sender=Article)
    try:
        with transaction.atomic():
            handler(article)
        assert len(_slugs_of(there)) == listed, "nobody was told"
        cacheops.invalidate_all()
        assert len(_slugs_of(there)) == listed + 1
        saved(article, category=beyond)
    finally:
        models.signals.pre_save.disconnect(handler, sender=Article)
    assert len(_slugs_of(there)) == listed


def test_a_save_reads_the_row_as_it_was_once(article: Article) -> None:
    with CaptureQueriesContext(connection) as queries:
        saved(article, title="New")
    # PostgreSQL gives it with the UPDATE.
    expected = ["WITH"] if connection.vendor == "postgresql" else ["SELECT", "UPDATE"]
    assert [each["sql"].split()[0] for each in queries] == expected


def test_a_save_of_an_expression_reads_the_row_as_it_was_first(article: Article) -> None:
    with CaptureQueriesContext(connection) as queries:
        saved(article, revision=F("revision") + 1)
    assert [each["sql"].split()[0] for each in queries][:2] == ["SELECT", "UPDATE"]


def test_a_save_of_a_row_that_is_gone_makes_it_anew(article: Article) -> None:
    slug = article.slug
    assert slug in _slugs_of(article.category)
    Article.objects.filter(pk=article.pk).delete()
    assert slug not in _slugs_of(article.category)
    article.save()
    assert slug in _slugs_of(article.category)


def test_what_a_save_need_not_know_it_does_not_read(article: Article) -> None:
    row = new_article(article, "new")
    with CaptureQueriesContext(connection) as queries:
        row.save()
    assert _reads_of_articles(queries) == []
    with CaptureQueriesContext(connection) as queries, cacheops.no_invalidation:
        saved(row, title="New")
    assert _reads_of_articles(queries) == []


def test_a_save_whose_outcome_is_lost_makes_the_table_stale(article: Article, other: Article) -> None:
    def lost(execute: Callable[..., Any], *args: Any) -> Any:
        execute(*args)
        if args[0].startswith(("UPDATE", "WITH")):
            raise OperationalError("the connection was lost before the answer came")

    old = article.title
    reads: list[Callable[[], Any]] = [lambda: Article.objects.get(pk=article.pk).title, titles]
    assert [read() for read in reads] == [old, []]
    with connection.execute_wrapper(lost), pytest.raises(OperationalError):
        saved(article, title="New")
    assert [read() for read in reads] == ["New", ["New"]]


def test_who_listens_to_cacheops_hears_of_the_row_as_it_was_and_is(article: Article) -> None:
    heard: list[str] = []

    def hear(obj_dict: dict[str, Any], **_: Any) -> None:
        heard.append(obj_dict["title"])

    old = article.title
    cacheops.signals.cache_invalidated.connect(hear)
    try:
        saved(article, title="New")
    finally:
        cacheops.signals.cache_invalidated.disconnect(hear)
    assert heard == [old, "New"]


def test_a_save_costs_one_round_trip(article: Article) -> None:
    saved(article, title="Warm")
    before = scripts_run()
    saved(article, title="New", slug="new")
    assert scripts_run() == before + 1
    Article.objects.bulk_create([new_article(article, f"new-{number}") for number in range(20)])
    assert scripts_run() == before + 2
    with transaction.atomic():
        saved(article, title="Newer")
        Tag.objects.create(name="New", slug="new")
        Category.objects.update(name="Same")
        Article.objects.filter(pk=article.pk).delete()
    assert scripts_run() == before + 3


def test_a_handler_of_post_save_reads_what_was_saved(article: Article) -> None:
    seen: list[Any] = []

    def handler(instance: Article, **_: Any) -> None:
        seen.append((Article.objects.get(pk=instance.pk).title, titles()))

    assert Article.objects.get(pk=article.pk).title
    assert titles() == []
    models.signals.post_save.connect(handler, sender=Article)
    try:
        saved(article, title="New")
    finally:
        models.signals.post_save.disconnect(handler, sender=Article)
    assert seen == [("New", ["New"])]


def test_invalidations_of_a_save_are_sent_before_the_application_hears_of_it(article: Article) -> None:
    """A handler may start what another process reads by."""
    heard: list[list[str]] = []

    def handler(instance: Article, **_: Any) -> None:
        heard.append(list(tables))
        with transaction.atomic():
            Tag.objects.update(name="By a handler")
            transaction.on_commit(lambda: heard.append(list(tables)))

    models.signals.post_save.connect(handler, sender=Article)
    try:
        with sent() as tables:
            saved(article, title="New")
    finally:
        models.signals.post_save.disconnect(handler, sender=Article)
    assert set(heard[0]) == {"news_article"}
    assert set(heard[1]) == {"news_article", "news_tag"}


def test_a_save_that_fails_leaves_the_cache_in_use(article: Article, other: Article, unasked: Unasked) -> None:
    Article.objects.get(pk=other.pk)
    article.slug = other.slug
    with suppress(Exception):
        article.save()
    Article.objects.get(pk=other.pk)
    with unasked(Article):
        Article.objects.get(pk=other.pk)


class TestInvalidates:
    def test_what_nobody_saw_is_read_anew(self, article: Article) -> None:
        Article.objects.get(pk=article.pk)
        with cachepolicy.invalidates(Article):
            _past_django(article, "New")
        assert Article.objects.get(pk=article.pk).title == "New"

    def test_also_where_the_block_raises(self, article: Article) -> None:
        Article.objects.get(pk=article.pk)
        with suppress(ZeroDivisionError), cachepolicy.invalidates(Article):
            _past_django(article, "New")
            raise ZeroDivisionError
        assert Article.objects.get(pk=article.pk).title == "New"

    def test_after_the_commit_inside_a_transaction(self, article: Article) -> None:
        before = Article.objects.get(pk=article.pk).title
        with sent() as tables:
            with transaction.atomic():
                with cachepolicy.invalidates(Article, Tag):
                    _past_django(article, "New")
                    assert Article.objects.get(pk=article.pk).title == "New" != before
                assert tables == []
            assert sorted(tables) == ["news_article", "news_tag"]
        assert Article.objects.get(pk=article.pk).title == "New"

    def test_not_at_all_after_a_rollback(self, article: Article) -> None:
        with sent() as tables:
            with suppress(ZeroDivisionError), transaction.atomic(), cachepolicy.invalidates(Article):
                _past_django(article, "Never")
                raise ZeroDivisionError
            assert tables == []
        assert Article.objects.get(pk=article.pk).title == article.title

    def test_as_a_decorator(self, article: Article) -> None:
        @cachepolicy.invalidates(Article)
        def write(value: str) -> None:
            _past_django(article, value)

        for value in ("New", "Newer"):
            Article.objects.get(pk=article.pk)
            write(value)
            assert Article.objects.get(pk=article.pk).title == value

    def test_what_is_no_model_is_refused(self) -> None:
        for wrong in ("news.Article", Article(), models.Model, object):
            with pytest.raises(TypeError, match=r"takes model classes with a table, as in inv"):
                cachepolicy.invalidates(wrong).__enter__()  # type: ignore[arg-type]
        with pytest.raises(TypeError, match=r"takes the model classes that the block writes"):
            cachepolicy.invalidates().__enter__()


def _past_django(row: Article, value: str) -> None:
    connection.ensure_connection()
    cursor: Any = connection.create_cursor()  # type: ignore[attr-defined]
    cursor.execute("UPDATE news_article SET title = %s WHERE id = %s", [value, row.pk])
    cursor.close()


def _slugs_of(category: Any) -> list[str]:
    return sorted(Article.objects.filter(category=category).values_list("slug", flat=True))


def test_a_field_that_is_not_written_is_not_where_the_instance_says(article: Article, other: Article) -> None:
    before, elsewhere = article.category, Category.objects.nocache().exclude(pk=article.category_id)[0]  # type: ignore[attr-defined]
    cached = Article.objects.filter(category=before, title="Renamed")
    assert list(cached.all()) == []
    article.category, article.title = elsewhere, "Renamed"
    article.save(update_fields=["title"])
    assert [row.pk for row in cached.all()] == [article.pk]


@pytest.mark.parametrize(
    "delete",
    [
        lambda pk: Article.objects.only("id").get(pk=pk).delete(),
        lambda pk: Article.objects.only("id").filter(pk=pk).delete(),
        lambda pk: Article.objects.defer("category").get(pk=pk).delete(),
        lambda pk: Article.objects.get(pk=pk).delete(),
    ],
)
def test_a_deleted_row_is_gone_from_what_was_filtered_by_a_deferred_field(
    article: Article, delete: Callable[[Any], Any]
) -> None:
    category, slug = article.category, article.slug
    assert slug in _slugs_of(category)
    delete(article.pk)
    assert slug not in _slugs_of(category)


def _moved_elsewhere(row: Article) -> Article:
    """The article as it was before another process moved it."""
    before = Article.objects.nocache().get(pk=row.pk)  # type: ignore[attr-defined]
    Article.objects.filter(pk=row.pk).update(category=Category.objects.exclude(pk=row.category_id)[0])
    return before


def _edited(row: Article) -> Article:
    row.category = Category.objects.exclude(pk=row.category_id)[0]
    return row


# What is at hand of the row, where it says less than the row, or something else.
UNLIKE: dict[str, Callable[[Article], Article]] = {
    "edited": _edited,
    "older": _moved_elsewhere,
    "made of its key": lambda row: Article(pk=row.pk),
}


@pytest.mark.parametrize("how", ["autocommit", "atomic()"])
@pytest.mark.parametrize("unlike", UNLIKE)
def test_a_deleted_row_was_what_it_was_in_the_database(
    article: Article, other: Article, unasked: Unasked, unlike: str, how: str
) -> None:
    instance, slug = UNLIKE[unlike](article), article.slug
    category = Category.objects.get(articles__slug=slug)
    assert slug in _slugs_of(category)
    Article.objects.get(pk=other.pk)
    if how == "atomic()":
        with transaction.atomic():
            instance.delete()
    else:
        instance.delete()
    with unasked(Article):
        Article.objects.get(pk=other.pk)
    assert slug not in _slugs_of(category)


def test_a_row_that_a_handler_edits_before_its_deletion_is_gone(article: Article) -> None:
    def handler(instance: Article, **_: Any) -> None:
        _edited(instance)

    category, slug = article.category, article.slug
    assert slug in _slugs_of(category)
    models.signals.pre_delete.connect(handler, sender=Article)
    try:
        Article.objects.filter(slug=slug).delete()
    finally:
        models.signals.pre_delete.disconnect(handler, sender=Article)
    assert slug not in _slugs_of(category)


def test_rows_that_a_deletion_has_fetched_itself_are_not_read_again(article: Article, other: Article) -> None:
    with CaptureQueriesContext(connection) as queries:
        Article.objects.filter(pk=article.pk).delete()
    assert len(_reads_of_articles(queries)) == 1
    with CaptureQueriesContext(connection) as queries:
        other.delete()
    assert len(_reads_of_articles(queries)) == 1


def _reads_of_articles(queries: CaptureQueriesContext) -> list[str]:
    table = connection.ops.quote_name("news_article")
    return [each["sql"] for each in queries if each["sql"].startswith("SELECT") and f"FROM {table}" in each["sql"]]


def test_instances_that_are_given_are_deleted_row_by_row(article: Article, other: Article, unasked: Unasked) -> None:
    Article.objects.bulk_create([new_article(article, f"new-{number}") for number in range(9)])
    collector = Collector(using="default")
    collector.collect(list(Article.objects.filter(slug__startswith="new-").nocache()))  # type: ignore[attr-defined]
    Article.objects.get(pk=other.pk)
    assert Article.objects.filter(slug="new-8").count() == 1
    collector.delete()
    with unasked(Article):
        Article.objects.get(pk=other.pk)
    assert Article.objects.filter(slug="new-8").count() == 0


def test_a_deletion_collects_what_the_database_holds_not_the_cache(article: Article) -> None:
    """An article that another program added to the category stands in its way, unless it is deleted with it."""
    category = Category.objects.create(name="New", slug="new")
    assert list(Category._base_manager.filter(pk=category.pk)) == [category]
    assert list(Article._base_manager.filter(category__in=[category])) == []
    with cacheops.no_invalidation:
        Article.objects.filter(pk=article.pk).update(category=category)
    with suppress(models.ProtectedError):
        category.delete()
        assert not Article.objects.filter(pk=article.pk).nocache().exists()  # type: ignore[attr-defined]


def _links_of(tag: Tag) -> list[int]:
    return sorted(Article.objects.filter(tags=tag).values_list("pk", flat=True))


def test_a_link_that_another_handler_writes_is_read_anew(article: Article, tags: tuple[Tag, Tag]) -> None:
    mine, not_mine = tags
    article.tags.add(not_mine)

    def handler(sender: Any, instance: Article, action: str, **_: Any) -> None:
        if action == "post_add":
            sender.objects.filter(article_id=instance.pk, tag_id=not_mine.pk).delete()

    assert _links_of(not_mine) == [article.pk]
    models.signals.m2m_changed.connect(handler, sender=Through)
    try:
        article.tags.add(mine)
    finally:
        models.signals.m2m_changed.disconnect(handler, sender=Through)
    assert _links_of(not_mine) == []


@pytest.mark.parametrize("handled", [False, True])
def test_other_links_stay_cached_where_cacheops_handler_is_alone(
    article: Article, other: Article, tags: tuple[Tag, Tag], handled: bool
) -> None:
    mine, not_mine = tags
    other.tags.add(not_mine)
    links = Article.objects.filter(tags=not_mine)

    def handler(**_: Any) -> None:
        pass

    assert links.count() == 1
    if handled:
        models.signals.m2m_changed.connect(handler, sender=Through)
    try:
        article.tags.add(mine)
    finally:
        models.signals.m2m_changed.disconnect(handler, sender=Through)
    with CaptureQueriesContext(connection) as queries:
        assert links.all().count() == 1
    assert len(queries) == handled


def test_what_is_not_written_is_as_it_was_and_leaves_other_rows_cached(
    article: Article, other: Article, unasked: Unasked
) -> None:
    Article.objects.get(pk=other.pk)
    article.title, article.slug = "New", "not-written"
    article.save(update_fields=["title"])
    with unasked(Article):
        Article.objects.get(pk=other.pk)
    assert Article.objects.get(pk=article.pk).title == "New"
