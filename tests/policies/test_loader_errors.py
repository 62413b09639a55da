"""Every message of the loader, in full: refusals.txt holds files, and after each all of its problems, in order."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cachepolicy.exceptions import CachePolicyError, PolicyError, UnreadableError
from cachepolicy.policies.loader import ENVIRONMENT_VARIABLE, load_policies, parse_policies

VALID = "version: 1\ndefaults: {timeout: 1s}\nmodels: {news.Article: {}}\n"


def _cases() -> Iterator[tuple[str, str, list[str]]]:
    """The cases of refusals.txt: a line `=== name`, the file, and a line `>>> ` for each problem."""
    text = Path(__file__).with_name("refusals.txt").read_text(encoding="utf-8")
    for block in text.removeprefix("=== ").split("\n=== "):
        name, *lines = block.strip("\n").split("\n")
        file = "".join(f"{line}\n" for line in lines if not line.startswith(">>> "))
        yield name, file, [line.removeprefix(">>> ") for line in lines if line.startswith(">>> ")]


CASES = list(_cases())


def _problems(text: str | bytes, environment: str | None = None) -> list[str]:
    data = text.encode() if isinstance(text, str) else text
    with pytest.raises(PolicyError) as refusal:
        parse_policies(data, "f", environment)
    return [str(problem) for problem in refusal.value.problems]


@pytest.mark.parametrize(("text", "problems"), [pytest.param(*case[1:], id=case[0]) for case in CASES])
def test_refuses(text: str, problems: list[str]) -> None:
    assert _problems(text) == [f"f:{problem}" for problem in problems]


@pytest.mark.parametrize(("text", "problems"), [pytest.param(*case[1:], id=case[0]) for case in CASES])
def test_windows_line_ends_move_no_problem(text: str, problems: list[str]) -> None:
    assert _problems(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode()) == [f"f:{line}" for line in problems]


def test_the_table_is_read_whole() -> None:
    assert len(CASES) > 130
    assert len({name for name, _, _ in CASES}) == len(CASES)
    assert all(text and problems for _, text, problems in CASES)


def test_an_empty_file_is_refused() -> None:
    assert _problems("") == ["f:1:1: the file is empty; write `version: 1` and rules"]


def test_the_error_shows_every_problem_on_a_line() -> None:
    with pytest.raises(PolicyError) as refusal:
        parse_policies(b"version: 2\nmodels: {Tag: off}\n", "f")
    assert str(refusal.value) == (
        "2 problems in the cache policy:\n"
        "  f:1:10: version: `2` is not a version of the language; write `version: 1`\n"
        "  f:2:10: models.Tag: `Tag` is not a model; write the app too, as in news.Tag"
    )
    with pytest.raises(PolicyError, match=r"^1 problem in the cache policy:\n  f:1:1: the file is empty"):
        parse_policies(b"", "f")


def test_the_error_is_a_value_error_and_ours() -> None:
    assert issubclass(PolicyError, ValueError)
    assert issubclass(PolicyError, CachePolicyError)
    assert issubclass(UnreadableError, PolicyError)


def _codes(text: str) -> set[str]:
    with pytest.raises(PolicyError) as refusal:
        parse_policies(text.encode(), "f")
    return {problem.code for problem in refusal.value.problems}


def test_problems_carry_the_id_of_their_check() -> None:
    rule = "version: 1\nmax_staleness: 1s\nmodels: {{news.Article: {{timeout: 1s, ops: all, {}}}}}\n".format
    assert _codes(rule("lock: yes")) == {"cachepolicy.E001"}
    assert _codes(rule("lock: true").replace("timeout: 1s", "timeout: 2s")) == {"cachepolicy.E002"}
    assert _codes(rule("local_get: true")) == {"cachepolicy.E003"}
    assert _codes(rule("cache_on_save: true")) == {"cachepolicy.E004"}


# More problems than anyone reads, and more rules than a start-up may take time for.


def _unknown_keys(count: int) -> str:
    return "version: 1\n" + "".join(f"k{number}: 1\n" for number in range(count))


def test_500_problems_are_all_told() -> None:
    problems = _problems(_unknown_keys(500))
    assert len(problems) == 500
    assert problems[0].startswith("f:2:1: k0: ")
    assert problems[-1].startswith("f:501:1: k499: ")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(_unknown_keys(501), id="found while reading"),
        pytest.param("version: 1\n" + "models: {}\n" * 502, id="found in the text"),
        pytest.param("version: 1\nmodels:\n" + "".join(f"  a.m{n}: {{}}\n" for n in range(501)), id="found in rules"),
        pytest.param(
            "version: 1\nmax_staleness: 1s\nenvironments:\n"
            + "".join(
                f"  e{number}:\n    models:\n" + "".join(f"      a.m{n}: {{timeout: 2s}}\n" for n in range(101))
                for number in range(5)
            ),
            id="found in environments",
        ),
    ],
)
def test_of_more_than_500_problems_the_first_are_told(text: str) -> None:
    first, *told = _problems(text)
    assert first == "f:1:1: there are more than 500 problems; mend these first 500"
    assert len(told) == 500
    lines = [int(problem.split(":")[1]) for problem in told]
    assert lines == sorted(lines)


@pytest.mark.parametrize(("rules", "environments"), [(2500, 0), (2000, 1), (500, 7), (235, 16)])
def test_no_refusal_of_500_rules_in_7_environments_nor_of_as_much(rules: int, environments: int) -> None:
    text = "version: 1\nmodels:\n" + "".join(f"  a.m{number}: off\n" for number in range(rules))
    text += (
        "environments:\n" + "".join(f"  e{number}: {{}}\n" for number in range(environments)) if environments else ""
    )
    assert len(parse_policies(text.encode()).models) == rules


@pytest.mark.parametrize(("rules", "environments", "count"), [(2000, 2, 6000), (236, 16, 4012)])
def test_refuses_more_than_4000_rules(rules: int, environments: int, count: int) -> None:
    text = "version: 1\nmodels:\n" + "".join(f"  a.m{number}: off\n" for number in range(rules))
    text += (
        "environments:\n" + "".join(f"  e{number}: {{}}\n" for number in range(environments)) if environments else ""
    )
    assert _problems(text) == [
        f"f:1:1: there are {count} rules and dependencies, counted anew in each environment; "
        "keep at most 4000: use wildcards"
    ]


def test_refuses_more_than_4000_dependencies() -> None:
    labels = ", ".join(f"a.m{number}" for number in range(1000))
    text = f'version: 1\nmodels: {{"*.*": {{timeout: 1s}}}}\nfunctions: {{f: {{depends_on: [{labels}]}}}}\n'
    assert parse_policies(text.encode()).functions["f"].depends_on.value[-1] == "a.m999"
    overlays = ", ".join(f"e{number}: {{}}" for number in range(3))
    assert _problems(f"{text}environments: {{{overlays}}}") == [
        "f:1:1: there are 4008 rules and dependencies, counted anew in each environment; "
        "keep at most 4000: use wildcards"
    ]


# The environment that is asked for.


@pytest.mark.parametrize(
    ("environments", "asked", "remedy"),
    [
        ("{staging: {}, production: {}}", "prodution", "did you mean production?"),
        ("{staging: {}, production: {}}", "Staging", "did you mean staging?"),
        ("{staging: {}, production: {}}", "x", "choose from staging, production"),
        ("{}", "x", "the file has no `environments`; unset CACHEPOLICY_ENVIRONMENT"),
    ],
)
def test_refuses_an_unknown_environment(environments: str, asked: str, remedy: str) -> None:
    text = f"{VALID}environments: {environments}"
    assert _problems(text, asked) == [f"f:1:1: environments: there is no environment `{asked}`; {remedy}"]


def test_refuses_an_unknown_environment_of_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "x\ny")
    assert _problems(VALID) == [
        "f:1:1: environments: there is no environment `x\\ny` (from CACHEPOLICY_ENVIRONMENT); "
        "the file has no `environments`; unset CACHEPOLICY_ENVIRONMENT"
    ]


# The file itself.


def _unreadable(path: Path) -> str:
    with pytest.raises(UnreadableError) as refusal:
        load_policies(path)
    (problem,) = refusal.value.problems
    return str(problem)


def test_refuses_a_file_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remedy = "the file cannot be read: No such file or directory; check the path given"
    assert _unreadable(tmp_path / "absent.yaml") == f"{tmp_path}/absent.yaml: {remedy}"
    monkeypatch.chdir(tmp_path)
    assert _unreadable(tmp_path / "absent.yaml") == f"absent.yaml: {remedy}"
    assert _unreadable(Path("absent.yaml")) == f"absent.yaml: {remedy}"


def test_refuses_a_directory(tmp_path: Path) -> None:
    assert _unreadable(tmp_path) == f"{tmp_path}: the file cannot be read: Is a directory; check the path given"


def test_refuses_a_loop_of_links(tmp_path: Path) -> None:
    path = tmp_path / "loop.yaml"
    path.symlink_to(path)
    assert _unreadable(path).startswith(f"{path}: the file cannot be read: Too many levels of symbolic links")


def test_refuses_a_file_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:  # root may read everything, so that the mode of a real file proves nothing
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "open", refuse)
    path = tmp_path / "secret.yaml"
    assert _unreadable(path) == f"{path}: the file cannot be read: Permission denied; check the path given"


def test_a_device_without_end_is_not_read_whole() -> None:
    with pytest.raises(PolicyError) as refusal:
        load_policies("/dev/zero")
    assert [str(problem) for problem in refusal.value.problems] == [
        "/dev/zero:1:1: the file has 262145 bytes; a policy file has at most 262144: use wildcards"
    ]


def test_problems_name_the_file_as_people_write_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "policies.yaml").write_text("version: 2")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PolicyError) as refusal:
        load_policies(str(tmp_path / "config" / "policies.yaml"))
    assert refusal.value.problems[0].origin.file == "config/policies.yaml"
