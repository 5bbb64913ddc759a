"""Crayfish: what machine-learning inference costs inside a stream processor."""

__version__ = "0.1.0"
