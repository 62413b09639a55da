"""`manage.py cachepolicy`: what each sub-command prints and exits with."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db.models import Model

from cachepolicy.consistency.redis_server import RedisServer
from cachepolicy.explain import explain, find, rows
from cachepolicy.policies.loader import parse_policies
from cachepolicy.policies.model import PolicySet
from cachepolicy.policies.schema import json_schema
from cachepolicy.runtime.switch import NAME
from tests.projects import DOOR, Project

SITE = Path(__file__).resolve().parent.parent / "sample_site"
POLICIES = """\
version: 1
max_staleness: 60s
defaults: {timeout: 45s}
models:
  shop.Article: {ops: [fetch, get], lock: true}
  shop.Category: {ops: [get], immutable: true, local_get: true, timeout: 1h}
  shop.Cafe: off
  "shop.*": {ops: [], db_agnostic: true}
environments:
  fast: {max_staleness: 2s}
"""
KEYS = [
    "label",
    "rule",
    "ops",
    "timeout_ms",
    "immutable",
    "local_get",
    "near",
    "near_ms",
    "refresh_ahead",
    "refresh_ahead_ms",
    "lock",
    "db_agnostic",
    "update",
    "origin",
]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path)
    made.policies(POLICIES)
    return made


# show


def test_show_prints_a_row_for_each_installed_model(reached: Project) -> None:
    shown = reached.manage("cachepolicy", "show")
    assert (shown.code, shown.err) == (0, "")
    assert (
        shown.out
        == """\
