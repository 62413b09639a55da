"""`manage.py cachepolicy verify`: what it tries, prints, exits with and leaves behind."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from cachepolicy.consistency.results import Case, Cell, Report
from cachepolicy.consistency.scenarios import SCENARIOS
from cachepolicy.consistency.selection import Selection, SelectionError
from cachepolicy.consistency.session import _Bar, exit_code
from cachepolicy.consistency.verdict import Verdict
from tests.projects import Project, Ran, run
from tests.shop import MODELS, shop

BOTH_WAYS = ("--fault", "none", "raw_sql", "--fault", "stale_set", "rollback_raw")
NO_FIELD = """

class Link(models.Model):
    product = models.ForeignKey(Product, models.CASCADE)
"""
UNMAKEABLE = """

class Coupon(models.Model):
    code = models.CharField(max_length=40)

    def save(self, *args, **kwargs):
        if not self.code.startswith("tok") and self.code != "SPRING":
            raise ValueError("no such code")
        super().save(*args, **kwargs)
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return shop(tmp_path)


@pytest.fixture
def plain(tmp_path: Path) -> Project:
    """Where cacheops is as it comes, there is something to find."""
    return shop(tmp_path, plain=True)


def verify(project: Project, *options: str, **environment: str) -> Ran:
    return project.manage("cachepolicy", "verify", *options, **environment)


def found(ran: Ran) -> list[tuple[str, ...]]:
    return [(cell["rule"], cell["op"], cell["fault"], cell["verdict"]) for cell in ran.json["cells"]]


# Exit codes


def test_a_promise_that_is_kept_exits_with_0(project: Project) -> None:
    ran = verify(project, *BOTH_WAYS, "--seed", "7")
    assert (ran.code, ran.err) == (0, "seed 7 (the same run again: --seed 7)\n")
    assert ran.out.startswith("OK: the promise was kept in all 12 cells.\n")


def test_a_broken_promise_exits_with_1_and_prints_the_command_that_breaks_it_again(plain: Project) -> None:
    ran = verify(plain, "--fault", "stale_set", "--model", "shop.Category", "--seed", "7")
    assert ran.code == 1
    assert "VIOLATED shop.Category get under stale_set on sqlite" in ran.out
    replay = re.search(r"replay: python (manage.py .*)", ran.out)
    assert replay is not None
    again = plain.python(*shlex.split(replay[1]))
    assert again.code == 1
    assert "VIOLATED shop.Category get under stale_set on sqlite" in again.out


def test_a_model_without_a_writable_field_is_unknown_and_says_why(tmp_path: Path) -> None:
    policies = "version: 1\nmax_staleness: 60s\nmodels:\n  shop.Link: {ops: [get], timeout: 30s}\n"
    policies += "  shop.Product: {ops: [get], timeout: 30s}\n"
    project = shop(tmp_path, models=MODELS + NO_FIELD, policies=policies)
    ran = verify(project, "--fault", "raw_sql", "--format", "json")
    assert (ran.code, ran.json["verdict"]) == (2, "unknown")
    [reason] = [cell["reason"] for cell in ran.json["cells"] if cell["rule"] == "shop.Link"]
    assert reason.startswith("shop.Link has no field that can carry a token; ")
    allowed = verify(project, "--fault", "raw_sql", "--allow-unknown", "--seed", "1")
    assert allowed.code == 0
    assert allowed.err.endswith("\n1 of 2 cells are unknown; --allow-unknown lets that pass\n")
    assert "UNKNOWN" in allowed.out


def report(*statuses: Any) -> Report:
    case = Case("a.B", "get", "none", "a.B", 1000, "policies.yaml:1:1")
    return Report(1, [Cell(case, "sqlite", Verdict(status, "", 0, 0)) for status in statuses])


