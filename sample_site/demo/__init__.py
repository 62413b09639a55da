"""The demo: scenes against the running newsroom, each with the staleness that was measured."""