model                     rule            ops        timeout  also                 origin
contenttypes.ContentType  none            -          -        -                    -
shop.Article              shop.Article    get,fetch  45s      lock                 policies.yaml:5:3
shop.Cafe                 shop.Cafe: off  -          -        -                    policies.yaml:7:3
shop.Category             shop.Category   get        1h       immutable,local_get  policies.yaml:6:3
shop.Headline             shop.*          -          45s      -                    policies.yaml:8:3
shop.Log                  shop.*          -          45s      -                    policies.yaml:8:3
shop.Place                shop.*          -          45s      -                    policies.yaml:8:3
shop.Tag                  shop.*          -          45s      -                    policies.yaml:8:3
"""
    )


def test_show_as_json_has_exactly_these_keys_and_values(project: Project) -> None:
    shown = project.manage("cachepolicy", "show", "--format", "json")
    assert (shown.code, shown.err) == (0, "")
    found = {row["label"]: row for row in shown.json}
    assert [list(row) for row in shown.json] == [KEYS] * 8
    assert list(found) == sorted(found)
    nothing = {
        "ops": [],
        "timeout_ms": None,
        "immutable": False,
        "local_get": False,
        "near": None,
        "near_ms": None,
        "refresh_ahead": None,
        "refresh_ahead_ms": None,
        "lock": False,
        "db_agnostic": False,
        "update": None,
    }
    assert found["contenttypes.ContentType"] == {
        **nothing,
        "label": "contenttypes.ContentType",
        "rule": None,
        "origin": None,
    }
    assert found["shop.Cafe"] == {
        **nothing,
        "label": "shop.Cafe",
        "rule": "shop.Cafe: off",
        "origin": "policies.yaml:7:3",
    }
    assert found["shop.Article"] == {
        **nothing,
        "label": "shop.Article",
        "rule": "shop.Article",
        "update": "invalidate",
        "ops": ["get", "fetch"],
        "timeout_ms": 45_000,
        "lock": True,
        "origin": "policies.yaml:5:3",
    }
    assert found["shop.Category"] == {
        **nothing,
        "label": "shop.Category",
        "rule": "shop.Category",
        "update": "invalidate",
        "ops": ["get"],
        "timeout_ms": 3_600_000,
        "immutable": True,
        "local_get": True,
        "origin": "policies.yaml:6:3",
    }
    assert found["shop.Tag"] == {
        **nothing,
        "label": "shop.Tag",
        "rule": "shop.*",
        "update": "invalidate",
        "timeout_ms": 45_000,
        "db_agnostic": True,
        "origin": "policies.yaml:8:3",
    }


def test_show_follows_the_environment(project: Project) -> None:
    shown = project.manage("cachepolicy", "show", "--format", "json", CACHEPOLICY_ENVIRONMENT="fast")
    timeouts = {row["label"]: row["timeout_ms"] for row in shown.json}
    assert (timeouts["shop.Article"], timeouts["shop.Category"], timeouts["shop.Cafe"]) == (2_000, 3_600_000, None)


def test_show_of_the_sample_site_names_each_of_its_models(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("cachepolicy", "show", "--format", "json")
    found = {row["label"]: row for row in json.loads(capsys.readouterr().out)}
    assert {"news.Article", "news.Country", "auth.User", "sessions.Session"} <= found.keys()
    assert found["news.Country"]["local_get"] is True
    assert found["news.Article"]["timeout_ms"] == 60_000
    assert re.fullmatch(r"(.*/)?policies\.yaml:\d+:3", found["news.Article"]["origin"])


def policies_with(rule: str) -> PolicySet:
    return parse_policies(f"version: 1\nmodels:\n  news.Article: {rule}\n".encode())


def test_near_and_refresh_ahead_are_shown_as_text_and_in_milliseconds() -> None:
    policies = policies_with("{timeout: 60s, near: 1500ms, refresh_ahead: 20s}")
    (row,) = (row.as_json() for row in rows(policies) if row.label == "news.Article")
    assert (row["near"], row["near_ms"]) == ("1s500ms", 1_500)
    assert (row["refresh_ahead"], row["refresh_ahead_ms"]) == ("20s", 20_000)


def test_show_names_ignored_updates_and_the_lag_of_databases(project: Project) -> None:
    project.settings(before="DATABASES['replica'] = DATABASES['default']")
    project.policies(
        "version: 1\nmodels: {shop.Tag: {timeout: 9s500ms, lock: true, update: ignore}}\n"
        "databases: {replica: {max_lag: 1s}}\n"
    )
    shown = project.manage("cachepolicy", "show").out
    assert "shop.Tag                  shop.Tag  -    9s500ms  lock,update ignore  policies.yaml:2:10\n" in shown
    assert "\n\ndatabase  max lag  origin\nreplica   1s       policies.yaml:3:13\n" in shown


def test_show_names_near_and_refresh_ahead_of_models_and_functions(project: Project) -> None:
    project.policies(
        "version: 1\nmodels: {shop.Tag: {timeout: 9s, near: 1s, refresh_ahead: 2s, lock: true, update: ignore}}\n"
        "functions: {a: {timeout: 9s, near: 500ms}, b: {timeout: 9s, depends_on: [shop.Tag], lock: true,"
        " refresh_ahead: 3s}}\n"
    )
    shown = project.manage("cachepolicy", "show").out
    assert "  9s       lock,near 1s,refresh_ahead 2s,update ignore  policies.yaml:2:10\n" in shown
    assert shown.split("\n\n")[1] == (
        "function  depends on  timeout  also                   origin\n"
        "a         -           9s       near 500ms             policies.yaml:3:13\n"
        "b         shop.Tag    9s       lock,refresh_ahead 3s  policies.yaml:3:44"
    )


# off and on


@pytest.fixture
def reached(project: Project, redis_server: RedisServer) -> Iterator[Project]:
    """The project with a Redis, where nothing is switched off."""
    client = redis_server.client()
    client.delete(NAME)
    project.settings(before=f"CACHEOPS_REDIS = {redis_server.url!r}")
    yield project
    client.delete(NAME)
    client.close()


def test_off_and_on_say_what_is_off_then_and_show_says_it_until_all_is_on(reached: Project) -> None:
    follows = "every process follows within a second\n"
    for arguments, off in [
        (["off", "shop.article"], "shop.Article"),
        (["off", "shop.*", "contenttypes.ContentType"], "contenttypes.ContentType, shop.*, shop.Article"),
        (["on", "shop.*"], "contenttypes.ContentType"),
        (["off", "--all"], "*, contenttypes.ContentType"),
    ]:
        done = reached.manage("cachepolicy", *arguments)
        assert (done.code, done.out, done.err) == (0, f"off now: {off}\n{follows}", "")
        shown = reached.manage("cachepolicy", "show")
        assert (shown.code, shown.out.split("\n\n")[-1]) == (0, f"off now: {off}\n")
    done = reached.manage("cachepolicy", "on", "--all")
    assert (done.code, done.out, done.err) == (0, f"off now: nothing\n{follows}", "")
    assert "off now" not in reached.manage("cachepolicy", "show").out


def test_off_of_an_unknown_name_and_on_of_what_is_off_by_more_exit_with_1(reached: Project) -> None:
    unknown = reached.manage("cachepolicy", "off", "shop.Tag", "shop.Artcle")
    assert (unknown.code, unknown.out) == (1, "")
    assert unknown.err == "CommandError: nothing here is called `shop.Artcle`; did you mean shop.Article?\n"
    reached.manage("cachepolicy", "off", "shop.*")
    kept = reached.manage("cachepolicy", "on", "shop.Tag")
    assert (kept.code, kept.out, kept.err) == (1, "", "CommandError: shop.Tag is off by shop.*; switch shop.* on\n")


def test_off_without_redis_exits_with_2_and_show_says_that_it_is_not_known(project: Project) -> None:
    project.settings(before='CACHEOPS_REDIS = "redis://127.0.0.1:1/0"')
    for arguments in (["off", "shop.Tag"], ["on", "--all"]):
        done = project.manage("cachepolicy", *arguments)
        assert (done.code, done.out) == (2, "")
        # The log says it too, before.
        assert done.err.splitlines()[-1].startswith(
            "CommandError: the off switch is in Redis, which cannot be reached: "
        )
    shown = project.manage("cachepolicy", "show")
    assert shown.code == 0
    assert shown.out.endswith("\n\noff now: not known, since Redis cannot be reached\n")


@pytest.mark.parametrize("arguments", [[], ["shop.Tag", "--all"]], ids=["nothing", "both"])
@pytest.mark.parametrize("way", ["off", "on"])
def test_off_and_on_take_names_or_all(project: Project, way: str, arguments: list[str]) -> None:
    done = project.manage("cachepolicy", way, *arguments)
    assert (done.code, done.out) == (2, "")
    assert "--all" in done.err.splitlines()[-1]


# explain


def test_explain_says_which_rule_won_where_each_value_is_from_and_what_goes_unseen(project: Project) -> None:
    explained = project.manage("cachepolicy", "explain", "shop.article")
    assert (explained.code, explained.err) == (0, "")
    assert (
        explained.out
        == """\
