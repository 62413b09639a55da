"""Policies in force for one test, cacheops' profiles of them included."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import cacheops.conf
from django.test import override_settings

from cachepolicy.compiler import compile_policies
from cachepolicy.policies.loader import parse_policies

__all__ = ["in_force"]


@contextmanager
def in_force(text: str, **more: Any) -> Iterator[None]:
    """Inside the block this policy file is the project's, as if the process had begun with it."""
    policies = parse_policies(text.encode(), "rules.yaml")
    memory = cacheops.conf.prepare_profiles.memory
    before = dict(memory)
    memory.clear()
    try:
        with override_settings(CACHEPOLICY=policies, **{**compile_policies(policies), **more}):
            yield
    finally:
        memory.clear()
        memory.update(before)
