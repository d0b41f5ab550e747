"""Real servers, loads, faults and judges, for the tests and for the commands in ``scripts/``."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
"""The checkout."""
