"""The kit's own table: rows that count their versions under the row lock, and a log of the tokens that committed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import MappingProxyType
from typing import Any, ClassVar, Final

from cacheops.conf import prepare_profiles
from django.apps import apps
from django.db import connections, models, router
from django.test.utils import override_settings

from cachepolicy import clock, conf
from cachepolicy.compiler import compile_policies
from cachepolicy.consistency.history import Operation
from cachepolicy.policies.durations import Duration
from cachepolicy.policies.loader import parse_policies
from cachepolicy.policies.model import PolicySet

__all__ = ["CommitLog", "Probe", "committed_tokens", "filled", "key_of", "probe_table"]

_APP: Final = "cachepolicy"
_PROBE: Final = "cachepolicy.probe"
_COMMIT_LOG: Final = "cachepolicy.commitlog"

# Before the classes are made: cacheops decides once and for all, as a class is made, whether it sees its writes.
prepare_profiles()[_PROBE] = {"ops": set(), "timeout": 1, "lock": False, "local_get": False, "db_agnostic": False}
prepare_profiles()[_COMMIT_LOG] = None


class Probe(models.Model):
    """A row that is written and read; `place` is shared by the rows of one list, `token` names its last write."""

    number = models.IntegerField(primary_key=True)
    place = models.IntegerField(db_index=True)
    version = models.IntegerField()
    token = models.CharField(max_length=80)
    objects: ClassVar[Any] = models.Manager()

    class Meta:
        app_label = _APP

    def __str__(self) -> str:
        return f"{key_of(self.number)} version {self.version} by {self.token}"


class CommitLog(models.Model):
    """The tokens of the writes that committed, each logged in the transaction of its write."""

    token = models.CharField(max_length=80, primary_key=True)
    objects: ClassVar[Any] = models.Manager()

    class Meta:
        app_label = _APP

    def __str__(self) -> str:
        return self.token


_MODELS: Final[tuple[type[models.Model], ...]] = (Probe, CommitLog)


def _unregister() -> None:
    for model in _MODELS:
        apps.all_models[_APP].pop(model._meta.model_name or "", None)
    apps.clear_cache()


# Known to the project while there is a table only: `show`, `migrate` and `makemigrations` ask for every model.
_unregister()


@contextmanager
def probe_table(bound_ms: int, near_ms: int = 0, ahead_ms: int = 0) -> Iterator[str]:
    """Inside the block the kit's tables exist, and the policy caches every op of Probe; gives the database's alias.

    The rule's timeout is `bound_ms`, its `near` and `refresh_ahead` are the other two, 0 for none. Raises PolicyError
    for such as a policy may not have, ValueError where the runtime cannot keep them. Call it outside any transaction,
    on a database that may be thrown away: a table of the same name is dropped.
    """
    policies = _with_a_rule(conf.policies(), bound_ms, near_ms, ahead_ms)
    before = prepare_profiles()[_PROBE]
    alias = router.db_for_write(Probe)
    for model in _MODELS:
        apps.register_model(_APP, model)
    try:
        # As cacheops would have made it of these settings, had it not been made at start-up.
        prepare_profiles()[_PROBE] = compile_policies(policies)["CACHEOPS"][_PROBE]
        with override_settings(CACHEPOLICY=policies):
            _drop(alias)
            with connections[alias].schema_editor() as editor:
                for model in _MODELS:
                    editor.create_model(model)
            yield alias
    finally:
        _drop(alias)
        prepare_profiles()[_PROBE] = before
        _unregister()


def filled(alias: str, places: Mapping[int, Sequence[int]]) -> list[Operation]:
    """Make the rows of these numbers, in the list of each place; gives the writes that a history begins with."""
    rows = [
        Probe(number=number, place=place, version=0, token=f"initial.{number}")
        for place, numbers in places.items()
        for number in numbers
    ]
    Probe.objects.using(alias).bulk_create(rows)
    seen_ns = clock.now_ns()
    return [Operation.initial(key_of(row.number), row.version, row.token, seen_ns) for row in rows]


def committed_tokens(alias: str) -> frozenset[str]:
    """The commit log; read it after the last write, whose session must be gone by then."""
    return frozenset(CommitLog.objects.using(alias).nocache().values_list("token", flat=True))


def key_of(number: int) -> str:
    """What a history calls the row of this number."""
    return f"probe:{number}"


def _with_a_rule(policies: PolicySet, bound_ms: int, near_ms: int, ahead_ms: int) -> PolicySet:
    given = {"timeout": bound_ms, "near": near_ms, "refresh_ahead": ahead_ms}
    durations = ", ".join(f"{name}: {Duration(ms)}" for name, ms in given.items() if ms)
    rules = f"cachepolicy.Probe: {{ops: all, {durations}}}, {_COMMIT_LOG}: off"
    name = policies.environment
    overlays = "{}" if name is None else f"{{{json.dumps(name)}: {{}}}}"
    text = f"{{version: 1, models: {{{rules}}}, environments: {overlays}}}"
    models = {**policies.models, **parse_policies(text.encode(), "the consistency kit", name).models}
    return replace(policies, models=MappingProxyType(models))


def _drop(alias: str) -> None:
    connection = connections[alias]
    existing = connection.introspection.table_names()
    with connection.schema_editor() as editor:
        for model in _MODELS:
            if model._meta.db_table in existing:
                editor.delete_model(model)
