"""A small Django project in a directory of its own, whose `manage.py` and server start in fresh processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cachepolicy

__all__ = ["DOOR", "Project", "Ran", "run"]

DOOR = 'globals().update(cachepolicy.settings(BASE_DIR / "policies.yaml"))'

_SETTINGS = """\
from pathlib import Path

import cachepolicy

BASE_DIR = Path(__file__).parent
SECRET_KEY = "for these tests only"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}}}
INSTALLED_APPS = {apps!r}
{before}
{door}
{after}
"""
_MODELS = """\
from django.contrib.contenttypes.models import ContentType
from django.db import models


class Category(models.Model):
    parent = models.ForeignKey("self", models.CASCADE, null=True)


class Tag(models.Model):
    pass


class Article(models.Model):
    category = models.ForeignKey(Category, models.CASCADE)
    tags = models.ManyToManyField(Tag)


class Headline(Article):
    class Meta:
        proxy = True


class Log(models.Model):
    about = models.ForeignKey(ContentType, models.CASCADE)


class Place(models.Model):
    name = models.CharField(max_length=9)


class Cafe(Place):
    pass
"""
_MANAGE = """\
import os, sys
from django.core.management import execute_from_command_line

os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
execute_from_command_line(sys.argv)
"""
_SERVER = """\
import os

os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
import django

django.setup()
"""
_APPS = ("django.contrib.contenttypes", "shop", "cacheops", "cachepolicy")


@dataclass(frozen=True)
class Ran:
    """What a process left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its standard output, read as JSON."""
        return json.loads(self.out)


class Project:
    """settings.py with the two-line door, an app `shop`, and policies.yaml."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "shop").mkdir()
        self.write("manage.py", _MANAGE)
        self.write("shop/__init__.py", "")
        self.write("shop/models.py", _MODELS)
        self.settings()

    def write(self, name: str, text: str) -> None:
        """Put a file into the project."""
        (self.directory / name).parent.mkdir(exist_ok=True)
        (self.directory / name).write_text(text, encoding="utf-8")

    def policies(self, text: str) -> None:
        """Put policies.yaml there."""
        self.write("policies.yaml", text)

    def settings(self, *, before: str = "", door: str = DOOR, after: str = "", apps: tuple[str, ...] = _APPS) -> None:
        """Write settings.py, with lines before and after the door."""
        self.write("settings.py", _SETTINGS.format(before=before, door=door, after=after, apps=list(apps)))

    def manage(self, *arguments: str, **environment: str) -> Ran:
        """Run `manage.py`, where Django's system checks follow."""
        return self.python("manage.py", *arguments, **environment)

    def serve(self, then: str = "", **environment: str) -> Ran:
        """Start as a server does (django.setup() under another name than manage.py), and run `then`."""
        return self.python("-c", _SERVER + then, **environment)

    def python(self, *arguments: str, **environment: str) -> Ran:
        """Run Python in the project's directory."""
        return run(*arguments, directory=self.directory, **environment)


def run(*arguments: str, directory: Path, **environment: str) -> Ran:
    """Run this Python with the tested cachepolicy on its path."""
    root = str(Path(cachepolicy.__file__).resolve().parent.parent)
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("CACHEPOLICY_", "DJANGO_", "PYTHON"))
    }
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=directory,
        env={**inherited, "PYTHONPATH": root, "PYTHONUTF8": "1", **environment},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    return Ran(done.returncode, done.stdout, done.stderr)
