"""A sample of the fuzzer's files; `make fuzz` runs a hundred thousand and measures their time too."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from cachepolicy.policies.problems import Origin, Problem
from tests.policies import fuzz


@pytest.mark.parametrize("block", range(8))
def test_every_file_is_accepted_or_refused_with_places(block: int) -> None:
    for index in range(block * 250, (block + 1) * 250):
        data = fuzz.case(2, index)
        try:
            fuzz.run(data)
        except Exception as error:
            error.add_note(f"fuzz.py --seed 2 --only {index}")
            raise


def test_the_sample_holds_both_accepted_and_refused_files() -> None:
    refused = [bool(fuzz.run(fuzz.case(2, index))) for index in range(200)]
    assert 20 < sum(refused) < 180


def test_a_case_is_the_same_in_each_process() -> None:
    code = "from tests.policies import fuzz; print([fuzz.case(7, index) for index in range(50)])"
    printed = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=Path(__file__).parents[2],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(printed) == 1


def test_seeds_give_other_cases() -> None:
    assert fuzz.case(7, 123) != fuzz.case(8, 123)


def test_the_unmutated_grammar_is_mostly_accepted() -> None:
    texts = [fuzz._policy(random.Random(seed)) for seed in range(100)]
    assert sum(not fuzz.run(text.encode()) for text in texts) > 50


def test_a_merge_key_bomb_is_refused_at_its_first_anchor() -> None:
    bomb = fuzz.merge_key_bomb()
    assert len(bomb) == 528
    assert [str(problem) for problem in fuzz.run(bomb)] == [
        "fuzzed.yaml:1:5: the anchor `&a0`; write the values out; shared ones go into `defaults`"
    ]


def test_a_file_200_000_deep_is_refused_at_level_21() -> None:
    assert [str(problem) for problem in fuzz.run(fuzz.deep(200_000))] == [
        "fuzzed.yaml:1:21: this nests deeper than 20 levels; a rule needs three"
    ]


@pytest.mark.parametrize(("name", "data"), list(fuzz.worst_cases()))
def test_the_costliest_files_are_within_the_limits_of_size(name: str, data: bytes) -> None:
    assert len(data) <= fuzz.MAX_BYTES
    fuzz.run(data)


@pytest.mark.parametrize(
    ("origin", "what"),
    [
        (Origin("fuzzed.yaml"), "no line"),
        (Origin("fuzzed.yaml", 3, 1), "a line after the last"),
        (Origin("fuzzed.yaml", 1, 4), "a column after the end of the line"),
        (Origin("fuzzed.yaml", 1, 0), "no column"),
    ],
)
def test_detects_a_problem_whose_place_is_not_in_the_text(origin: Origin, what: str) -> None:
    with pytest.raises(AssertionError):
        fuzz._assert_place(Problem(origin, "", what, "mend it"), [2, 0])


def test_detects_a_problem_of_two_lines() -> None:
    with pytest.raises(AssertionError, match="more than one line"):
        fuzz._assert_place(Problem(Origin("fuzzed.yaml", 1, 1), "", "a\nb", "mend it"), [2, 0])


def test_no_false_alarm_for_a_place_just_past_the_end() -> None:
    fuzz._assert_place(Problem(Origin("fuzzed.yaml", 1, 3), "", "what", "mend it"), [2, 0])
    fuzz._assert_place(Problem(Origin("fuzzed.yaml", 2, 1), "", "what", "mend it"), [2, 0])


def test_exits_1_and_names_the_case_that_failed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fuzz, "run", lambda _: 1 / 0)
    assert fuzz.main(["--files", "1", "--seed", "5"]) == 1
    assert "--seed 5 --only 0: ZeroDivisionError: division by zero\n" in capsys.readouterr().out


def test_exits_1_when_a_file_is_too_slow_each_time(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fuzz, "cpu_ms", lambda _: 101.0)
    assert fuzz.main(["--files", "1", "--seed", "5"]) == 1
    assert "slowest: 101.0 ms of CPU (limit 100): --seed 5 --only 0\n" in capsys.readouterr().out


def test_exits_0_when_a_file_was_slow_once(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([500.0, 400.0, 3.0, 300.0])
    monkeypatch.setattr(fuzz, "cpu_ms", lambda _: next(times))
    assert fuzz.main(["--files", "1", "--seed", "5"]) == 0
