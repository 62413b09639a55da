"""Policies and their refusals cross processes: pytest-xdist, pools and deep copies of the settings."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest

from cachepolicy.exceptions import PolicyError, UnreadableError
from cachepolicy.policies.loader import load_policies, parse_policies

TEXT = b"""\
version: 1
max_staleness: 60s
models: {news.Article: {timeout: 30s, ops: [get]}, auth.*: off}
functions: {stats: {depends_on: [news.Article]}}
databases: {replica: {max_lag: 5s}}
environments: {test: {max_staleness: 2s}}
"""


def test_a_policy_survives_pickling_and_copying_frozen_as_before() -> None:
    policies = parse_policies(TEXT)
    for again in (pickle.loads(pickle.dumps(policies)), copy.deepcopy(policies), copy.copy(policies)):
        assert again == policies
        assert again.overlaid == policies.overlaid
        with pytest.raises(TypeError):
            again.models["a.b"] = again.models["auth.*"]
        with pytest.raises(TypeError):
            again.functions["f"] = again.functions["stats"]
        with pytest.raises(TypeError):
            again.databases["f"] = again.databases["replica"]


def test_a_refusal_survives_pickling_and_copying_with_its_kind(tmp_path: Path) -> None:
    with pytest.raises(PolicyError) as refused:
        parse_policies(b"version: 2\nmodels: {a.B: {}}")
    with pytest.raises(UnreadableError) as unreadable:
        load_policies(tmp_path / "none.yaml")
    for error in (refused.value, unreadable.value):
        for again in (pickle.loads(pickle.dumps(error)), copy.deepcopy(error)):
            assert type(again) is type(error)
            assert (again.problems, str(again)) == (error.problems, str(error))
