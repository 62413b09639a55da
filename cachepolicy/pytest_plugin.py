"""`pytest --cachepolicy`: one test for each rule and fault of the policy; and fixtures to write more by hand.

Loaded into every run of pytest, so it imports neither Django nor cacheops nor redis before a test asks for them.
"""

from __future__ import annotations

import os
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from cachepolicy.exceptions import CachePolicyError

if TYPE_CHECKING:
    from cachepolicy.consistency.results import Case
    from cachepolicy.consistency.rig import Rig
    from cachepolicy.consistency.staleness import CacheClock, Staleness

__all__ = ["FAULTS", "PolicyItem", "PolicyRules"]

# The fixture, by the name that --fault has for it; the function in consistency.faults; whether it acts on the rig.
FAULTS: Final = {
    "rollback": ("transactions", "rolled_back"),
    "rollback_savepoint": ("transactions", "rolled_back_savepoint"),
    "rollback_autocommit_off": ("transactions", "rolled_back_without_atomic"),
    "rollback_raw": ("transactions", "rolled_back_raw"),
    "frozen_snapshot": ("transactions", "frozen_snapshot"),
    "lagging_replica": ("replicas", "lagging_replica"),
    "killed_in_commit": ("transactions", "killed_in_commit"),
    "paused_fill": ("fills", "paused_fill"),
    "raw_sql_outside": ("processes", "sql_from_outside"),
    "writer_killed": ("processes", "killed_after_commit"),
    "fork_in_atomic": ("processes", "written_by_a_fork_in_atomic"),
    "redis_refused": ("server", "refused"),
    "redis_hung": ("server", "hung"),
    "redis_paused": ("server", "paused"),
    "redis_read_only": ("server", "read_only"),
    "redis_full": ("server", "out_of_memory"),
    "redis_old_dump": ("server", "old_dump"),
    "redis_restarted_empty": ("server", "restarted_empty"),
    "redis_evicting": ("server", "evict_invalidators"),
    "redis_full_of_others": ("server", "evicting"),
    "redis_clock_set_back": ("server", "clock_set_back"),
    "corrupt_bytes": ("server", "corrupt_values"),
    "swapped_bytes": ("server", "swap_values"),
}
_NEEDS_DJANGO: Final = "needs pytest-django, which is not there; run `pip install pytest-django`"
_SEED = pytest.StashKey[int]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("cachepolicy", "cachepolicy: how stale may cached reads get?")
    group.addoption("--cachepolicy", action="store_true", help="add a test for each rule of the policy and each fault")
    group.addoption("--cachepolicy-model", action="append", default=[], metavar="app.Model", help="only this model's")
    group.addoption("--cachepolicy-fault", action="append", default=[], metavar="FAULT", help="only under this fault")
    group.addoption("--cachepolicy-seed", type=int, metavar="N", help="play the same schedule again")
    group.addoption("--cachepolicy-allow-unknown", action="store_true", help="skip, not fail, where nothing was shown")


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker; refuse --cachepolicy where pytest-django is absent."""
    config.addinivalue_line("markers", "cachepolicy: a test of how stale cached reads get")
    # Workers of one xdist run must collect the same tests in the same order.
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID") or os.urandom(8).hex()
    seed = config.getoption("--cachepolicy-seed")
    config.stash[_SEED] = zlib.crc32(run.encode()) % 10**6 if seed is None else seed
    if not config.pluginmanager.hasplugin("django"):
        if config.getoption("--cachepolicy"):
            raise pytest.UsageError(f"--cachepolicy {_NEEDS_DJANGO}")
        config.pluginmanager.register(_WithoutDjango(), "cachepolicy-without-django")


def pytest_report_header(config: pytest.Config) -> str | None:
    """Say the seed."""
    if not config.getoption("--cachepolicy"):
        return None
    seed = config.stash[_SEED]
    return f"cachepolicy: seed {seed} (the same schedule again: --cachepolicy-seed {seed})"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Add the policy's tests before -k, -m and pytest-django's ordering look at them."""
    if config.getoption("--cachepolicy"):
        items.extend(PolicyRules.from_parent(session, name="cachepolicy", nodeid="cachepolicy").collect())


def pytest_collection_finish(session: pytest.Session) -> None:
    """Put SQLite's test databases on files where faults need other threads and processes to see them."""
    if any("_cachepolicy_rig" in getattr(item, "fixturenames", ()) for item in session.items):
        from django.conf import settings

        if settings.configured:
            from cachepolicy.consistency.databases import put_on_files

            directory = tempfile.TemporaryDirectory(prefix="cachepolicy-", ignore_cleanup_errors=True)
            session.config.add_cleanup(directory.cleanup)
            put_on_files(Path(directory.name))


