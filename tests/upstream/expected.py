"""The tests of django-cacheops 7.2 that fail against this runtime, each with the reason why it has to."""

from __future__ import annotations

from typing import Final

__all__ = ["EXPECTED"]

EXPECTED: Final[dict[str, str]] = {
    "tests.tests.IssueTests.test_45": (
        "cache_on_save: it stores an object from memory, which is not the state of the database, and is refused"
    ),
}
