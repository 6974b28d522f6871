"""Jobs on a Ray cluster. The only importer of Ray beside `sweeps.extraction`."""

from sweeps.execution import environment  # noqa: F401  # first: Ray and torch read variables when they are loaded
