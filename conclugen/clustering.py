"""Spherical k-means: which implementation clusters is decided here and nowhere else.

faiss where it is installed and the data is on the CPU; otherwise torch, whose version needs no host synchronisation,
so that it can sit inside a GPU step. Both return unit centroids, never a zero one: a cluster that loses all its
points is given a new centroid.
"""

import importlib.util
from collections import deque
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
        x: (n, d); rows need not be normalised. A value that is not finite makes the centroids NaN.
        k: number of clusters, at most n.
        seed: chooses the initial centroids among the rows.
        initial: (k, d) centroids to start from instead.
        iterations: Lloyd iterations.
        backend: ``auto`` picks faiss for CPU tensors where it is installed, else torch.

    Returns:
        Unit centroids (k, d) and the label (n,) of each row's nearest centroid.

    Raises:
        ValueError: k is not in 1..n.
    """
    if not 1 <= k <= len(x):
        raise ValueError(f"k-means needs 1 <= k <= n, but got k={k} and n={len(x)}.")
    points = functional.normalize(x.detach().float(), dim=1)
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
    if not points.isfinite().all():  # faiss refuses them; a diverged run is to be seen in its loss
        return points.new_full((k, d), torch.nan)
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
    n, d = points.shape
    if initial is None:
        generator = torch.Generator().manual_seed(seed)
        centroids = points[torch.randperm(n, generator=generator)[:k].to(points.device)]
    else:
        centroids = functional.normalize(initial.float(), dim=1)
    for _ in range(iterations):
        similarity, labels = (points @ centroids.T).max(dim=1)
        sums = torch.zeros(k, d, device=points.device).index_add_(0, labels, points)
        counts = torch.zeros(k, device=points.device).index_add_(0, labels, torch.ones_like(similarity))
        # Empty clusters take the points that fit their own cluster worst: at most k of them, without asking how many.
        outliers = points[similarity.topk(k, largest=False).indices]
        lost = (counts == 0) | (sums.norm(dim=1) < 1e-6)
        centroids = functional.normalize(torch.where(lost[:, None], outliers, sums), dim=1)
    return centroids


class ClusterQueue:
    """The last ``size`` batches of mean cluster logits (b, K) that k-means sees beside the current batch.

    Emptied at each epoch's start and used only once full (METHOD section 3).
    """

    def __init__(self, size: int) -> None:
        self._batches: deque[Tensor] = deque(maxlen=size)
        self._size = size

    def clear(self) -> None:
        """Forget all batches."""
        self._batches.clear()

    def extend(self, batch: Tensor) -> Tensor:
        """Return [queue ; batch] if the queue is full, else ``batch``; then remember ``batch``."""
        full = self._size > 0 and len(self._batches) == self._size
        seen = torch.cat([*self._batches, batch]) if full else batch
        self._batches.append(batch)
        return seen