@pytest.mark.parametrize(
    ("statuses", "strict", "allowing"),
    [
        (["ok"], 0, 0),
        (["ok", "unknown"], 2, 0),
        (["unknown"], 2, 2),
        (["ok", "unknown", "violated"], 1, 1),
    ],
)
def test_unknown_is_no_promise_kept(statuses: list[str], strict: int, allowing: int) -> None:
    assert exit_code(report(*statuses), allow_unknown=False, err=io.StringIO()) == strict
    assert exit_code(report(*statuses), allow_unknown=True, err=io.StringIO()) == allowing


def test_where_nothing_was_shown_allow_unknown_does_not_help() -> None:
    err = io.StringIO()
    exit_code(report("unknown"), allow_unknown=True, err=err)
    assert err.getvalue() == "every cell is unknown: nothing was shown, so --allow-unknown does not help\n"


# What is tried


def test_the_same_seed_gives_the_same_schedule_and_the_same_verdicts(plain: Project) -> None:
    first, again = (verify(plain, *BOTH_WAYS, "--seed", "7", "--format", "json") for _ in range(2))
    assert (first.code, again.code) == (1, 1)
    assert found(first) == found(again)
    assert {verdict for *_, verdict in found(first)} == {"ok", "violated"}
    assert {fault for *_, fault, verdict in found(first) if verdict == "violated"} == {"stale_set", "rollback_raw"}


def test_the_seed_alone_decides_the_order_and_the_ops_that_are_drawn() -> None:
    assert Selection().cases(7) == Selection().cases(7)
    assert Selection().cases(7) != Selection().cases(8)
    slow = [{(c.rule, c.op) for c in Selection(faults=["redis_hung"]).cases(seed)} for seed in (7, 8, 9, 10)]
    assert any(drawn != slow[0] for drawn in slow)


def test_a_filter_changes_neither_the_drawn_ops_nor_what_is_played() -> None:
    everything = Selection().cases(7)
    for case in everything:
        if case.fault in ("redis_hung", "late_store"):
            assert case in Selection([case.model], [case.op], [case.fault]).cases(7)
    assert {case.op for case in Selection(ops=["count"]).cases(7)} == {"count"}
    assert {case.rule for case in Selection(["functions.article_stats"]).cases(7)} == {"functions.article_stats"}


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        (Selection(["news.Artcle"]), "--model news.Artcle: no such model; did you mean news.Article?"),
        (Selection(ops=["cuont"]), "--op cuont: no such op; did you mean count?"),
        (Selection(faults=["stale_sett"]), "--fault stale_sett: no such fault; did you mean stale_set?"),
        (
            Selection(ops=["zzz"]),
            "--op zzz: no such op; there are aggregate, count, exists, fetch, function, get, local_get",
        ),
        (
            Selection(["sessions.Session"]),
            "--model sessions.Session: no rule caches it, so there is nothing to try; "
            "give it a rule in {file}, or name another model",
        ),
        (
            Selection(["auth.User"], ["count"]),
            "nothing to try: no rule of {file} caches a read that fits --model, --op; leave one of them out",
        ),
    ],
)
def test_what_cannot_be_tried_is_an_error_that_says_what_to_write(selection: Selection, message: str) -> None:
    from cachepolicy import conf

    with pytest.raises(SelectionError) as error:
        selection.cases(1)
    assert str(error.value) == message.format(file=conf.policies().file)


def test_an_unknown_fault_exits_with_2(project: Project) -> None:
    ran = verify(project, "--fault", "stale_sett", "--seed", "1")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.endswith("CommandError: --fault stale_sett: no such fault; did you mean stale_set?\n")


def test_where_caching_is_off_there_is_nothing_to_verify(tmp_path: Path) -> None:
    ran = verify(shop(tmp_path, before="CACHEOPS_ENABLED = False\n"))
    assert ran.code == 2
    assert "settings.CACHEOPS_ENABLED is False: nothing is cached, so nothing can be shown; " in ran.err


def test_a_faulty_policy_exits_with_2_and_names_the_command_that_says_why(project: Project) -> None:
    project.policies("version: 2\n")
    ran = verify(project, "--seed", "1")
    assert ran.code == 2
    assert "CommandError: the policy file has problems; see `manage.py cachepolicy check`" in ran.err


