"""What users decide about an import where a file does not say it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["Header", "Join", "NonFinite", "Options", "Padding", "Pool", "Rows", "Samples"]

Pool = Literal["mean", "mean_std", "max"]
Padding = Literal["zeros", "none", "clip"]
Rows = Literal["clips", "frames"]
Samples = Literal["rows", "columns"]
Header = Literal["yes", "no"]
NonFinite = Literal["refuse", "zero", "drop"]
Join = Literal["ids", "position"]


@dataclass(frozen=True, kw_only=True)
class Options:
    """The decisions of one import; None leaves a decision to what the files say."""

    format: str | None = None
    """Name of the layout of all files."""
    modalities: Mapping[str, str] = field(default_factory=dict)
    """Modality -> column; empty for all features that the layouts name."""
    labels: str | None = None
    """Column of the labels; ``none`` for a set without."""
    split: str | None = None
    """Column of the splits; ``none`` if all rows are train."""
    folds: str | None = None
    """Column of the folds, instead of the splits."""
    groups: Mapping[str, str] = field(default_factory=dict)
    """Name, such as speaker -> column."""
    ids: str | None = None
    """Column of the identifiers."""
    label_map: str | None = None
    """Names of labels, or thresholds; see :mod:`conclugen.formats.labelling`."""
    split_map: Mapping[str, str] = field(default_factory=dict)
    """Part, such as test1_corpus -> split; an empty split leaves the part out."""
    val_share: float | None = None
    """Share of train that becomes val, where the files have no validation part."""
    pool: Pool = "mean"
    padding: Padding | None = None
    rows: Rows | None = None
    samples: Samples | None = None
    header: Header | None = None
    non_finite: NonFinite = "refuse"
    join: Join = "ids"
    keep_incomplete: bool = False
    """Whether rows that lack some modalities, but not all, are kept with gaps."""
    encoding: str | None = None
    merge_labels: bool = False
    dtype: str = "float32"
