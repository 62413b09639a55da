"""Run the sample site: `python sample_site/serve.py`, with nothing to install or configure besides."""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets

import django
from django.core.management import call_command

from cachepolicy.consistency.redis_server import RedisServer

_EDITOR = "demo-editor"


def main() -> None:
    """Start a Redis unless REDIS_URL names one, fill an empty database, and serve until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8000, help="on 127.0.0.1 (default: %(default)s)")
    port: int = parser.parse_args().port
    with contextlib.ExitStack() as stack:
        if not os.environ.get("REDIS_URL"):
            os.environ["REDIS_URL"] = stack.enter_context(RedisServer()).url
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "newsroom.settings")
        django.setup()
        _serve(port)


def _serve(port: int) -> None:
    call_command("migrate", verbosity=0)
    _load_if_empty()
    site, password = f"http://127.0.0.1:{port}", _reset_editor()
    print(  # noqa: T201
        f"\n  Front page  {site}/\n  Stats       {site}/stats/\n  Admin       {site}/admin/"
        f"   {_EDITOR} / {password}\n\n  Ctrl-C ends it.\n",
        flush=True,
    )
    # --insecure serves the admin's stylesheets although DEBUG is off.
    call_command("runserver", f"127.0.0.1:{port}", "--noreload", "--insecure", "--skip-checks", verbosity=0)


def _load_if_empty() -> None:
    from news.models import Article

    # iterator() reads past the cache: a Redis of one's own may still remember another database.
    if not list(Article.objects.values_list("pk")[:1].iterator()):
        call_command("load_news", verbosity=0)


def _reset_editor() -> str:
    """A superuser with a new password at every start, so that none is ever known beforehand."""
    from django.contrib.auth.models import User

    password = secrets.token_urlsafe(9)
    editor, _ = User.objects.get_or_create(username=_EDITOR)
    editor.is_staff = editor.is_superuser = True
    editor.set_password(password)
    editor.save()
    return password


if __name__ == "__main__":
    main()
