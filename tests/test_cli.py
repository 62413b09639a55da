"""The console script: what it prints and exits with, without Django."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

from cachepolicy.cli import main
from tests.projects import run

ROOT = Path(__file__).resolve().parent.parent
SOUND = "version: 1\nmodels: {news.Article: {timeout: 30s}}\n"
FAULTY = "version: 1\nmodels:\n  news.Article: {tiemout: 30s, timeout: 0s}\n"
OVERLAID = SOUND + "environments: {fast: {max_staleness: 2s}}\n"

TIEMOUT = "3:18: models.news.Article.tiemout: `tiemout` is no key; did you mean timeout?"
ZERO = (
    "3:41: models.news.Article.timeout: `0s` is not a duration; "
    "a duration must be longer than zero; to cache nothing, write `off` or `ops: []`"
)


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a sound file and a faulty one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CACHEPOLICY_ENVIRONMENT", raising=False)
    for name, text in (("sound.yaml", SOUND), ("faulty.yaml", FAULTY), ("overlaid.yaml", OVERLAID)):
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def check(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """The exit code and the standard output of `cachepolicy check …`."""
    code = main(["check", *arguments])
    out, err = capsys.readouterr()
    assert err == ""
    return code, out


def test_a_sound_file_exits_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert check(capsys, "sound.yaml") == (0, "1 file checked: no problems\n")
    assert check(capsys, "sound.yaml", "overlaid.yaml") == (0, "2 files checked: no problems\n")


def test_a_faulty_file_exits_with_1_and_every_problem(capsys: pytest.CaptureFixture[str]) -> None:
    said = f"faulty.yaml:{TIEMOUT}\nfaulty.yaml:{ZERO}\n"
    assert check(capsys, "faulty.yaml") == (1, f"{said}1 file checked: 2 problems\n")
    assert check(capsys, "sound.yaml", "faulty.yaml") == (1, f"{said}2 files checked: 2 problems\n")


def test_what_this_version_cannot_keep_exits_with_1(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (files / "views.yaml").write_text("version: 1\nviews: {front: {timeout: 9s}}\n", encoding="utf-8")
    said = (
        "views.yaml:2:9: views.front: this version caches no views yet; "
        "remove the rule; cache the function behind it by `functions`\n"
    )
    assert check(capsys, "views.yaml") == (1, said + "1 file checked: 1 problem\n")


def test_an_unreadable_file_exits_with_2_and_the_others_are_checked_all_the_same(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (files / "directory").mkdir()
    missing = "missing.yaml: the file cannot be read: No such file or directory; check the path given\n"
    directory = "directory: the file cannot be read: Is a directory; check the path given\n"
    assert check(capsys, "missing.yaml") == (2, missing + "1 file checked: 1 problem\n")
    assert check(capsys, "missing.yaml", "faulty.yaml", "directory", "sound.yaml") == (
        2,
        f"{missing}faulty.yaml:{TIEMOUT}\nfaulty.yaml:{ZERO}\n{directory}4 files checked: 4 problems\n",
    )


def test_json_holds_every_problem_in_parts(capsys: pytest.CaptureFixture[str]) -> None:
    code, out = check(capsys, "--format", "json", "faulty.yaml", "missing.yaml")
    assert code == 2
    tiemout, zero, missing = json.loads(out)["problems"]
    assert tiemout == {
        "file": "faulty.yaml",
        "line": 3,
        "column": 18,
        "path": "models.news.Article.tiemout",
        "what": "`tiemout` is no key",
        "remedy": "did you mean timeout?",
        "code": "cachepolicy.E001",
    }
    assert (zero["line"], zero["column"]) == (3, 41)
    assert (missing["file"], missing["line"], missing["column"]) == ("missing.yaml", 0, 0)


def test_json_of_a_sound_file_has_no_problems(capsys: pytest.CaptureFixture[str]) -> None:
    assert check(capsys, "--format", "json", "sound.yaml") == (0, '{\n  "problems": []\n}\n')


def test_github_gets_an_annotation_for_each_problem(capsys: pytest.CaptureFixture[str]) -> None:
    assert check(capsys, "--format", "github", "faulty.yaml", "missing.yaml", "sound.yaml") == (
        2,
        "::error file=faulty.yaml,line=3,col=18::models.news.Article.tiemout: `tiemout` is no key; "
        "did you mean timeout?\n"
        "::error file=faulty.yaml,line=3,col=41::models.news.Article.timeout: `0s` is not a duration; "
        "a duration must be longer than zero; to cache nothing, write `off` or `ops: []`\n"
        "::error file=missing.yaml::the file cannot be read: No such file or directory; check the path given\n",
    )


def test_github_gets_nothing_of_a_sound_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert check(capsys, "--format", "github", "sound.yaml") == (0, "")


def test_github_annotations_escape_what_would_end_them(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (files / "a:b,100%.yaml").write_text('version: 1\nmodels: {"50%": off}\n', encoding="utf-8")
    assert check(capsys, "--format", "github", "a:b,100%.yaml") == (
        1,
        "::error file=a%3Ab%2C100%25.yaml,line=2,col=10::models.50%25: `50%25` is not a model; "
        "write app.Model, as in news.Article\n",
    )


def test_the_environment_is_an_argument_or_a_variable(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown = (
        "overlaid.yaml:1:1: environments: there is no environment `fats`; did you mean fast?\n"
        "1 file checked: 1 problem\n"
    )
    assert check(capsys, "--environment", "fast", "overlaid.yaml") == (0, "1 file checked: no problems\n")
    assert check(capsys, "--environment", "fats", "overlaid.yaml") == (1, unknown)
    monkeypatch.setenv("CACHEPOLICY_ENVIRONMENT", "fats")
    assert check(capsys, "overlaid.yaml") == (1, unknown.replace("`fats`", "`fats` (from CACHEPOLICY_ENVIRONMENT)"))
    assert check(capsys, "--environment", "fast", "overlaid.yaml")[0] == 0


def test_schema_prints_a_json_schema_that_the_shipped_policies_satisfy(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    validator = jsonschema.Draft202012Validator(schema)
    validator.check_schema(schema)
    shipped = yaml.safe_load((ROOT / "policies.yaml").read_text(encoding="utf-8"))
    assert list(validator.iter_errors(shipped)) == []
    faulty = yaml.safe_load(FAULTY)
    assert [error.validator for error in validator.iter_errors(faulty)] == ["oneOf"]


@pytest.mark.parametrize("arguments", [[], ["check"], ["check", "--format", "xml", "sound.yaml"], ["chekc"]])
def test_a_wrong_call_exits_with_2_and_the_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    assert capsys.readouterr().err.startswith("usage: cachepolicy ")


def test_python_m_is_the_script_and_neither_needs_django(files: Path) -> None:
    ran = run("-m", "cachepolicy", "check", "faulty.yaml", "missing.yaml", directory=files)
    assert (ran.code, ran.err) == (2, "")
    assert ran.out.startswith(f"faulty.yaml:{TIEMOUT}\nfaulty.yaml:{ZERO}\nmissing.yaml: ")
    code = """
