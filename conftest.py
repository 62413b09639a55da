"""The README's blocks are tests: policies load, code runs, commands print what it says they print."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from sybil import Example, Sybil
from sybil.parsers.markdown import CodeBlockParser

import cachepolicy
from cachepolicy.policies.loader import parse_policies


def _yaml(example: Example) -> None:
    """A block that names its file is written for the blocks after it; every other one must be a sound policy."""
    text = str(example.parsed)
    name = text.partition("\n")[0].removeprefix("# ")
    directory: Path = example.namespace["BASE_DIR"]
    (directory / name if name.endswith(".yaml") else directory / "other.yaml").write_text(text)
    if name != "broken.yaml":
        parse_policies(text.encode())


def _python(example: Example) -> None:
    namespace: dict[str, Any] = {"BASE_DIR": example.namespace["BASE_DIR"], "__name__": "readme"}
    code = compile(str(example.parsed), f"{example.path}:{example.line}", "exec")
    exec(code, namespace)
    if "INSTALLED_APPS" in namespace:
        assert namespace["CACHEPOLICY_REPLACED"] == {}
        assert set(namespace["CACHEOPS"]) == {"news.article", "news.tag"}


def _console(example: Example) -> str | None:
    """`$ command` and what it prints, to the letter."""
    command, _, expected = str(example.parsed).removeprefix("$ ").partition("\n")
    program = f"import sys; from cachepolicy.cli import main; sys.exit(main({command.split()[1:]!r}))"
    root = str(Path(cachepolicy.__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=example.namespace["BASE_DIR"],
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        check=False,
    )
    return None if done.stdout == expected else f"`{command}` printed:\n{done.stdout}{done.stderr}"


def _setup(namespace: dict[str, Any]) -> None:
    import tempfile

    namespace["directory"] = contextlib.ExitStack()
    name = namespace["directory"].enter_context(tempfile.TemporaryDirectory(prefix="cachepolicy-readme-"))
    namespace["BASE_DIR"] = Path(name)


def _teardown(namespace: dict[str, Any]) -> None:
    namespace["directory"].close()


pytest_collect_file = Sybil(
    parsers=[
        CodeBlockParser(language="yaml", evaluator=_yaml),
        CodeBlockParser(language="python", evaluator=_python),
        CodeBlockParser(language="console", evaluator=_console),
    ],
    patterns=["README.md"],
    setup=_setup,
    teardown=_teardown,
).pytest()
