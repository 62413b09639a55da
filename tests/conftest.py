"""Hypothesis without deadlines: no test here asserts how long anything takes."""

from __future__ import annotations

import hypothesis

hypothesis.settings.register_profile("cachepolicy", deadline=None)
hypothesis.settings.load_profile("cachepolicy")
