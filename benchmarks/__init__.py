"""Benchmarks: ``python -m benchmarks --op NAME``. One module per op; harness.py measures and records."""
