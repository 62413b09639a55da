"""Replacements in place for one test, whether or not the running project installs them."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import Any

import pytest

from cachepolicy.runtime import seams

__all__ = ["put_in_place"]


def put_in_place(monkeypatch: pytest.MonkeyPatch, replacements: Iterable[tuple[str, str, Any]]) -> None:
    """Replace what is named, unless the seams have done it; monkeypatch puts it back."""
    for replacement in replacements:
        if replacement not in seams.REPLACEMENTS:
            owner, attribute, replaced = replacement
            module, _, name = owner.partition(":")
            target: Any = import_module(module)
            target = getattr(target, name) if name else target
            monkeypatch.setattr(target, attribute, replaced(getattr(target, attribute)))
