"""Benchmarks of the goals in DESIGN.md: `python -m tests.bench --help`. Never run as timed tests."""
