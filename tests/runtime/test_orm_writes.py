"""Writes to models of kinds that the newsroom has none of, in a project of their own."""

from __future__ import annotations

import json

import pytest

from cachepolicy.consistency.redis_server import RedisServer
from tests.projects import Project

MODELS = """\
import uuid

from django.db import models
from django.db.models import F


class Current(models.Manager):
    def get_queryset(self):
        return super().get_queryset().filter(gone=False)


class Place(models.Model):
    name = models.CharField(max_length=9)


class Cafe(Place):
    owner = models.CharField(max_length=9)


class Square(models.Model):
    side = models.IntegerField()
    area = models.GeneratedField(expression=F("side") * F("side"), output_field=models.IntegerField(), db_persist=True)


class Person(models.Model):
    name = models.CharField(max_length=9)
    friends = models.ManyToManyField("self")
    boss = models.ForeignKey("self", models.SET_NULL, null=True)


class Note(models.Model):
    text = models.CharField(max_length=9)
    gone = models.BooleanField(default=False)
    objects = Current()


class Price(models.Model):
    amount = models.DecimalField(max_digits=9, decimal_places=2)


class Draft(models.Model):
    text = models.CharField(max_length=9)
    about = models.ForeignKey(Person, models.CASCADE)


class Uncached(models.Model):
    text = models.CharField(max_length=9)


class Shouted(models.CharField):
    # Small letters in the database, capitals everywhere else.
    def from_db_value(self, value, expression, connection):
        return value.upper()

    def get_prep_value(self, value):
        return None if value is None else value.lower()


class Blank(models.CharField):
    def from_db_value(self, value, expression, connection):
        return "" if value is None else value


class Label(models.Model):
    text = Blank(max_length=9, null=True)


class Every(models.Model):
    key = models.UUIDField(primary_key=True, default=uuid.uuid4)
    shouted = Shouted(max_length=9)
    unique = models.UUIDField()
    is_open = models.BooleanField()
    at = models.DateTimeField()
    day = models.DateField()
    hour = models.TimeField()
    ratio = models.FloatField()
    price = models.DecimalField(max_digits=9, decimal_places=2)
    text = models.TextField()


class Chair(models.Model):
    person = models.OneToOneField(Person, models.CASCADE, primary_key=True)
    desk = models.OneToOneField(Square, models.CASCADE, null=True)
    text = models.CharField(max_length=9)


class Employee(Person):
    class Meta:
        proxy = True


class Outline(models.Model):
    text = models.CharField(max_length=9)

    class Meta:
        managed = False
        db_table = "shop_draft"
"""
POLICIES = """\
version: 1
max_staleness: 60s
models:
  shop.*: {ops: all, timeout: 60s}
  shop.Uncached: off
"""
# Each read twice before, so that it is cached, and after the write once through the cache and once past it.
PLAY = """
from cacheops import invalidate_all
from django.core.management import call_command
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.db.models import F
from shop.models import *

call_command("migrate", run_syncdb=True, verbosity=0)

def play(write, *reads, changes=True):
    for how in ("autocommit", "atomic"):
        invalidate_all()
        before = [read() for read in reads]
        assert before == [read() for read in reads]
        if how == "atomic":
            with transaction.atomic():
                write()
                inside = [read() for read in reads]
        else:
            write()
        after = [read() for read in reads]
        invalidate_all()
        truth = [read() for read in reads]
        assert after == truth, (how, before, after, truth)
        assert not changes or before != after, (how, before, after)

def stays(write, *reads):
    for how in ("autocommit", "atomic"):
        invalidate_all()
        write()
        [read() for read in reads]
        if how == "atomic":
            with transaction.atomic():
                write()
        else:
            write()
        with CaptureQueriesContext(connection) as queries:
            [read() for read in reads]
        assert not queries.captured_queries, (how, queries.captured_queries)
"""
PLAYS = {
    "a row of two tables": """
cafe = Cafe.objects.create(name="0", owner="0")
def write():
    cafe.name = cafe.owner = str(int(cafe.name) + 1)
    cafe.save()
play(write, lambda: Place.objects.get(pk=cafe.pk).name, lambda: Cafe.objects.get(pk=cafe.pk).owner,
     lambda: Cafe.objects.filter(name="0").count(), lambda: Place.objects.filter(name="1").count())
""",
    "the parent of a row of two tables": """
cafe = Cafe.objects.create(name="0", owner="0")
place = Place.objects.get(pk=cafe.pk)
def write():
    place.name = str(int(place.name) + 1)
    place.save()
play(write, lambda: Cafe.objects.get(pk=cafe.pk).name, lambda: Cafe.objects.filter(name="1").count())
""",
    "update() of a parent's field": """
cafe = Cafe.objects.create(name="0", owner="0")
def write():
    Cafe.objects.filter(pk=cafe.pk).update(name=str(int(Cafe.objects.nocache().get(pk=cafe.pk).name) + 1))
play(write, lambda: Place.objects.get(pk=cafe.pk).name, lambda: Cafe.objects.filter(name="1").count())
""",
    "deleting a row of two tables": """
cafes = [Cafe.objects.create(name="0", owner="0") for _ in range(2)]
play(lambda: cafes.pop().delete(), lambda: Place.objects.count(), lambda: Cafe.objects.filter(owner="0").count())
""",
    "a generated field": """
square = Square.objects.create(side=1)
def write():
    square.side += 1
    square.save()
play(write, lambda: Square.objects.filter(area=4).count(), lambda: Square.objects.filter(area=1).count(),
     lambda: Square.objects.get(pk=square.pk).area)
""",
    "a symmetrical relation": """
a, b = Person.objects.create(name="a"), Person.objects.create(name="b")
for write in (lambda: a.friends.add(b), lambda: a.friends.remove(b)):
    play(write, lambda: Person.objects.filter(friends=a).count(), lambda: Person.objects.filter(friends=b).count(),
         lambda: [person.name for person in b.friends.all()], changes=False)
a.friends.add(b)
play(lambda: a.friends.clear(), lambda: Person.objects.filter(friends=a).count(),
     lambda: Person.objects.filter(friends=b).count(), changes=False)
""",
    "SET_NULL": """
def write():
    Person.objects.filter(name="boss").nocache()[0].delete()
for _ in range(2):
    person = Person.objects.create(name="a", boss=Person.objects.create(name="boss"))
play(write, lambda: Person.objects.filter(boss=None).count(),
     lambda: [each.boss_id for each in Person.objects.filter(name="a")])
""",
    "a cascade": """
for _ in range(2):
    Draft.objects.create(text="a", about=Person.objects.create(name="about"))
play(lambda: Person.objects.filter(name="about").nocache()[0].delete(), lambda: Draft.objects.filter(text="a").count())
""",
    "a manager that hides the row as it was": """
note = Note.objects.create(text="0", gone=True)
def write():
    note.text, note.gone = str(int(note.text) + 1), False
    note.save()
    note.gone = True
    note.save()
every = Note._base_manager
play(write, lambda: every.filter(text="0").count(), lambda: every.filter(text="1").count(),
     lambda: every.get(pk=note.pk).text)
""",
    "a manager that hides what the row becomes": """
notes = [Note.objects.create(text="0") for _ in range(2)]
every = Note._base_manager
play(lambda: Note.objects.filter(pk=notes.pop().pk).invalidated_update(gone=True),
     lambda: every.filter(gone=True).count(), lambda: every.filter(gone=False).count())
""",
    "a manager that hides the row that goes": """
notes = [Note.objects.create(text="0", gone=True) for _ in range(2)]
every = Note._base_manager
play(lambda: Note(pk=notes.pop().pk).delete(), lambda: every.filter(text="0").count(),
     lambda: every.filter(gone=True).count())
""",
    "the parent of a row of two tables, edited before its deletion": """
cafes = [Cafe.objects.create(name="0", owner="0") for _ in range(2)]
def write():
    cafe = cafes.pop()
    cafe.name = "1"
    cafe.delete()
play(write, lambda: Place.objects.filter(name="0").count(), lambda: Cafe.objects.filter(owner="0").count())
""",
    "a number that the database rounds": """
price = Price.objects.create(amount="1.00")
import decimal
def write():
    price.amount = decimal.Decimal("2.5000")
    price.save()
    price.amount = decimal.Decimal("1.1000")
    price.save()
play(write, lambda: Price.objects.filter(amount="1.1").count(), lambda: Price.objects.filter(amount="1.00").count(),
     changes=False)
""",
    "a model that is not cached": """
row = Uncached.objects.create(text="0")
def write():
    row.text = str(int(row.text) + 1)
    row.save()
from cacheops import cached_as
titles = cached_as(Place)(lambda: [row.text for row in Uncached.objects.all()])
play(write, lambda: Uncached.objects.get(pk=row.pk).text)
""",
    "a row of a migration": """
from django.db.migrations.state import ProjectState
from django.apps import apps
historical = ProjectState.from_apps(apps).apps.get_model("shop", "Note")
note = Note.objects.create(text="0")
def write():
    row = historical._base_manager.get(pk=note.pk)
    row.text = str(int(row.text) + 1)
    row.save()
play(write, lambda: Note.objects.get(pk=note.pk).text, lambda: Note.objects.filter(text="1").count())
""",
    "a row that a migration adds": """
from django.db.migrations.state import ProjectState
from django.apps import apps
historical = ProjectState.from_apps(apps).apps.get_model("shop", "Note")
play(lambda: historical(text="1").save(), lambda: Note.objects.filter(text="1").count())
""",
    "every kind of field": """
import datetime, decimal, uuid
from django.utils import timezone
VALUES = {
    "shouted": ("A", "B"), "unique": (uuid.uuid4(), uuid.uuid4()), "is_open": (True, False), "ratio": (0.5, 1.5),
    "at": [datetime.datetime(2026, month, 1, 12, 0, 0, 500, datetime.UTC) for month in (1, 7)],
    "day": (datetime.date(2026, 1, 1), datetime.date(2026, 1, 2)), "hour": (datetime.time(1, 2), datetime.time(3)),
    "price": (decimal.Decimal("1.10"), decimal.Decimal("2.20")), "text": ("a", "b"),
}
first = {name: values[0] for name, values in VALUES.items()}
row, other = Every.objects.create(**first), Every.objects.create(**first)
def write():
    for name, values in VALUES.items():
        setattr(row, name, values[getattr(row, name) == values[0]])
    row.save()
def reads_of(number):
    return [lambda name=name, value=values[number]: Every.objects.filter(**{name: value}).count()
            for name, values in VALUES.items()]
play(write, *reads_of(0), *reads_of(1), lambda: Every.objects.get(key=row.key).text)
stays(write, lambda: Every.objects.get(pk=other.pk), lambda: Every.objects.filter(unique=uuid.UUID(int=1)).count(),
      lambda: Every.objects.filter(shouted="C").count(), lambda: Every.objects.filter(ratio=9).count(),
      lambda: Every.objects.filter(at=datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)).count())
""",
    "a foreign key that points at a key of text": """
a, b = Chair.objects.create(person=Person.objects.create(name="a")), Person.objects.create(name="b")
other = Chair.objects.create(person=Person.objects.create(name="c"))
def write():
    a.text = a.text + "x"
    a.save()
play(write, lambda: Chair.objects.get(pk=a.pk).text, lambda: Chair.objects.filter(text="").count())
stays(write, lambda: Chair.objects.get(pk=other.pk))
""",
    "what is one to one": """
squares = [Square.objects.create(side=side) for side in (1, 2)]
chair = Chair.objects.create(person=Person.objects.create(name="a"), desk=squares[0])
def owner(square):
    found = Square.objects.select_related("chair").get(pk=square.pk)
    return found.chair.text if hasattr(found, "chair") else None
def write():
    chair.desk = squares[chair.desk == squares[0]]
    chair.save()
play(write, lambda: owner(squares[0]), lambda: owner(squares[1]), lambda: Chair.objects.get(desk__side__gt=0).desk_id)
def write():
    chair.text += "x"
    chair.save()
play(write, lambda: owner(chair.desk))
""",
    "a row by a proxy of its model": """
person, other = Employee.objects.create(name="0"), Person.objects.create(name="other")
def write():
    person.name = str(int(person.name) + 1)
    person.save()
play(write, lambda: Person.objects.get(pk=person.pk).name, lambda: Employee.objects.filter(name="0").count())
stays(write, lambda: Person.objects.get(pk=other.pk), lambda: Employee.objects.filter(name="other").count())
""",
    "a row by another model of its table": """
draft = Draft.objects.create(text="0", about=Person.objects.create(name="about"))
def write_by(model):
    row = model._base_manager.get(pk=draft.pk)
    row.text = str(int(row.text) + 1)
    row.save()
for model in (Draft, Outline):
    play(lambda: write_by(model),
         lambda: Draft.objects.get(pk=draft.pk).text, lambda: Outline.objects.get(pk=draft.pk).text,
         lambda: Draft.objects.filter(text="1").count(), lambda: Outline.objects.filter(text="3").count(),
         lambda: [each.text for each in Draft.objects.filter(about=draft.about)])
""",
    "a row that handlers save again": """
from itertools import cycle
from django.db.models.signals import post_save, pre_save
names = cycle("012")
person, other = Person.objects.create(name="0"), Person.objects.create(name="other")
inside = []
def again(instance, **_):
    if not inside:
        inside.append(instance)
        instance.name += "x"
        instance.save()
        Person.objects.filter(name=instance.name).count()
        inside.clear()
for signal in (pre_save, post_save):
    signal.connect(again, sender=Person)
    def write():
        person.name = next(names)
        person.save()
    play(write, lambda: Person.objects.get(pk=person.pk).name,
         *(lambda name=name: Person.objects.filter(name=name).count() for name in ("0x", "1x", "2x", "0", "1", "2")))
    stays(write, lambda: Person.objects.get(pk=other.pk))
    signal.disconnect(again, sender=Person)
""",
    "a row that a manager hides leaves others cached": """
note, other = Note.objects.create(text="0", gone=True), Note.objects.create(text="other")
def write():
    note.text = str(int(note.text) + 1)
    note.save()
stays(write, lambda: Note.objects.get(pk=other.pk), lambda: Note.objects.filter(text="other").count())
""",
    "a fixture": """
from django.core import serializers
note = Note.objects.create(text="0")
texts = iter("12")
def write():
    dumped = serializers.serialize("json", [Note(pk=note.pk, text=next(texts))])
    for row in serializers.deserialize("json", dumped):
        row.save()
play(write, lambda: Note.objects.get(pk=note.pk).text, lambda: Note.objects.filter(text="0").count())
""",
    "a field that reads NULL as an empty text": """
label = Label.objects.create()
def write():
    label.text = None if label.text else "a"
    label.save()
play(write, lambda: Label.objects.filter(text=None).count(), lambda: Label.objects.filter(text="a").count())
""",
    "a thread that is over keeps no connection": """
import datetime, gc, threading, uuid, weakref
from django.db import connections
held = []
def work():
    call_command("migrate", run_syncdb=True, verbosity=0)
    day = datetime.date(2026, 1, 1)
    row = Every.objects.create(unique=uuid.uuid4(), is_open=True, at=datetime.datetime.now(datetime.UTC), day=day,
                               hour=datetime.time(1), ratio=1, price=1, shouted="A", text="a")
    row.text = "b"
    row.save()
    held.append(weakref.ref(connections["default"]))
thread = threading.Thread(target=work)
thread.start()
thread.join()
gc.collect()
assert held[0]() is None
""",
}