shop.Article
  shop.Article: policies.yaml:5:3, wins
  shop.*: policies.yaml:8:3, passed over: rules do not add up, the closest one alone counts
  *.*: no rule
effective values
  ops: get, fetch  (policies.yaml:5:23)
  timeout: 45s: no cached read is older  (policies.yaml:3:21)
  immutable: false  (built in)
  local_get: false  (built in)
  lock: true  (policies.yaml:5:43)
  db_agnostic: false  (built in)
  update: invalidate  (built in)
what invalidates more than the reads of one row
  - update(), bulk_update() and raw SQL: all reads of shop_article
  - any write to shop.Category: all reads that join it by select_related()
what will not invalidate its cached reads (they are right again within 45s)
  - writes to shop_article past Django: of other programs, and by the driver's own cursor
  - what the database itself changes in shop_article: triggers, its cascades, the bodies of procedures
"""
    )


def article() -> type[Model]:
    model = find(PolicySet(""), "news.Article")
    assert isinstance(model, type)
    return model


def explained(rule: str) -> list[str]:
    return explain(policies_with(rule), article()).splitlines()


NEAR_AND_AHEAD = [
    "  near: 2s: a write is seen at once in its own process, in others after 2s at the latest  (policies.yaml:{})",
    "  refresh_ahead: 9s: a read this long before the timeout, or later, has the value computed anew in the background"
    "  (policies.yaml:{})",
]


def test_explain_says_what_near_and_refresh_ahead_mean() -> None:
    lines = explained("{timeout: 60s, near: 2s, refresh_ahead: 9s}")
    after = lines.index("  update: invalidate  (built in)") + 1
    assert lines[after : after + 3] == [
        NEAR_AND_AHEAD[0].format("3:38"),
        NEAR_AND_AHEAD[1].format("3:57"),
        "what invalidates more than the reads of one row",
    ]
    assert not any("near" in line or "refresh_ahead" in line for line in explained("{timeout: 60s}"))


def test_explain_of_a_function_says_it_too() -> None:
    policies = parse_policies(
        b"version: 1\nmodels: {news.Tag: {timeout: 1m}}\n"
        b"functions:\n  rates: {near: 2s, refresh_ahead: 9s, timeout: 1m}\n"
        b"  names: {near: 2s, refresh_ahead: 9s, depends_on: [news.Tag]}\n"
    )
    near, ahead = NEAR_AND_AHEAD
    names = explain(policies, find(policies, "functions.names")).splitlines()
    assert names[5:7] == [near.format("5:17"), ahead.format("5:36")]
    # Nothing is written that it depends on.
    rates = explain(policies, find(policies, "functions.rates")).splitlines()
    assert rates[5:7] == [near.format("4:17").replace("a write", "invalidate()"), ahead.format("4:36")]


def test_explain_of_a_model_that_is_off_says_so() -> None:
    assert explained("off") == [
        "news.Article",
        "  news.Article: policies.yaml:3:3, wins: off",
        "  news.*: no rule",
        "  *.*: no rule",
        "  not cached; its writes invalidate the table news_article as a whole",
    ]


def test_explain_of_a_model_without_a_rule_says_so() -> None:
    policies = policies_with("off")
    assert explain(policies, find(policies, "NEWS.tag")).splitlines() == [
        "news.Tag",
        "  news.Tag: no rule",
        "  news.*: no rule",
        "  *.*: no rule",
        "  not cached: no rule matches; its writes invalidate the table news_tag as a whole",
    ]


def test_explain_names_the_models_without_a_rule_that_cached_joins_may_touch() -> None:
    model = article()
    (line,) = (line for line in explained("{timeout: 1s, ops: [get]}") if "without a rule" in line)
    assert line.startswith("  - any write to models without a rule: all reads that join them, as ")
    named = set(re.findall(r"(\w+\.\w+) \(by \w+\)", line))
    related = [*model._meta.fields, *model._meta.many_to_many]
    expected = {field.related_model._meta.label for field in related if field.related_model}
    assert {"news.Category", "news.Tag"} <= expected
    assert named == expected
    ruled = parse_policies(b'version: 1\nmodels: {"*.*": {timeout: 1s}}\n')
    assert "without a rule" not in explain(ruled, model)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("news.Artcle", "no model news.Artcle; did you mean news.Article?"),
        ("qqqqqqqqqqqq", "no model qqqqqqqqqqqq; see `show` for all of them"),
        ("functions.stat", "no function functions.stat; did you mean functions.stats?"),
        ("stats", "no model stats; did you mean functions.stats?"),
    ],
)
def test_explain_of_an_unknown_name_says_what_to_write(name: str, message: str) -> None:
    policies = parse_policies(b"version: 1\nfunctions: {stats: {timeout: 1s}}\n")
    with pytest.raises(LookupError, match=f"^{re.escape(message)}$"):
        find(policies, name)


FUNCTIONS = """\
version: 1
defaults: {timeout: 45s}
models: {shop.*: {ops: []}, shop.Category: {immutable: true}}
functions:
  stats: {depends_on: [shop.Article, shop.Category, shop.Cafe], timeout: 30s, lock: true}
  rates: {timeout: 5s}
