"""The demo, as people run it: every scene kept, JSON alone on stdout, and red when a bound is broken."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCENES = {
    "a hit": 60_000,
    "save()": 60_000,
    "a join, filtered by": 60_000,
    "a join, select_related()": 60_000,
    "rollback inside atomic()": 60_000,
    "raw SQL in the process": 60_000,
    "raw SQL from outside": 2_000,
    "an invalidation lost, Redis hung at the write": 60_000,
    "an immutable table's local_get": 3_600_000,
    "a function of cached_as": 60_000,
}
# What no invalidation reaches must be seen to be stale, else the scene proves nothing.
STALE = {
    "a join, select_related()",
    "raw SQL in the process",
    "raw SQL from outside",
    "an invalidation lost, Redis hung at the write",
    "an immutable table's local_get",
    "a function of cached_as",
}


def demo(*arguments: str, before: str = "") -> subprocess.CompletedProcess[str]:
    program = (
        f"import sys; sys.argv[1:] = {list(arguments)!r}\n{before}\nfrom demo.__main__ import main; sys.exit(main())"
    )
    path = os.pathsep.join([str(ROOT), str(ROOT / "sample_site")])
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False, timeout=120
    )


def test_every_scene_keeps_its_bound_and_json_stands_alone_on_stdout() -> None:
    done = demo("--format", "json")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    scenes = json.loads(done.stdout)["scenes"]
    assert {scene["name"]: scene["bound_ms"] for scene in scenes} == SCENES
    for scene in scenes:
        assert set(scene) == {"name", "rule", "bound_ms", "measured_ms", "verdict"}
        assert scene["verdict"] == "kept"
        assert 0 <= scene["measured_ms"] <= scene["bound_ms"]
        # The last stale read comes half a second before the bound, or within the real-clock scene's polls.
        assert (scene["measured_ms"] > 0.5 * scene["bound_ms"]) == (scene["name"] in STALE), scene


def test_the_readme_shows_what_the_demo_prints() -> None:
    done = demo()
    assert done.returncode == 0, done.stderr
    block = re.search(r"```demo\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert block
    printed = done.stdout.partition("\n\n")[0]
    assert _without_measures(printed) == _without_measures(block.group(1).rstrip("\n"))


def _without_measures(text: str) -> list[str]:
    """Scenes, rules, bounds, verdicts and notes; what was measured differs from run to run."""
    lines = []
    for line in text.splitlines():
        line = re.sub(r"(\d) ms +[\d,.]+ ms +\d+ ", r"\1 ms ", line)
        lines.append(" ".join(re.sub(r"\d+ of its commands", "n of its commands", line).split()))
    return lines


TTL_TWICE_AS_LONG = """
import cachepolicy.compiler as compiler
real = compiler.seconds
compiler.seconds = lambda timeout: 2 * real(timeout)
"""
LOCAL_GETS_FOR_EVER = """
import cachepolicy.apps as apps
install = apps._install_runtime
def mutated():
    install()
    import cachepolicy.runtime.local_gets as local_gets
    local_gets._bound_ns = lambda key: 1 << 62
apps._install_runtime = mutated
"""


@pytest.mark.parametrize(
    ("mutant", "broken"),
    [
        (TTL_TWICE_AS_LONG, {"a join, select_related()"}),
        (LOCAL_GETS_FOR_EVER, {"an immutable table's local_get"}),
    ],
)
def test_a_broken_bound_turns_the_demo_red(mutant: str, broken: set[str]) -> None:
    """The mutants live in the demo's own process, so it is the scenes that read there which must break."""
    done = demo("--format", "json", before=mutant)
    assert done.returncode == 1, done.stderr
    scenes = json.loads(done.stdout)["scenes"]
    assert {scene["name"] for scene in scenes if scene["verdict"] == "broken"} == broken
