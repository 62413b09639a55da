"""What five hundred rules cost at startup: django.setup() with cacheops alone, and with cachepolicy."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from benchmarks.figures import Figures
from benchmarks.loading import measure, policy_text
from benchmarks.measures import Effort
from cachepolicy import load_policies
from cachepolicy.compiler import compile_policies

__all__ = ["startup"]

_RULES: Final = 500
_NAME: Final = f"startup, {_RULES} rules"
_MODELS: Final = "from django.db import models\n\n" + "\n\n".join(
    f"class Model{n}(models.Model):\n    name = models.CharField(max_length=50)" for n in range(10)
)
_SETTINGS: Final = """
from pathlib import Path
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
INSTALLED_APPS = [*%r, *(f"app{n}" for n in range(50))]
"""
_DOOR: Final = 'import cachepolicy\nglobals().update(cachepolicy.settings(Path(__file__).with_name("policies.yaml")))\n'
_SETUP: Final = """
import time, django
begin = time.perf_counter_ns()
django.setup()
print(time.perf_counter_ns() - begin)
"""


def startup(effort: Effort, figures: Figures) -> None:
    """The time of django.setup(), imports included, in a fresh process each; and the loading of the file by itself."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        contenders = _project(directory)
        for _ in range(effort.few + 1):
            for contender, module in contenders.items():
                figures.took(_NAME, contender, _setup(directory, module))
        for contender in contenders:
            figures.forget_first(_NAME, contender)  # it compiled the modules
    for way, ms in measure(_RULES, effort.few).items():
        figures.took(f"loading {_RULES} rules", way, ms * 1_000_000)


def _project(directory: Path) -> dict[str, str]:
    """An app for each ten rules; the settings modules of the contenders."""
    policies = directory / "policies.yaml"
    policies.write_text(policy_text(_RULES))
    for n in range(_RULES // 10):
        app = directory / f"app{n}"
        app.mkdir()
        (app / "__init__.py").touch()
        (app / "models.py").write_text(_MODELS)
    rules = compile_policies(load_policies(policies))["CACHEOPS"]
    plain = {label: rule and {**rule, "timeout": int(rule["timeout"])} for label, rule in rules.items()}
    (directory / "none.py").write_text(_SETTINGS % ([],))
    (directory / "alone.py").write_text(_SETTINGS % (["cacheops"],) + f"CACHEOPS = {plain!r}\n")
    (directory / "ours.py").write_text(_SETTINGS % (["cacheops", "cachepolicy"],) + _DOOR)
    return {"no cache": "none", "cacheops": "alone", "cachepolicy": "ours"}


def _setup(directory: Path, module: str) -> int:
    environment = {"DJANGO_SETTINGS_MODULE": module, "PYTHONPATH": f"{directory}:{':'.join(sys.path)}"}
    command = [sys.executable, "-c", _SETUP]
    ran = subprocess.run(command, env=environment, cwd=directory, check=True, stdout=subprocess.PIPE, text=True)
    return int(ran.stdout)
