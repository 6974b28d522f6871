"""Everything that defines one pretraining run, apart from the data and the seed.

One flat, frozen record: it is what a search space fills, what the ledger stores and what a trial is rebuilt from.
The annotations say which values are allowed and which runs have a use for a field; a search space is checked against
them when it is read, a record is not when it is built. Loads no torch, so that configurations can be checked without
it.
"""

from collections.abc import Collection
from dataclasses import dataclass, fields
from typing import Annotated, Literal, get_type_hints

from pydantic import Field

from conclugen.subsets import Loss

__all__ = ["HYPERPARAMETERS", "USES", "Hyperparameters", "Use"]


@dataclass(frozen=True)
class Use:
    """Which runs have a use for a hyperparameter; the default is all, those that train no loss of ours included."""

    losses: frozenset[Loss] = frozenset()
    """Losses of which the run has at least one; empty where it does not matter."""
    least: int = 1
    """How many losses the run has at least."""

    def by(self, losses: Collection[Loss]) -> bool:
        """True where a run with these losses uses it."""
        return max(1, len(losses)) >= self.least and (not self.losses or not self.losses.isdisjoint(losses))


_CON, _CLU, _GEN = (Use(frozenset({loss})) for loss in Loss)
_COMPARING = Use(frozenset({Loss.CON, Loss.CLU}))
_PRETRAINING = Use(frozenset(Loss))


def _beside_others(use: Use) -> Use:
    """What is relative to the other losses: AdamW does not see a single one's weight."""
    return Use(use.losses, least=2)


@dataclass(frozen=True, kw_only=True)
class Hyperparameters:
    """Hyperparameters of one pretraining run (METHOD: paper section 3 and the released code's ranges).

    Defaults reproduce the released code where it has the option, but for k-means, whose warm start fits the points at
    least as well in less time (benchmarks/kmeans.py). A loss that a run does not use ignores its fields.
    """

    representation_dim: Annotated[int, Field(ge=1)] = 1024
    """R, width of each modality's representation."""
    lift_audio: bool = False
    """Keep the gated unit of ``audio`` at its own width and lift it to R by a plain linear layer."""
    projection_dim: Annotated[int, Field(ge=1), _COMPARING] = 512
    """P, width of the shared projections; used by Con and Clu."""
    temperature: Annotated[float, Field(gt=0), _CON] = 1.0
    """Con: similarities are divided by it; 1 reproduces the paper."""
    margin: Annotated[float, Field(ge=0), _COMPARING] = 0.001
    """Con and Clu: delta, subtracted from the logits of the positives."""
    num_clusters: Annotated[int, Field(ge=1), _CLU] = 8
    """K, Clu: number of clusters and width of the cluster head."""
    kmeans_start_epoch: Annotated[int, Field(ge=0), _beside_others(_CLU)] = 0
    """Clu: first epoch (0-based) with the clustering loss; alone, it has nothing to train with before."""
    kmeans_queue_size: Annotated[int, Field(ge=0), _CLU] = 2
    """Clu: past batches that k-means sees beside the current one; 0 for none."""
    kmeans_queue_thinning: Annotated[int, Field(ge=1), _CLU] = 1
    """Clu: of past batches every n-th sample is kept; 1 keeps all."""
    kmeans_warm_start: Annotated[bool, _CLU] = True
    """Clu: each step's k-means starts from the last step's centroids; false, from random points, is the paper's."""
    kmeans_iterations: Annotated[int, Field(ge=1), _CLU] = 10
    """Clu: Lloyd iterations per step at most; the paper's is 100, from random points."""
    kmeans_loss_mode: Annotated[Literal["individual", "joint"], _CLU] = "individual"
    """Clu: one cross-entropy per modality, or one on the modalities' mean."""
    reconstruction_dim: Annotated[int, Field(ge=1), _GEN] = 512
    """D, Gen: hidden width of the reconstruction heads."""
    reconstruction_relu: Annotated[bool, _GEN] = True
    """Gen: end the reconstruction heads in a ReLU; wrong for standardised, signed features."""
    view_noise: Annotated[float, Field(ge=0)] = 0.1
    """SimCLR: standard deviation of the Gaussian noise on the standardised features of each view."""
    weight_con: Annotated[float, Field(ge=0), _beside_others(_CON)] = 1.0
    weight_clu: Annotated[float, Field(ge=0), _beside_others(_CLU)] = 1.0
    weight_gen: Annotated[float, Field(ge=0), _beside_others(_GEN)] = 1.0
    feature_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Probability with which an input feature is zeroed while pretraining; 0 reproduces the paper."""
    batch_size: Annotated[int, Field(ge=2)] = 4096
    """Samples per step, two at least for batch statistics; a set smaller than this is one step per epoch."""
    lr: Annotated[float, Field(gt=0)] = 1e-4
    """AdamW's learning rate after warm-up."""
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    warmup_epochs: Annotated[int, Field(ge=0)] = 5
    """Epochs of linear warm-up from a tenth of ``lr``; cosine decay to 0 follows."""
    restart_epochs: Annotated[int, Field(ge=0), _PRETRAINING] = 0
    """Epochs of each cosine cycle; 0 for a single one over the rest of the budget."""
    restart_decay: Annotated[float, Field(gt=0, le=1), _PRETRAINING] = 1.0
    """Factor from one cycle's peak learning rate to the next's."""
    early_stop_epochs: Annotated[int, Field(ge=0), _PRETRAINING] = 0
    """Stop after so many epochs without a lower total loss, counted while all losses are active; 0 for never."""


HYPERPARAMETERS = {field.name: field for field in fields(Hyperparameters)}

USES = {
    name: next((note for note in getattr(hint, "__metadata__", ()) if isinstance(note, Use)), Use())
    for name, hint in get_type_hints(Hyperparameters, include_extras=True).items()
}
"""Name -> the runs that have a use for that hyperparameter."""
