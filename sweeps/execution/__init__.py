"""Jobs on a Ray cluster. The only importer of Ray beside `sweeps.extraction`."""

from sweeps.execution import environment  # noqa: F401  # Ray and torch read it when they are loaded
