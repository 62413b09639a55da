"""`manage.py cachepolicy check | show | explain | verify | soak | off | on | schema | init`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TextIO

from django.apps import apps
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from cachepolicy import conf, starter
from cachepolicy.checks import DOOR, by_hand, misfits, setup_problems
from cachepolicy.cli import add_check_arguments, check_files, render
from cachepolicy.consistency.commandline import add_soak_arguments, add_verify_arguments, run_soak
from cachepolicy.consistency.commandline import run as run_verify
from cachepolicy.exceptions import CachePolicyError, SwitchError, SwitchUnreachableError
from cachepolicy.explain import explain, find, rows
from cachepolicy.model_checks import installed_names, misfit
from cachepolicy.policies.durations import Duration
from cachepolicy.policies.model import PolicySet
from cachepolicy.policies.problems import Problem
from cachepolicy.policies.schema import json_schema

_SWITCHES: Final = {
    "off": "serve something from no cache, in every process within a second; writes go on invalidating",
    "on": "serve it from the cache again",
}


class Command(BaseCommand):
    """The door to everything that can be asked of the policy."""

    help = "Check, show and explain the cache policy of this project."
    # A faulty policy must not keep `check` and `explain` from saying what is wrong with it.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """One sub-command each."""
        commands = parser.add_subparsers(dest="what", required=True, parser_class=argparse.ArgumentParser)
        check = commands.add_parser("check", help="check the policy file, and its fit with the installed models")
        check.add_argument("files", nargs="*", metavar="FILE", help="other files than the one in force")
        add_check_arguments(check)
        show = commands.add_parser(
            "show", help="every installed model: its rule, ops, timeout and origin; functions too"
        )
        show.add_argument("--format", choices=("text", "json"), default="text")
        why = commands.add_parser("explain", help="which rule won for a model, why, and what it will not notice")
        why.add_argument("name", metavar="app.Model|functions.NAME")
        add_verify_arguments(commands.add_parser("verify", help="break things, and measure how stale reads get"))
        add_soak_arguments(commands.add_parser("soak", help="many clients and many faults at once, for a long time"))
        for what, text in _SWITCHES.items():
            switch = commands.add_parser(what, help=text)
            named = switch.add_mutually_exclusive_group(required=True)
            named.add_argument("patterns", nargs="*", default=[], metavar="app.Model|app.*|functions.NAME")
            named.add_argument("--all", action="store_true", help="everything")
        commands.add_parser("schema", help="print the JSON Schema of policy files, for editors")
        init = commands.add_parser("init", help="write a starter file, from CACHEOPS or from the installed models")
        init.add_argument("file", nargs="?", default="policies.yaml", help="where to write (- for stdout)")

    def handle(self, *_: Any, **options: Any) -> None:
        """Run the sub-command; exit codes as the console script's."""
        getattr(self, f"_{options['what']}")(options)

    def _check(self, options: dict[str, Any]) -> None:
        if options["files"]:
            code, output = check_files(options["files"], options["environment"], options["format"])
        else:
            code, problems = _check_own(options["environment"])
            output = render(problems, 1 if conf.loaded() else 0, options["format"])
        self.stdout.write(output, ending="")
        if code:
            sys.exit(code)

    def _show(self, options: dict[str, Any]) -> None:
        policies = _sound_policies()
        if options["format"] == "json":
            self.stdout.write(json.dumps([row.as_json() for row in rows(policies)], indent=2))
        else:
            self.stdout.write("\n\n".join(filter(None, (_tables(policies), _off_now()))))

    def _explain(self, options: dict[str, Any]) -> None:
        policies = _sound_policies()
        try:
            found = find(policies, options["name"])
        except LookupError as error:
            raise CommandError(str(error)) from None
        self.stdout.write(explain(policies, found))

    def _verify(self, options: dict[str, Any], run: Callable[[dict[str, Any], TextIO], int] = run_verify) -> None:
        try:
            code = run(options, sys.stdout)
        except CachePolicyError as error:
            raise CommandError(str(error), returncode=2) from error
        except KeyboardInterrupt:
            sys.stderr.write("interrupted: no report; the test database and the kit's servers are gone\n")
            code = 130
        if code:
            sys.exit(code)

    def _soak(self, options: dict[str, Any]) -> None:
        self._verify(options, run_soak)

    def _off(self, options: dict[str, Any]) -> None:
        self._switch("switch_off", options)

    def _on(self, options: dict[str, Any]) -> None:
        self._switch("switch_on", options)

    def _switch(self, way: str, options: dict[str, Any]) -> None:
        _sound_policies()
        # Late, as the whole runtime: cacheops reads its settings at import.
        from cachepolicy.runtime import switch

        try:
            off = getattr(switch, way)(*([switch.EVERYTHING] if options["all"] else options["patterns"]))
        except SwitchUnreachableError as error:
            raise CommandError(str(error), returncode=2) from None
        except SwitchError as error:
            raise CommandError(str(error)) from None
        self.stdout.write(f"off now: {', '.join(off) or 'nothing'}\nevery process follows within a second")

    def _schema(self, _: dict[str, Any]) -> None:
        self.stdout.write(json.dumps(json_schema(), indent=2))

    def _init(self, options: dict[str, Any]) -> None:
        file = options["file"]
        name = "policies.yaml" if file == "-" else Path(file).name
        found = by_hand()
        if profiles := found.get("CACHEOPS"):
            text = starter.from_cacheops(profiles, found.get("CACHEOPS_DEFAULTS") or {}, name, _unfit)
        else:
            # Without `objects` a model can have no rule.
            models = [model for model in apps.get_models() if "objects" in model._meta.managers_map]
            text = starter.from_models([model._meta.label for model in models], name)
        if file == "-":
            self.stdout.write(text, ending="")
            return
        try:
            with Path(file).open("x", encoding="utf-8") as out:
                out.write(text)
        except FileExistsError:
            raise CommandError(f"{file} exists; name another file, or - to print the starter file") from None
        except OSError as error:
            raise CommandError(f"{file} cannot be written: {error.strerror}", returncode=2) from None
        door = f"load it in settings.py, after `import cachepolicy`: {DOOR.replace('policies.yaml', name)}"
        steps = [] if conf.loaded() else [door]
        steps += [f"remove from settings.py: {', '.join(sorted(found))}"] if found else []
        self.stdout.write("\n  ".join([f"{file} written; next", *steps, "run `manage.py check`"]))


