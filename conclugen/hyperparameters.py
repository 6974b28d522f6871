"""Hyperparameters: everything that defines a pretraining run, apart from the data and the seed.

They are one flat, frozen object. A search space fills it, the ledger stores it, and a trial is rebuilt from it. The
annotations say which values are allowed and which runs use a field. Search spaces are checked against the annotations,
but the object does not check its own values. This module loads no torch, so configurations can be checked without it.
"""

from collections.abc import Collection
from dataclasses import dataclass, fields
from typing import Annotated, Literal, get_type_hints

from pydantic import Field

from conclugen.subsets import Loss

__all__ = ["HYPERPARAMETERS", "USES", "Hyperparameters", "Use"]


@dataclass(frozen=True)
class Use:
    """The runs that use a hyperparameter; by default all runs, including baselines without a pretraining loss."""

    losses: frozenset[Loss] = frozenset()
    """A run needs one of these losses; empty if any run will do."""
    least: int = 1
    """A run needs at least so many losses."""

    def by(self, losses: Collection[Loss]) -> bool:
        """Return whether a run with these losses uses the hyperparameter."""
        return max(1, len(losses)) >= self.least and (not self.losses or not self.losses.isdisjoint(losses))


_CON, _CLU, _GEN = (Use(frozenset({loss})) for loss in Loss)
_COMPARING = Use(frozenset({Loss.CON, Loss.CLU}))
_PRETRAINING = Use(frozenset(Loss))


def _beside_others(use: Use) -> Use:
    """Restrict ``use`` to several losses: AdamW is blind to the weight of a single one, and Clu alone cannot wait."""
    return Use(use.losses, least=2)


@dataclass(frozen=True, kw_only=True)
class Hyperparameters:
    """Hyperparameters of one pretraining run (docs/method.md, section 5).

    Defaults reproduce the released code, except for k-means: its warm start fits the points at least as well in less
    time (benchmarks/kmeans.py). A run ignores the fields of losses that it does not use.
    """

    representation_dim: Annotated[int, Field(ge=1, le=65_536)] = 1024
    """R, the width of each modality's representation."""
    lift_audio: bool = False
    """Keep the gated unit of ``audio`` at the width of its features and lift it to R by a plain linear layer."""
    projection_dim: Annotated[int, Field(ge=1, le=65_536), _COMPARING] = 512
    """P, the width of the shared projections; used by Con and Clu."""
    temperature: Annotated[float, Field(gt=0), _CON] = 1.0
    """Con: divisor of the similarities; 1 reproduces the paper."""
    margin: Annotated[float, Field(ge=0), _COMPARING] = 0.001
    """Con and Clu: delta, subtracted from the logits of the positives."""
    num_clusters: Annotated[int, Field(ge=1, le=65_536), _CLU] = 8
    """Clu: K, the number of clusters and width of the cluster head."""
    kmeans_start_epoch: Annotated[int, Field(ge=0, le=1_000_000), _beside_others(_CLU)] = 0
    """Clu: first epoch (0-based) with the clustering loss; a run with Clu alone cannot train before."""
    kmeans_queue_size: Annotated[int, Field(ge=0, le=1_000_000), _CLU] = 2
    """Clu: number of past batches that k-means sees beside the current one; 0 for none."""
    kmeans_queue_thinning: Annotated[int, Field(ge=1, le=1_000_000), _CLU] = 1
    """Clu: every n-th sample of a past batch is kept; 1 keeps all."""
    kmeans_warm_start: Annotated[bool, _CLU] = True
    """Clu: each step's k-means starts from the last step's centroids; false starts from random points, as the paper."""
    kmeans_iterations: Annotated[int, Field(ge=1, le=1_000_000), _CLU] = 10
    """Clu: most Lloyd iterations per step; the paper has 100, from random points."""
    kmeans_loss_mode: Annotated[Literal["individual", "joint"], _CLU] = "individual"
    """Clu: one cross-entropy per modality, or one on the modalities' mean."""
    reconstruction_dim: Annotated[int, Field(ge=1, le=65_536), _GEN] = 512
    """Gen: D, the hidden width of the reconstruction heads."""
    reconstruction_relu: Annotated[bool, _GEN] = True
    """Gen: end the reconstruction heads with a ReLU, which is wrong for standardised, signed features."""
    view_noise: Annotated[float, Field(ge=0)] = 0.1
    """SimCLR: standard deviation of the Gaussian noise on the standardised features of each view."""
    weight_con: Annotated[float, Field(ge=0), _beside_others(_CON)] = 1.0
    """Weight of Con's loss in the mean of the losses."""
    weight_clu: Annotated[float, Field(ge=0), _beside_others(_CLU)] = 1.0
    """Weight of Clu's loss in the mean of the losses."""
    weight_gen: Annotated[float, Field(ge=0), _beside_others(_GEN)] = 1.0
    """Weight of Gen's loss in the mean of the losses."""
    feature_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Probability of zeroing an input feature in pretraining; 0 reproduces the paper."""
    batch_size: Annotated[int, Field(ge=2, le=1_000_000)] = 4096
    """Samples per step, at least two for batch statistics; a smaller set is one step per epoch."""
    lr: Annotated[float, Field(gt=0)] = 1e-4
    """AdamW's learning rate after warm-up."""
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    """AdamW's weight decay."""
    warmup_epochs: Annotated[int, Field(ge=0, le=1_000_000)] = 5
    """Epochs of linear warm-up from a tenth of ``lr``; cosine decay to 0 follows."""
    restart_epochs: Annotated[int, Field(ge=0, le=1_000_000), _PRETRAINING] = 0
    """Epochs of each cosine cycle; 0 for a single one over the rest of the budget."""
    restart_decay: Annotated[float, Field(gt=0, le=1), _PRETRAINING] = 1.0
    """Factor from one cycle's peak learning rate to the next's."""
    early_stop_epochs: Annotated[int, Field(ge=0, le=1_000_000), _PRETRAINING] = 0
    """Stop after so many epochs without a lower total loss, counted while all losses are active; 0 never stops."""


HYPERPARAMETERS = {field.name: field for field in fields(Hyperparameters)}

USES = {
    name: next((note for note in getattr(hint, "__metadata__", ()) if isinstance(note, Use)), Use())
    for name, hint in get_type_hints(Hyperparameters, include_extras=True).items()
}
"""Name of a hyperparameter -> the runs that use it."""
