"""Estimates of a pretraining step's memory and of a run's disk space, from shapes alone.

The step's modules and losses run on torch's meta device, which computes only shapes, and hooks observe what autograd
keeps. So this module does not repeat the architecture of the heads, and it counts new layers without a change.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from conclugen.files.tensors import file_bytes
from conclugen.heads import PretrainingHeads, RepresentationHeads
from conclugen.hyperparameters import Hyperparameters
from conclugen.losses import clustering_loss, contrastive_loss, nt_xent_loss, reconstruction_loss
from conclugen.subsets import Loss

__all__ = ["probe_bytes", "step_bytes", "stored_bytes"]

_COPIES = 4  # of every parameter: the parameter, its gradient, AdamW's two moments


def step_bytes(
    widths: Mapping[str, int], losses: Sequence[Loss], hyperparameters: Hyperparameters, *, workers: int = 1
) -> int:
    """Return the bytes that one worker's step needs at least.

    The result counts parameters, gradients, AdamW's moments, the batch, and what autograd keeps for the backward pass.
    It does not count temporary memory of kernels, nor k-means, whose points (n, K) are small.

    Args:
        widths: modality -> d_m.
        losses: the active losses; Con of a single modality compares two views of it, as SimCLR does.
        hyperparameters: hyperparameters of the run.
        workers: number of workers that share a batch.
    """
    h, batch = hyperparameters, hyperparameters.batch_size
    storages: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        storages[storage._cdata] = storage.nbytes()
        return tensor

    with torch.device("meta"):
        head = RepresentationHeads(widths, h.representation_dim, lift_audio=h.lift_audio)
        heads = PretrainingHeads(widths, losses, h)
        parameters = [*head.parameters(), *heads.parameters()]
        views = 2 if len(widths) == 1 and Loss.CON in losses else 1
        rows = max(2, batch // workers)
        inputs = [{name: torch.empty(rows, width) for name, width in widths.items()} for _ in range(views)]
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            values = _losses(inputs, losses, head, heads, h, workers)
        for tensor in (*(x for features in inputs for x in features.values()), *values):
            keep(tensor)
    for parameter in parameters:
        storages.pop(parameter.untyped_storage()._cdata, None)
    return sum(storages.values()) + _COPIES * sum(p.numel() * p.element_size() for p in parameters)


def probe_bytes(samples: int, width: int) -> int:
    """Return the bytes that the logistic probe needs at least (:mod:`conclugen.evaluation.logistic`).

    The result counts the representations, their standardised copy, and the space of the weights. For few samples, this
    space is the samples' products with each other. For many, it is the principal components, and the samples in the
    components' coordinates.

    Args:
        samples: labelled rows of one draw.
        width: F, the width of a representation.
    """
    copies = 2 * samples * width
    space = samples**2 if samples < 2 * width else samples * width + 2 * width**2
    return (copies + space) * torch.float32.itemsize


def stored_bytes(
    widths: Mapping[str, int], losses: Sequence[Loss], hyperparameters: Hyperparameters
) -> tuple[int, int]:
    """Return the most bytes of a head's file and of a checkpoint.

    Args:
        widths: modality -> d_m.
        losses: the active losses.
        hyperparameters: hyperparameters of the run.
    """
    h = hyperparameters
    with torch.device("meta"):
        head = RepresentationHeads(widths, h.representation_dim, lift_audio=h.lift_audio)
        heads = PretrainingHeads(widths, losses, h)
        standardisation = [torch.empty(width) for width in widths.values() for _ in ("mean", "scale")]
        centroids, scalar = torch.empty(h.num_clusters, h.num_clusters), torch.empty((), dtype=torch.float64)
    state = [*head.state_dict().values(), *heads.state_dict().values(), centroids, scalar, scalar, scalar]
    for parameter in (*head.parameters(), *heads.parameters()):
        state += [parameter, parameter, scalar]  # AdamW's two moments and its step count
    return file_bytes([*head.state_dict().values(), *standardisation]), file_bytes(state)


def _losses(
    views: Sequence[Mapping[str, Tensor]],
    losses: Sequence[Loss],
    head: RepresentationHeads,
    heads: PretrainingHeads,
    h: Hyperparameters,
    workers: int,
) -> list[Tensor]:
    """Return the step's losses for views, each modality -> features (b, d_m)."""
    representations = [head(features) for features in views]
    # Every worker computes Con and Clu on the whole batch (`conclugen.distributed`).
    projections = [
        {name: p.repeat(workers, 1) for name, p in heads.project(z).items()}
        for z in representations
        if Loss.CON in losses or Loss.CLU in losses
    ]
    values = []
    if Loss.CON in losses and len(views) == 2:
        first, second = (p for of_view in projections for p in of_view.values())
        values.append(nt_xent_loss(first, second, h.temperature))
    elif Loss.CON in losses:
        values.append(contrastive_loss(projections[0], h.margin, h.temperature))
    if Loss.CLU in losses:
        logits = heads.cluster_logits(projections[0])
        labels = torch.empty(len(next(iter(logits.values()))), dtype=torch.int64)
        centroids = torch.empty(h.num_clusters, h.num_clusters)
        values.append(clustering_loss(logits, centroids, labels, h.kmeans_loss_mode, h.margin))
    if Loss.GEN in losses:
        values.append(reconstruction_loss(heads.reconstruct(representations[0]), views[0]))
    return values
