"""The README says what the code does: its table is the language's own, its evidence what the demo prints."""

from __future__ import annotations

import re
from pathlib import Path

from cachepolicy.policies import schema

README = (Path(__file__).parent.parent / "README.md").read_text()


def language_table() -> set[tuple[str, ...]]:
    """The reference, from the table that drives the parser: where a key stands, and the cells that describe it."""
    sections = {"top": schema.TOP, "defaults": schema.DEFAULTS, "models": schema.MODEL, **schema.NAMED_SECTIONS}
    return {
        (section, f"`{key.name}`", key.kind.form, key.what, key.default)
        for section, keys in sections.items()
        for key in keys.values()
    }


def test_the_table_of_the_language_is_the_one_that_drives_the_parser() -> None:
    rows = README[README.index("| in | key |") :].split("\n\n")[0].splitlines()[2:]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    shown = {(section, *rest) for sections, *rest in cells for section in sections.split(", ")}
    assert shown == language_table()


def test_the_readme_names_both_commands_and_every_public_name() -> None:
    import cachepolicy

    for word in ("make demo", "make test", "make serve", "make bench", "make -s bench"):
        assert f"`{word}" in README
    for name in set(cachepolicy.__all__) - {"CachePolicyError", "Duration", "PolicySet", "UnsupportedFunctionError"}:
        assert name in README, name


def test_only_what_is_tested_is_claimed() -> None:
    project = (Path(__file__).parent.parent / "pyproject.toml").read_text()
    assert re.findall(r"Framework :: Django :: (\S+)\"", project) == ["5.2"]
    assert re.findall(r"Programming Language :: Python :: (\S+)\"", project) == ["3.11"]
