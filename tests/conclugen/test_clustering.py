import importlib.util
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from conclugen.clustering import ClusterQueue, kmeans

_BACKENDS = [
    pytest.param(
        "faiss", marks=pytest.mark.skipif(importlib.util.find_spec("faiss") is None, reason="faiss is not installed")
    ),
    "torch",
]


def _unit(x: Tensor) -> np.ndarray:
    rows = x.double().numpy()
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _objective(x: Tensor, centroids: Tensor) -> float:
    """Mean cosine similarity of the rows to their nearest centroid."""
    return float((_unit(x) @ _unit(centroids).T).max(axis=1).mean())


def _lloyd(x: Tensor, initial: Tensor, iterations: int) -> np.ndarray:
    """Spherical Lloyd iterations, point by point; every cluster keeps points on the data used here."""
    points, centroids = _unit(x), _unit(initial)
    for _ in range(iterations):
        members: list[list[np.ndarray]] = [[] for _ in centroids]
        for point in points:
            members[max(range(len(centroids)), key=lambda index: float(point @ centroids[index]))].append(point)
        assert all(members)
        centroids = np.array([np.sum(cluster, axis=0) for cluster in members])
        centroids /= np.linalg.norm(centroids, axis=1, keepdims=True)
    return centroids


def _planted(clusters: int = 4, each: int = 25, noise: float = 0.05) -> tuple[Tensor, Tensor]:
    """Shuffled points near orthogonal axes, of lengths 0.1 to 10, and the axis of each."""
    generator = torch.Generator().manual_seed(0)
    truth = torch.arange(clusters).repeat(each)[torch.randperm(clusters * each, generator=generator)]
    x = torch.eye(clusters, 8)[truth] + noise * torch.randn(len(truth), 8, generator=generator)
    return x * (0.1 + 9.9 * torch.rand(len(truth), 1, generator=generator)), truth


