"""The tests of django-cacheops 7.2 that fail against this runtime, each with the reason why it has to."""

from __future__ import annotations

from typing import Final

__all__ = ["EXPECTED"]

EXPECTED: Final[dict[str, str]] = {
    "tests.test_extras.LockingTests.test_lock": (
        "it waits for a call of brpoplpush, by which cacheops waits for a lock, forever if its holder died; here a "
        "reader asks again every few milliseconds, for a second at most"
    ),
    "tests.test_low_level.test_ttl": (
        "it looks for the value of a condition in the name of a key, where here a keyed digest stands"
    ),
    "tests.tests.IssueTests.test_385": (
        "it expects a read to raise where its result cannot be pickled; here the caller gets the result, which is not "
        "stored"
    ),
    "tests.test_extras.NoInvalidationTests.test_in_transaction": (
        "it stores what the first read of a table gives since Redis was emptied, out of a snapshot that is older: what "
        "was invalidated in between nobody knows, so that it is not stored"
    ),
    "tests.tests.SimpleCacheTests.test_cached": (
        "it sets a value that nobody asked for before, so that its age is unknown: such a value is not stored"
    ),
    "tests.tests_sharding.SimpleCacheTests.test_prefix": (
        "it sets a value that nobody asked for before, so that its age is unknown: such a value is not stored"
    ),
    "tests.tests.IssueTests.test_45": (
        "cache_on_save: it stores an object from memory, which is not the state of the database, and is refused"
    ),
}
