"""Everything that defines one pretraining run, apart from the data and the seed.

One flat, frozen record: it is what a search space fills, what the ledger stores and what a trial is rebuilt from.
Loads no torch, so that configurations can be checked without it.
"""

from dataclasses import dataclass, fields
from typing import Literal

__all__ = ["HYPERPARAMETERS", "Hyperparameters"]


@dataclass(frozen=True, kw_only=True)
class Hyperparameters:
    """Hyperparameters of one pretraining run (METHOD: paper section 3 and the released code's ranges).

    Defaults reproduce the released code where it has the option; a loss that a run does not use ignores its fields.
    """

    representation_dim: int = 1024
    """R, width of each modality's representation."""
    lift_audio: bool = False
    """Keep the gated unit of ``audio`` at its own width and lift it to R by a plain linear layer."""
    projection_dim: int = 512
    """P, width of the shared projections; used by Con and Clu."""
    temperature: float = 1.0
    """Con: similarities are divided by it; 1 reproduces the paper."""
    margin: float = 0.001
    """Con and Clu: delta, subtracted from the logits of the positives."""
    num_clusters: int = 8
    """K, Clu: number of clusters and width of the cluster head."""
    kmeans_start_epoch: int = 0
    """Clu: first epoch (0-based) with the clustering loss."""
    kmeans_queue_size: int = 2
    """Clu: past batches that k-means sees beside the current one; 0 for none."""
    kmeans_loss_mode: Literal["individual", "joint"] = "individual"
    """Clu: one cross-entropy per modality, or one on the modalities' mean."""
    reconstruction_dim: int = 512
    """D, Gen: hidden width of the reconstruction heads."""
    reconstruction_relu: bool = True
    """Gen: end the reconstruction heads in a ReLU; wrong for standardised, signed features."""
    weight_con: float = 1.0
    weight_clu: float = 1.0
    weight_gen: float = 1.0
    feature_dropout: float = 0.0
    """Probability with which an input feature is zeroed while pretraining; 0 reproduces the paper."""
    batch_size: int = 4096
    """Samples per step; a set smaller than this is one step per epoch."""
    lr: float = 1e-4
    """AdamW's learning rate after warm-up."""
    weight_decay: float = 1e-4
    warmup_epochs: int = 5
    """Epochs of linear warm-up from a tenth of ``lr``; cosine decay to 0 follows over the rest of the budget."""


HYPERPARAMETERS = {field.name: field for field in fields(Hyperparameters)}
