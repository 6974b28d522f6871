"""Blocks of clips become features of clips."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from conclugen.extraction.backbones import Description

ClipResult = dict[int, npt.NDArray[np.float64]] | tuple[str, str]
"""Version -> features of a clip; or why it has none, and the details."""


@dataclass(eq=False)
class _Version:
    """What has arrived of one version of a clip."""

    totals: list[npt.NDArray[np.float64]]
    weights: npt.NDArray[np.float64]
    portions: int = 0
    awaited: int | None = None

    @property
    def whole(self) -> bool:
        return self.portions == self.awaited


def assembled_clips(
    tables: Iterable[pa.Table], descriptions: Sequence[Description], versions: Callable[[int], int]
) -> Iterator[tuple[int, ClipResult]]:
    """Put portions together, in whatever order they come; yield whole clips, with features or why there are none."""
    clips: dict[int, dict[int, _Version]] = {}
    failed: dict[int, tuple[str, str]] = {}
    for table in tables:
        columns = [table[f"sum_{index}"].combine_chunks() for index in range(len(descriptions))]
        sums = [c.flatten().to_numpy().reshape(len(table), -1) for c in columns]
        weights = np.stack([table[f"weight_{index}"].to_numpy() for index in range(len(descriptions))], axis=1)
        said = table.select(["clip", "version", "portion", "last", "reason", "details"]).to_pylist()
        for place, row in enumerate(said):
            mine = clips.setdefault(row["clip"], {})
            empty = _Version([np.zeros(d.width) for d in descriptions], np.zeros(len(descriptions)))
            version = mine.setdefault(row["version"], empty)
            for total, column in zip(version.totals, sums, strict=True):
                total += column[place]
            version.weights += weights[place]
            version.portions += 1
            if row["last"]:
                version.awaited = row["portion"] + 1
            if row["reason"]:
                failed[row["clip"]] = row["reason"], row["details"]
            if len(mine) == versions(row["clip"]) and all(v.whole for v in mine.values()):
                del clips[row["clip"]]
                if row["clip"] in failed:
                    yield row["clip"], failed.pop(row["clip"])
                else:
                    yield row["clip"], {number: _mean(version) for number, version in mine.items()}


def _mean(version: _Version) -> npt.NDArray[np.float64]:
    """The mean over blocks, backbones one after another: (sum of widths,)."""
    return np.concatenate([total / weight for total, weight in zip(version.totals, version.weights, strict=True)])
