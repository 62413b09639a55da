"""Every check of the policy and of the settings: on a small bad project it fires, on a sound one it is silent."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.projects import DOOR, Project

# Everything here comes close to a check without failing it.
SOUND = """\
version: 1
max_staleness: 60s
defaults: {timeout: 60s}
models:
  shop.article: {ops: all, near: 60s, refresh_ahead: 5s}
  shop.Category: {ops: [get], immutable: true, local_get: true, timeout: 1h}
  shop.Tag: {ops: []}
  shop.Headline: {ops: [get]}
  shop.Log: {ops: [fetch]}
  shop.Cafe: off
  contenttypes.*: off
functions:
  stats: {depends_on: [shop.Article], timeout: 60s, near: 60s, refresh_ahead: 59s}
"""
NO_DOOR = (
    "settings.py: (cachepolicy.E022) cachepolicy is installed, but no policy is loaded\n"
    f"\tHINT: add to settings.py: {DOOR}"
)
NO_CACHEOPS = (
    "INSTALLED_APPS: (cachepolicy.E020) cacheops is not installed\n"
    '\tHINT: add "cacheops" to INSTALLED_APPS, before "cachepolicy"'
)
EVERYTHING_INVALIDATES = 'version: 1\nmodels: {"*.*": {ops: [], timeout: 30s}}\n'


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path)
    made.policies(SOUND)
    return made


def rules(*lines: str, functions: str = "") -> str:
    """A policy file whose first rule stands in line 4."""
    text = "\n".join(["version: 1", "defaults: {timeout: 30s}", "models:", *(f"  {line}" for line in lines)])
    return text + (f"\nfunctions:\n  {functions}\n" if functions else "\n")


def add_models(project: Project, text: str) -> None:
    """More models for the app `shop`."""
    with (project.directory / "shop" / "models.py").open("a", encoding="utf-8") as models:
        models.write(f"\n\n{text}")


def assert_errors(project: Project, *errors: str) -> None:
    """`manage.py check` prints exactly these errors, and exits with 1."""
    checked = project.manage("check")
    assert checked.err == f"SystemCheckError: {_issues('ERRORS', errors)}"
    assert checked.code == 1


def assert_warnings(project: Project, *warnings: str) -> None:
    """`manage.py check` prints exactly these warnings, and exits with 0."""
    checked = project.manage("check")
    assert checked.err == _issues("WARNINGS", warnings)
    assert checked.code == 0


def _issues(title: str, messages: tuple[str, ...]) -> str:
    count = f"{len(messages)} issue{'' if len(messages) == 1 else 's'}"
    listed = "".join(f"{message}\n" for message in messages)
    return (
        f"System check identified some issues:\n\n{title}:\n{listed}\nSystem check identified {count} (0 silenced).\n"
    )


def assert_refused(project: Project, *errors: str) -> None:
    """A server does not start, and says exactly these errors."""
    served = project.serve("print('started')")
    raised = "django.core.exceptions.ImproperlyConfigured: the cache policy is refused:\n"
    assert served.err.partition(raised)[2] == "".join(f"{error}\n" for error in errors)
    assert (served.code, served.out) == (1, "")


@pytest.mark.parametrize("policies", [SOUND, EVERYTHING_INVALIDATES], ids=["close calls", "*.* without ops"])
def test_a_sound_project_passes_and_starts(project: Project, policies: str) -> None:
    project.policies(policies)
    checked = project.manage("check")
    assert (checked.code, checked.out) == (0, "System check identified no issues (0 silenced).\n")
    assert checked.err == ""
    served = project.serve("from cachepolicy import conf; print(len(conf.policies().models))")
    assert (served.code, served.out, served.err) == (0, f"{policies.count('ops') + policies.count('off')}\n", "")


# The policy file against the installed models


def test_an_unknown_model_is_refused(project: Project) -> None:
    project.policies(
        rules(
            "shop.Artcle: {ops: [get]}",
            "shop.Xyz: off",
            "cacheops.Qwertyuiop: {}",
            "shop.Tag: {}",
            functions="stats: {depends_on: [shop.Tag], timeout: 1s}",
        )
    )
    assert_errors(
        project,
        "policies.yaml:4:3: (cachepolicy.E011) models.shop.Artcle: no such model\n\tHINT: did you mean shop.Article?",
        "policies.yaml:5:3: (cachepolicy.E011) models.shop.Xyz: no such model\n"
        "\tHINT: the app has shop.Article, shop.Article_tags, shop.Cafe, shop.Category, shop.Headline, shop.Log, "
        "shop.Place, shop.Tag",
        "policies.yaml:6:3: (cachepolicy.E011) models.cacheops.Qwertyuiop: no such model\n"
        "\tHINT: the app has no models",
    )


def test_a_function_that_depends_on_an_unknown_model_or_app_is_refused(project: Project) -> None:
    project.policies(
        rules("shop.*: {}", "ship.*: {}", functions="stats: {depends_on: [shop.Tagg, ship.Tag], timeout: 1s}")
    )
    assert_errors(
        project,
        "policies.yaml:5:3: (cachepolicy.E010) models.ship.*: no such app `ship`\n\tHINT: did you mean shop.*?",
        "policies.yaml:7:23: (cachepolicy.E010) functions.stats.depends_on: no such app `ship`\n"
        "\tHINT: did you mean shop.Tag?",
        "policies.yaml:7:23: (cachepolicy.E011) functions.stats.depends_on: no such model\n"
        "\tHINT: did you mean shop.Tag?",
    )


def test_an_unknown_app_is_refused(project: Project) -> None:
    project.policies(rules("shopp.Article: {ops: [get]}", "qwerty.*: off"))
    assert_errors(
        project,
        "policies.yaml:4:3: (cachepolicy.E010) models.shopp.Article: no such app `shopp`\n"
        "\tHINT: did you mean shop.Article?",
        "policies.yaml:5:3: (cachepolicy.E010) models.qwerty.*: no such app `qwerty`\n"
        "\tHINT: check INSTALLED_APPS, or remove the rule",
    )


# The policy file against Django's databases


REPLICA = "DATABASES['replica'] = {'ENGINE': 'django.db.backends.sqlite3', 'NAME': ':memory:'}\n"


def databases(*lines: str, rule: str = "{ops: [get]}") -> str:
    """A policy file whose first database stands in line 6."""
    return rules(f"shop.Tag: {rule}") + "\n".join(["databases:", *(f"  {line}" for line in lines), ""])


def test_a_database_that_is_not_there_is_refused(project: Project) -> None:
    project.settings(before=REPLICA)
    project.policies(databases("replcia: {max_lag: 5s}", "q: {max_lag: 5s}"))
    elsewhere = "What only some environments have is declared in their overlays"
    errors = (
        "policies.yaml:6:3: (cachepolicy.E017) databases.replcia: settings.DATABASES has no `replcia`, so that this "
        f"lag counts nowhere\n\tHINT: did you mean replica? {elsewhere}",
        "policies.yaml:7:3: (cachepolicy.E017) databases.q: settings.DATABASES has no `q`, so that this lag counts "
        f"nowhere\n\tHINT: it has default, replica. {elsewhere}",
    )
    assert_errors(project, *errors)
    assert_refused(project, *errors)


def test_no_false_alarm_for_a_replica_or_a_database_of_another_environment(project: Project) -> None:
    overlay = "environments: {production: {databases: {reader: {max_lag: 5s}}}}\n"
    project.settings(before=REPLICA)
    project.policies(databases("replica: {max_lag: 29s999ms}") + overlay)
    assert project.manage("check").err == ""
    assert "settings.DATABASES has no `reader`" in project.manage("check", CACHEPOLICY_ENVIRONMENT="production").err
    asked = project.manage("cachepolicy", "check", "--environment", "production")
    assert (asked.code, asked.out.partition("; ")[0]) == (
        1,
        "policies.yaml:7:41: databases.reader: settings.DATABASES has no `reader`, so that this lag counts nowhere",
    )


def test_a_replica_too_far_behind_for_a_rule_is_warned_of_once_for_a_timeout_of_many(project: Project) -> None:
    project.settings(before=REPLICA)
    project.policies(
        "version: 1\n"
        "defaults: {timeout: 5s, ops: [get]}\n"
        "models:\n"
        "  shop.Category: {}\n"
        "  shop.Tag: {}\n"
        "  shop.Article: {timeout: 9s}\n"
        "  shop.Log: {ops: []}\n"
        "  contenttypes.*: {}\n"
        "  shop.Headline: {}\n"
        "functions: {f: {timeout: 4s}}\n"
        "databases: {replica: {max_lag: 5s}}\n"
    )
    hint = "\tHINT: lengthen that timeout, or read these from another database and silence cachepolicy.W018"
    assert_warnings(
        project,
        "policies.yaml:11:32: (cachepolicy.W018) databases.replica.max_lag: max_lag 5s is not below the timeout of "
        f"functions.f, 4s in line 10: nothing read there is ever cached\n{hint}",
        "policies.yaml:11:32: (cachepolicy.W018) databases.replica.max_lag: max_lag 5s is not below the timeout of "
        "shop.Category, shop.Tag, contenttypes.* and 1 more, 5s in line 2: nothing read there is ever cached\n"
        f"{hint}",
    )


def test_a_replica_too_far_behind_in_one_environment_is_warned_of_in_each(project: Project) -> None:
    project.settings(before=REPLICA)
    project.policies(databases("replica: {max_lag: 5s}") + "environments: {test: {max_staleness: 2s}}\n")
    assert_warnings(
        project,
        "policies.yaml:6:22: (cachepolicy.W018) databases.replica.max_lag: max_lag 5s is not below the timeout of "
        "shop.Tag, 2s in line 7: nothing read there is ever cached\n"
        "\tHINT: lengthen that timeout, or read these from another database and silence cachepolicy.W018",
    )


CAFE = "shop.Cafe inherits the table of shop.Place: each write to it invalidates all cached reads of both"
EMPTY_OPS = "write `ops: []` in this rule where shop.Cafe is often written, or silence cachepolicy.W012"


def test_multi_table_inheritance_is_warned_of_on_both_sides(project: Project) -> None:
    project.policies(rules("shop.Place: {ops: [get]}", "shop.Cafe: {ops: [fetch]}"))
    assert_warnings(
        project,
        f"policies.yaml:4:3: (cachepolicy.W012) models.shop.Place: {CAFE}\n\tHINT: {EMPTY_OPS}",
        f"policies.yaml:5:3: (cachepolicy.W012) models.shop.Cafe: {CAFE}\n\tHINT: {EMPTY_OPS}",
    )
    assert project.serve("print('started')").out == "started\n"
    project.policies(rules("shop.Place: {ops: []}", "shop.Cafe: {ops: []}"))
    assert project.manage("check").out == "System check identified no issues (0 silenced).\n"


def test_multi_table_inheritance_is_warned_of_behind_a_proxy_and_a_wildcard(project: Project) -> None:
    add_models(project, "class Bistro(Cafe):\n    class Meta:\n        proxy = True\n")
    project.policies(rules("shop.Place: off", "shop.Cafe: off", "shop.*: {ops: [get]}"))
    assert_warnings(
        project,
        "policies.yaml:6:3: (cachepolicy.W012) models.shop.*: shop.Bistro inherits the table of shop.Place: "
        "each write to it invalidates all cached reads of both\n"
        "\tHINT: add `shop.Bistro: {ops: []}` where shop.Bistro is often written, or silence cachepolicy.W012",
    )


@pytest.mark.parametrize("named", ["Place", "Cafe"])
def test_a_function_may_depend_on_one_side_of_multi_table_inheritance(project: Project, named: str) -> None:
    project.policies(rules("shop.*: {}", functions=f"stats: {{depends_on: [shop.{named}], timeout: 1s}}"))
    assert project.manage("check").out == "System check identified no issues (0 silenced).\n"


def test_caching_every_model_is_warned_of(project: Project) -> None:
    project.policies(rules('"*.*": {ops: [get, count]}', "shop.Place: off", "shop.Cafe: off"))
    assert_warnings(
        project,
        "policies.yaml:4:3: (cachepolicy.W013) models.*.*: this caches count, get of every model, sessions and "
        "permissions too\n\tHINT: write ops: [] here, which keeps invalidation, and name the models to cache",
    )


def test_a_cached_relation_to_a_model_without_a_rule_is_warned_of(project: Project) -> None:
    project.policies(rules("shop.Article: {ops: [get]}", "shop.Category: {ops: [get]}"))
    assert_warnings(
        project,
        "policies.yaml:4:3: (cachepolicy.W014) models.shop.Article: shop.Article.tags leads to shop.Tag, which has no "
        "rule: each write to it invalidates all cached reads that join its table\n"
        "\tHINT: add `shop.Tag: {ops: []}`, and its writes invalidate by row",
    )


def test_a_cached_relation_to_a_model_that_is_off_is_warned_of_with_the_line_that_says_so(project: Project) -> None:
    project.policies(rules("shop.Tag: off", "shop.Article: {ops: [get]}", "shop.Category: {}"))
    assert_warnings(
        project,
        "policies.yaml:5:3: (cachepolicy.W014) models.shop.Article: shop.Article.tags leads to shop.Tag, which is off: "
        "each write to it invalidates all cached reads that join its table\n"
        "\tHINT: replace its `off` in line 4 by {ops: []}, and its writes invalidate by row, or silence "
        "cachepolicy.W014",
    )


@pytest.mark.parametrize("ruled", ["Article", "Headline"])
def test_a_cached_relation_to_a_proxy_is_seen_by_the_rule_of_any_model_on_its_table(
    project: Project, ruled: str
) -> None:
    # shop.Headline is a proxy of shop.Article.
    add_models(project, "class Quote(models.Model):\n    of = models.ForeignKey(Headline, models.CASCADE)\n")
    project.policies(rules("shop.Quote: {ops: [get]}", f"shop.{ruled}: {{}}"))
    assert project.manage("check").out == "System check identified no issues (0 silenced).\n"
    project.policies(rules("shop.Quote: {ops: [get]}"))
    assert_warnings(
        project,
        "policies.yaml:4:3: (cachepolicy.W014) models.shop.Quote: shop.Quote.of leads to shop.Article, which has no "
        "rule: each write to it invalidates all cached reads that join its table\n"
        "\tHINT: add `shop.Article: {ops: []}`, and its writes invalidate by row",
    )


@pytest.mark.parametrize("article", ["shop.Article: {}", "shop.Article: off", "shop.Log: {}"])
def test_an_immutable_proxy_of_a_table_that_may_be_written_is_refused(project: Project, article: str) -> None:
    project.policies(rules(article, "shop.Headline: {immutable: true}"))
    assert_errors(
        project,
        "policies.yaml:5:30: (cachepolicy.E015) models.shop.Headline: shop.Headline is a proxy of shop.Article, "
        "which is not immutable: its rows do change\n"
        "\tHINT: write `immutable: true` for shop.Article too, or leave it out for shop.Headline",
    )


def test_an_immutable_proxy_of_an_immutable_table_is_no_problem(project: Project) -> None:
    project.policies(
        rules(
            "shop.Article: {immutable: true}",
            "shop.Headline: {ops: [get], immutable: true, local_get: true}",
            "shop.*: {}",
        )
    )
    assert project.manage("check").out == "System check identified no issues (0 silenced).\n"


def test_a_rule_for_a_model_without_the_manager_objects_is_refused(project: Project) -> None:
    # cacheops asks `sender.objects` before each save.
    add_models(project, "class Item(models.Model):\n    items = models.Manager()\n")
    project.policies(rules("shop.*: {}"))
    assert_errors(
        project,
        "policies.yaml:4:3: (cachepolicy.E016) models.shop.*: shop.Item has no manager `objects`, "
        "so that save() raises AttributeError in cacheops\n"
        "\tHINT: add `objects = models.Manager()` to the model, or write `shop.Item: off`",
    )
    project.policies(rules("shop.*: {}", "shop.Item: off"))
    assert project.manage("check").out == "System check identified no issues (0 silenced).\n"


def test_what_does_not_fit_in_any_overlay_is_refused_whatever_environment_is_in_force_and_once(
    project: Project,
) -> None:
    overlays = (
        "environments: {prod: {models: {shop.Artcle: {ops: all}}}, test: {max_staleness: 9s, models: {shop.Xyz: off}}}"
    )
    project.policies(rules("shopp.*: {}") + overlays)
    errors = (
        "policies.yaml:4:3: (cachepolicy.E010) models.shopp.*: no such app `shopp`\n\tHINT: did you mean shop.*?",
        "policies.yaml:5:32: (cachepolicy.E011) models.shop.Artcle: no such model\n\tHINT: did you mean shop.Article?",
        "policies.yaml:5:94: (cachepolicy.E011) models.shop.Xyz: no such model\n"
        "\tHINT: the app has shop.Article, shop.Article_tags, shop.Cafe, shop.Category, shop.Headline, shop.Log, "
        "shop.Place, shop.Tag",
    )
    assert_errors(project, *errors)
    assert_refused(project, *errors)


def test_a_policy_without_rules_is_warned_of(project: Project) -> None:
    project.policies("version: 1\n")
    assert_warnings(
        project,
        "policies.yaml: (cachepolicy.W024) the policy has no rule\n"
        "\tHINT: write rules under `models:`; `manage.py cachepolicy init -` prints a start",
    )


# The policy file by itself: its problems become system checks, and the door refuses a server


def test_the_files_own_problems_are_system_checks_and_stop_a_server(project: Project) -> None:
    project.policies("""\
