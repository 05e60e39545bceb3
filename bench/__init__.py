"""Throughput of the operators, the training step and evaluation: ``pytest bench/``, then ``python -m bench.report``."""
