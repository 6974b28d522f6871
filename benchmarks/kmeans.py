"""Does k-means with a warm start fit the points as well as the released code's, which starts anew at every step?

The benchmark pretrains on real data. At every step it clusters the same points twice: warm (a few iterations from the
last step's centroids) and reference (up to 100 iterations from random points). The objective is the mean cosine of the
points to their own centroid. The benchmark prints the mean of each objective over steps, their difference with its
standard error over seeds, and the median time of a step. ``--train-with`` says which of the two results the run trains
with. By default there are runs of both kinds, so that the warm start is also tested on points that it did not shape.

    python -m benchmarks.kmeans [--quick] [--json FILE] [--data handwritten.npz --views fou fac kar] [--iterations ...]
"""

import tempfile
import time
from collections.abc import Mapping
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.measuring import parser, spread, write
from conclugen import clustering
from conclugen.features.batches import StandardisedSplit
from conclugen.features.digits import write_digits
from conclugen.features.importing import import_arrays
from conclugen.features.shards import FeatureSet
from conclugen.hyperparameters import Hyperparameters
from conclugen.subsets import SUBSETS
from conclugen.training import pretrain

_REFERENCE_ITERATIONS = 100
_DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


class _Contest:
    """Stand-in for k-means that clusters in both ways, records objectives and seconds, and returns one result."""

    def __init__(self, backend: clustering.Backend, iterations: int, train_with: str) -> None:
        self._backend, self._iterations, self._train_with = backend, iterations, train_with
        self._previous: Tensor | None = None
        self.objectives: list[tuple[float, float]] = []
        self.seconds: list[tuple[float, float]] = []

    def __call__(self, x: Tensor, k: int, seed: int, **_: object) -> tuple[Tensor, Tensor]:
        warm, warm_seconds = self._timed(x, k, seed, self._previous, self._iterations)
        reference, reference_seconds = self._timed(x, k, seed, None, _REFERENCE_ITERATIONS)
        self._previous = warm[0]
        self.objectives.append((_objective(x, warm[0]), _objective(x, reference[0])))
        self.seconds.append((warm_seconds, reference_seconds))
        return warm if self._train_with == "warm" else reference

    def _timed(
        self, x: Tensor, k: int, seed: int, initial: Tensor | None, iterations: int
    ) -> tuple[tuple[Tensor, Tensor], float]:
        _synchronise()
        started = time.perf_counter()
        clusters = clustering.kmeans(x, k, seed, initial=initial, iterations=iterations, backend=self._backend)
        _synchronise()
        return clusters, time.perf_counter() - started


def _synchronise() -> None:
    if _DEVICE.type == "cuda":
        torch.cuda.synchronize()


def _objective(x: Tensor, centroids: Tensor) -> float:
    return float((functional.normalize(x, dim=1) @ centroids.T).max(dim=1).values.mean())


def _write_views(file: Path, views: list[str], folder: Path) -> None:
    with np.load(file) as arrays:
        labels, names = arrays["labels"], [str(name) for name in arrays["class_names"]]
        features: Mapping[str, npt.NDArray[np.floating]] = {view: arrays[view] for view in views}
        import_arrays(
            features,
            folder,
            labels=labels,
            class_names=names,
            split=arrays["split"],
            sources=dict.fromkeys(views, file.name),
        )


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--data", type=Path, help="arrays with labels and split; scikit-learn's digits if left out")
    options.add_argument("--views", nargs="+", help="the arrays of --data to use as modalities")
    options.add_argument("--subsets", nargs="+", default=["Clu", "ConCluGen"], choices=SUBSETS)
    options.add_argument(
        "--iterations", nargs="+", type=int, help="iterations of the warm start; default 1 2 5 10, quick 5"
    )
    options.add_argument("--train-with", nargs="+", default=["warm", "reference"], choices=["warm", "reference"])
    backends = ["faiss", "torch"] if find_spec("faiss") else ["torch"]
    options.add_argument("--backends", nargs="+", default=backends, choices=["faiss", "torch"])
    options.add_argument("--clusters", type=int, default=16)
    options.add_argument("--epochs", type=int, help="default 30, quick 3")
    options.add_argument("--seeds", type=int, help="runs, at least 2; default 4, quick 2")
    arguments = options.parse_args()
    iterations = arguments.iterations or ([5] if arguments.quick else [1, 2, 5, 10])
    epochs = arguments.epochs or (3 if arguments.quick else 30)
    seeds = arguments.seeds or (2 if arguments.quick else 4)
    rows: list[dict[str, Any]] = []
    torch.set_num_threads(1)
    h = Hyperparameters(
        representation_dim=256,
        num_clusters=arguments.clusters,
        batch_size=256,
        lr=1e-3,
        reconstruction_relu=False,
        feature_dropout=0.5,
    )
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "set"
        if arguments.data is None:
            write_digits(folder)
        else:
            _write_views(arguments.data, arguments.views, folder)
        features = FeatureSet(folder, ("train",))
        widths = features.manifest.widths
        data = StandardisedSplit(features.split("train"), features.standardisation, list(widths), _DEVICE)
        print("                                       | objective                           | ms a step")
        print(
            "subset    backend trained with  iterations |   warm reference        difference |   warm reference ratio"
        )
        grid = product(arguments.subsets, arguments.backends, arguments.train_with, iterations)
        for subset, backend, train_with, warm_iterations in grid:
            contests = []
            for seed in range(seeds):
                contests.append(_Contest(backend, warm_iterations, train_with))
                run = pretrain.Pretraining(data, widths, SUBSETS[subset], h, epochs=epochs, seed=seed)
                with mock.patch.object(pretrain, "kmeans", contests[-1]):
                    while not run.finished:
                        run.run_epoch()
            result = _result(contests)
            settings = {"subset": subset, "backend": backend, "with": train_with, "iterations": warm_iterations}
            rows.append({**settings, **result})
            print(f"{subset:9} {backend:7} {train_with:12} {warm_iterations:11} | {_text(result)}", flush=True)
    write(arguments.json, {"contests": rows})


def _result(contests: list[_Contest]) -> dict[str, Any]:
    objectives = np.array([np.mean(contest.objectives, axis=0) for contest in contests])  # [seeds, 2]
    differences = objectives @ [1, -1]
    seconds = np.concatenate([contest.seconds for contest in contests])  # [steps, 2]
    return {
        "objectives": objectives.mean(axis=0).tolist(),
        "difference": differences.mean(),
        "standard error": differences.std(ddof=1) / len(differences) ** 0.5,
        "ms": (1e3 * np.median(seconds, axis=0)).tolist(),
        "ratio": spread(seconds[:, 1] / seconds[:, 0]),
    }


def _text(result: Mapping[str, Any]) -> str:
    (warm, reference), (warm_ms, reference_ms) = result["objectives"], result["ms"]
    return (
        f"{warm:.4f} {reference:9.4f} {result['difference']:+8.4f} ± {result['standard error']:.4f} | "
        f"{warm_ms:6.2f} {reference_ms:9.2f} {result['ratio'][0]:5.1f}"
    )


if __name__ == "__main__":
    main()
