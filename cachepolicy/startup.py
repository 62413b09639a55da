"""Which processes say a policy's problems as system checks, and which must refuse to start."""

from __future__ import annotations

import sys
from pathlib import PurePath

__all__ = ["checks_follow"]


def checks_follow() -> bool:
    """Whether Django's system checks run in this process (manage.py, django-admin) and say problems better.

    A server runs no checks: gunicorn would serve with a faulty policy, so there startup itself must refuse.
    """
    # An embedded interpreter (mod_wsgi, uWSGI) may have no arguments at all.
    program = PurePath(sys.argv[0] if sys.argv else "")
    return program.name in {"manage.py", "django-admin", "django-admin.exe"} or program.parts[-2:] == (
        "django",
        "__main__.py",
    )
