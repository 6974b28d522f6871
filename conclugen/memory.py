"""What a pretraining step takes of a device's memory, without the device.

The step's own modules and losses run on torch's meta device, which computes shapes only, and autograd is watched for
what it keeps. So nothing here repeats what a head is made of, and a new layer is counted without being mentioned.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from conclugen.heads import PretrainingHeads, RepresentationHeads
from conclugen.hyperparameters import Hyperparameters
from conclugen.losses import clustering_loss, contrastive_loss, reconstruction_loss
from conclugen.subsets import Loss

__all__ = ["step_bytes"]

_COPIES = 4  # of every parameter: itself, its gradient, AdamW's two moments


def step_bytes(
    widths: Mapping[str, int], losses: Sequence[Loss], hyperparameters: Hyperparameters, *, workers: int = 1
) -> int:
    """Return the bytes that one worker's step needs at least.

    Counts parameters, gradients, AdamW's moments, the batch, and what autograd keeps for the backward pass; not what
    kernels need for a moment, nor k-means, whose points (n, K) are small.

    Args:
        widths: modality -> d_m.
        losses: the active ones.
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
        features = {name: torch.empty(max(2, batch // workers), width) for name, width in widths.items()}
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            representations = head(features)
            # Every worker computes Con and Clu on the whole batch (`conclugen.distributed`).
            projections = {}
            if Loss.CON in losses or Loss.CLU in losses:
                projections = {n: p.repeat(workers, 1) for n, p in heads.project(representations).items()}
            values = []
            if Loss.CON in losses:
                values.append(contrastive_loss(projections, h.margin, h.temperature))
            if Loss.CLU in losses:
                logits = heads.cluster_logits(projections)
                labels = torch.empty(len(next(iter(logits.values()))), dtype=torch.int64)
                centroids = torch.empty(h.num_clusters, h.num_clusters)
                values.append(clustering_loss(logits, centroids, labels, h.kmeans_loss_mode, h.margin))
            if Loss.GEN in losses:
                values.append(reconstruction_loss(heads.reconstruct(representations), features))
        for tensor in (*features.values(), *values):
            keep(tensor)
    for parameter in parameters:
        kept.pop(parameter.untyped_storage()._cdata, None)
    return sum(kept.values()) + _COPIES * sum(p.numel() * p.element_size() for p in parameters)
