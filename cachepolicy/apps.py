"""The app: registers the checks, refuses to start on a faulty policy, installs the runtime."""

from __future__ import annotations

import functools

from django.apps import AppConfig
from django.core.exceptions import ImproperlyConfigured

from cachepolicy import conf
from cachepolicy.checks import cacheops_problems, check_policies, register_checks
from cachepolicy.startup import checks_follow

__all__ = ["CachePolicyConfig"]


class CachePolicyConfig(AppConfig):
    """Django's entry to cachepolicy."""

    name = "cachepolicy"
    verbose_name = "Cache policy"

    def ready(self) -> None:
        """Idempotent; raises ImproperlyConfigured on a faulty policy, except where the command says its problems."""
        register_checks()
        if not checks_follow():
            serious = [message for message in check_policies() if message.is_serious() and not message.is_silenced()]
            if serious:
                raise ImproperlyConfigured("\n".join(["the cache policy is refused:", *map(str, serious)]))
        # Where a check is about to refuse the cacheops there is, the runtime would only fail on it first.
        if conf.loaded() and not any(cacheops_problems()):
            _install_runtime()


@functools.cache
def _install_runtime() -> None:
    # Imported late: cacheops reads its settings at import.
    from cachepolicy.runtime import immutable, local_gets, seams

    seams.install()
    local_gets.install()
    immutable.install()
