"""The step benchmark counts products and clusters as an oracle does, and needs few packages."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import step
from benchmarks.step import PlainTraining, Size, converged_kmeans, products, write_features
from conclugen.subsets import SUBSETS

SIZE = Size(
    {"video": 12, "audio": 6, "text": 5},
    32,
    replace(
        step.SIZES["paper"].hyperparameters, representation_dim=16, projection_dim=8, reconstruction_dim=10,
        num_clusters=4, batch_size=32, kmeans_queue_size=0,
    ),
)  # fmt: skip
MISSING_PACKAGES = ("safetensors", "scipy", "sklearn", "transformers", "optuna", "rich", "typer", "faiss", "psutil")


@pytest.mark.parametrize("name", SUBSETS)
@pytest.mark.parametrize("lifted", [True, False])
def test_products_are_those_that_torch_counts(name: str, lifted: bool, tmp_path: Path) -> None:
    size = replace(SIZE, hyperparameters=replace(SIZE.hyperparameters, lift_audio=lifted))
    data = write_features(size, tmp_path, torch.device("cpu"))
    clusters = torch.eye(4), torch.arange(32) % 4
    plain = PlainTraining(data, size, SUBSETS[name], lambda points, k: clusters)  # products of k-means do not count
    with FlopCounterMode(display=False) as counter:
        plain.run_epoch()
    assert products(size, SUBSETS[name]) == counter.get_total_flops()


def test_the_released_k_means_converges() -> None:
    """On two tight groups, each point ends nearest to its own group's mean, whichever points k-means starts from."""
    points = torch.tensor([[1.0, 0.0], [1.0, 0.1], [-1.0, 0.1], [-1.0, 0.0]])
    torch.manual_seed(0)
    for _ in range(8):
        centroids, labels = converged_kmeans(points, 2)
        assert torch.equal(labels, (points @ centroids.T).argmax(dim=1))
        assert centroids.norm(dim=1).tolist() == pytest.approx([1, 1])


def test_a_step_is_measured_with_torch_numpy_and_pyarrow_alone(tmp_path: Path) -> None:
    """A GPU machine may have nothing else than these, Ray, and what they bring."""
    code = f"""
import sys
sys.modules |= dict.fromkeys({MISSING_PACKAGES})
from pathlib import Path
import torch
from benchmarks.step import equality, measure, write_features
from tests.test_benchmark_step import SIZE
data = write_features(SIZE, Path({str(tmp_path)!r}), torch.device("cpu"))
assert measure(data, SIZE, "ConCluGen", 1, 1e9, released=True)["ours"]
assert equality(data, SIZE, "ConCluGen", epochs=1)
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])