class PolicyRules(pytest.Collector):
    """The policy in force, as a collector of tests."""

    def collect(self) -> list[PolicyItem]:
        """A test for each rule and fault, in the order that the seed gives."""
        from django.conf import settings

        if not settings.configured:
            raise pytest.UsageError(
                "--cachepolicy needs the project's settings; name them in DJANGO_SETTINGS_MODULE or with --ds"
            )
        from cachepolicy.consistency.selection import Selection

        option = self.config.getoption
        chosen = Selection(option("--cachepolicy-model"), (), option("--cachepolicy-fault"), prefix="--cachepolicy-")
        try:
            cases = chosen.cases(self.config.stash[_SEED])
        except CachePolicyError as error:
            raise pytest.UsageError(str(error)) from error
        found: dict[tuple[str, str], list[Case]] = {}
        for case in cases:
            found.setdefault((case.rule, case.fault), []).append(case)
        return [
            PolicyItem.from_parent(self, name=f"{rule}[{fault}]", callobj=_test_of(ops))
            for (rule, fault), ops in found.items()
        ]


class PolicyItem(pytest.Function):
    """One rule under one fault, all its ops."""

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:  # noqa: ARG002
        """The witness and how to play it again; a traceback only for what is not a broken promise."""
        from cachepolicy.consistency.staleness import PromiseBroken

        if not isinstance(excinfo.value, PromiseBroken):
            return super().repr_failure(excinfo)
        rule, _, fault = self.name.removesuffix("]").partition("[")
        seed = self.config.stash[_SEED]
        options = f"--cachepolicy-model {rule} --cachepolicy-fault {fault} --cachepolicy-seed {seed}"
        return f"{excinfo.value}\n  replay: pytest --cachepolicy -m cachepolicy {options}"

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """The policy file, and the rule and fault."""
        from cachepolicy import conf

        return Path(conf.policies().file), None, self.name.replace("[", " under ").removesuffix("]")


def _test_of(cases: list[Case]) -> Callable[[Staleness], None]:
    @pytest.mark.cachepolicy
    @pytest.mark.django_db(transaction=True, databases="__all__", serialized_rollback=True)
    def test(staleness: Staleness) -> None:
        staleness.require(*map(staleness.play, cases))

    return test


class _WithoutDjango:
    @pytest.fixture
    def transactional_db(self) -> None:
        """Stands where pytest-django's would be, so that the rig can say what is missing."""


@pytest.fixture(scope="session")
def _cachepolicy_rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    """The kit's own Redis, shared by every test that asks for it, with cacheops pointed at it from then on."""
    if not request.config.pluginmanager.hasplugin("django"):
        pytest.fail(f"this fixture of cachepolicy {_NEEDS_DJANGO}", pytrace=False)
    from cachepolicy.consistency.rig import Rig

    with Rig() as rig:
        yield rig


@pytest.fixture
def _cachepolicy_stage(transactional_db: None, _cachepolicy_rig: Rig) -> Rig:  # noqa: ARG001
    """The rig with an empty cache, over a database that other threads and processes see."""
    from cachepolicy.consistency.databases import begin_as_wal

    begin_as_wal()
    _cachepolicy_rig.forget()
    return _cachepolicy_rig


@pytest.fixture
def cache_clock(_cachepolicy_stage: Rig) -> CacheClock:
    """The clock of the caches: `cache_clock.advance("59s")` moves Redis' expiries and this process's ages."""
    from cachepolicy.consistency.staleness import CacheClock

    return CacheClock(_cachepolicy_stage)


@pytest.fixture
def staleness(_cachepolicy_stage: Rig, request: pytest.FixtureRequest) -> Staleness:
    """How stale reads get: `staleness.check(Model, fault="raw_sql")`, or `with staleness.watching(row, field=…)`."""
    from cachepolicy.consistency.staleness import Staleness

    allowed = request.config.getoption("--cachepolicy-allow-unknown")
    return Staleness(_cachepolicy_stage, request.config.stash[_SEED], pytest.skip if allowed else None)


def _fault(name: str, module: str, function: str) -> Any:
    def fixture(_cachepolicy_stage: Rig) -> Callable[..., Any]:
        import functools
        import importlib

        fault: Callable[..., Any] = getattr(
            importlib.import_module(f"cachepolicy.consistency.faults.{module}"), function
        )
        return functools.partial(fault, _cachepolicy_stage) if module == "server" else fault

    fixture.__doc__ = f"The fault of cachepolicy.consistency.faults.{module}.{function}(), to be called in the test."
    return pytest.fixture(name=name)(fixture)


for _name, (_module, _function) in FAULTS.items():
    globals()[f"fault_{_name}"] = _fault(_name, _module, _function)
