"""What the tests of the language share."""

from __future__ import annotations

import pytest

from cachepolicy.policies.loader import ENVIRONMENT_VARIABLE


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may have chosen an overlay for their own site."""
    monkeypatch.delenv(ENVIRONMENT_VARIABLE, raising=False)
