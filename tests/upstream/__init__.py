"""django-cacheops' own test suite, unmodified, against this runtime: `python -m tests.upstream CHECKOUT`."""
