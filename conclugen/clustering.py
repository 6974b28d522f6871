"""Spherical k-means: which implementation clusters is decided here and nowhere else.

faiss where it is installed and the data is on the CPU; otherwise torch, whose version needs no host synchronisation,
so that it can sit inside a GPU step. Both return unit centroids, never a zero one: a cluster that loses all its
points is given a new centroid.
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
        x: (n, d); rows need not be normalised. A value that is not finite makes the centroids NaN.
        k: number of clusters, at most n.
        seed: chooses the initial centroids among the rows.
        initial: (k, d) centroids to start from instead; rows need not be normalised.
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
    if not points.isfinite().all():  # faiss refuses them; a diverged run is to be seen in its loss
        return points.new_full((k, d), torch.nan)
    faiss.omp_set_num_threads(torch.get_num_threads())  # it would take every core, whatever a worker was granted
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
    n, clusters = len(points), torch.arange(k, device=points.device)
    if initial is None:
        generator = torch.Generator(points.device).manual_seed(seed)
        centroids = points[torch.randperm(n, generator=generator, device=points.device)[:k]]
    else:
        centroids = initial
    for _ in range(iterations):
        similarity, labels = (points @ centroids.T).max(dim=1)
        # A product with the indicator (n, k), not index_add_, whose order of summation on a GPU is anyone's guess.
        member = (labels[:, None] == clusters).float()
        sums, counts = member.T @ points, member.sum(dim=0)
        # Empty clusters take the points that fit their own cluster worst: at most k of them, without asking how many.
        outliers = points[similarity.topk(k, largest=False).indices]
        lost = (counts == 0) | (sums.norm(dim=1) < 1e-6)
        centroids = functional.normalize(torch.where(lost[:, None], outliers, sums), dim=1)
    return centroids


class ClusterQueue:
    """The last ``size`` batches of mean cluster logits (b, K) that k-means sees beside the current batch.

    Used only once an epoch has filled it (METHOD section 3), so that nothing has to empty it. Lies in one place, the
    oldest batch first, and changes in place: a recorded step finds it where it was.

    Args:
        size: past batches; 0 for none.
        thinning: of a past batch every n-th row is kept; the current one is seen whole.
    """

    def __init__(self, size: int, thinning: int = 1) -> None:
        self._size, self._thinning = size, thinning
        self._past: Tensor | None = None  # (size x kept rows, K)

    def full(self, step: int) -> bool:
        """Whether the epoch's steps before its ``step``-th (0-based) have filled it."""
        return 0 < self._size <= step

    def extend(self, batch: Tensor, step: int) -> Tensor:
        """Return [queue ; batch] if the queue is full, else ``batch``; then remember its kept rows.

        Args:
            batch: (b, K), the same b at every step.
            step: number of the step in its epoch; each one before was given, too.
        """
        if self._size == 0:
            return batch
        kept = batch[:: self._thinning]
        if self._past is None:
            self._past = kept.new_zeros(self._size * len(kept), kept.shape[1])
        seen = torch.cat([self._past, batch]) if self.full(step) else batch
        self._past.copy_(torch.cat([self._past[len(kept) :], kept]))
        return seen
