"""Reports of a run, each a text: for people, for programs, for CI, and one page for whoever reviews the promise.

Pure Python: no Django, no cacheops and no redis.
"""

from cachepolicy.consistency.report.github import as_github
from cachepolicy.consistency.report.html import as_html
from cachepolicy.consistency.report.junit import as_junit
from cachepolicy.consistency.report.machine import as_json
from cachepolicy.consistency.report.text import as_text

__all__ = ["as_github", "as_html", "as_json", "as_junit", "as_text"]
