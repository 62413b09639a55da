"""The door: two lines in settings.py, in fresh processes, since what a process imports is the point."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import cachepolicy

VALID = "version: 1\nmodels:\n  news.Article: {timeout: 30s, ops: [get]}\n"
FAULTY = "version: 2\nmodels:\n  Article: {timeout: 30}\n"
PROBLEMS = [
    "policies.yaml:1:10: version: `2` is not a version of the language; write `version: 1`",
    "policies.yaml:3:3: models.Article: `Article` is not a model; write the app too, as in news.Article",
]
DOOR = "import cachepolicy\nglobals().update(cachepolicy.settings(BASE_DIR / 'policies.yaml'))\n"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "policies.yaml").write_text(VALID)
    return tmp_path


def _run(
    directory: Path, program: str, code: str, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    (directory / program).parent.mkdir(parents=True, exist_ok=True)
    (directory / program).write_text(code)
    root = str(Path(cachepolicy.__file__).resolve().parents[1])
    inherited = {name: value for name, value in os.environ.items() if name != "CACHEPOLICY_ENVIRONMENT"}
    return subprocess.run(
        [sys.executable, program, *arguments],
        cwd=directory,
        env=inherited | {"PYTHONPATH": os.pathsep.join((str(directory), root)), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def _printed(ran: subprocess.CompletedProcess[str]) -> object:
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


SETTINGS = "import json, cachepolicy\nfound = cachepolicy.settings('policies.yaml')\n"


def test_imports_no_django_no_cacheops_and_no_redis(directory: Path) -> None:
    code = (
        f"{SETTINGS}import sys\n"
        "roots = {name.partition('.')[0] for name in sys.modules}\n"
        "print(json.dumps(sorted(roots & {'django', 'cacheops', 'redis', 'funcy', 'yaml'})))"
    )
    assert _printed(_run(directory, "program.py", code)) == ["yaml"]


def test_a_valid_file_gives_the_settings_of_cacheops(directory: Path) -> None:
    code = (
        f"{SETTINGS}print(json.dumps([sorted(found), found['CACHEPOLICY_REPLACED'], found['CACHEOPS']], default=list))"
    )
    names, replaced, rules = _printed(_run(directory, "program.py", code))  # type: ignore[misc]
    assert {"CACHEOPS", "CACHEOPS_DEFAULTS", "CACHEOPS_INSIDEOUT"} <= set(names)
    assert {"CACHEPOLICY", "CACHEPOLICY_PROBLEMS", "CACHEPOLICY_REPLACED"} <= set(names)
    assert replaced == {}
    assert rules["news.article"]["timeout"] == 30


@pytest.mark.parametrize("program", ["server.py", "bin/gunicorn", "manage", "manage.pyc.py", "django/other.py"])
def test_a_server_refuses_a_faulty_file_with_every_problem(directory: Path, program: str) -> None:
    (directory / "policies.yaml").write_text(FAULTY)
    ran = _run(directory, program, SETTINGS)
    assert ran.returncode == 1
    shown = "\n".join(f"  {problem}" for problem in PROBLEMS)
    assert ran.stderr.rstrip().endswith(f"cachepolicy.exceptions.PolicyError: 2 problems in the cache policy:\n{shown}")


@pytest.mark.parametrize("arguments", [["migrate"], ["shell", "-c", "check"], [], ["runserver", "--skip-checks"]])
def test_a_command_that_does_not_say_the_problems_first_refuses_too(directory: Path, arguments: list[str]) -> None:
    (directory / "policies.yaml").write_text(FAULTY)
    ran = _run(directory, "manage.py", SETTINGS, *arguments)
    assert ran.returncode == 1
    assert "cachepolicy.exceptions.PolicyError: 2 problems in the cache policy:\n" in ran.stderr


@pytest.mark.parametrize("command", ["check", "cachepolicy", "runserver"])
@pytest.mark.parametrize("program", ["manage.py", "bin/django-admin", "here/django/__main__.py"])
def test_under_a_command_that_says_the_problems_a_faulty_file_caches_nothing(
    directory: Path, program: str, command: str
) -> None:
    (directory / "policies.yaml").write_text(FAULTY)
    code = (
        f"{SETTINGS}"
        "problems = [str(problem) for problem in found['CACHEPOLICY_PROBLEMS']]\n"
        "print(json.dumps([found['CACHEOPS'], problems, len(found['CACHEPOLICY'].models)]))"
    )
    assert _printed(_run(directory, program, code, command)) == [{}, PROBLEMS, 0]


UNREADABLE = "policies.yaml: the file cannot be read: No such file or directory; check the path given"


def test_a_server_refuses_a_file_that_is_not_there(directory: Path) -> None:
    (directory / "policies.yaml").unlink()
    ran = _run(directory, "server.py", SETTINGS)
    assert ran.returncode == 1
    assert ran.stderr.rstrip().endswith(f"PolicyError: 1 problem in the cache policy:\n  {UNREADABLE}")


def test_under_check_a_file_that_is_not_there_is_told_by_the_checks(directory: Path) -> None:
    (directory / "policies.yaml").unlink()
    code = f"{SETTINGS}print(json.dumps([str(problem) for problem in found['CACHEPOLICY_PROBLEMS']]))"
    assert _printed(_run(directory, "manage.py", code, "check")) == [UNREADABLE]


def test_what_this_version_cannot_keep_is_refused_too(directory: Path) -> None:
    (directory / "policies.yaml").write_text("version: 1\nviews:\n  front: {timeout: 1s500ms}\n")
    ran = _run(directory, "server.py", SETTINGS)
    assert ran.returncode == 1
    assert ran.stderr.rstrip().endswith(
        "  policies.yaml:3:3: views.front: this version caches no views yet; "
        "remove the rule; cache the function behind it by `functions`"
    )


def test_the_variable_chooses_the_environment_and_the_argument_wins(directory: Path) -> None:
    (directory / "policies.yaml").write_text(
        f"{VALID}environments: {{a: {{max_staleness: 1s}}, b: {{max_staleness: 2s}}}}\n"
    )
    code = (
        f"{SETTINGS}"
        "other = cachepolicy.settings('policies.yaml', environment='b')\n"
        "print(json.dumps([each['CACHEOPS']['news.article']['timeout'] for each in (found, other)]))"
    )
    assert _printed(_run(directory, "program.py", code)) == [30, 2]
    assert _printed(_run(directory, "program.py", code, CACHEPOLICY_ENVIRONMENT="a")) == [1, 2]


def _settings_module(directory: Path, name: str, text: str) -> None:
    (directory / f"{name}.py").write_text(f"from pathlib import Path\nBASE_DIR = Path(__file__).parent\n{text}")


READ = "import json, site_settings\nprint(json.dumps(site_settings.CACHEPOLICY_REPLACED))"


def test_the_two_lines_work_inside_settings_py(directory: Path) -> None:
    _settings_module(directory, "site_settings", f"{DOOR}INSTALLED_APPS = ['cacheops', 'cachepolicy']\n")
    code = (
        "import json, os\nos.environ['DJANGO_SETTINGS_MODULE'] = 'site_settings'\n"
        "from django.conf import settings\n"
        "print(json.dumps([settings.CACHEOPS['news.article']['timeout'], settings.CACHEOPS_INSIDEOUT,"
        " settings.CACHEPOLICY.file, settings.CACHEPOLICY_REPLACED]))"
    )
    assert _printed(_run(directory, "server.py", code)) == [30, True, "policies.yaml", {}]


def test_names_what_stood_there_by_hand(directory: Path) -> None:
    by_hand = "CACHEOPS = {'*.*': {}}\nCACHEOPS_INSIDEOUT = False\nCACHEOPS_REDIS = 'redis://localhost/1'\n"
    _settings_module(directory, "site_settings", by_hand + DOOR)
    by_hand = {"CACHEOPS": {"*.*": {}}, "CACHEOPS_INSIDEOUT": False}
    assert _printed(_run(directory, "server.py", READ)) == by_hand
    # So that `init` can make rules of it before the file exists.
    (directory / "policies.yaml").unlink()
    assert _printed(_run(directory, "manage.py", READ, "cachepolicy", "init")) == by_hand


def test_names_what_stood_by_hand_in_a_settings_class(directory: Path) -> None:
    _settings_module(
        directory,
        "site_settings",
        "import cachepolicy\nclass Base:\n    CACHEOPS = {'*.*': {}}\n"
        "    locals().update(cachepolicy.settings(BASE_DIR / 'policies.yaml'))\n"
        "CACHEPOLICY_REPLACED = Base.CACHEPOLICY_REPLACED",
    )
    assert _printed(_run(directory, "server.py", READ)) == {"CACHEOPS": {"*.*": {}}}


def test_no_false_alarm_for_what_the_door_itself_put_there(directory: Path) -> None:
    _settings_module(directory, "base_settings", DOOR)
    _settings_module(directory, "site_settings", f"from base_settings import *\n{DOOR}")
    assert _printed(_run(directory, "server.py", READ)) == {}


def test_names_what_stood_by_hand_on_either_side_of_a_star_import(directory: Path) -> None:
    _settings_module(directory, "base_settings", f"CACHEOPS_INSIDEOUT = False\n{DOOR}")
    by_hand = "CACHEOPS = {'*.*': {}}\n"
    _settings_module(directory, "site_settings", f"from base_settings import *\n{by_hand}{DOOR}")
    assert _printed(_run(directory, "server.py", READ)) == {"CACHEOPS": {"*.*": {}}, "CACHEOPS_INSIDEOUT": False}


@pytest.mark.parametrize("sound_last", [True, False])
def test_of_two_loads_the_later_one_is_in_force(directory: Path, sound_last: bool) -> None:
    (directory / "faulty.yaml").write_text("version: 2\n")
    sound, faulty = DOOR, DOOR.replace("policies.yaml", "faulty.yaml")
    first, last = (faulty, sound) if sound_last else (sound, faulty)
    _settings_module(directory, "base_settings", first)
    _settings_module(directory, "site_settings", f"from base_settings import *\n{last}")
    code = (
        "import json, site_settings as found\n"
        "print(json.dumps([len(found.CACHEOPS), len(found.CACHEPOLICY.models), len(found.CACHEPOLICY_PROBLEMS),"
        " found.CACHEPOLICY_REPLACED]))"
    )
    assert _printed(_run(directory, "manage.py", code, "check")) == ([1, 1, 0, {}] if sound_last else [0, 0, 1, {}])


def test_every_public_name_resolves_and_no_other(directory: Path) -> None:
    code = (
        "import json\nfrom django.conf import settings\n"
        "settings.configure(INSTALLED_APPS=['cacheops', 'cachepolicy'], CACHEOPS_REDIS='redis://127.0.0.1:1/0')\n"
        "import cachepolicy\n"
        "names = {name: getattr(cachepolicy, name).__name__ for name in cachepolicy.__all__}\n"
        "print(json.dumps([names, dir(cachepolicy), hasattr(cachepolicy, 'nonsense')]))"
    )
    names, listed, nonsense = _printed(_run(directory, "server.py", code))  # type: ignore[misc]
    assert list(names) == listed == cachepolicy.__all__ == sorted(cachepolicy.__all__)
    assert all(name == of for name, of in names.items())
    assert nonsense is False


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"^module 'cachepolicy' has no attribute 'nonsense'$"):
        cachepolicy.nonsense  # noqa: B018
