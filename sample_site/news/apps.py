"""The newsroom's app."""

from __future__ import annotations

from django.apps import AppConfig


class NewsConfig(AppConfig):
    """Articles, the people who write them, and the reference tables they point to."""

    name = "news"
    verbose_name = "Newsroom"
