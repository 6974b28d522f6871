"""Standardisation of features to zero mean and unit variance over the training rows.

Shapes: n rows, d_m width of modality m.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

__all__ = ["RunningMoments", "Standardisation"]


class RunningMoments:
    """Mean and variance of a stream of rows in float64, by the pairwise update of Chan, Golub & LeVeque (1983)."""

    def __init__(self, width: int) -> None:
        self.rows = 0
        self.mean: npt.NDArray[np.float64] = np.zeros(width)
        self.squares: npt.NDArray[np.float64] = np.zeros(width)

    def add(self, features: npt.NDArray[np.floating]) -> None:
        """Add rows (n, width)."""
        block = features.astype(np.float64)
        mean = block.mean(axis=0)
        delta = mean - self.mean
        total = self.rows + len(block)
        self.squares += ((block - mean) ** 2).sum(axis=0) + delta**2 * self.rows * len(block) / total
        self.mean += delta * len(block) / total
        self.rows = total

    def tensors(self) -> tuple[Tensor, Tensor]:
        """Return the mean and standard deviation, (width,) float32 each."""
        std = np.sqrt(self.squares / self.rows)
        # Differences of about one float32 ulp are rounding only, which must not be scaled to unit variance.
        std[std <= 1e-7 * np.abs(self.mean)] = 0
        return torch.from_numpy(self.mean).float(), torch.from_numpy(std).float()


@dataclass(frozen=True)
class Standardisation:
    """Per-feature affine map to zero mean and unit variance: modality -> (d_m,) float32 each.

    A feature that is constant over the training rows has scale 0 and becomes 0. So does a feature whose standard
    deviation is below the normal float32 numbers, because its reciprocal may be infinite.
    """

    mean: Mapping[str, Tensor]
    scale: Mapping[str, Tensor]

    @classmethod
    def from_moments(cls, mean: Mapping[str, Tensor], std: Mapping[str, Tensor]) -> Self:
        """Build the map from means and standard deviations."""
        tiny = torch.finfo(torch.float32).tiny
        return cls(mean, {name: torch.where(value >= tiny, 1 / value, 0.0) for name, value in std.items()})

    @classmethod
    def identity(cls, widths: Mapping[str, int]) -> Self:
        """Return the map that leaves features as their backbones gave them."""
        return cls(
            {name: torch.zeros(width) for name, width in widths.items()},
            {name: torch.ones(width) for name, width in widths.items()},
        )

    def to(self, device: torch.device) -> "Standardisation":
        """Return the same map on ``device``."""
        return Standardisation(
            {name: value.to(device) for name, value in self.mean.items()},
            {name: value.to(device) for name, value in self.scale.items()},
        )
