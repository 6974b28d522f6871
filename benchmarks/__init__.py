"""Measured claims, each by one command; docs/speed.md has the numbers."""

import sweeps.execution.environment  # noqa: F401  # it says how threads wait; torch reads that when it is loaded
