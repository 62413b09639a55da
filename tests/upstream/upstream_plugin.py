"""A pytest plugin for the suite: its tests commit, as the code does that they are about.

Its TestCases run inside a transaction each, and hide that from cacheops by emptying `transaction_states._states`. This
runtime asks the connection, which is not deceived, and what such a transaction has written is rightly not cached.
"""

from __future__ import annotations

__all__ = ["pytest_configure"]


def pytest_configure() -> None:
    """Before the suite's modules are imported: TestCase is one that flushes its tables, and there is a `_states`."""
    import django.test
    from cacheops.transaction import transaction_states
    from django.apps import apps
    from django.db import connections

    class Committing(django.test.TransactionTestCase):
        """Leaves the database to the next test as the rollback of a TestCase would."""

        reset_sequences = True

        @classmethod
        def _fixture_setup(cls) -> None:
            for alias in cls._databases_names(include_mirrors=False):
                # One test drops a table.
                there = connections[alias].introspection.table_names()
                for model in apps.get_models():
                    if model._meta.db_table not in there and not model._meta.proxy:
                        with connections[alias].schema_editor() as editor:
                            editor.create_model(model)
            super()._fixture_setup()

    django.test.TestCase = Committing  # type: ignore[assignment, misc]
    if not hasattr(transaction_states, "_states"):
        transaction_states._states = {}
