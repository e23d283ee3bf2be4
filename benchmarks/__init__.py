"""Benchmarks: scripts that print the ratio of two things measured in one run."""