"""


def test_explain_of_a_function_says_what_invalidates_it_and_what_does_not(project: Project) -> None:
    project.policies(FUNCTIONS)
    explained = project.manage("cachepolicy", "explain", "functions.stats")
    assert (explained.code, explained.err) == (0, "")
    assert (
        explained.out
        == """\
functions.stats
  functions.stats: policies.yaml:5:3
effective values
  timeout: 30s: no cached result is older  (policies.yaml:5:74)
  lock: true  (policies.yaml:5:85)
  depends_on: shop.Article, shop.Category, shop.Cafe  (policies.yaml:5:23)
what invalidates it: writes through Django, by raw SQL too
  - to shop.Article, table shop_article  (policies.yaml:3:10)
  - to shop.Article.tags, table shop_article_tags
  - to shop.Category inside allow_writes(), table shop_category  (policies.yaml:3:29)
  - to shop.Cafe, table shop_cafe  (policies.yaml:3:10)
  - to shop.Place, table shop_place, by multi-table inheritance
what does not (its results are right again within 30s)
  - writes to any other model, whatever the function reads
  - writes to shop_article past Django: of other programs, and by the driver's own cursor
  - what the database itself changes in shop_article: triggers, its cascades, the bodies of procedures
  - writes to shop_category past Django: of other programs, and by the driver's own cursor
  - what the database itself changes in shop_category: triggers, its cascades, the bodies of procedures
  - writes to shop_cafe past Django: of other programs, and by the driver's own cursor
  - what the database itself changes in shop_cafe: triggers, its cascades, the bodies of procedures