@pytest.mark.parametrize("backend", _BACKENDS)
class TestKMeans:
    """Contract of every implementation."""

    @pytest.mark.parametrize(("n", "d", "k"), [(40, 6, 5), (40, 6, 1), (7, 3, 7), (200, 16, 32)])
    def test_kmeans_returns_float32_centroids_and_integer_labels(self, backend: str, n: int, d: int, k: int) -> None:
        x = torch.randn(n, d, generator=torch.Generator().manual_seed(1))
        centroids, labels = kmeans(x, k, seed=3, backend=backend)
        assert (centroids.shape, labels.shape) == ((k, d), (n,))
        assert (centroids.dtype, labels.dtype) == (torch.float32, torch.int64)

    @pytest.mark.parametrize("k", [1, 3, 16, 40])
    def test_centroids_are_unit_vectors_and_labels_are_the_nearest(self, backend: str, k: int) -> None:
        x = torch.randn(40, 6, generator=torch.Generator().manual_seed(k))
        centroids, labels = kmeans(x, k, backend=backend)
        _check_centroids_and_labels(x, centroids, labels)

    @settings(deadline=None, max_examples=60)
    @given(
        rows=st.lists(st.tuples(*[st.integers(0, 2)] * 3).filter(any), min_size=1, max_size=14),
        seed=st.integers(0, 2**31 - 1),
        data=st.data(),
    )
    def test_duplicated_points_give_valid_centroids(
        self, backend: str, rows: list[tuple[int, ...]], seed: int, data: st.DataObject
    ) -> None:
        """Few distinct points, often fewer than clusters: no centroid may be zero or NaN."""
        x = torch.tensor(rows, dtype=torch.float32)
        k = data.draw(st.integers(1, len(rows)))
        centroids, labels = kmeans(x, k, seed, backend=backend)
        _check_centroids_and_labels(x, centroids, labels)

    @pytest.mark.parametrize("k", [2, 5, 12])
    def test_equal_points_give_equal_centroids(self, backend: str, k: int) -> None:
        x = torch.tensor([[3.0, -4.0]]).expand(12, 2)
        centroids, _ = kmeans(x, k, backend=backend)
        assert _unit(centroids) == pytest.approx(np.tile([0.6, -0.8], (k, 1)), abs=0.01)
        assert centroids.norm(dim=1).numpy() == pytest.approx(np.ones(k), abs=1e-5)

    def test_the_same_seed_gives_the_same_result(self, backend: str) -> None:
        x = torch.randn(100, 8, generator=torch.Generator().manual_seed(2))
        first, second = kmeans(x, 10, seed=5, backend=backend), kmeans(x.clone(), 10, seed=5, backend=backend)
        assert torch.equal(first[0], second[0])
        assert torch.equal(first[1], second[1])

    def test_different_seeds_start_differently(self, backend: str) -> None:
        x = torch.randn(100, 8, generator=torch.Generator().manual_seed(2))
        objectives = {
            round(_objective(x, kmeans(x, 10, seed=seed, iterations=1, backend=backend)[0]), 9) for seed in range(8)
        }
        assert len(objectives) > 1

    def test_the_global_generator_is_left_alone(self, backend: str) -> None:
        before = torch.get_rng_state()
        kmeans(_planted()[0], 4, seed=1, backend=backend)
        assert torch.equal(torch.get_rng_state(), before)

    @pytest.mark.parametrize("k", [-1, 0, 13])
    def test_k_outside_1_to_n_is_refused(self, backend: str, k: int) -> None:
        with pytest.raises(ValueError, match=rf"1 <= k <= n, but got k={k} and n=12"):
            kmeans(torch.ones(12, 2), k, backend=backend)

    def test_planted_clusters_are_recovered_from_one_point_of_each(self, backend: str) -> None:
        x, truth = _planted()
        initial = torch.stack([x[truth == cluster][0] for cluster in range(4)])
        centroids, labels = kmeans(x, 4, initial=initial, backend=backend)
        assert torch.equal(labels, truth)
        assert _objective(x, centroids) > 0.98

    def test_planted_clusters_are_recovered_from_random_points(self, backend: str) -> None:
        """A random start may merge two clusters, but the best of ten starts fits as well as the planted centroids."""
        x, truth = _planted()
        runs = [kmeans(x, 4, seed=seed, backend=backend) for seed in range(10)]
        best = max(runs, key=lambda run: _objective(x, run[0]))
        assert adjusted_rand_score(truth, best[1]) == 1
        planted = torch.from_numpy(np.array([_unit(x)[truth == c].sum(axis=0) for c in range(4)]))
        assert _objective(x, best[0]) == pytest.approx(_objective(x, planted), abs=1e-5)

    @pytest.mark.parametrize("iterations", [1, 2, 6])
    def test_kmeans_equals_lloyd_point_by_point(self, backend: str, iterations: int) -> None:
        generator = torch.Generator().manual_seed(4)
        x, initial = torch.randn(60, 5, generator=generator), 7 * torch.randn(4, 5, generator=generator)
        centroids, _ = kmeans(x, 4, initial=initial, iterations=iterations, backend=backend)
        assert centroids.numpy() == pytest.approx(_lloyd(x, initial, iterations), abs=1e-4)

    def test_more_iterations_fit_no_worse(self, backend: str) -> None:
        x = torch.randn(150, 6, generator=torch.Generator().manual_seed(6))
        objectives = [_objective(x, kmeans(x, 8, seed=1, iterations=i, backend=backend)[0]) for i in (1, 3, 10, 40)]
        assert all(later >= earlier - 1e-6 for earlier, later in pairwise(objectives))
        assert objectives[-1] > objectives[0]

    def test_row_lengths_do_not_matter(self, backend: str) -> None:
        """Lengths change by powers of two, so normalisation gives the same bits."""
        x = torch.randn(50, 6, generator=torch.Generator().manual_seed(7))
        scaled = x * 2.0 ** (torch.arange(50) % 9 - 4)[:, None]
        assert torch.equal(kmeans(x, 5, backend=backend)[0], kmeans(scaled, 5, backend=backend)[0])

    def test_a_warm_start_fits_no_worse_than_its_initial_centroids(self, backend: str) -> None:
        x = torch.randn(150, 6, generator=torch.Generator().manual_seed(6))
        objectives = []
        centroids = kmeans(x, 8, seed=1, iterations=1, backend=backend)[0]
        for _ in range(6):
            objectives.append(_objective(x, centroids))
            centroids, labels = kmeans(x, 8, initial=centroids, iterations=1, backend=backend)
            _check_centroids_and_labels(x, centroids, labels)
        assert all(later >= earlier - 1e-6 for earlier, later in pairwise(objectives))
        assert objectives[-1] > objectives[0]

    def test_centroids_that_have_lost_all_points_are_replaced(self, backend: str) -> None:
        """After the points have moved away, all initial centroids but one point in the opposite direction."""
        x, _ = _planted()
        initial = -torch.eye(8)[:4]
        initial[0] = 1
        centroids, labels = kmeans(x, 4, initial=initial, iterations=5, backend=backend)
        _check_centroids_and_labels(x, centroids, labels)
        assert len(labels.unique()) == 4

    def test_an_initial_centroid_far_from_all_points_is_replaced(self, backend: str) -> None:
        """There are two tight groups, and the third initial centroid is opposite to both."""
        x, _ = _planted(clusters=2)
        initial = torch.eye(3, 8)
        initial[2] = -torch.ones(8)
        centroids, labels = kmeans(x, 3, initial=initial, backend=backend)
        _check_centroids_and_labels(x, centroids, labels)
        assert (_unit(x) @ _unit(centroids)[2]).max() > 0.9

    @pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
    def test_other_precisions_and_tensors_with_gradients_are_accepted(self, backend: str, dtype: torch.dtype) -> None:
        x, truth = _planted()
        initial = torch.stack([x[truth == cluster][0] for cluster in range(4)])
        centroids, labels = kmeans(x.to(dtype).requires_grad_(), 4, initial=initial, backend=backend)
        assert torch.equal(labels, truth)
        assert not centroids.requires_grad
        assert centroids.dtype == torch.float32

    def test_the_input_is_left_alone(self, backend: str) -> None:
        x, initial = _planted()[0], 2 * torch.eye(4, 8)
        copies = x.clone(), initial.clone()
        kmeans(x, 4, initial=initial, backend=backend)
        assert torch.equal(x, copies[0])
        assert torch.equal(initial, copies[1])


