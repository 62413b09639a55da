"""Scenarios: how each fault is played on a row, so that a cache which breaks its promise is seen to break it."""

from __future__ import annotations

# Imported for their scenarios, in the order in which a reader of a report would ask for them.
from cachepolicy.consistency.scenarios import writes, outages, rollbacks, late_fills, stored_bytes, concurrent  # isort: skip
from cachepolicy.consistency.scenarios.registry import SCENARIOS, Scenario

__all__ = ["SCENARIOS", "Scenario", "concurrent", "late_fills", "outages", "rollbacks", "stored_bytes", "writes"]