version: 1
max_staleness: 10s
defaults: {timeout: 10s, ops: [get]}
models:
  shop.Article: {timeout: 1m}
  shop.Category: {local_get: true}
  shop.Tag: {cache_on_save: true}
  shop.Log: {tiemout: 5s}
  shop.Place: {immutable: true, timeout: 1h}
""")
    assert_errors(
        project,
        "policies.yaml:5:27: (cachepolicy.E002) models.shop.Article.timeout: the timeout 1m is longer than "
        "max_staleness, 10s in line 2\n"
        "\tHINT: shorten it, or raise max_staleness; only an immutable table may promise longer",
        "policies.yaml:6:30: (cachepolicy.E003) models.shop.Category.local_get: `local_get` is never invalidated, "
        "so it needs a table that never changes\n"
        "\tHINT: add `immutable: true`, or use `near` for a table that does change",
        "policies.yaml:7:14: (cachepolicy.E004) models.shop.Tag.cache_on_save: `cache_on_save` stores an object "
        "from memory, which is not the state of the database\n\tHINT: remove it; the next read fills the cache",
        "policies.yaml:8:14: (cachepolicy.E001) models.shop.Log.tiemout: `tiemout` is no key\n"
        "\tHINT: did you mean timeout?",
    )
    served = project.serve("print('started')")
    raised = "cachepolicy.exceptions.PolicyError: 4 problems in the cache policy:\n"
    assert [line.split(": ")[:2] for line in served.err.partition(raised)[2].splitlines()] == [
        ["  policies.yaml:5:27", "models.shop.Article.timeout"],
        ["  policies.yaml:6:30", "models.shop.Category.local_get"],
        ["  policies.yaml:7:14", "models.shop.Tag.cache_on_save"],
        ["  policies.yaml:8:14", "models.shop.Log.tiemout"],
    ]
    assert (served.code, served.out) == (1, "")


def test_what_this_version_cannot_keep_is_a_system_check_and_stops_a_server(project: Project) -> None:
    project.policies(rules("shop.Tag: {}") + "views: {front: {}}\n")
    assert_errors(
        project,
        "policies.yaml:5:9: (cachepolicy.E005) views.front: this version caches no views yet\n"
        "\tHINT: remove the rule; cache the function behind it by `functions`",
    )
    served = project.serve("print('started')")
    assert served.err.endswith(
        "cachepolicy.exceptions.PolicyError: 1 problem in the cache policy:\n"
        "  policies.yaml:5:9: views.front: this version caches no views yet; "
        "remove the rule; cache the function behind it by `functions`\n"
    )
    assert (served.code, served.out) == (1, "")


def test_a_missing_file_is_a_system_check_and_stops_a_server(project: Project) -> None:
    (project.directory / "policies.yaml").unlink()
    assert_errors(
        project,
        "policies.yaml: (cachepolicy.E001) the file cannot be read: No such file or directory\n"
        "\tHINT: check the path given",
    )
    served = project.serve("print('started')")
    assert (served.code, served.out) == (1, "")
    assert served.err.endswith(
        "cachepolicy.exceptions.PolicyError: 1 problem in the cache policy:\n"
        "  policies.yaml: the file cannot be read: No such file or directory; check the path given\n"
    )


def test_the_overlay_is_chosen_by_the_environment_and_its_absence_is_refused(project: Project) -> None:
    project.policies(SOUND + "environments: {fast: {max_staleness: 2s}}\n")
    then = "from cachepolicy import conf; print(conf.policies().rule_for('shop.Tag').timeout.value)"
    assert project.serve(then).out == "1m\n"
    assert project.serve(then, CACHEPOLICY_ENVIRONMENT="fast").out == "2s\n"
    assert project.serve(then, CACHEPOLICY_ENVIRONMENT="fats").err.endswith(
        "  policies.yaml:1:1: environments: there is no environment `fats` (from CACHEPOLICY_ENVIRONMENT); "
        "did you mean fast?\n"
    )


# The settings and the packages


def test_an_installed_cachepolicy_without_the_door_is_refused(project: Project) -> None:
    project.settings(door="")
    assert_errors(project, NO_DOOR)


def test_cacheops_missing_from_the_installed_apps_is_refused(project: Project) -> None:
    project.settings(apps=("django.contrib.contenttypes", "shop", "cachepolicy"))
    assert_errors(project, NO_CACHEOPS)


def test_cacheops_after_cachepolicy_is_refused(project: Project) -> None:
    project.settings(apps=("django.contrib.contenttypes", "shop", "cachepolicy", "cacheops"))
    assert_errors(
        project,
        "INSTALLED_APPS: (cachepolicy.E025) cachepolicy stands before cacheops\n"
        '\tHINT: put "cacheops" before "cachepolicy"',
    )


def test_another_version_of_cacheops_is_refused(project: Project) -> None:
    project.write("shop/apps.py", _OTHER_VERSION)
    assert_errors(
        project,
        "django-cacheops: (cachepolicy.E021) django-cacheops 7.3 is installed; cachepolicy is built on 7.2\n"
        "\tHINT: pip install django-cacheops==7.2",
    )


_OTHER_VERSION = """\
from django.apps import AppConfig


