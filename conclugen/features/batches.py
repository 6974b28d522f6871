"""Batches: rows of a feature set as the heads take them, standardised and on the device that trains.

This module hides where a split's features lie between two batches. On a GPU they stay in its memory, in their stored
precision, if they fit. Otherwise each batch is gathered from the mapped files.

Shapes: n rows of a split, s samples, v versions of a sample, b rows of a batch, d_m width of modality m.
"""

from collections.abc import Sequence
from copy import copy

import torch
from torch import Tensor

from conclugen.features.placement import stays_on_device, to_device
from conclugen.features.shards import Split
from conclugen.features.standardise import Standardisation

__all__ = ["StandardisedSplit"]


class StandardisedSplit:
    """The rows of a split as a head takes them: chosen modalities, standardised, float32, on one device.

    On a GPU the stored features are copied to the device once and gathered there. If they do not fit, batches are
    gathered on the host and streamed through pinned memory. On a CPU the features stay memory-mapped.

    Args:
        split: the rows.
        standardisation: applied to each batch.
        modalities: some of the split's modalities.
        device: device of the batches.
        resident: whether the stored features lie on the device, too; None to let
            :func:`conclugen.features.placement.stays_on_device` decide.

    Attributes:
        resident: modality -> stored features (n, d_m) on the device; empty if batches are gathered on the host.
    """

    def __init__(
        self,
        split: Split,
        standardisation: Standardisation,
        modalities: Sequence[str],
        device: torch.device,
        *,
        resident: bool | None = None,
    ) -> None:
        self.split = split
        self.device = device
        self.standardisation = standardisation.to(device)
        self.resident: dict[str, Tensor] = {}
        self._modalities = tuple(modalities)
        if resident is None:
            resident = stays_on_device(sum(map(split.size, self._modalities)), device)
        if resident:
            every_row = torch.arange(len(split))
            self.resident = {name: split.gather(name, every_row).to(device) for name in self._modalities}

    def __len__(self) -> int:
        return len(self.split)

    @property
    def gaps(self) -> dict[str, Tensor]:
        """Modality -> (n,) which rows have it, for those of the modalities that some rows lack."""
        return {name: mask for name, mask in self.split.present.items() if name in self._modalities}

    @property
    def trainable(self) -> Tensor:
        """The rows (s, v) of the samples all of whose versions have at least one of the modalities."""
        gaps = self.gaps
        if not gaps or len(gaps) < len(self._modalities):  # every row has the others
            return self.versions
        some = torch.stack([*gaps.values()]).any(dim=0)  # [n]
        return self.versions[some[self.versions].all(dim=1)]

    @property
    def versions(self) -> Tensor:
        """The rows (s, v) of each sample's versions; see :attr:`conclugen.features.shards.Split.versions`."""
        return self.split.versions

    def only(self, modalities: Sequence[str]) -> "StandardisedSplit":
        """Return the same rows with fewer modalities, without copying features."""
        fewer = copy(self)
        fewer._modalities = tuple(modalities)
        return fewer

    def batch(self, rows: Tensor) -> dict[str, Tensor]:
        """Return modality -> (b, d_m) for ``rows`` (b,), an index tensor on the CPU.

        A vector that a row lacks is 0, the mean of standardised features. Heads, probes and baselines see it so.
        """
        if self.resident:
            index = to_device(rows, self.device)
            features = {name: self.resident[name][index] for name in self._modalities}
        else:
            features = {name: to_device(self.split.gather(name, rows), self.device) for name in self._modalities}
        mean, scale = self.standardisation.mean, self.standardisation.scale
        standardised = {name: (x.float() - mean[name]).mul_(scale[name]) for name, x in features.items()}
        for name, mask in self.gaps.items():
            standardised[name].masked_fill_(~to_device(mask[rows], self.device)[:, None], 0)
        return standardised

    def present(self, rows: Tensor) -> dict[str, Tensor]:
        """Return modality -> (b,) which of ``rows`` (b,) have it, for every modality, on the device."""
        gaps = self.gaps
        whole = torch.ones(len(rows), dtype=torch.bool)
        return {name: to_device(gaps[name][rows] if name in gaps else whole, self.device) for name in self._modalities}
