"""What a contender's process does when it is told to; see benchmarks.worker."""