def _check_own(environment: str | None) -> tuple[int, list[Problem]]:
    """The exit code and the problems of the file in force, under each of its overlays or only under `environment`'s."""
    problems = list(conf.problems())
    # Only a file that cannot be read has no line to complain of.
    readable = all(problem.origin.line for problem in problems)
    if not problems:
        if conf.loaded():
            problems += misfits(_overlaid(conf.policies(), environment) if environment else conf.policies())
        problems += setup_problems()
    problems = [problem for problem in problems if problem.code not in settings.SILENCED_SYSTEM_CHECKS]
    return 2 if not readable else int(not all(problem.is_warning for problem in problems)), problems


def _overlaid(policies: PolicySet, environment: str) -> PolicySet:
    if environment not in policies.overlaid:
        known = ", ".join(policies.overlaid) or "none"
        raise CommandError(f"{policies.file} has no environment {environment}; it has {known}")
    return policies.overlaid[environment]


def _unfit(pattern: str) -> str | None:
    """Why a rule for this pattern would be refused."""
    _, what, remedy = misfit(pattern, installed_names()) or (None, None, None)
    return what and f"{what}; {remedy}"


def _sound_policies() -> PolicySet:
    if not conf.loaded():
        raise CommandError("no policy is loaded; see `manage.py cachepolicy check`", returncode=1)
    if conf.problems():
        raise CommandError("the policy file has problems; see `manage.py cachepolicy check`", returncode=1)
    return conf.policies()


def _tables(policies: PolicySet) -> str:
    """A table of the models, and below it one of the functions and one of the databases where there are any."""
    models = [("model", "rule", "ops", "timeout", "also", "origin")]
    for row in rows(policies):
        flags = [name for name in ("immutable", "local_get", "lock") if getattr(row, name)]
        update = ["update ignore"] if row.update == "ignore" else []
        timeout = str(Duration(row.timeout_ms)) if row.timeout_ms else "-"
        ops = ",".join(row.ops) or "-"
        also = ",".join(flags + _tiers(row.near, row.refresh_ahead) + update) or "-"
        models.append((row.label, row.rule or "none", ops, timeout, also, row.origin or "-"))
    functions = [("function", "depends on", "timeout", "also", "origin")]
    for name, call in sorted(policies.functions.items()):
        depends_on = ",".join(call.depends_on.value) or "-"
        lock = ["lock"] if call.lock.value else []
        also = ",".join(lock + _tiers(call.near.value, call.refresh_ahead.value)) or "-"
        functions.append((name, depends_on, str(call.timeout.value), also, str(call.origin)))
    databases = [("database", "max lag", "origin")]
    for alias, database in sorted(policies.databases.items()):
        databases.append((alias, str(database.max_lag.value), str(database.origin)))
    return "\n\n".join(_aligned(table) for table in (models, functions, databases) if len(table) > 1)


def _tiers(near: Duration | None, ahead: Duration | None) -> list[str]:
    return ([f"near {near}"] if near else []) + ([f"refresh_ahead {ahead}"] if ahead else [])


def _off_now() -> str:
    if not apps.is_installed("cacheops"):
        return ""
    from cachepolicy.runtime.switch import switched_off

    try:
        off = switched_off()
    except SwitchUnreachableError:
        return "off now: not known, since Redis cannot be reached"
    return f"off now: {', '.join(off)}" if off else ""


def _aligned(lines: Sequence[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
