"""`manage.py cachepolicy check | show | explain | schema | init`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from cachepolicy import conf, starter
from cachepolicy.checks import check_policies
from cachepolicy.cli import add_check_arguments, check_files, render
from cachepolicy.explain import Row, explain, find_model, rows
from cachepolicy.policies.durations import Duration
from cachepolicy.policies.model import PolicySet
from cachepolicy.policies.schema import json_schema


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
        show = commands.add_parser("show", help="every installed model: its rule, ops, timeout and origin")
        show.add_argument("--format", choices=("text", "json"), default="text")
        why = commands.add_parser("explain", help="which rule won for a model, why, and what it will not notice")
        why.add_argument("model", metavar="app.Model")
        commands.add_parser("schema", help="print the JSON Schema of policy files, for editors")
        init = commands.add_parser("init", help="write a starter file, from CACHEOPS or from the installed models")
        init.add_argument("file", nargs="?", default="policies.yaml", help="where to write (- for stdout)")

    def handle(self, *_: Any, **options: Any) -> None:
        """Run the sub-command; exit codes as the console script's."""
        getattr(self, f"_{options['what']}")(options)

    def _check(self, options: dict[str, Any]) -> None:
        if options["files"]:
            code, output = check_files(options["files"], options["environment"], options["format"])
            self.stdout.write(output, ending="")
            if code:
                sys.exit(code)
            return
        problems = conf.problems()
        if problems:
            self.stdout.write(render(problems, 1, options["format"]), ending="")
            sys.exit(1)
        messages = check_policies()
        for message in messages:
            self.stdout.write(str(message))
        if any(message.is_serious() for message in messages):
            sys.exit(1)
        if options["format"] == "text":
            self.stdout.write(f"{conf.policies().file}: no problems")

    def _show(self, options: dict[str, Any]) -> None:
        found = rows(_sound_policies())
        if options["format"] == "json":
            self.stdout.write(json.dumps([row.as_json() for row in found], indent=2))
        else:
            self.stdout.write(_table(found))

    def _explain(self, options: dict[str, Any]) -> None:
        policies = _sound_policies()
        try:
            model = find_model(options["model"])
        except LookupError as error:
            raise CommandError(str(error)) from None
        self.stdout.write(explain(policies, model))

    def _schema(self, _: dict[str, Any]) -> None:
        self.stdout.write(json.dumps(json_schema(), indent=2))

    def _init(self, options: dict[str, Any]) -> None:
        file = options["file"]
        profiles = {} if conf.loaded() else getattr(settings, "CACHEOPS", {})
        if profiles:
            text = starter.from_cacheops(profiles, getattr(settings, "CACHEOPS_DEFAULTS", {}), Path(file).name)
        else:
            labels = [model._meta.label for model in apps.get_models()]
            text = starter.from_models(labels, "policies.yaml" if file == "-" else Path(file).name)
        if file == "-":
            self.stdout.write(text, ending="")
            return
        try:
            with Path(file).open("x", encoding="utf-8") as out:
                out.write(text)
        except FileExistsError:
            raise CommandError(f"{file} exists; name another file, or - to print the starter file") from None
        self.stdout.write(f"{file} written; load it in settings.py and check it with `cachepolicy check {file}`")


def _sound_policies() -> PolicySet:
    if not conf.loaded():
        raise CommandError("no policy is loaded; see `manage.py cachepolicy check`", returncode=1)
    if conf.problems():
        raise CommandError("the policy file has problems; see `manage.py cachepolicy check`", returncode=1)
    return conf.policies()


def _table(found: list[Row]) -> str:
    head = ("model", "rule", "ops", "timeout", "also", "origin")
    lines = [head]
    for row in found:
        flags = [name for name in ("immutable", "local_get", "lock") if getattr(row, name)]
        near = [f"near {Duration(row.near_ms)}"] if row.near_ms else []
        timeout = str(Duration(row.timeout_ms)) if row.timeout_ms else "-"
        ops = ",".join(row.ops) or "-"
        lines.append((row.label, row.rule or "none", ops, timeout, ",".join(flags + near) or "-", row.origin or "-"))
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
