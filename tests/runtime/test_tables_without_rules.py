"""Writes to tables that no rule names, and to rows that lie in several, are seen by every cached read of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cachepolicy.consistency.redis_server import RedisServer
from tests.projects import Project

# Author has no rule, Editor is off; a cafe is a place, and so is a bar.
MODELS = """\
from django.contrib.contenttypes.models import ContentType
from django.db import models


class Author(models.Model):
    name = models.CharField(max_length=9)


class Editor(models.Model):
    name = models.CharField(max_length=9)


class Place(models.Model):
    name = models.CharField(max_length=9)


class Cafe(Place):
    tables = models.IntegerField(default=1)


class Bar(Place):
    stools = models.IntegerField(default=1)


class Log(models.Model):
    about = models.ForeignKey(ContentType, models.CASCADE)
    author = models.ForeignKey(Author, models.CASCADE)
    editor = models.ForeignKey(Editor, models.CASCADE)
"""
POLICIES = """\
version: 1
max_staleness: 60s
defaults: {ops: all, timeout: 60s}
models:
  shop.Log: {}
  shop.Place: {}
  shop.Cafe: {}
  shop.Editor: off
functions:
  of_place: {depends_on: [shop.Place]}
  of_cafe: {depends_on: [shop.Cafe]}
"""
PROGRAM = """
import json
from django.core.management import call_command
from cacheops.signals import cache_read
import cachepolicy
call_command("migrate", run_syncdb=True, verbosity=0)
from shop.models import *

author, editor = Author.objects.create(name="a"), Editor.objects.create(name="a")
about = ContentType.objects.get_for_model(Log)
log = Log.objects.create(about=about, author=author, editor=editor)
cafe, bar = Cafe.objects.create(name="c"), Bar.objects.create(name="b")

@cachepolicy.cached_as("of_place")
def of_place():
    return list(Place.objects.values_list("name")), list(Cafe.objects.values_list("tables"))

@cachepolicy.cached_as("of_cafe")
def of_cafe():
    return list(Cafe.objects.values_list("name", "tables")), list(Place.objects.values_list("name"))

READS = {
    "author, joined": lambda: Log.objects.select_related("author").get(pk=log.pk).author.name,
    "author, filtered by": lambda: Log.objects.filter(author__name="a").count(),
    "editor, joined": lambda: Log.objects.select_related("editor").get(pk=log.pk).editor.name,
    "editor, filtered by": lambda: Log.objects.filter(editor__name="a").count(),
    "content type, joined": lambda: Log.objects.select_related("about").get(pk=log.pk).about.model,
    "place": lambda: Place.objects.get(pk=cafe.pk).name,
    "cafe": lambda: (Cafe.objects.get(pk=cafe.pk).name, Cafe.objects.get(pk=cafe.pk).tables),
    "function of place": of_place,
    "function of cafe": of_cafe,
}

def saved(instance, **values):
    vars(instance).update(values)
    instance.save()

WRITES = {
    "author.save": lambda: saved(author, name="1"),
    "author.update": lambda: Author.objects.update(name="2"),
    "editor.save": lambda: saved(editor, name="3"),
    "editor.update": lambda: Editor.objects.update(name="4"),
    "content type.save": lambda: saved(about, model="5"),
    "place.save": lambda: saved(Place.objects.get(pk=cafe.pk), name="6"),
    "place.update": lambda: Place.objects.update(name="7"),
    "cafe.save": lambda: saved(cafe, name="8", tables=8),
    "cafe.update": lambda: Cafe.objects.update(name="9", tables=9),
    "cafe.update of its own table alone": lambda: Cafe.objects.update(tables=11),
    "bar.save": lambda: saved(bar, name="10", stools=10),
    "bar.delete": lambda: Bar.objects.all().delete(),
}

def is_hit(read):
    heard = []
    def hear(hit, **_):
        heard.append(hit)
    cache_read.connect(hear)
    read()
    cache_read.disconnect(hear)
    return heard != [] and all(heard)

told = {}
for name, write in WRITES.items():
    for read in READS.values():
        read()
    cold = [read for read in READS if not is_hit(READS[read])]
    before = {read: READS[read]() for read in READS}
    write()
    after = {read: READS[read]() for read in READS}
    with cachepolicy.fresh():
        right = {read: READS[read]() for read in READS}
    told[name] = {"cold": cold, "stale": [read for read in READS if after[read] != right[read]],
                  "changed": [read for read in READS if before[read] != right[read]]}
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    project = Project(Path(tmp_path_factory.mktemp("project")))
    project.write("shop/models.py", MODELS)
    project.policies(POLICIES)
    with RedisServer() as server:
        project.settings(before=f"CACHEOPS_REDIS = {server.url!r}")
        ran = project.serve(PROGRAM)
        assert ran.code == 0, ran.err
        yield ran.json


CHANGED = {
    "author.save": {"author, joined", "author, filtered by"},
    "author.update": {"author, joined"},
    "editor.save": {"editor, joined", "editor, filtered by"},
    "editor.update": {"editor, joined"},
    "content type.save": {"content type, joined"},
    "place.save": {"place", "cafe", "function of place", "function of cafe"},
    "place.update": {"place", "cafe", "function of place", "function of cafe"},
    "cafe.save": {"place", "cafe", "function of place", "function of cafe"},
    "cafe.update": {"place", "cafe", "function of place", "function of cafe"},
    "cafe.update of its own table alone": {"cafe", "function of place", "function of cafe"},
    "bar.save": {"function of place", "function of cafe"},
    "bar.delete": {"function of place", "function of cafe"},
}


@pytest.mark.parametrize("write", CHANGED)
def test_the_next_read_is_right(told: dict[str, Any], write: str) -> None:
    assert set(told[write]["changed"]) == CHANGED[write]
    assert told[write]["cold"] == [], "every read was a hit before the write"
    assert told[write]["stale"] == []