def test_a_time_budget_leaves_cases_out_and_says_so(project: Project) -> None:
    ran = verify(project, "--fault", "none", "--time-budget", "1ms", "--seed", "1", "--format", "json")
    assert (ran.code, ran.json["verdict"], len(ran.json["cells"])) == (2, "unknown", 3)
    assert {cell["reason"] for cell in ran.json["cells"]} == {"not tried: the time budget of 1ms was used up"}
    assert "the time budget of 1ms was used up after 0 of 3 cells; 3 were not tried, and count as unknown" in ran.err


def test_a_time_budget_has_a_unit(project: Project) -> None:
    ran = verify(project, "--time-budget", "60")
    assert ran.code == 2
    assert (
        "argument --time-budget: `60` is not a duration; "
        "a bare number has no unit; write 60s for seconds or 60ms for milliseconds" in ran.err
    )


# Formats


def test_each_format_says_the_verdict(plain: Project) -> None:
    common = ("--model", "shop.Category", "--fault", "stale_set")
    junit = verify(plain, *common, "--format", "junit")
    assert junit.code == 1
    assert ElementTree.fromstring(junit.out).get("failures") == "1"
    github = verify(plain, *common, "--format", "github")
    assert github.code == 1
    assert re.match(r"::error file=\S*policies.yaml,line=5,col=3::", github.out)
    html = verify(plain, *common, "--format", "html", "--output", "report.html")
    assert (html.code, html.out) == (1, "")
    assert "</html>" in (plain.directory / "report.html").read_text()


def test_json_has_the_documented_keys(project: Project) -> None:
    ran = verify(project, "--model", "shop.Category", "--fault", "raw_sql_outside", "--seed", "7", "--format", "json")
    assert (ran.json["seed"], ran.json["verdict"]) == (7, "ok")
    [cell] = ran.json["cells"]
    assert {"rule", "op", "fault", "database", "verdict", "bound_ms", "worst_lower_ms", "reads", "relevant_reads"} <= {
        *cell
    }
    assert cell["bound_ms"] == 20_000
    assert 19_000 < cell["worst_lower_ms"] < 20_000


def test_an_output_that_cannot_be_written_is_said_before_anything_is_tried(project: Project) -> None:
    ran = verify(project, "--output", "absent/report.html")
    assert ran.code == 2
    assert ran.err == (
        "CommandError: --output absent/report.html cannot be written: No such file or directory; name another file\n"
    )


def test_a_bar_is_drawn_on_a_terminal_and_nowhere_else() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    [cell] = report("ok").cells
    for file, shown in ((Terminal(), "\r\x1b[K[############            ] 1/2 a.B get none"), (io.StringIO(), "")):
        _Bar(2, file)(cell)
        assert file.getvalue() == shown


# Rows


@pytest.fixture
def coupons(tmp_path: Path) -> Project:
    policies = "version: 1\nmax_staleness: 60s\nmodels:\n  shop.Coupon: {ops: [get], timeout: 30s}\n"
    return shop(tmp_path, models=MODELS + UNMAKEABLE, policies=policies, before='CACHEPOLICY_ROWS = "rows.make"\n')


def test_rows_come_from_the_projects_own_function(coupons: Project) -> None:
    coupons.write("rows.py", 'def make(model):\n    return model.objects.get_or_create(code="SPRING")[0]\n')
    ran = verify(coupons, "--fault", "none", "raw_sql")
    assert (ran.code, ran.out.partition("\n")[0]) == (0, "OK: the promise was kept in all 2 cells.")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (
            "return None",
            "shop.Coupon has no row, and model_bakery could not make one (ValueError: no such code); "
            "name a function that makes rows in settings.CACHEPOLICY_ROWS",
        ),
        (
            "return 1",
            "settings.CACHEPOLICY_ROWS, rows.make(shop.Coupon), returned 1; "
            "return a saved instance of the model, or None",
        ),
        ("raise OSError('gone')", "settings.CACHEPOLICY_ROWS, rows.make(shop.Coupon), raised OSError: gone"),
    ],
)
def test_a_model_of_which_no_row_can_be_had_is_unknown_and_says_what_to_do(
    coupons: Project, body: str, reason: str
) -> None:
    coupons.write("rows.py", f"def make(model):\n    {body}\n")
    ran = verify(coupons, "--fault", "raw_sql", "--format", "json")
    assert (ran.code, [cell["reason"] for cell in ran.json["cells"]]) == (2, [reason])


