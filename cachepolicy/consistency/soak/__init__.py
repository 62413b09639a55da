"""Soaks: many clients and many faults at once, for a long time, on the kit's own table and the real clock."""
