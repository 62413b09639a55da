"""Faults: context managers that set up, inject and heal; each can be used alone in a test of your own."""
