"""Django's system checks: the file's problems, the policy against the installed models, the settings, the server."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from django.apps import apps
from django.conf import settings
from django.core import checks

from cachepolicy import conf
from cachepolicy.compiler import CACHEOPS_VERSION, compile_policies
from cachepolicy.database_checks import database_problems
from cachepolicy.model_checks import model_problems
from cachepolicy.policies.model import PolicySet
from cachepolicy.policies.problems import Origin, Problem
from cachepolicy.server_checks import server_problems

__all__ = ["DOOR", "by_hand", "cacheops_problems", "check_policies", "misfits", "register_checks", "setup_problems"]

DOOR: Final = 'globals().update(cachepolicy.settings(BASE_DIR / "policies.yaml"))'


def register_checks() -> None:
    """Register every check; doing it twice changes nothing."""
    checks.register(check_policies, "cachepolicy")
    checks.register(check_server, checks.Tags.database)
    checks.register(check_server_deploy, "cachepolicy", deploy=True)


def check_policies(**_: Any) -> list[checks.CheckMessage]:
    """The policy file, its fit with the installed models, and the settings; all at once."""
    if conf.problems():
        return [_message(problem) for problem in conf.problems()]
    unfit = misfits(conf.policies()) if conf.loaded() else []
    return [_message(problem) for problem in [*unfit, *setup_problems()]]


def misfits(policies: PolicySet) -> list[Problem]:
    """What in a sound policy does not fit the installed models and Django's databases."""
    return sorted([*model_problems(policies), *database_problems(policies)])


def setup_problems() -> list[Problem]:
    """What in the settings and the installed packages keeps the policy from being in force."""
    if not conf.loaded():
        message = "cachepolicy is installed, but no policy is loaded"
        return [Problem(Origin("settings.py"), "", message, f"add to settings.py: {DOOR}", "cachepolicy.E022")]
    return [*cacheops_problems(), *_by_hand(conf.policies()), *_sizes()]


def check_server(databases: Sequence[str] | None = None, **_: Any) -> list[checks.CheckMessage]:
    """The Redis server, with `check --database …` and before migrations."""
    return [checks.Warning(**problem) for problem in server_problems()] if databases and conf.loaded() else []


def check_server_deploy(databases: Sequence[str] | None = None, **_: Any) -> list[checks.CheckMessage]:
    """The Redis server, with `check --deploy`; said once where `--database` asks for it as well."""
    return [] if databases or not conf.loaded() else [checks.Warning(**problem) for problem in server_problems()]


def _message(problem: Problem) -> checks.CheckMessage:
    kind = checks.Warning if problem.is_warning else checks.Error
    what = f"{problem.path}: {problem.what}" if problem.path else problem.what
    return kind(what, hint=problem.remedy, obj=str(problem.origin), id=problem.code)


def cacheops_problems() -> Iterator[Problem]:
    """What in the installed cacheops, or its place among the apps, the runtime cannot be installed on."""
    names = [config.name for config in apps.get_app_configs()]
    if "cacheops" not in names:
        what, remedy = "cacheops is not installed", 'add "cacheops" to INSTALLED_APPS, before "cachepolicy"'
        yield Problem(Origin("INSTALLED_APPS"), "", what, remedy, "cachepolicy.E020")
        return
    if names.index("cacheops") > names.index("cachepolicy"):
        # What the runtime replaces in Django's classes, cacheops has not put there yet.
        what, remedy = "cachepolicy stands before cacheops", 'put "cacheops" before "cachepolicy"'
        yield Problem(Origin("INSTALLED_APPS"), "", what, remedy, "cachepolicy.E025")
    import cacheops

    if cacheops.__version__ != CACHEOPS_VERSION:
        what = f"django-cacheops {cacheops.__version__} is installed; cachepolicy is built on {CACHEOPS_VERSION}"
        remedy = f"pip install django-cacheops=={CACHEOPS_VERSION}"
        yield Problem(Origin("django-cacheops"), "", what, remedy, "cachepolicy.E021")


def _by_hand(policies: PolicySet) -> Iterator[Problem]:
    for name in sorted(by_hand()):
        remedy = "remove it from settings.py"
        if name in ("CACHEOPS", "CACHEOPS_DEFAULTS"):
            remedy += "; `manage.py cachepolicy init -` prints the rules that mean the same"
        what = f"{name} is set by hand, beside {policies.file}"
        yield Problem(Origin(f"settings.{name}"), "", what, remedy, "cachepolicy.E023")


def _sizes() -> Iterator[Problem]:
    for setting in (conf.compress_above, conf.local_get_entries, conf.near_bytes, conf.near_entries):
        size, name = setting(), f"CACHEPOLICY_{setting.__name__.upper()}"
        if type(size) is not int or size < 1:
            what = f"{name} is {size!r}, which is no whole number above zero"
            yield Problem(Origin(f"settings.{name}"), "", what, "write one, or remove the setting", "cachepolicy.E026")


def by_hand() -> dict[str, Any]:
    """cacheops' settings that settings.py has by itself, by name: before the door, after it, or without one."""
    compiled = compile_policies(conf.policies()) if conf.loaded() else dict.fromkeys(compile_policies(PolicySet("")))
    changed = {name: found for name, value in compiled.items() if (found := getattr(settings, name, None)) != value}
    return {**conf.replaced(), **changed}