"""
    )


def test_explain_of_a_function_that_only_time_refreshes(project: Project) -> None:
    project.policies(FUNCTIONS)
    assert project.manage("cachepolicy", "explain", "functions.rates").out == (
        "functions.rates\n"
        "  functions.rates: policies.yaml:6:3\n"
        "effective values\n"
        "  timeout: 5s: no cached result is older  (policies.yaml:6:20)\n"
        "  lock: false  (built in)\n"
        "  depends_on: nothing: only time refreshes it  (built in)\n"
    )


def test_show_lists_functions_below_the_models(reached: Project) -> None:
    project = reached
    project.policies(FUNCTIONS)
    shown = project.manage("cachepolicy", "show")
    assert shown.out.endswith("""\

function  depends on                            timeout  also  origin
rates     -                                     5s       -     policies.yaml:6:3
stats     shop.Article,shop.Category,shop.Cafe  30s      lock  policies.yaml:5:3
""")
    assert {
        row["label"].partition(".")[0] for row in project.manage("cachepolicy", "show", "--format", "json").json
    } == {
        "contenttypes",
        "shop",
    }


def spots(project: Project, model: str) -> list[str]:
    lines = project.manage("cachepolicy", "explain", model).out.splitlines()
    return [line.removeprefix("  - ") for line in lines if line.startswith("  - ")]


UNSEEN = [
    "writes to {} past Django: of other programs, and by the driver's own cursor",
    "what the database itself changes in {}: triggers, its cascades, the bodies of procedures",
]


def unseen(table: str) -> list[str]:
    return [line.format(table) for line in UNSEEN]


def test_explain_of_an_immutable_table_advises_no_write_and_tells_of_copies_elsewhere(project: Project) -> None:
    assert spots(project, "shop.Category") == [
        "raw SQL: all reads of shop_category",
        *unseen("shop_category"),
        "a write in another process: copies of local_get here stay until the timeout",
    ]


def test_explain_of_ignored_updates_says_what_they_leave_behind(project: Project) -> None:
    project.policies(
        "version: 1\nmodels: {shop.*: {timeout: 9s, update: ignore}}\nfunctions: {f: {depends_on: [shop.Tag]}}\n"
    )
    explained = project.manage("cachepolicy", "explain", "shop.Tag").out
    assert "\n  update: ignore  (policies.yaml:2:40)\n" in explained
    left = [
        *unseen("shop_tag"),
        "shop.Tag.objects.update() and bulk_update(), by `update: ignore` (policies.yaml:2:40)",
    ]
    assert spots(project, "shop.Tag") == ["raw SQL: all reads of shop_tag", *left]
    assert spots(project, "functions.f")[-3:] == left


def test_explain_names_both_sides_of_multi_table_inheritance(project: Project) -> None:
    project.policies("version: 1\nmodels: {shop.*: {ops: [], timeout: 1s}}\n")
    assert "any write to shop.Cafe: all reads of shop_place, in which each row has a part" in spots(
        project, "shop.Place"
    )
    assert "any write to it: all reads of shop_cafe, and of shop.Place, whose table it inherits" in spots(
        project, "shop.Cafe"
    )


@pytest.mark.parametrize(
    ("headline", "article", "said"),
    [
        ("{immutable: true}", "{}", "  writes are not refused: the rule of shop.Article, which has the table, decides"),
        ("{}", "{immutable: true}", "  writes are refused: the rule of shop.Article, which has the table, decides"),
    ],
)
def test_the_table_decides_whether_a_proxy_is_immutable(
    project: Project, headline: str, article: str, said: str
) -> None:
    project.policies(
        f"version: 1\ndefaults: {{timeout: 9s}}\nmodels: {{shop.Headline: {headline}, shop.Article: {article}}}\n"
    )
    assert said in project.manage("cachepolicy", "explain", "shop.Headline").out.splitlines()
    shown = {row["label"]: row for row in project.manage("cachepolicy", "show", "--format", "json").json}
    assert shown["shop.Headline"]["immutable"] is ("are refused" in said)


def test_explain_of_a_proxy_without_a_rule_of_its_own_knows_that_its_writes_invalidate(project: Project) -> None:
    project.policies("version: 1\nmodels: {shop.Article: {timeout: 9s}, shop.Headline: off}\n")
    assert project.manage("cachepolicy", "explain", "shop.Headline").out.splitlines()[-1] == (
        "  not cached; its writes invalidate the table shop_article by row, as another model on it has a rule"
    )


def test_explain_of_an_unknown_model_exits_with_1(project: Project) -> None:
    explained = project.manage("cachepolicy", "explain", "shop.Artcle")
    assert (explained.code, explained.out) == (1, "")
    assert explained.err == "CommandError: no model shop.Artcle; did you mean shop.Article?\n"


# check


def test_check_of_a_sound_policy_exits_with_0(project: Project) -> None:
    checked = project.manage("cachepolicy", "check")
    assert (checked.code, checked.out, checked.err) == (0, "1 file checked: no problems\n", "")


def test_check_sees_what_does_not_fit_the_models_and_counts_warnings_apart(project: Project) -> None:
    project.policies(POLICIES.replace("shop.Cafe: off", "shop.Cafee: off"))
    checked = project.manage("cachepolicy", "check")
    misfit = "policies.yaml:7:3: models.shop.Cafee: no such model; did you mean shop.Cafe?\n"
    assert (checked.code, checked.out) == (1, misfit + "1 file checked: 1 problem\n")
    project.settings(after="SILENCED_SYSTEM_CHECKS = ['cachepolicy.E011']")
    checked = project.manage("cachepolicy", "check")
    assert (checked.code, checked.out) == (0, "1 file checked: no problems\n")
    project.policies("version: 1\n")
    checked = project.manage("cachepolicy", "check")
    assert (checked.code, checked.out) == (
        0,
        "policies.yaml: the policy has no rule; write rules under `models:`; "
        "`manage.py cachepolicy init -` prints a start\n1 file checked: no problems, 1 warning\n",
    )


def test_check_has_the_formats_of_the_script(project: Project) -> None:
    project.policies("version: 1\nmodels: {shop.Article: {timeout: 1s, ops: get}, shop.Category: {timeout: 1s}}\n")
    as_json = project.manage("cachepolicy", "check", "--format", "json")
    (problem,) = as_json.json["problems"]
    assert (as_json.code, problem["code"], problem["line"], problem["column"]) == (0, "cachepolicy.W014", 2, 10)
    github = project.manage("cachepolicy", "check", "--format", "github")
    assert github.out == (
        "::warning file=policies.yaml,line=2,col=10::models.shop.Article: shop.Article.tags leads to shop.Tag, "
        "which has no rule: each write to it invalidates all cached reads that join its table; "
        "add `shop.Tag: {ops: []}`, and its writes invalidate by row\n"
    )


def test_check_sees_the_misfits_of_every_overlay_or_of_one(project: Project) -> None:
    project.policies(POLICIES + "  wrong: {models: {shop.Artcle: {ops: all}}}\n")
    misfit = "policies.yaml:11:20: models.shop.Artcle: no such model; did you mean shop.Article?\n"
    for environment in ([], ["--environment", "wrong"]):
        checked = project.manage("cachepolicy", "check", *environment)
        assert (checked.code, checked.out) == (1, misfit + "1 file checked: 1 problem\n")
    fast = project.manage("cachepolicy", "check", "--environment", "fast")
    assert (fast.code, fast.out) == (0, "1 file checked: no problems\n")
    none = project.manage("cachepolicy", "check", "--environment", "fats")
    assert (none.code, none.out) == (1, "")
    assert none.err == "CommandError: policies.yaml has no environment fats; it has fast, wrong\n"


def test_check_does_not_read_the_file_again(project: Project) -> None:
    # Its path is relative to where the settings were read.
    project.write(
        "manage.py",
        "import os, sys\nfrom django.core.management import execute_from_command_line\n"
        "os.environ['DJANGO_SETTINGS_MODULE'] = 'settings'\nimport settings\nos.chdir('/')\n"
        "execute_from_command_line(sys.argv)\n",
    )
    checked = project.manage("cachepolicy", "check", "--environment", "fast")
    assert (checked.code, checked.out) == (0, "1 file checked: no problems\n")


def test_check_of_named_files_is_the_scripts(project: Project) -> None:
    project.write("other.yaml", "version: 2\n")
    checked = project.manage("cachepolicy", "check", "other.yaml", "policies.yaml")
    wrong = "other.yaml:1:10: version: `2` is not a version of the language; write `version: 1`\n"
    assert (checked.code, checked.out) == (1, wrong + "2 files checked: 1 problem\n")


def test_a_faulty_or_missing_file_is_checked_but_neither_shown_nor_explained(project: Project) -> None:
    refused = "CommandError: the policy file has problems; see `manage.py cachepolicy check`\n"
    project.policies("version: 1\nmodels: {shop.Tag: {}}\n")
    checked = project.manage("cachepolicy", "check")
    assert (checked.code, checked.out) == (
        1,
        "policies.yaml:2:10: models.shop.Tag: this rule has no timeout; give it one, or give `defaults` one\n"
        "1 file checked: 1 problem\n",
    )
    shown = project.manage("cachepolicy", "show")
    assert (shown.code, shown.out, shown.err) == (1, "", refused)
    (project.directory / "policies.yaml").unlink()
    checked = project.manage("cachepolicy", "check")
    assert (checked.code, checked.out) == (
        2,
        "policies.yaml: the file cannot be read: No such file or directory; check the path given\n"
        "1 file checked: 1 problem\n",
    )
    explained = project.manage("cachepolicy", "explain", "shop.Tag")
    assert (explained.code, explained.out, explained.err) == (1, "", refused)


def test_without_the_door_check_says_so_and_show_refuses(project: Project) -> None:
    project.settings(door="")
    checked = project.manage("cachepolicy", "check")
    assert (checked.code, checked.out) == (
        1,
        "settings.py: cachepolicy is installed, but no policy is loaded; add to settings.py: "
        'globals().update(cachepolicy.settings(BASE_DIR / "policies.yaml"))\nno files checked: 1 problem\n',
    )
    shown = project.manage("cachepolicy", "show")
    assert (shown.code, shown.err) == (
        1,
        "CommandError: no policy is loaded; see `manage.py cachepolicy check`\n",
    )


# schema and init


def test_schema_prints_the_json_schema(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("cachepolicy", "schema")
    assert json.loads(capsys.readouterr().out) == json_schema()


def test_init_writes_a_file_that_names_every_model_and_refuses_to_overwrite(project: Project) -> None:
    again = project.manage("cachepolicy", "init")
    assert (again.code, again.out, again.err) == (
        1,
        "",
        "CommandError: policies.yaml exists; name another file, or - to print the starter file\n",
    )
    assert (project.directory / "policies.yaml").read_text(encoding="utf-8") == POLICIES
    (project.directory / "policies.yaml").unlink()
    project.settings(door="")
    written = project.manage("cachepolicy", "init")
    assert (written.code, written.err) == (0, "")
    assert written.out == (
        "policies.yaml written; next\n"
        f"  load it in settings.py, after `import cachepolicy`: {DOOR}\n"
        "  run `manage.py check`\n"
    )
    project.settings()
    shown = project.manage("cachepolicy", "show", "--format", "json")
    assert {(row["rule"] == row["label"], row["timeout_ms"], len(row["ops"])) for row in shown.json} == {
        (True, 60_000, 0)
    }
    checked = project.manage("check")
    assert (checked.code, checked.err) == (0, "")


def test_init_prints_to_stdout_and_reports_what_it_cannot_write(project: Project) -> None:
    printed = project.manage("cachepolicy", "init", "-")
    assert (printed.code, printed.err) == (0, "")
    assert parse_policies(printed.out.encode()).models.keys() >= {"shop.article", "shop.tag"}
    assert "`cachepolicy check policies.yaml`" in printed.out
    assert sorted(path.name for path in project.directory.glob("*.yaml")) == ["policies.yaml"]
    nowhere = project.manage("cachepolicy", "init", "no/such.yaml")
    assert (nowhere.code, nowhere.out, nowhere.err) == (
        2,
        "",
        "CommandError: no/such.yaml cannot be written: No such file or directory\n",
    )


def test_init_from_a_cacheops_dict_gives_real_models_the_same_profiles(project: Project) -> None:
    by_hand = (
        "CACHEOPS_DEFAULTS = {'timeout': 3600, 'ops': ('get', 'fetch')}\n"
        "CACHEOPS = {'shop.tag': {'ops': 'all', 'lock': True}, 'shop.log': None, "
        "'shop.*': {'timeout': 900}, '*.*': {'ops': ()}}"
    )
    print_profiles = """