import sys
from cachepolicy.cli import main

codes = [main(["check", "--format", form, "sound.yaml"]) for form in ("text", "json", "github")]
codes += [main(["check", "faulty.yaml"]), main(["schema"])]
loaded = sorted(name for name in ("django", "cacheops", "redis") if name in sys.modules)
print(codes, loaded, file=sys.stderr)
"""
    assert run("-c", code, directory=files).err == "[0, 0, 0, 1, 0] []\n"


def test_the_pre_commit_hook_runs_the_script_on_policy_files(files: Path) -> None:
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    assert (hook["id"], hook["language"]) == ("cachepolicy-check", "python")
    picked = re.compile(hook["files"])
    names = ["policies.yaml", "site/policies.yaml", "policies.yaml.orig", "x-policies.yaml", "policies_yaml"]
    assert [name for name in names if picked.search(name)] == ["policies.yaml", "site/policies.yaml"]
    program, *arguments = hook["entry"].split()
    # pre-commit installs the package and appends the files. Here the script stands beside Python, if it is installed.
    script = Path(sys.executable).with_name(program)
    command = [str(script)] if script.exists() else [sys.executable, "-m", program]
    done = subprocess.run(
        [*command, *arguments, "sound.yaml", "faulty.yaml"],
        cwd=files,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.splitlines()[-1]) == (1, "2 files checked: 2 problems")