class ShopConfig(AppConfig):
    name = "shop"

    def ready(self):
        import cacheops

        cacheops.__version__ = "7.3"
"""
_INIT = "`manage.py cachepolicy init -` prints the rules that mean the same"


@pytest.mark.parametrize("where", ["before", "after"])
def test_cacheops_settings_by_hand_are_refused_on_either_side_of_the_door(project: Project, where: str) -> None:
    by_hand = 'CACHEOPS = {"shop.*": {"ops": "all", "timeout": 9}}\nCACHEOPS_INSIDEOUT = False'
    project.settings(**{where: by_hand})
    assert_errors(
        project,
        "settings.CACHEOPS: (cachepolicy.E023) CACHEOPS is set by hand, beside policies.yaml\n"
        f"\tHINT: remove it from settings.py; {_INIT}",
        "settings.CACHEOPS_INSIDEOUT: (cachepolicy.E023) CACHEOPS_INSIDEOUT is set by hand, beside policies.yaml\n"
        "\tHINT: remove it from settings.py",
    )


def test_a_size_that_is_no_whole_number_above_zero_is_refused(project: Project) -> None:
    sizes = "LOCAL_GET_ENTRIES = 0", "NEAR_ENTRIES = '10000'", "NEAR_BYTES = 64 * 1024 * 0.5"
    project.settings(after="\n".join(f"CACHEPOLICY_{size}" for size in sizes))
    errors = [
        f"settings.{name}: (cachepolicy.E026) {name} is {size}, which is no whole number above zero\n"
        "\tHINT: write one, or remove the setting"
        for name, size in {
            "CACHEPOLICY_LOCAL_GET_ENTRIES": "0",
            "CACHEPOLICY_NEAR_BYTES": "32768.0",
            "CACHEPOLICY_NEAR_ENTRIES": "'10000'",
        }.items()
    ]
    assert_errors(project, *errors)
    assert_refused(project, *errors)


def test_no_refusal_of_the_least_sizes(project: Project) -> None:
    project.settings(after="CACHEPOLICY_LOCAL_GET_ENTRIES = CACHEPOLICY_NEAR_ENTRIES = CACHEPOLICY_NEAR_BYTES = 1")
    checked = project.manage("check")
    assert (checked.code, checked.err) == (0, "")


def test_settings_that_star_import_others_with_the_door_may_have_a_door_of_their_own(project: Project) -> None:
    project.settings()
    base = (project.directory / "settings.py").read_text(encoding="utf-8")
    project.write("base.py", base)
    project.write("settings.py", f"from base import *\nimport cachepolicy\n{DOOR}\n")
    checked = project.manage("check")
    assert (checked.code, checked.err) == (0, "")


# Which way it is said


def test_all_is_said_at_once(project: Project) -> None:
    project.settings(after="CACHEOPS_DEFAULTS = {'timeout': 5}")
    project.policies(rules("shop.Artcle: {}", "shop.Log: {ops: all}", "shop.Article: {ops: [get]}", "shop.Tag: {}"))
    checked = project.manage("check")
    assert [line.partition(") ")[0] for line in checked.err.splitlines() if "(cachepolicy." in line] == [
        "policies.yaml:4:3: (cachepolicy.E011",
        "settings.CACHEOPS_DEFAULTS: (cachepolicy.E023",
        "policies.yaml:6:3: (cachepolicy.W014",
    ]


def test_silenced_checks_are_neither_said_nor_in_the_way(project: Project) -> None:
    project.policies(rules("shop.Artcle: {ops: [get]}"))
    project.settings(after='SILENCED_SYSTEM_CHECKS = ["cachepolicy.E011"]')
    checked = project.manage("check")
    assert (checked.code, checked.out) == (0, "System check identified no issues (1 silenced).\n")
    served = project.serve("print('started')")
    assert (served.code, served.out, served.err) == (0, "started\n", "")


@pytest.mark.parametrize(
    "arguments", [["manage.py", "check"], ["-m", "django", "check"]], ids=["manage.py", "-m django"]
)
def test_nothing_is_cached_while_the_file_has_problems(project: Project, arguments: list[str]) -> None:
    # Where checks follow, the settings still load: what is cached by them must be nothing.
    project.policies(rules("shop.Tag: {ops: all, timeout: 1m, tiemout: 2m}"))
    project.write("shop/apps.py", _PRINTS_CACHEOPS)
    checked = project.python(*arguments, DJANGO_SETTINGS_MODULE="settings")
    assert (checked.code, checked.out) == (1, "{}\n")
    assert "(cachepolicy.E001) models.shop.Tag.tiemout" in checked.err


_PRINTS_CACHEOPS = """\
from django.apps import AppConfig