from cacheops.conf import model_profile
from django.apps import apps
for model in apps.get_models():
    profile = model_profile(model)
    print(model._meta.label, profile and sorted((key, sorted(v) if key == 'ops' else v) for key, v in profile.items()))
"""
    project.settings(before=by_hand, door="", after="SILENCED_SYSTEM_CHECKS = ['cachepolicy.E022']")
    (project.directory / "policies.yaml").unlink()
    before = project.serve(print_profiles)
    assert (before.code, before.err) == (0, "")
    assert project.manage("cachepolicy", "init").code == 0
    project.settings()
    after = project.serve(print_profiles)
    assert (after.code, after.err) == (0, "")
    assert after.out == before.out
    assert after.out.count("3600") == 2
    assert "shop.Log None" in after.out


BY_HAND = "CACHEOPS_DEFAULTS = {'timeout': 900}\nCACHEOPS = {'shop.tag': {'ops': 'all'}, 'shop.Tga': {}, 'old.*': None}"


@pytest.mark.parametrize("where", ["before", "after"])
def test_init_beside_the_door_makes_rules_of_the_dict_it_replaces_and_says_the_next_steps(
    project: Project, where: str
) -> None:
    # A migrating team pastes the door's line first.
    (project.directory / "policies.yaml").unlink()
    project.settings(**{where: BY_HAND})
    written = project.manage("cachepolicy", "init")
    assert (written.code, written.err) == (0, "")
    assert written.out == (
        "policies.yaml written; next\n  remove from settings.py: CACHEOPS, CACHEOPS_DEFAULTS\n  run `manage.py check`\n"
    )
    text = (project.directory / "policies.yaml").read_text(encoding="utf-8")
    assert (
        text.partition("\nmodels:\n")[2]
        == """\
  shop.tag: {ops: all}
  # no such model; did you mean shop.Tag?
  # shop.Tga: {}
  # no such app `old`; check INSTALLED_APPS, or remove the rule
  # old.*: off
"""
    )
    project.settings()
    checked = project.manage("check")
    assert (checked.code, checked.err) == (0, "")
    # Once the file exists, `-` still prints what the dict meant.
    project.settings(**{where: BY_HAND})
    assert project.manage("cachepolicy", "init", "-").out == text


def test_init_leaves_out_models_that_can_have_no_rule(project: Project) -> None:
    with (project.directory / "shop" / "models.py").open("a", encoding="utf-8") as models:
        models.write("\n\nclass Item(models.Model):\n    items = models.Manager()\n")
    printed = project.manage("cachepolicy", "init", "-")
    assert "shop.Tag: {}" in printed.out
    assert "shop.Item" not in printed.out
