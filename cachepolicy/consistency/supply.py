"""Where the rows come from that scenes are played on: the project's hook, its own table, or model_bakery."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from django.conf import settings
from django.db import models, router
from django.db.transaction import atomic
from django.utils.module_loading import import_string

from cachepolicy.exceptions import CachePolicyError

__all__ = ["HOOK", "NoRow", "RowHookError", "hook", "row_of"]

HOOK = "CACHEPOLICY_ROWS"
_WANTED = 2  # of one row alone nobody can tell whether values changed places


class NoRow(Exception):
    """A model of which no row can be had; says why and what to do."""


class RowHookError(CachePolicyError):
    """settings.CACHEPOLICY_ROWS does not name a function that gives rows."""


def hook() -> Callable[[type[models.Model]], models.Model | None] | None:
    """The function that settings.CACHEPOLICY_ROWS names, or None; raises RowHookError where there is no such one."""
    path = getattr(settings, HOOK, None)
    if path is None:
        return None
    try:
        found: Callable[[type[models.Model]], models.Model | None] = import_string(path)
    except ImportError as error:
        raise RowHookError(
            f"settings.{HOOK} is {path!r}, which cannot be imported: {error}; "
            "name a function that takes a model and returns a saved instance, or None"
        ) from error
    if not callable(found):
        raise RowHookError(f"settings.{HOOK} is {path!r}, which is no function; name one that takes a model")
    return found


def row_of(model: type[models.Model]) -> models.Model:
    """A saved row of `model` that scenes may write to, beside a second one where that can be had.

    From the hook, else the table as migrations left it, else model_bakery; call it inside `allow_writes()`. Raises
    NoRow saying what to do.
    """
    given = hook()
    instance = None if given is None else _given(given, model)
    if given is not None and instance is not None:
        if len(_rows(model)[:_WANTED]) < _WANTED:
            _given(given, model)
        return instance
    found = list(_rows(model)[:_WANTED]) or [_baked(model)]
    if len(found) < _WANTED:
        with suppress(NoRow):  # one row is enough for every fault but swapped_bytes, which then says so
            _baked(model)
    return found[0]


def _given(make: Callable[[type[models.Model]], models.Model | None], model: type[models.Model]) -> models.Model | None:
    name = f"settings.{HOOK}, {getattr(settings, HOOK)}({model._meta.label}),"
    try:
        instance = make(model)
    except Exception as error:
        raise NoRow(f"{name} raised {type(error).__name__}: {error}") from error
    if instance is None or (isinstance(instance, model) and _rows(model).filter(pk=instance.pk).exists()):
        return instance
    raise NoRow(f"{name} returned {instance!r}; return a saved instance of the model, or None")


def _rows(model: type[models.Model]) -> models.QuerySet[models.Model]:
    alias = router.db_for_write(model)
    rows: models.QuerySet[models.Model] = model._base_manager.using(alias).order_by("pk").nocache()  # type: ignore[attr-defined]
    return rows


def _baked(model: type[models.Model]) -> models.Model:
    label, alias = model._meta.label, router.db_for_write(model)
    try:
        from model_bakery import baker
    except ImportError:
        raise NoRow(
            f"{label} has no row, and model_bakery, which would make one, is not installed; "
            f'run `pip install "cachepolicy[consistency]"`, or name a function that makes rows in settings.{HOOK}'
        ) from None
    try:
        with atomic(using=alias):  # what it made for foreign keys goes again where the row itself cannot be made
            made: models.Model = baker.make(model, _using=alias)
    except Exception as error:
        # Whatever a project's save(), signals and constraints raise on made-up values.
        raise NoRow(
            f"{label} has no row, and model_bakery could not make one ({type(error).__name__}: {error}); "
            f"name a function that makes rows in settings.{HOOK}"
        ) from error
    return made
