"""Side-by-side measurements, run by name, never as part of the tests."""
