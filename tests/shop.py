"""A fresh project of two models that is not the sample site, to run the kit in."""

from __future__ import annotations

from pathlib import Path

from tests.projects import DOOR, Project

__all__ = ["shop"]

MODELS = """\
from django.db import models


class Category(models.Model):
    name = models.CharField(max_length=40)


class Product(models.Model):
    category = models.ForeignKey(Category, models.CASCADE)
    title = models.CharField(max_length=40)
    price = models.IntegerField()
"""
POLICIES = """\
version: 1
max_staleness: 60s
models:
  shop.Product:  {ops: [get, count], timeout: 30s}
  shop.Category: {ops: [get], timeout: 20s}
"""


def shop(
    directory: Path, *, models: str = MODELS, policies: str = POLICIES, before: str = "", plain: bool = False
) -> Project:
    """The project, with no Redis of its own to reach and SQLite in memory; `plain` leaves cacheops as it comes."""
    project = Project(directory)
    project.write("shop/models.py", models)
    project.policies(policies)
    unreachable = 'CACHEOPS_REDIS = "redis://127.0.0.1:1/0"\n'
    apps = ("shop", "cacheops", "cachepolicy", *(["tests.plain"] if plain else []))
    project.settings(before=unreachable + before, door=DOOR, apps=apps)
    return project