# Each in a process of its own, forked from one that has made the tables: Django starts once for all of them.
FORKED = """
import json
import os
import traceback

def forked(code):
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(ours)
        told = "came through"
        try:
            exec(code, globals())
        except BaseException:
            told = traceback.format_exc()
        with os.fdopen(theirs, "w") as out:
            out.write(told)
        os._exit(0)
    os.close(theirs)
    with os.fdopen(ours) as told:
        text = told.read()
    os.waitpid(pid, 0)
    return text

with open("plays.json") as plays:
    print(json.dumps({name: forked(code) for name, code in json.load(plays).items()}))
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer) -> dict[str, str]:
    """What each play says, by name."""
    directory = tmp_path_factory.mktemp("plays")
    project = Project(directory)
    project.write("shop/models.py", MODELS)
    project.write("plays.json", json.dumps(PLAYS))
    project.policies(POLICIES.replace("shop.*", '"shop.*"'))
    # Keys of its own: other tests are in the same server.
    own = f'CACHEOPS_REDIS = "{redis_server.url}"\nCACHEOPS_PREFIX = lambda _: "{directory.name}"\n'
    project.settings(before=own)
    ran = project.serve(PLAY + FORKED)
    assert ran.code == 0, ran.err
    found: dict[str, str] = ran.json
    return found


@pytest.mark.parametrize("name", PLAYS)
def test_what_is_written_is_read_at_once(told: dict[str, str], name: str) -> None:
    assert told[name] == "came through"
