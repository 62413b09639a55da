"""A commented starter file: from the installed models, or from the CACHEOPS dict a project has already."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from cachepolicy.policies.durations import Duration
from cachepolicy.policies.model import OPS
from cachepolicy.policies.schema import REFUSED

__all__ = ["from_cacheops", "from_models"]

_HEAD: Final = """\
# How stale may cached reads get? Every timeout here is a promise: no cached read is older than it.
# Check this file with `cachepolicy check {file}`; see what it means with `manage.py cachepolicy show`.
version: 1

# The ceiling: no rule may promise longer, unless its table is immutable.
max_staleness: {ceiling}
"""


def from_models(labels: list[str], file: str = "policies.yaml") -> str:
    """A file that invalidates for every model and caches none yet: what is cached is each team's decision."""
    lines = [
        _HEAD.format(file=file, ceiling="60s"),
        "defaults:",
        "  timeout: 60s",
        "  # The reads that are cached: get, fetch, count, aggregate, exists, or all.",
        "  ops: []",
        "",
        "models:",
        "  # To cache a model's reads, fill in its rule, for example {ops: [get, fetch], timeout: 30s}.",
        "  # Remove a line, and its model is not cached and its writes invalidate nothing.",
    ]
    app = ""
    for label in sorted(labels):
        if app and label.partition(".")[0] != app:
            lines.append("")
        app = label.partition(".")[0]
        lines.append(f"  {label}: {{}}")
    return "\n".join(lines) + "\n"


def from_cacheops(profiles: Mapping[str, Any], defaults: Mapping[str, Any], file: str = "policies.yaml") -> str:
    """The same meaning as a CACHEOPS dict with its CACHEOPS_DEFAULTS; what cannot be kept becomes a comment."""
    timeouts = [
        profile["timeout"]
        for profile in [defaults, *(profile for profile in profiles.values() if profile)]
        if _is_seconds(profile.get("timeout"))
        if not profile.get("local_get")
    ]
    lines = [_HEAD.format(file=file, ceiling=_duration(max(timeouts, default=60)))]
    if defaults:
        lines += ["defaults:", *(f"  {line}" for line in _values(defaults)), ""]
    lines.append("models:")
    for pattern, profile in profiles.items():
        name = f'"{pattern}"' if pattern.startswith("*") else pattern
        if profile is None:
            lines.append(f"  {name}: off")
            continue
        values = list(_values(profile))
        kept = [line for line in values if not line.startswith("#")]
        if profile.get("local_get"):
            kept.append("immutable: true")
            values.append("# local_get was on: the ORM will refuse writes to this table outside allow_writes()")
        lines += [f"  {line}" for line in values if line.startswith("#")]
        lines.append(f"  {name}: {{{', '.join(kept)}}}")
    return "\n".join(lines) + "\n"


def _values(profile: Mapping[str, Any]) -> Iterator[str]:
    for key, value in profile.items():
        if key == "timeout" and _is_seconds(value):
            yield f"timeout: {_duration(value)}"
        elif key == "timeout":
            yield f"# timeout: {value!r} is no whole number of seconds above zero"
        elif key == "ops":
            yield f"ops: {_ops(value)}"
        elif key in ("lock", "local_get", "db_agnostic") and value in (True, False):
            yield f"{key}: {str(bool(value)).lower()}"
        elif key in REFUSED:
            yield f"# {key} is left out: {REFUSED[key][0]}"
        else:
            yield f"# {key}: {value!r} is left out: cacheops does not know it either"


def _is_seconds(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _duration(seconds: int) -> str:
    return str(Duration(seconds * 1_000))


def _ops(value: Any) -> str:
    ops = {value} if isinstance(value, str) else set(value or ())
    if "all" in ops:
        return "all"
    return "[" + ", ".join([op for op in OPS if op in ops] + sorted(ops - set(OPS))) + "]"
