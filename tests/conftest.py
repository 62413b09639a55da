"""Hypothesis without deadlines, since no test asserts how long anything takes; databases that are soon empty again."""

from __future__ import annotations

from typing import Any

import hypothesis
import pytest

hypothesis.settings.register_profile("cachepolicy", deadline=None)
hypothesis.settings.load_profile("cachepolicy")


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None) -> None:
    """The test database, whose content types and permissions are made once, not whenever a test has emptied it.

    Nine tenths of what it costs to empty it. Nothing here asks for a permission; a content type is made where one is
    asked for.
    """
    from django.contrib.auth.management import create_permissions
    from django.contrib.contenttypes.management import create_contenttypes
    from django.contrib.contenttypes.models import ContentType
    from django.db.models.signals import post_migrate

    def forget_content_types(**_: Any) -> None:
        ContentType.objects.clear_cache()

    assert post_migrate.disconnect(create_contenttypes)
    assert post_migrate.disconnect(
        create_permissions, dispatch_uid=f"{create_permissions.__module__}.create_permissions"
    )
    post_migrate.connect(forget_content_types, weak=False)
