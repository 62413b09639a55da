"""Settings of the newsroom on plain cacheops."""

from __future__ import annotations

from newsroom.settings import *  # noqa: F403
from newsroom.settings import INSTALLED_APPS as _APPS

INSTALLED_APPS = [*_APPS, "tests.plain"]
