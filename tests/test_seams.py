"""The seams: cacheops is the one they were written for, all of them are in place, and out they leave no trace."""

from __future__ import annotations

import importlib.resources
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from cachepolicy.runtime import seams
from tests.projects import Project

RULES = "version: 1\nmodels:\n  shop.Article: {ops: [get], timeout: 60s}\n"


@pytest.fixture
def another_cacheops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of cacheops' modules, which verify() takes for the installed ones."""
    package = importlib.resources.files("cacheops")
    for name in seams._MODULES:
        (tmp_path / name).write_bytes((package / name).read_bytes())
    monkeypatch.setattr(seams, "files", lambda _: tmp_path)
    return tmp_path


def _target(owner: str) -> Any:
    module, _, name = owner.partition(":")
    target = import_module(module)
    return getattr(target, name) if name else target


def _in_place() -> dict[tuple[str, str], Any]:
    return {(owner, name): getattr(_target(owner), name) for owner, name, _ in seams.REPLACEMENTS}


def test_the_installed_cacheops_is_the_one_they_were_written_for(another_cacheops: Path) -> None:
    seams.verify()


@pytest.mark.parametrize("name", seams._MODULES)
def test_another_cacheops_is_refused_by_the_file_that_differs(another_cacheops: Path, name: str) -> None:
    with (another_cacheops / name).open("a") as file:
        file.write("\n# patched\n")
    with pytest.raises(ImproperlyConfigured) as raised:
        seams.verify()
    assert str(raised.value) == (
        f"cacheops/{name} is not that of django-cacheops 7.2, whose insides cachepolicy replaces; install that version "
        f"unchanged: pip install --force-reinstall django-cacheops==7.2"
    )


def test_a_project_with_another_cacheops_does_not_start(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.policies(RULES)
    assert project.serve("print('started')").out == "started\n"
    # Another release, as it would lie in site-packages: it comes first on the path.
    installed = Path(str(importlib.resources.files("cacheops")))
    project.write("patched/__init__.py", "")
    (tmp_path / "cacheops").symlink_to(_patched(installed, tmp_path / "patched" / "cacheops"))
    started = project.serve("print('started')")
    assert (started.code, started.out) == (1, "")
    assert "ImproperlyConfigured: cacheops/query.py is not that of django-cacheops 7.2" in started.err


def _patched(installed: Path, copy: Path) -> Path:
    copy.mkdir()
    for source in installed.iterdir():
        if source.name == "query.py":
            (copy / source.name).write_text(f"{source.read_text()}\n# patched\n")
        else:
            (copy / source.name).symlink_to(source)
    return copy


def test_every_seam_exists_and_ours_is_in_its_place() -> None:
    in_place = _in_place()
    upstream = {(target, name): found for target, name, found in reversed(seams._upstream)}
    assert len(seams._upstream) == len(seams.REPLACEMENTS)
    for owner, name, _ in seams.REPLACEMENTS:
        assert in_place[owner, name] is not upstream[_target(owner), name], f"{owner}.{name} is as it comes"


def test_taken_out_all_is_as_it_comes_and_afterwards_ours_again() -> None:
    before = _in_place()
    upstream = {(target, name): found for target, name, found in reversed(seams._upstream)}
    with seams.taken_out():
        for owner, name, _ in seams.REPLACEMENTS:
            assert getattr(_target(owner), name) is upstream[_target(owner), name]
    with pytest.raises(ZeroDivisionError), seams.taken_out():
        raise ZeroDivisionError
    after = _in_place()
    assert [where for where in before if before[where] is not after[where]] == []


def test_an_installation_that_is_refused_replaces_nothing(
    another_cacheops: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seams, "_upstream", [])
    (another_cacheops / "query.py").write_text("")
    before = _in_place()
    with pytest.raises(ImproperlyConfigured):
        seams.install()
    assert (_in_place(), seams._upstream) == (before, [])
