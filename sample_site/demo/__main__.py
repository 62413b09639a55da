"""`python -m demo`: start the parts, play the scenes, print what was measured; exit code 1 if a bound was broken."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from cachepolicy.consistency.proxy import Proxy
from cachepolicy.consistency.redis_server import RedisServer


def main() -> int:
    """Run the demo; exit code 0 kept, 1 a bound broken, 2 a scene that shows nothing."""
    parser = argparse.ArgumentParser(prog="demo", description="Measure how stale the newsroom's cached reads get.")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    options = parser.parse_args()
    started = time.monotonic()
    # That Redis cannot be reached is what two of the scenes are about.
    logging.getLogger("cachepolicy").setLevel(logging.ERROR)
    with ExitStack() as parts:
        directory = Path(parts.enter_context(tempfile.TemporaryDirectory(prefix="cachepolicy-demo-")))
        redis = parts.enter_context(RedisServer())
        proxy = parts.enter_context(Proxy(redis.url))
        # This process is the writer whose network fails in one scene; the site reaches Redis without the proxy.
        os.environ["REDIS_URL"] = proxy.url
        os.environ["DATABASE_URL"] = f"sqlite:///{directory / 'newsroom.sqlite3'}"
        os.environ["DJANGO_SETTINGS_MODULE"] = "newsroom.settings"
        os.environ.pop("CACHEPOLICY_ENVIRONMENT", None)
        _prepare()
        results = _play(parts, redis, proxy, directory)
    from demo.report import as_json, as_text

    if options.format == "json":
        print(as_json(results))
    else:
        kept = sum(result.verdict == "kept" for result in results)
        print(as_text(results))
        print(f"\n{kept} of {len(results)} bounds kept, in {time.monotonic() - started:.0f} s")
    verdicts = {result.verdict for result in results}
    return 1 if "broken" in verdicts else 2 if "unknown" in verdicts else 0


def _prepare() -> None:
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)
    with Path(os.devnull).open("w") as nowhere:
        call_command("load_news", stdout=nowhere)


def _play(parts: ExitStack, redis: RedisServer, proxy: Proxy, directory: Path) -> list:  # type: ignore[type-arg]
    from cachepolicy.consistency.recording import Recording
    from cachepolicy.consistency.rig import Rig
    from demo.faults import FAULTS, played
    from demo.report import result
    from demo.scenes import SCENES
    from demo.stage import Stage, bound_of
    from demo.website import Website

    website = parts.enter_context(Website(redis.url, directory / "site.log"))
    stage = Stage(website, redis, proxy)
    results = []
    for scene in SCENES:
        bound = bound_of(scene.rule)
        recording = Recording(stage.let_pass, bound.ms)
        note = scene.play(stage, recording)
        results.append(result(scene.name, scene.rule, bound, recording.verdict(), note))
    with Rig() as rig:
        results += [
            result(fault.name, fault.rule, bound_of(fault.rule), played(fault, rig), fault.note) for fault in FAULTS
        ]
    return results


if __name__ == "__main__":
    sys.exit(main())
