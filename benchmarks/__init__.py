"""Measurements of noa-async beside other tools: ``python -m benchmarks SUITE``."""