def test_a_row_function_that_is_not_there_exits_with_2(coupons: Project) -> None:
    ran = verify(coupons)
    assert ran.code == 2
    assert (
        "CommandError: settings.CACHEPOLICY_ROWS is 'rows.make', which cannot be imported: No module named 'rows'; "
        "name a function that takes a model and returns a saved instance, or None" in ran.err
    )


# The README

README = (Path(__file__).parents[2] / "README.md").read_text()
SITE = Path(__file__).parents[2] / "sample_site"


def as_shape(output: str) -> str:
    """What differs from run to run, made the same: amounts of time, tokens, and where the policy file lies."""
    output = re.sub(r"\S*policies\.yaml", "policies.yaml", re.sub(r"tok[0-9a-f]{8}", "tok", output))
    return re.sub(r" +", " ", re.sub(r"\d+\.\d+ m?s", "1 s", output))


@pytest.mark.parametrize(
    ("block", "settings", "code"), [("verify", "newsroom.settings", 0), ("plain", "tests.plain.newsroom", 1)]
)
def test_the_readme_shows_what_verify_prints(tmp_path: Path, block: str, settings: str, code: int) -> None:
    found = re.search(rf"```{block}\n\$ python (.*)\n([\s\S]*?)```", README)
    assert found is not None
    # A database of its own: this run's is in use, and verify would make and drop a test database of the same name.
    environment = {"DATABASE_URL": f"sqlite:///{tmp_path / 'site.sqlite3'}", "DJANGO_SETTINGS_MODULE": settings}
    done = run(*shlex.split(found[1]), directory=SITE, **environment)
    assert (done.code, as_shape(done.out)) == (code, as_shape(found[2]))


def test_the_readme_names_the_faults_that_break_plain_cacheops() -> None:
    for word in ("stale_set", "frozen_snapshot", "lagging_replica", "rollback_unseen", "late_store", "nested"):
        assert f"`{word}`" in README
        assert word in SCENARIOS


# What it leaves behind

REMEMBERED = """\
import json, os, signal
from cacheops.redis import redis_client
from django.db import connection


def make(model):
    server = redis_client.info("server")["process_id"]
    with open("seen.json", "w") as file:
        json.dump({"server": server, "database": connection.settings_dict["NAME"]}, file)
    if "INTERRUPT" in os.environ:
        os.kill(os.getpid(), signal.SIGINT)
    return model.objects.create(code="SPRING")
"""


@pytest.mark.parametrize("interrupted", [False, True])
def test_nothing_is_left_of_the_database_and_the_server_even_after_ctrl_c(coupons: Project, interrupted: bool) -> None:
    coupons.write("rows.py", REMEMBERED)
    ran = verify(coupons, "--fault", "none", **({"INTERRUPT": "1"} if interrupted else {}))
    assert ran.code == (130 if interrupted else 0)
    assert interrupted == ("interrupted: no report; the test database and the kit's servers are gone\n" in ran.err)
    seen = json.loads((coupons.directory / "seen.json").read_text())
    assert not Path(seen["database"]).parent.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(seen["server"], 0)


def test_a_migration_that_fails_exits_with_2_and_leaves_no_database(project: Project) -> None:
    project.write("shop/migrations/__init__.py", "")
    project.write("shop/migrations/0001_initial.py", "raise RuntimeError('broken migration')\n")
    ran = verify(project, "--seed", "1", TMPDIR=str(project.directory))
    assert ran.code == 2
    assert "CommandError: the test database could not be made: RuntimeError: broken migration" in ran.err
    assert not list(project.directory.glob("cachepolicy-*"))
