"""Measured claims, each by one command; see the README's table."""

import sweeps.execution.environment  # noqa: F401  # how threads wait for each other, which is read when torch is loaded
