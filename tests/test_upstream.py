"""The run of django-cacheops' own suite: it tells an expected failure from any other, and what it cannot run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.upstream.__main__ import Outcome, compared, main, outcome_of
from tests.upstream.expected import EXPECTED

REPORT = """\
<testsuites><testsuite>
<testcase classname="tests.tests.A" name="test_passes"/>
<testcase classname="tests.tests.A" name="test_fails"><failure message="1 != 2&#10;more">trace</failure></testcase>
<testcase classname="tests.tests.A" name="test_breaks"><error message="no database">trace</error></testcase>
<testcase classname="tests.tests.A" name="test_mended"><failure message="Failed: Unexpected success"/></testcase>
<testcase classname="tests.tests.A" name="test_skips"><skipped type="pytest.skip" message="not here"/></testcase>
<testcase classname="tests.tests.A" name="test_marked"><skipped type="pytest.xfail" message=""/></testcase>
</testsuite></testsuites>
"""


@pytest.fixture
def outcome(tmp_path: Path) -> Outcome:
    report = tmp_path / "report.xml"
    report.write_text(REPORT)
    return outcome_of(report)


def test_as_expected_only_where_exactly_the_expected_tests_fail(outcome: Outcome) -> None:
    expected = {"tests.tests.A.test_fails": "the promise forbids it", "tests.tests.A.test_breaks": "so too this"}
    assert compared(outcome, expected) == (
        "expected   tests.tests.A.test_breaks\n"
        "             so too this\n"
        "expected   tests.tests.A.test_fails\n"
        "             the promise forbids it\n"
        "6 tests of django-cacheops 7.2: 2 passed, 2 skipped or marked as failing, 2 failed; as expected\n",
        False,
    )


def test_detects_a_test_that_fails_unexpectedly_and_one_that_no_longer_fails(outcome: Outcome) -> None:
    expected = {"tests.tests.A.test_fails": "the promise forbids it", "tests.tests.A.test_passes": "once"}
    assert compared(outcome, expected) == (
        "expected   tests.tests.A.test_fails\n"
        "             the promise forbids it\n"
        "FAILED     tests.tests.A.test_breaks\n"
        "             no database\n"
        "NOT FAILED tests.tests.A.test_passes\n"
        "             expected to, because: once\n"
        "6 tests of django-cacheops 7.2: 2 passed, 2 skipped or marked as failing, 2 failed; NOT as expected\n",
        True,
    )


def test_each_expected_failure_has_its_reason() -> None:
    assert all(test.startswith("tests.") and reason for test, reason in EXPECTED.items())


def test_refuses_what_is_no_checkout_or_of_another_version(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"{tmp_path} is no checkout of django-cacheops\n"
    for name, text in {"cacheops/__init__.py": "__version__ = '7.1'\n", "tests/tests.py": ""}.items():
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text)
    assert main([str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"{tmp_path} is django-cacheops 7.1; check out the tag 7.2\n"