class ShopConfig(AppConfig):
    name = "shop"

    def ready(self):
        from django.conf import settings

        print(settings.CACHEOPS)
"""


# A server runs no system checks: starting it must refuse instead


def test_a_server_refuses_to_start_on_every_error_and_says_the_same(project: Project) -> None:
    project.settings(
        before="CACHEOPS_INSIDEOUT = False", apps=("django.contrib.contenttypes", "shop", "cachepolicy", "cacheops")
    )
    project.write("shop/apps.py", _OTHER_VERSION)
    project.policies(rules("shopp.*: {}", "shop.Artcle: {}", "shop.Article: {ops: [get]}"))
    assert_refused(
        project,
        "policies.yaml:4:3: (cachepolicy.E010) models.shopp.*: no such app `shopp`\n\tHINT: did you mean shop.*?",
        "policies.yaml:5:3: (cachepolicy.E011) models.shop.Artcle: no such model\n\tHINT: did you mean shop.Article?",
        "INSTALLED_APPS: (cachepolicy.E025) cachepolicy stands before cacheops\n"
        '\tHINT: put "cacheops" before "cachepolicy"',
        "django-cacheops: (cachepolicy.E021) django-cacheops 7.3 is installed; cachepolicy is built on 7.2\n"
        "\tHINT: pip install django-cacheops==7.2",
        "settings.CACHEOPS_INSIDEOUT: (cachepolicy.E023) CACHEOPS_INSIDEOUT is set by hand, beside policies.yaml\n"
        "\tHINT: remove it from settings.py",
    )


WRITES = "from shop.models import Tag; Tag.objects.create()"


@pytest.mark.parametrize("command", [["migrate"], ["shell", "-c", WRITES]], ids=lambda command: command[0])
def test_a_command_that_may_write_refuses_too(project: Project, command: list[str]) -> None:
    project.policies(rules("shop.Artcle: {}"))
    ran = project.manage(*command)
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.endswith(
        "django.core.exceptions.ImproperlyConfigured: the cache policy is refused:\n"
        "policies.yaml:4:3: (cachepolicy.E011) models.shop.Artcle: no such model\n\tHINT: did you mean shop.Article?\n"
    )


def test_a_server_refuses_to_start_without_the_door(project: Project) -> None:
    project.settings(door="")
    assert_refused(project, NO_DOOR)


def test_a_server_refuses_to_start_without_cacheops(project: Project) -> None:
    project.settings(apps=("django.contrib.contenttypes", "shop", "cachepolicy"))
    assert_refused(project, NO_CACHEOPS)


def test_a_server_starts_in_spite_of_warnings(project: Project) -> None:
    project.policies(rules("shop.Article: {ops: [get]}"))
    served = project.serve("print('started')")
    assert (served.code, served.out, served.err) == (0, "started\n", "")
