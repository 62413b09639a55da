"""An app to stand last in INSTALLED_APPS: it takes out what cachepolicy has installed, for the kit to find."""

from __future__ import annotations

from django.apps import AppConfig

__all__ = ["PlainConfig"]


class PlainConfig(AppConfig):
    """cacheops as it comes, for the whole life of the process."""

    name = "tests.plain"

    def ready(self) -> None:
        """Once cachepolicy's own ready() is over."""
        from tests.plain_cacheops import plain_cacheops

        self.for_ever = plain_cacheops()
        self.for_ever.__enter__()
