"""Which cases a run tries: every one of the policy, or those that its caller names."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from django.apps import apps
from django.conf import settings

from cachepolicy import conf
from cachepolicy.consistency.cases import CONCURRENT_WRITERS, cases_of
from cachepolicy.consistency.results import Case
from cachepolicy.consistency.scenarios import SCENARIOS
from cachepolicy.exceptions import CachePolicyError
from cachepolicy.policies.model import OPS, PolicySet
from cachepolicy.policies.problems import did_you_mean

__all__ = ["Selection", "SelectionError", "new_seed", "sound_policies"]

_OPS: Final = (*OPS, "local_get", "function")


class SelectionError(CachePolicyError):
    """What a run was asked to try does not exist, or nothing can be tried at all; says what to write instead."""


def new_seed() -> int:
    """A seed that nobody chose, short enough to be typed."""
    return random.SystemRandom().randrange(10**6)


@dataclass(frozen=True, slots=True)
class Selection:
    """Models, ops and faults to try, each empty for all; `prefix` is how the caller spells its options.

    `models` are labels, or `functions.` and a name.
    """

    models: Sequence[str] = ()
    ops: Sequence[str] = ()
    faults: Sequence[str] = ()
    prefix: str = "--"

    def cases(self, seed: int) -> list[Case]:
        """The cases of the policy in force, in the order that the seed gives; raises SelectionError."""
        policies = sound_policies()
        ruled = [m._meta.label for m in apps.get_models() if policies.rule_for(m._meta.label) is not None]
        ruled += [f"functions.{name}" for name in policies.functions]
        for label in self.models:
            if _is_installed(label) and label.lower() not in map(str.lower, ruled):
                raise SelectionError(
                    f"{self.prefix}model {label}: no rule caches it, so there is nothing to try; "
                    f"give it a rule in {policies.file}, or name another model"
                )
        races = cases_of(policies, seed=seed, faults=[CONCURRENT_WRITERS])
        ruled += sorted({name for case in races for name in (case.model, case.rule)})
        self._refuse_unknown("model", self.models, ruled)
        self._refuse_unknown("op", self.ops, _OPS)
        self._refuse_unknown("fault", self.faults, [*SCENARIOS, CONCURRENT_WRITERS])
        found = cases_of(policies, seed=seed, models_=self.models, ops=self.ops, faults=self.faults)
        if not found:
            narrowed = [f"{self.prefix}{name}" for name in ("model", "op", "fault") if getattr(self, f"{name}s")]
            raise SelectionError(
                f"nothing to try: no rule of {policies.file} caches a read"
                + (f" that fits {', '.join(narrowed)}; leave one of them out" if narrowed else "; give one its ops")
            )
        return found

    def _refuse_unknown(self, kind: str, words: Iterable[str], known: Iterable[str]) -> None:
        known = list(known)
        for word in words:
            if word.lower() not in map(str.lower, known):
                match = did_you_mean(word, known)
                remedy = f"did you mean {match}?" if match else f"there are {', '.join(sorted(known))}"
                raise SelectionError(f"{self.prefix}{kind} {word}: no such {kind}; {remedy}")


def _is_installed(label: str) -> bool:
    return any(model._meta.label_lower == label.lower() for model in apps.get_models())


def sound_policies() -> PolicySet:
    """The policies in force; raises SelectionError where there are none that cache."""
    if not conf.loaded() or conf.problems():
        state = "has problems" if conf.loaded() else "is not loaded"
        raise SelectionError(f"the policy file {state}; see `manage.py cachepolicy check`")
    if not getattr(settings, "CACHEOPS_ENABLED", True):
        raise SelectionError(
            "settings.CACHEOPS_ENABLED is False: nothing is cached, so nothing can be shown; "
            "set it to True for this run"
        )
    return conf.policies()
