"""Assemble the features of whole clips from portions that arrive in any order."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from conclugen.extraction.descriptions import Description

__all__ = ["ClipResult", "Gaps", "assembled_clips"]

ClipResult = dict[int, npt.NDArray[np.float64]] | tuple[str, str]
"""Version -> features of a clip, (sum of widths,); or the reason why the clip has none, and details."""
Gaps = dict[int, tuple[str, str]]
"""Backbone that some version of a clip has nothing for -> reason and details; its features are 0."""


@dataclass(eq=False)
class _Version:
    """The sum of the portions that have arrived of one version of a clip."""

    totals: list[npt.NDArray[np.float64]]
    """One (width,) per backbone."""
    weights: npt.NDArray[np.float64]
    """(backbones,)."""
    portions: int = 0
    expected: int | None = None
    """Portions of the whole version; None until the last one has arrived."""

    @property
    def complete(self) -> bool:
        return self.portions == self.expected


def assembled_clips(
    tables: Iterable[pa.Table], descriptions: Sequence[Description], versions: Callable[[int], int]
) -> Iterator[tuple[int, ClipResult, Gaps]]:
    """Add up portions and yield each clip, its result and its gaps once all portions of all its versions have arrived.

    Args:
        tables: rows of portions, in any order, with the sums and weights of every backbone.
        descriptions: the backbones.
        versions: gives the number of versions of a clip.
    """
    clips: dict[int, dict[int, _Version]] = {}
    failures: dict[int, tuple[str, str]] = {}
    gaps: dict[int, Gaps] = {}
    for table in tables:
        columns = [table[f"sum_{index}"].combine_chunks() for index in range(len(descriptions))]
        sums = [c.flatten().to_numpy().reshape(len(table), -1) for c in columns]
        weights = np.stack([table[f"weight_{index}"].to_numpy() for index in range(len(descriptions))], axis=1)
        rows = table.select(["clip", "version", "portion", "last", "reason", "details", "gaps"]).to_pylist()
        for place, row in enumerate(rows):
            clip = row["clip"]
            clip_versions = clips.setdefault(clip, {})
            empty = _Version([np.zeros(d.width) for d in descriptions], np.zeros(len(descriptions)))
            version = clip_versions.setdefault(row["version"], empty)
            for total, column in zip(version.totals, sums, strict=True):
                total += column[place]
            version.weights += weights[place]
            version.portions += 1
            if row["last"]:
                version.expected = row["portion"] + 1
            if row["reason"]:
                failures[clip] = row["reason"], row["details"]
            for index, reason, details in json.loads(row["gaps"]):
                gaps.setdefault(clip, {})[index] = reason, details
            if len(clip_versions) == versions(clip) and all(v.complete for v in clip_versions.values()):
                del clips[clip]
                absent = gaps.pop(clip, {})
                if clip in failures:
                    yield clip, failures.pop(clip), {}
                else:
                    yield clip, {number: _mean(v, absent) for number, v in clip_versions.items()}, absent


def _mean(version: _Version, gaps: Gaps) -> npt.NDArray[np.float64]:
    """Return the mean over blocks of each backbone, 0 for one in ``gaps``, concatenated: (sum of widths,)."""
    sums = zip(version.totals, version.weights, strict=True)
    return np.concatenate(
        [np.zeros_like(total) if index in gaps else total / weight for index, (total, weight) in enumerate(sums)]
    )
