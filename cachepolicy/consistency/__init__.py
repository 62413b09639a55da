"""Was the promise kept? Histories of operations, and a checker that judges them against a bound.

Pure Python: this package's history and checker import no Django, no cacheops and no redis.
"""
