"""Which commands say a policy's problems themselves, and so may start in spite of them."""

from __future__ import annotations

import sys
from pathlib import PurePath
from typing import Final

__all__ = ["checks_follow"]

# These run the system checks before anything else, or are the checks.
_CHECKING: Final = (["cachepolicy"], ["check"], ["runserver"])


def checks_follow() -> bool:
    """Whether this is a command of manage.py or django-admin that says the problems better, all at once.

    Everything else must refuse at startup: gunicorn runs no checks, and what `migrate` or `shell` wrote under a faulty
    policy would invalidate nothing.
    """
    # An embedded interpreter (mod_wsgi, uWSGI) may have no arguments at all.
    program = PurePath(sys.argv[0] if sys.argv else "")
    is_django = program.name in {"manage.py", "django-admin", "django-admin.exe"} or program.parts[-2:] == (
        "django",
        "__main__.py",
    )
    return is_django and sys.argv[1:2] in _CHECKING and "--skip-checks" not in sys.argv
