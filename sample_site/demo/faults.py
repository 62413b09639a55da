"""The scenes that the consistency kit plays: faults at the worst instant, on this process's own reads and writes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, cast

from django.db.models import Model

from cachepolicy.consistency.results import Case
from cachepolicy.consistency.rig import Rig
from cachepolicy.consistency.scenarios import SCENARIOS
from cachepolicy.consistency.verdict import Verdict
from cachepolicy.consistency.verify import play
from demo.stage import bound_of

__all__ = ["FAULTS", "Fault", "played"]


@dataclass(frozen=True, slots=True)
class Fault:
    """A scenario of the kit by a name for people, the rule whose promise is at stake, and what to say of it."""

    name: str
    rule: str
    scenario: str
    note: str


FAULTS: Final = (
    Fault("a stale set", "news.Article", "stale_set", "a write came between a reader's read and its store: refused"),
    Fault("nested caches", "functions.article_stats", "nested", "a function of cached rows is as old as they are"),
    Fault("a frozen snapshot", "news.Article", "frozen_snapshot", "its age counts from the transaction's beginning"),
    Fault("autocommit off", "news.Article", "rollback_autocommit_off", "what was rolled back was never stored"),
    Fault("Redis down", "news.Article", "redis_refused", "save() went through; no hit until Redis was told of it"),
)


def played(fault: Fault, rig: Rig) -> Verdict:
    """Play it on the kit's own Redis."""
    op = "function" if fault.rule.startswith("functions.") else "get"
    scenario = SCENARIOS[fault.scenario]
    case = Case(fault.rule, op, fault.scenario, "news.Article", bound_of(fault.rule).ms, "", scenario.what)
    return play(case, rig, _last).verdict


def _last(model: type[Model]) -> Model:
    """A row that no other scene plays on."""
    rows = cast(Any, model._default_manager).nocache().order_by("-pk")
    return cast(Model, rows[3])
