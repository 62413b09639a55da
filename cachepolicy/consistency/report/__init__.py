"""Reports of a run, each a text: for people, for programs, for CI, and one page for whoever reviews the promise.

Pure Python: no Django, no cacheops and no redis.
"""

from cachepolicy.consistency.report.machine import as_json
from cachepolicy.consistency.report.text import as_text

__all__ = ["as_json", "as_text"]
