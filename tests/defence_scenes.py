"""Scenes of faults that the kit's scenarios do not play, since a defence of the runtime alone is at stake in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import cacheops
import pytest
from django.db import connection
from django.db.models import Value
from news.models import Article, Category

from cachepolicy import clock
from cachepolicy.consistency.faults import server
from cachepolicy.consistency.redirect import reconnected
from cachepolicy.consistency.scenarios import SCENARIOS, Scenario, late_fills
from cachepolicy.consistency.scenarios.late_fills import write_unseen
from cachepolicy.consistency.scene import Scene

__all__ = ["SCENES", "staged"]

_HOUR_MS: Final = 3_600_000
_FOREIGN: Final = "of another query"


def kept_too_long(scene: Scene) -> None:
    """Redis keeps an entry for an hour longer than it was told."""
    _filled_and_overtaken(scene)
    scene.require(server.clock_set_back(scene.rig, _HOUR_MS), "nothing in Redis had an expiry")
    scene.let_pass_until(scene.written_ns, scene.bound_ms + 100)
    scene.read()


def wall_clock_set_back(scene: Scene) -> None:
    """This machine's wall clock is set back an hour, and Redis keeps an entry for as much longer."""
    _filled_and_overtaken(scene)
    scene.require(server.clock_set_back(scene.rig, _HOUR_MS), "nothing in Redis had an expiry")
    scene.let_pass_until(scene.written_ns, scene.bound_ms + 100)
    with pytest.MonkeyPatch.context() as patch:
        upstream = clock.wall_us
        patch.setattr(clock, "wall_us", lambda: upstream() - _HOUR_MS * 1000)
        scene.read()


def redis_clock_set_back_unseen(scene: Scene) -> None:
    """Redis' clock is set back by less than an entry's age, before this process came, and the mark of it is lost."""
    _filled_and_overtaken(scene)
    scene.require(server.clock_set_back(scene.rig, _HOUR_MS), "nothing in Redis had an expiry")
    scene.let_pass_until(scene.written_ns, scene.bound_ms + 100)
    scene.rig.client().unlink("cachepolicy:clock")
    clock.set_redis_back(scene.bound_ms // 2)
    try:
        reconnected()
        scene.read()
    finally:
        clock.set_redis_back(-(scene.bound_ms // 2))


def late_store_invalidated(scene: Scene) -> None:
    """Redis executes a store after its reader has given it up, and after a save has invalidated what it holds."""
    late_fills.stored_late(scene, scene.row.save)
    scene.rig.let_pass(scene.bound_ms // 8)  # this process asks Redis again
    scene.read()


def schemes_evicted(scene: Scene) -> None:
    """Redis has evicted what a save is to find the entries by, and nothing else."""
    scene.fill()
    client: Any = scene.rig.client()
    scene.require(client.unlink(*client.scan_iter("known:*")), "there was nothing to evict")
    with scene.writing() as value:
        scene.row.save(value)
    scene.read_around_the_bound()


def bit_flips(scene: Scene) -> None:
    """A bit of a cached value flips, so that it is another value that can be read."""
    scene.fill()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server, "_FLIP", server._FLIP.replace(", 255)", ", 1)"))
        scene.require(server.corrupt_values(scene.rig), "no cached value changed")
    with scene.writing() as value:
        write_unseen(scene, value)
    scene.read_elsewhere()
    scene.read_around_the_bound()


def call_site_asks_for_a_day(scene: Scene) -> None:
    """A read is cached for a day, by `.cache(timeout=86400)`, and another program writes."""
    manager: Any = Article.objects
    scene.source = lambda: manager.cache(timeout=86_400).get(pk=scene.row.pk).title
    _filled_and_overtaken(scene)
    scene.read_around_the_bound()


def function_without_a_timeout(scene: Scene) -> None:
    """cacheops' own @cached, without a timeout, on a function whose table another program writes."""
    scene.source = cacheops.cached()(scene.row.current)
    _filled_and_overtaken(scene)
    scene.read_around_the_bound()


def crafted_parameters(scene: Scene) -> None:
    """Another query with parameters that look like SQL, so that both are one text when they are put in."""
    after_first = f" AS {connection.ops.quote_name('kind')}, "

    def asked(kind: str, more: str) -> str:
        values = Article.objects.filter(pk=scene.row.pk).annotate(kind=Value(kind), more=Value(more))
        return str(values.values_list("kind", "more").get()[0])

    scene.source = lambda: asked(f"{_FOREIGN}{after_first}{scene.after}", "more").rpartition(after_first)[2]
    asked(_FOREIGN, f"{scene.after}{after_first}more")
    with scene.writing() as value:
        write_unseen(scene, value)
    scene.read()


def parent_edited_in_memory(scene: Scene) -> None:
    """A category is edited and not saved, its articles are read through it, and then through another copy of it."""
    article = Article._base_manager.order_by("pk").nocache()[0]  # type: ignore[attr-defined]
    Article._base_manager.filter(pk=article.pk).update(category=scene.row.pk)

    def read(edited: str = "") -> Any:
        category: Any = scene.row.rows().get()
        category.name = edited or category.name
        return next(found.category.name for found in category.articles.all() if found.pk == article.pk)

    with scene.writing() as value:
        write_unseen(scene, value)
    read("an edit")
    scene.source = read
    scene.read()


def old_row_in_the_cache(scene: Scene) -> None:
    """A row moves to a list unseen while the cache says where it was, and then is saved into a third one."""
    first, second, third = Category._base_manager.order_by("pk").values_list("pk", flat=True)[:3]
    scene.row.rows().update(category=first)
    assert Article.objects.get(pk=scene.row.pk).category_id == first
    statement = f"UPDATE {connection.ops.quote_name('news_article')} SET category_id = %s WHERE id = %s"
    with connection.cursor() as cursor:
        cursor.cursor.execute(_as_the_driver_has_it(statement), [second, scene.row.pk])
    listed: Any = Article.objects.filter(category=second)
    scene.source = lambda: scene.before if any(found.pk == scene.row.pk for found in listed.all()) else scene.after
    scene.fill()
    with scene.writing() as value:
        instance = scene.row.rows().get()
        instance.category_id, instance.title = third, value
        instance.save()
    scene.read_around_the_bound()


def _as_the_driver_has_it(statement: str) -> str:
    return statement.replace("%s", "?") if connection.vendor == "sqlite" else statement


def _filled_and_overtaken(scene: Scene) -> None:
    scene.fill()
    with scene.writing() as value:
        write_unseen(scene, value)


SCENES: Final[dict[str, Callable[[Scene], None]]] = {
    play.__name__: play
    for play in (
        kept_too_long,
        wall_clock_set_back,
        redis_clock_set_back_unseen,
        late_store_invalidated,
        schemes_evicted,
        bit_flips,
        call_site_asks_for_a_day,
        function_without_a_timeout,
        crafted_parameters,
        parent_edited_in_memory,
        old_row_in_the_cache,
    )
}


@contextmanager
def staged() -> Iterator[None]:
    """Inside the block the kit can play these scenes, too."""
    with pytest.MonkeyPatch.context() as patch:
        for name, play in SCENES.items():
            patch.setitem(SCENARIOS, name, Scenario(name, play, (play.__doc__ or "").strip()))
        yield
