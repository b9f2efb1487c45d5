"""Benchmarks: scripts that measure and print tables. Run them from the root of the repository."""
