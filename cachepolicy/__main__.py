"""`python -m cachepolicy` is the console script."""

import sys

from cachepolicy.cli import main

sys.exit(main())
