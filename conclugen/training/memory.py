"""What a pretraining step takes of a device's memory, and a run of a disk, without either.

The step's own modules and losses run on torch's meta device, which computes shapes only, and autograd is watched for
what it keeps. So nothing here repeats what a head is made of, and a new layer is counted without being mentioned.
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

_COPIES = 4  # of every parameter: itself, its gradient, AdamW's two moments


def step_bytes(
    widths: Mapping[str, int], losses: Sequence[Loss], hyperparameters: Hyperparameters, *, workers: int = 1
) -> int:
    """Return the bytes that one worker's step needs at least.

    Counts parameters, gradients, AdamW's moments, the batch, and what autograd keeps for the backward pass; not what
    kernels need for a moment, nor k-means, whose points (n, K) are small.

    Args:
        widths: modality -> d_m.
        losses: the active ones; Con of a single modality compares two views of it, as SimCLR does.
        hyperparameters: of the run.
        workers: how many share a batch.
    """
    h, batch = hyperparameters, hyperparameters.batch_size
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage.nbytes()
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
        kept.pop(parameter.untyped_storage()._cdata, None)
    return sum(kept.values()) + _COPIES * sum(p.numel() * p.element_size() for p in parameters)


def probe_bytes(samples: int, width: int) -> int:
    """Return the bytes that the logistic probe needs at least (:mod:`conclugen.evaluation.logistic`).

    Counts the representations, their standardised copy, and what weights are looked for in: the samples' products with
    each other, or where there are many samples the principal components and the samples in their coordinates.

    Args:
        samples: labelled rows of one draw.
        width: F of a representation.
    """
    copies = 2 * samples * width
    space = samples**2 if samples < 2 * width else samples * width + 2 * width**2
    return (copies + space) * torch.float32.itemsize


def stored_bytes(
    widths: Mapping[str, int], losses: Sequence[Loss], hyperparameters: Hyperparameters
) -> tuple[int, int]:
    """Return the bytes of a head's file and of a checkpoint, at most.

    Args:
        widths: modality -> d_m.
        losses: the active ones.
        hyperparameters: of the run.
    """
    h = hyperparameters
    with torch.device("meta"):
        head = RepresentationHeads(widths, h.representation_dim, lift_audio=h.lift_audio)
        heads = PretrainingHeads(widths, losses, h)
        standardisation = [torch.empty(width) for width in widths.values() for _ in ("mean", "scale")]
        centroids, scalar = torch.empty(h.num_clusters, h.num_clusters), torch.empty((), dtype=torch.float64)
    state = [*head.state_dict().values(), *heads.state_dict().values(), centroids, scalar, scalar, scalar]
    for parameter in (*head.parameters(), *heads.parameters()):
        state += [parameter, parameter, scalar]  # AdamW's two moments and its count of steps
    return file_bytes([*head.state_dict().values(), *standardisation]), file_bytes(state)


def _losses(
    views: Sequence[Mapping[str, Tensor]],
    losses: Sequence[Loss],
    head: RepresentationHeads,
    heads: PretrainingHeads,
    h: Hyperparameters,
    workers: int,
) -> list[Tensor]:
    """The step's losses of modality -> features (b, d_m), once for each view."""
    representations = [head(features) for features in views]
    # Every worker computes Con and Clu on the whole batch (`conclugen.distributed`).
    compared = [
        {name: p.repeat(workers, 1) for name, p in heads.project(z).items()}
        for z in representations
        if Loss.CON in losses or Loss.CLU in losses
    ]
    values = []
    if Loss.CON in losses and len(views) == 2:
        first, second = (p for projections in compared for p in projections.values())
        values.append(nt_xent_loss(first, second, h.temperature))
    elif Loss.CON in losses:
        values.append(contrastive_loss(compared[0], h.margin, h.temperature))
    if Loss.CLU in losses:
        logits = heads.cluster_logits(compared[0])
        labels = torch.empty(len(next(iter(logits.values()))), dtype=torch.int64)
        centroids = torch.empty(h.num_clusters, h.num_clusters)
        values.append(clustering_loss(logits, centroids, labels, h.kmeans_loss_mode, h.margin))
    if Loss.GEN in losses:
        values.append(reconstruction_loss(heads.reconstruct(representations[0]), views[0]))
    return values
