"""The result of every dataset reader.

A clip whose file is absent is left out, and the file is listed as missing. So a clip list holds only clips that can be
extracted. Keeping such clips was rejected: extraction would find each of them missing, after hours.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from conclugen.datasets.clips import Clip
from conclugen.features.manifest import Labels

__all__ = ["Listing"]


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The clips of a dataset."""

    clips: Sequence[Clip]
    labels: Labels | None
    missing: Sequence[str] = ()
    """Files that the dataset should have, relative to its root."""
    left_out: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Reason -> files, or lines of files, that are there and are not used."""
    notes: Sequence[str] = ()
    """Other facts that a user should know, a sentence each."""
    lines: Sequence[int] | None = None
    """Line of each clip in the CSV that the clips come from."""
