"""SimCLR on one modality: the single-modality comparison of the paper's tables (Chen et al. 2020).

ConCluGen's gated unit and projection head are trained to recognise two views of one clip among all views of the batch.
If the feature set has augmented versions, the views are two versions of the clip. Features of a frozen backbone cannot
be cropped or recoloured, so each view also gets feature dropout and Gaussian noise.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from conclugen.distributed import gather
from conclugen.features.batches import StandardisedSplit
from conclugen.hyperparameters import Hyperparameters
from conclugen.losses import nt_xent_loss
from conclugen.seeds import derive_seed
from conclugen.subsets import Loss
from conclugen.training.execution import Execution
from conclugen.training.pretrain import Pretraining

__all__ = ["SimCLR"]


class SimCLR(Pretraining):
    """One SimCLR run.

    The arguments are those of :class:`conclugen.training.pretrain.Pretraining`, with one modality in ``widths``.
    """

    def __init__(
        self,
        data: StandardisedSplit,
        widths: Mapping[str, int],
        hyperparameters: Hyperparameters,
        *,
        epochs: int,
        seed: int,
        execution: Execution | None = None,
    ) -> None:
        (self._modality,) = widths
        super().__init__(data, widths, [Loss.CON], hyperparameters, epochs=epochs, seed=seed, execution=execution)

    def _batch(self, rows: Tensor, seed: int) -> dict[str, Tensor]:
        """Return two versions (b, d) of each clip (b,), ``first`` and ``second``; different ones if there are two."""
        generator = torch.Generator().manual_seed(derive_seed(seed, "versions"))
        count = self._versions.shape[1]
        first = torch.randint(count, (self._batch_size,), generator=generator)  # for the rows of all workers
        second = (first + torch.randint(1, max(2, count), (self._batch_size,), generator=generator)) % count
        views = {"first": first[self._share], "second": second[self._share]}
        return {
            view: self._data.batch(self._versions[rows, version])[self._modality] for view, version in views.items()
        }

    def _inputs(self, features: dict[str, Tensor], seed: int) -> list[dict[str, Tensor]]:
        """Return the two views, each with its own dropout and noise."""
        views = self._drop(features, seed) if self._h.feature_dropout else features
        device = self._data.device
        generator = torch.Generator(device).manual_seed(derive_seed(seed, "view noise"))
        noisy = {}
        for view, x in views.items():
            noise = torch.randn(self._batch_size, x.shape[1], generator=generator, device=device)[self._share]
            noisy[view] = x + self._h.view_noise * noise
        return [noisy]

    def _values(self, inputs: Sequence[Mapping[str, Tensor]], number: int, seed: int) -> dict[Loss, Tensor]:
        """Return the loss, from projections with separate batch statistics for each view."""
        with self.execution.heads():
            projected = {
                view: self._heads.project(self.head({self._modality: x}))[self._modality]
                for view, x in inputs[0].items()
            }
        first, second = (gather(self.execution.full(p)) for p in projected.values())
        return {Loss.CON: nt_xent_loss(first, second, self._h.temperature)}
