"""A commented starter file: from the installed models, or from the CACHEOPS dict a project has already."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from cachepolicy.policies.durations import Duration
from cachepolicy.policies.model import OPS
from cachepolicy.policies.schema import DEFAULTS, PATTERN, REFUSED

__all__ = ["from_cacheops", "from_models"]

_HEAD: Final = """\
# How stale may cached reads get? Every timeout here is a promise: no cached read is older than it.
# Check this file with `cachepolicy check {file}`; see what it means with `manage.py cachepolicy show`.
version: 1

# The ceiling: no rule may promise longer, unless its table is immutable.
max_staleness: {ceiling}
"""
_LONGEST_S: Final = 8_760 * 3_600
# What cacheops has where neither CACHEOPS_DEFAULTS nor the profile says otherwise.
_CACHEOPS: Final = {"ops": (), "lock": False, "db_agnostic": True, "local_get": False}
_LANGUAGE: Final = {"ops": "[]", "lock": "false", "db_agnostic": "false", "local_get": "false"}


def from_models(labels: list[str], file: str = "policies.yaml") -> str:
    """A file that invalidates every model by row and caches none yet: what is cached is each team's decision."""
    lines = [
        _HEAD.format(file=file, ceiling="60s"),
        "defaults:",
        "  timeout: 60s",
        "  # The reads that are cached: get, fetch, count, aggregate, exists, or all.",
        "  ops: []",
        "",
        "# To cache a model's reads, fill in its rule, for example {ops: [get, fetch], timeout: 30s}.",
        "# Remove a line, and its model is not cached; its writes then invalidate by table, not by row.",
    ]
    rules: list[str] = []
    app = ""
    for label in sorted(labels):
        if app and label.partition(".")[0] != app:
            rules.append("")
        app = label.partition(".")[0]
        rules.append(f"  {label}: {{}}")
    return _text([*lines, *_section("models", rules)])


def from_cacheops(
    profiles: Mapping[str, Any],
    defaults: Mapping[str, Any],
    file: str = "policies.yaml",
    unfit: Callable[[str], str | None] = lambda _: None,
) -> str:
    """The same meaning as a CACHEOPS dict with its CACHEOPS_DEFAULTS; what cannot be kept becomes a comment.

    So does a pattern that `unfit` has a reason against, because it names nothing that is installed.
    """
    shared = _read({**_CACHEOPS, **defaults})
    in_defaults = {key: text for key, text in shared.texts.items() if key in DEFAULTS}
    written = {key: text for key, text in in_defaults.items() if key in defaults or _LANGUAGE.get(key) != text}
    comments = shared.comments
    if "db_agnostic" not in defaults:
        comments.append("# db_agnostic is cacheops' default. Where there are several databases, false is right.")
    rules: list[str] = []
    longest_s = 0
    for pattern, profile in _by_pattern(profiles, rules).items():
        name = f'"{pattern}"' if pattern.startswith("*") else pattern
        reason = unfit(pattern)
        if reason:
            rules.append(f"  # {reason}")
        mark = "# " if reason else ""
        if profile is None:
            rules.append(f"  {mark}{name}: off")
            continue
        rule = _read({**_CACHEOPS, **defaults, **profile}, own=profile)
        if "timeout" not in rule.texts:
            # cacheops would fail at the first read.
            rule.comments.append("# It has no timeout that can be kept, so it caches nothing.")
            rule.texts |= {"ops": "[]", "local_get": "false", "timeout": in_defaults.get("timeout", "60s")}
            rule.timeout_s = shared.timeout_s or 60
        if rule.texts["local_get"] == "true" and rule.caches_get:
            rule.texts["immutable"] = "true"
            rule.comments.append("# local_get was on: the ORM will refuse writes to this table outside allow_writes()")
        else:
            if rule.texts["local_get"] == "true":
                rule.comments.append("# local_get is left out: without the op get it does nothing")
            rule.texts["local_get"] = "false"
            longest_s = max(longest_s, rule.timeout_s)
        given = {**_LANGUAGE, **in_defaults}
        kept = [f"{key}: {text}" for key, text in rule.texts.items() if given.get(key) != text or key in profile]
        rules += [f"  {comment}" for comment in rule.comments]
        rules.append(f"  {mark}{name}: {{{', '.join(kept)}}}")
    ceiling = str(Duration((longest_s or 60) * 1_000))
    values = [f"  {comment}" for comment in comments] + [f"  {key}: {text}" for key, text in written.items()]
    head = _HEAD.format(file=file, ceiling=ceiling)
    return _text([head, *_section("defaults", values), "", *_section("models", rules)])


def _by_pattern(profiles: Mapping[str, Any], rules: list[str]) -> dict[str, Any]:
    """The profiles that cacheops can find; adds a comment to `rules` for each of the others."""
    last = {pattern.lower(): pattern for pattern in profiles}
    kept = {}
    for pattern, profile in profiles.items():
        if not PATTERN.fullmatch(pattern):
            rules.append(f"  # {_shown(pattern)} is left out: it is neither app.Model nor app.* nor *.*")
        elif last[pattern.lower()] != pattern:
            rules.append(f"  # {pattern} is left out: {last[pattern.lower()]}, below, has the last word")
        else:
            kept[pattern] = profile
    return kept


@dataclass(slots=True)
class _Profile:
    """A profile in the words of the language: texts by key, and what it cannot say as comments."""

    texts: dict[str, str]
    comments: list[str]
    timeout_s: int = 0
    caches_get: bool = False


def _read(profile: Mapping[str, Any], own: Mapping[str, Any] | None = None) -> _Profile:
    """`profile` with its defaults filled in; only of the keys in `own` (None: of all) is it said what is left out."""
    found = _Profile({}, [])
    comments: list[tuple[str, str]] = []
    for key, value in profile.items():
        if key == "timeout":
            if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                found.timeout_s = min(value, _LONGEST_S)
                found.texts[key] = str(Duration(found.timeout_s * 1_000))
                if value > _LONGEST_S:
                    comments.append((key, f"timeout: {value} is cut to a year"))
            else:
                comments.append((key, f"timeout: {_shown(value)} is no whole number of seconds above zero"))
        elif key == "ops":
            ops = set(OPS) if value == "all" else {value} if isinstance(value, str) else set(value or ())
            unknown = sorted(map(_shown, ops - set(OPS)))
            comments += [(key, f"ops: {op} is left out: cacheops ignores it there") for op in unknown]
            known = [op for op in OPS if op in ops]
            found.caches_get = "get" in known
            found.texts[key] = "all" if len(known) == len(OPS) else f"[{', '.join(known)}]"
        elif key in _CACHEOPS:
            found.texts[key] = str(bool(value)).lower()
        elif key in REFUSED and not value:
            continue
        elif key in REFUSED:
            comments.append((key, f"{key} is left out: {REFUSED[key][0]}"))
        else:
            comments.append((key, f"{_shown(key)}: {_shown(value)} is left out: cacheops does not know it either"))
    found.comments += [f"# {comment}" for key, comment in comments if own is None or key in own]
    return found


def _shown(value: Any) -> str:
    return " ".join(repr(value).split())


def _section(name: str, lines: list[str]) -> list[str]:
    if all(line.strip().startswith("#") for line in lines):
        return [*lines, f"{name}: {{}}"]
    return [f"{name}:", *lines]


def _text(lines: list[str]) -> str:
    return "\n".join(lines) + "\n"
