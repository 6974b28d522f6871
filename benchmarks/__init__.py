"""Measured claims, each by one command; see the README's table."""

import sweeps.execution.environment  # noqa: F401  # it says how threads wait; torch reads that when it is loaded
