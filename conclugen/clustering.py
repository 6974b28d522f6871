"""Spherical k-means, and the choice of its implementation.

faiss clusters CPU data if it is installed; otherwise torch does. The torch version needs no host synchronisation, so a
GPU step can contain it. Both return unit centroids and never a zero one. A cluster that loses all its points gets a
new centroid.
"""

import importlib.util
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["ClusterQueue", "kmeans"]

Backend = Literal["auto", "faiss", "torch"]


def kmeans(
    x: Tensor,
    k: int,
    seed: int = 0,
    *,
    initial: Tensor | None = None,
    iterations: int = 20,
    backend: Backend = "auto",
) -> tuple[Tensor, Tensor]:
    """Cluster the rows of ``x`` by cosine similarity.

    Args:
        x: (n, d); rows need not be normalised. An infinite value or NaN makes the centroids NaN.
        k: number of clusters, at most n.
        seed: seed of the choice of initial centroids among the rows.
        initial: (k, d) initial centroids; rows need not be normalised. None to choose them among the rows of ``x``.
        iterations: Lloyd iterations.
        backend: ``auto`` is faiss for CPU tensors if it is installed, else torch.

    Returns:
        Unit centroids (k, d) and the label (n,) of each row's nearest centroid.

    Raises:
        ValueError: k is not in 1..n.
    """
    if not 1 <= k <= len(x):
        raise ValueError(f"k-means needs 1 <= k <= n, but got k={k} and n={len(x)}.")
    points = functional.normalize(x.detach().float(), dim=1)
    if initial is not None:
        initial = functional.normalize(initial.detach().float(), dim=1)
    if backend == "auto":
        backend = "faiss" if x.device.type == "cpu" and importlib.util.find_spec("faiss") else "torch"
    centroids = (
        _faiss(points, k, seed, initial, iterations)
        if backend == "faiss"
        else _torch(points, k, seed, initial, iterations)
    )
    return centroids, (points @ centroids.T).argmax(dim=1)


def _faiss(points: Tensor, k: int, seed: int, initial: Tensor | None, iterations: int) -> Tensor:
    import faiss

    n, d = points.shape
    if not points.isfinite().all():  # faiss would raise, but a diverged run has to show in its loss
        return points.new_full((k, d), torch.nan)
    faiss.omp_set_num_threads(torch.get_num_threads())  # faiss would use every core, also those of other workers
    clustering = faiss.Kmeans(
        d,
        k,
        niter=iterations,
        seed=seed,
        spherical=True,
        min_points_per_centroid=1,  # no warning for small batches
        max_points_per_centroid=n,  # no subsampling
        gpu=points.device.type != "cpu",
    )
    clustering.train(points.cpu().numpy(), init_centroids=None if initial is None else initial.cpu().numpy())
    return functional.normalize(torch.from_numpy(clustering.centroids).to(points.device), dim=1)


def _torch(points: Tensor, k: int, seed: int, initial: Tensor | None, iterations: int) -> Tensor:
    n = len(points)
    clusters = torch.arange(k, device=points.device)
    if initial is None:
        generator = torch.Generator(points.device).manual_seed(seed)
        centroids = points[torch.randperm(n, generator=generator, device=points.device)[:k]]
    else:
        centroids = initial
    for _ in range(iterations):
        similarity, labels = (points @ centroids.T).max(dim=1)
        # The sums are a product with the indicator (n, k), as index_add_ adds in an undefined order on a GPU.
        member = (labels[:, None] == clusters).float()
        sums, counts = member.T @ points, member.sum(dim=0)
        # Empty clusters get the points that fit their cluster worst: at most k, so the host needs no count.
        outliers = points[similarity.topk(k, largest=False).indices]
        empty = (counts == 0) | (sums.norm(dim=1) < 1e-6)
        centroids = functional.normalize(torch.where(empty[:, None], outliers, sums), dim=1)
    return centroids


class ClusterQueue:
    """Queue of the last ``size`` batches of mean cluster logits (b, K), which k-means sees beside the current batch.

    The queue is used only after an epoch has filled it (docs/method.md, section 3), so it never needs to be emptied.
    The oldest batch comes first. The queue changes in place, because a recorded step needs it at one address.

    Args:
        size: number of past batches; 0 for none.
        thinning: every n-th row of a past batch is kept; k-means sees the whole current batch.
    """

    def __init__(self, size: int, thinning: int = 1) -> None:
        self._size = size
        self._thinning = thinning
        self._past: Tensor | None = None  # (size x kept rows, K)

    def full(self, step: int) -> bool:
        """Return whether the epoch's steps before ``step`` (0-based) have filled the queue."""
        return 0 < self._size <= step

    def extend(self, batch: Tensor, step: int) -> Tensor:
        """Return [queue ; batch] if the queue is full, else ``batch``; then add the batch to the queue.

        Args:
            batch: (b, K), the same b at every step.
            step: number of the step in its epoch (0-based); the batches of all earlier steps must have been added.
        """
        if self._size == 0:
            return batch
        rows = batch[:: self._thinning]
        if self._past is None:
            self._past = rows.new_zeros(self._size * len(rows), rows.shape[1])
        points = torch.cat([self._past, batch]) if self.full(step) else batch
        self._past.copy_(torch.cat([self._past[len(rows) :], rows]))
        return points