def _check_centroids_and_labels(x: Tensor, centroids: Tensor, labels: Tensor) -> None:
    assert centroids.double().norm(dim=1).numpy() == pytest.approx(np.ones(len(centroids)), abs=1e-5)
    similarity = _unit(x) @ centroids.double().numpy().T
    chosen = similarity[np.arange(len(x)), labels.numpy()]
    assert chosen == pytest.approx(similarity.max(axis=1), abs=1e-5)


def test_backends_agree_from_the_same_start() -> None:
    pytest.importorskip("faiss")
    generator = torch.Generator().manual_seed(8)
    x, initial = torch.randn(300, 12, generator=generator), torch.randn(6, 12, generator=generator)
    with_faiss, with_torch = (kmeans(x, 6, initial=initial, backend=name) for name in ("faiss", "torch"))
    assert with_faiss[0].numpy() == pytest.approx(with_torch[0].numpy(), abs=1e-4)
    assert torch.equal(with_faiss[1], with_torch[1])


@pytest.mark.parametrize("warm", [False, True])
def test_torch_kmeans_never_waits_for_the_host(warm: bool) -> None:
    """Fake tensors have no values, so an operation that needs one (``item``, a data-dependent shape) raises."""
    with FakeTensorMode():
        centroids, labels = kmeans(
            torch.empty(60, 6), 5, initial=torch.empty(5, 6) if warm else None, iterations=3, backend="torch"
        )
    assert (centroids.shape, labels.shape) == ((5, 6), (60,))


def test_auto_picks_torch_without_faiss(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(60, 6, generator=torch.Generator().manual_seed(9))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert torch.equal(kmeans(x, 7, seed=2)[0], kmeans(x, 7, seed=2, backend="torch")[0])


def test_auto_picks_faiss_on_the_cpu() -> None:
    pytest.importorskip("faiss")
    x = torch.randn(60, 6, generator=torch.Generator().manual_seed(9))
    assert torch.equal(kmeans(x, 7, seed=2)[0], kmeans(x, 7, seed=2, backend="faiss")[0])


@settings(deadline=None)
@given(
    size=st.integers(0, 4),
    thinning=st.integers(1, 6),
    epochs=st.lists(st.integers(0, 7), max_size=4),
)
def test_the_queue_gives_past_batches_once_an_epoch_has_filled_it(size: int, thinning: int, epochs: list[int]) -> None:
    """The queue equals a list of the epoch's batches; batches of earlier epochs never appear."""
    queue, number = ClusterQueue(size, thinning), 0.0
    for steps in epochs:
        past: list[Tensor] = []
        for step in range(steps):
            number += 1
            batch = 10 * torch.full((5, 3), number) + torch.arange(5)[:, None]
            full = size > 0 and len(past) >= size
            assert queue.full(step) == full
            expected = [*past[len(past) - size :], batch] if full else [batch]
            assert torch.equal(queue.extend(batch, step), torch.cat(expected))
            past.append(torch.stack([row for index, row in enumerate(batch) if index % thinning == 0]))


def test_the_current_batch_comes_last() -> None:
    """The labels of the current batch are read from the end."""
    queue = ClusterQueue(1)
    queue.extend(torch.zeros(2, 3), 0)
    assert torch.equal(queue.extend(torch.ones(2, 3), 1)[-2:], torch.ones(2, 3))


def test_faiss_uses_no_more_threads_than_torch() -> None:
    """A worker uses only the cores that it was granted, and the clusters do not depend on their number."""
    faiss = pytest.importorskip("faiss")
    x = torch.randn(2000, 16, generator=torch.Generator().manual_seed(3))
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            results.append(kmeans(x, 9, backend="faiss"))
            assert faiss.omp_get_max_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])
