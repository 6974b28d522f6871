"""How fast is a training step, against plain torch, the released code's step and the bare arithmetic of a step?

The benchmark trains the same heads on the same made-up features. Three ways take turns, so that other load slows all
alike, and a fourth number is a bound:

* ours: `conclugen.training.pretrain` as a worker runs it (`conclugen.training.execution` decides how);
* plain: the same step in plain float32 torch, eager, features on the device, torch's default AdamW;
* released: the plain step with the released code's k-means (docs/method.md, section 3), which starts from random points
  at every step and runs until it converges, 100 iterations at most. The released loader is left out: it would cost more
  than the step;
* floor: the products of a step at the rate of one large matrix product, measured in the same run.

Medians over rounds are printed with their quartiles, and ratios within rounds. Ratios are of wall time and of processor
time. Other work on a CPU disturbs processor time less, but it counts threads that spin while they wait. The benchmark
also compares ours with float32 steps on the same batches: the losses of each epoch, and the representations at the end.

It needs nothing but torch, numpy and pyarrow beside Ray, and what these need.

    python -m benchmarks.step [--quick] [--json FILE] [--device cpu|cuda] [--sizes ...] [--threads N]
"""

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.measuring import parser, spread, spread_text, write
from conclugen.clustering import kmeans
from conclugen.features.batches import StandardisedSplit
from conclugen.features.manifest import Manifest, Modality
from conclugen.features.shards import FeatureSet, FeatureWriter
from conclugen.features.standardise import Standardisation
from conclugen.features.synthesis import PAPER_WIDTHS
from conclugen.heads import PretrainingHeads, RepresentationHeads
from conclugen.hyperparameters import Hyperparameters
from conclugen.losses import clustering_loss, contrastive_loss, reconstruction_loss
from conclugen.subsets import SUBSETS, Loss
from conclugen.training.execution import Execution
from conclugen.training.pretrain import Pretraining, represent
from sweeps.trial.hardware import own_hardware

_PAPER = Hyperparameters(
    representation_dim=4096, lift_audio=True, projection_dim=512, reconstruction_dim=1024, num_clusters=8,
    batch_size=4096, feature_dropout=0.5, reconstruction_relu=False, temperature=0.1,
)  # fmt: skip
_HANDWRITTEN = replace(_PAPER, representation_dim=256, reconstruction_dim=512, num_clusters=16, batch_size=256)


@dataclass(frozen=True)
class Size:
    """A size of the problem.

    Attributes:
        widths: modality -> width of its features.
        rows: number of training rows.
        hyperparameters: hyperparameters of the run.
    """

    widths: Mapping[str, int]
    rows: int
    hyperparameters: Hyperparameters


SIZES = {
    "handwritten": Size({"video": 76, "audio": 216, "text": 64}, 1200, _HANDWRITTEN),
    "wide": Size({"video": 512, "audio": 128, "text": 96}, 1024, replace(_HANDWRITTEN, representation_dim=512)),
    "r1024": Size(PAPER_WIDTHS, 32768, replace(_PAPER, representation_dim=1024, num_clusters=64)),
    "r2048": Size(PAPER_WIDTHS, 16384, replace(_PAPER, representation_dim=2048, batch_size=1024)),
    "paper": Size(PAPER_WIDTHS, 32768, _PAPER),
}
_DEFAULT_SIZES = {"cpu": ["handwritten", "wide"], "cuda": ["r1024", "r2048", "paper"]}


Cluster = Callable[[Tensor, int], tuple[Tensor, Tensor]]
"""Maps points (n, K) and K to centroids (K, K) and labels (n,)."""


class PlainTraining:
    """Training by the plain step; see the module's docstring.

    Args:
        data: the training rows.
        size: size of the problem.
        losses: losses of the run.
        cluster: k-means of the step.
    """

    def __init__(self, data: StandardisedSplit, size: Size, losses: Sequence[Loss], cluster: Cluster) -> None:
        h = size.hyperparameters
        self._features = data.batch(torch.arange(len(data)))
        self._h = h
        self._losses = losses
        self._cluster = cluster
        self._device = data.device
        self._head = RepresentationHeads(size.widths, h.representation_dim, lift_audio=h.lift_audio)
        self._heads = PretrainingHeads(size.widths, losses, h)
        modules = nn.ModuleList([self._head, self._heads]).to(data.device)
        self._optimizer = torch.optim.AdamW(modules.parameters(), lr=h.lr, weight_decay=h.weight_decay)
        self._queue: list[Tensor] = []

    def run_epoch(self) -> None:
        """Train for one epoch.

        Raises:
            ArithmeticError: the loss is not finite.
        """
        self._queue.clear()
        rows = torch.randperm(len(next(iter(self._features.values()))), device=self._device)
        batches = [batch for batch in rows.split(self._h.batch_size) if len(batch) == self._h.batch_size]
        total = sum((self._step(batch) for batch in batches), start=torch.zeros((), device=self._device))
        if not total.isfinite():
            raise ArithmeticError("the plain step diverged.")

    def _step(self, rows: Tensor) -> Tensor:
        h = self._h
        losses = self._losses
        x = {name: features[rows] for name, features in self._features.items()}
        z = self._head({name: functional.dropout(value, h.feature_dropout) for name, value in x.items()})
        values = []
        if Loss.CON in losses or Loss.CLU in losses:
            projections = self._heads.project(z)
        if Loss.CON in losses:
            values.append(contrastive_loss(projections, h.margin, h.temperature))
        if Loss.CLU in losses:
            logits = self._heads.cluster_logits(projections)
            mean = torch.stack(list(logits.values())).mean(dim=0).detach()
            full = len(self._queue) == h.kmeans_queue_size
            points = torch.cat([*self._queue, mean]) if full else mean
            self._queue = [*self._queue, mean][-h.kmeans_queue_size :]
            centroids, labels = self._cluster(points, h.num_clusters)
            values.append(clustering_loss(logits, centroids, labels[-len(mean) :], h.kmeans_loss_mode, h.margin))
        if Loss.GEN in losses:
            values.append(reconstruction_loss(self._heads.reconstruct(z), x))
        total = torch.stack(values).mean()
        self._optimizer.zero_grad()
        total.backward()
        self._optimizer.step()
        return total.detach()


class WarmKMeans:
    """The product's k-means, which starts from the last step's centroids.

    Args:
        iterations: iterations at each step.
    """

    def __init__(self, iterations: int) -> None:
        self._iterations = iterations
        self._centroids: Tensor | None = None

    def __call__(self, points: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Cluster the rows of ``points`` and remember the centroids."""
        centroids, labels = kmeans(points, k, initial=self._centroids, iterations=self._iterations)
        self._centroids = centroids
        return centroids, labels


def converged_kmeans(points: Tensor, k: int, iterations: int = 100) -> tuple[Tensor, Tensor]:
    """Run spherical k-means from random points until no label changes; the host asks after every iteration."""
    points = functional.normalize(points, dim=1)
    centroids = points[torch.randperm(len(points), device=points.device)[:k]]
    labels = points.new_full((len(points),), -1, dtype=torch.int64)
    for _ in range(iterations):
        before, labels = labels, (points @ centroids.T).argmax(dim=1)
        if torch.equal(before, labels):
            break
        sums = torch.zeros_like(centroids).index_add_(0, labels, points)
        empty = sums.norm(dim=1) == 0
        centroids = torch.where(empty[:, None], centroids, functional.normalize(sums, dim=1))
    return centroids, labels


def products(size: Size, losses: Sequence[Loss]) -> int:
    """Return the floating-point operations of a step's matrix products, forward and backward.

    A linear layer (i, o) on B rows takes 2 B i o operations for its output and as many for its weights' gradient. Each
    layer but the first takes as many again for its input's gradient. K-means is small and left out.
    """
    h = size.hyperparameters
    b, k, m = h.batch_size, h.num_clusters, len(size.widths)
    r, p, d = h.representation_dim, h.projection_dim, h.reconstruction_dim
    total = 0
    for name, width in size.widths.items():
        lifted = h.lift_audio and name == "audio"
        inner = width if lifted else r
        total += 2 * width * inner + 3 * 2 * inner * inner + (3 * width * r if lifted else 0)
        if Loss.GEN in losses:
            total += 3 * (r * d + d * width)
    if Loss.CON in losses or Loss.CLU in losses:
        total += m * 3 * ((r // 8) * (r + p))
    if Loss.CLU in losses:
        total += m * (3 * p * k + 2 * k * k)
    if Loss.CON in losses:
        total += (m if m > 2 else 1) * 3 * b * p
    return 2 * b * total


def matrix_rate(device: torch.device) -> float:
    """Return operations a second of a large product in the heads' precision: the median of 9 products."""
    n, dtype = (8192, torch.bfloat16) if device.type == "cuda" else (1024, torch.float32)
    a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
    seconds = [_seconds(lambda: a @ b, device)[0] for _ in range(12)][3:]
    return 2 * n**3 / float(np.median(seconds))


def _seconds(action: Callable[[], object], device: torch.device) -> tuple[float, float]:
    """Return wall seconds, and the seconds that this process's threads computed."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    wall = time.perf_counter()
    processor = time.process_time()
    action()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - wall, time.process_time() - processor


def write_features(size: Size, folder: Path, device: torch.device) -> StandardisedSplit:
    """Write a set of groups with noise in float16; return its rows.

    The rows are not standardised, because reading a set's statistics would need safetensors.
    """
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 16, size.rows)
    features: dict[str, npt.NDArray[np.floating]] = {}
    for name, width in size.widths.items():
        centres = rng.normal(size=(16, width)).astype(np.float32)
        features[name] = centres[groups] + rng.standard_normal((size.rows, width), dtype=np.float32)
    modalities = tuple(Modality(name=name, width=width, source="made up") for name, width in size.widths.items())
    rows = [str(row) for row in range(size.rows)]
    shard = FeatureWriter(folder, modalities, dtype="float16").write("train", rows, features)
    manifest = Manifest(
        dtype="float16", modalities=modalities, labels=None, shards=(shard,), created_by="benchmarks.step"
    )
    manifest.write(folder)
    split = FeatureSet(folder, ("train",)).split("train")
    return StandardisedSplit(split, Standardisation.identity(size.widths), list(size.widths), device)


def measure(
    data: StandardisedSplit, size: Size, subset: str, rounds: int, rate: float, *, released: bool
) -> dict[str, Any]:
    """Return the milliseconds that a step of each way takes, and their ratios to ours."""
    losses = SUBSETS[subset]
    h = size.hyperparameters
    device = data.device
    ours = Pretraining(data, size.widths, losses, h, epochs=10**6, seed=0)
    ways: dict[str, Callable[[], object]] = {
        "ours": ours.run_epoch,
        "plain": PlainTraining(data, size, losses, WarmKMeans(h.kmeans_iterations)).run_epoch,
    }
    if released and Loss.CLU in losses:
        ways["released"] = PlainTraining(data, size, losses, converged_kmeans).run_epoch
    for _ in range(1 if device.type == "cpu" else 8):  # on a GPU, until every kind of step has been captured
        for way in ways.values():
            way()
    steps = ours.steps_per_epoch
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for number in range(rounds):
        for name in list(ways)[:: 1 if number % 2 else -1]:
            times[name].append(_seconds(ways[name], device))
    operations = products(size, losses)
    floor = 1e3 * operations / rate
    result: dict[str, Any] = {
        "subset": subset, "batch": h.batch_size, "R": h.representation_dim, "K": h.num_clusters, "steps": steps,
        "decisions": ours.execution.decisions, "gigaflop": operations / 1e9, "floor_ms": floor,
    }  # fmt: skip
    arrays = {name: np.array(pairs) for name, pairs in times.items()}  # (rounds, 2)
    for name, seconds in arrays.items():
        wall, processor = 1e3 * seconds.T / steps
        result[name] = {"ms": spread(wall), "cpu_ms": spread(processor), "times_floor": spread(wall / floor)}
        if name != "ours":
            wall_ratio, processor_ratio = (seconds / arrays["ours"]).T
            result[name] |= {"times_ours": spread(wall_ratio), "cpu_times_ours": spread(processor_ratio)}
    return result


def equality(data: StandardisedSplit, size: Size, subset: str, epochs: int) -> dict[str, float]:
    """Return the distance of ours from float32 steps on the same batches, and that of another seed.

    Losses are compared by the largest relative difference in any epoch, representations at the end by the relative norm
    of the difference.
    """
    h = replace(size.hyperparameters, warmup_epochs=1)
    losses = SUBSETS[subset]
    device = data.device
    executions = {"ours": None, "float32": Execution(device), "seed": Execution(device)}
    runs = {
        name: Pretraining(data, size.widths, losses, h, epochs=epochs, seed=int(name == "seed"), execution=execution)
        for name, execution in executions.items()
    }
    trained = {name: [run.run_epoch() for _ in range(epochs)] for name, run in runs.items()}
    rows = torch.arange(min(512, len(data)))
    z = {name: represent(run.head, data, rows) for name, run in runs.items()}

    def difference(name: str) -> float:
        pairs = zip(trained[name], trained["float32"], strict=True)
        return max(abs(one[key] / other[key] - 1) for one, other in pairs for key in other)

    norm = float(z["float32"].norm())
    return {
        "loss": difference("ours"), "loss_of_another_seed": difference("seed"),
        "representation": float((z["ours"] - z["float32"]).norm()) / norm,
        "representation_of_another_seed": float((z["seed"] - z["float32"]).norm()) / norm,
    }  # fmt: skip


def _print(name: str, result: Mapping[str, Any]) -> None:
    for way in ("ours", "plain", "released"):
        if way not in result:
            continue
        names = () if way == "ours" else ("times_ours", "cpu_times_ours")
        ratios = [spread_text(result[way][ratio]) for ratio in names]
        print(
            f"{name:12} {result['subset']:10} {way:9} {spread_text(result[way]['ms']):>24} "
            f"{result[way]['times_floor'][0]:8.2f}   {''.join(f'{ratio:24}' for ratio in ratios)}".rstrip(),
            flush=True,
        )


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options.add_argument("--sizes", nargs="+", choices=SIZES, help="default: those that suit the device")
    options.add_argument("--subsets", nargs="+", choices=SUBSETS, default=["Con", "ConCluGen"])
    options.add_argument("--threads", type=int, default=1, help="torch's threads on a CPU")
    options.add_argument("--rounds", type=int)
    arguments = options.parse_args()
    device = torch.device(arguments.device)
    torch.set_num_threads(arguments.threads)
    torch.set_flush_denormal(True)
    sizes = arguments.sizes or _DEFAULT_SIZES[device.type][: 1 if arguments.quick else None]
    rounds = arguments.rounds or (5 if arguments.quick else 15)
    rate = matrix_rate(device)
    hardware = own_hardware(device)
    unit = hardware.processor if device.type == "cpu" else hardware.device
    print(f"{unit}, torch {torch.__version__}, {arguments.threads} threads, products at {rate / 1e9:,.0f} GFLOP/s")
    print("size         subset     way        ms a step (quartiles)   / floor   / ours (quartiles)   / ours, processor")
    report: dict[str, Any] = {"device": unit, "threads": arguments.threads, "gflops": rate / 1e9, "sizes": {}}
    for name in sizes:
        size = SIZES[name]
        with tempfile.TemporaryDirectory() as scratch:
            data = write_features(size, Path(scratch) / "set", device)
            results = [measure(data, size, subset, rounds, rate, released=True) for subset in arguments.subsets]
            for result in results:
                _print(name, result)
            difference = equality(data, size, arguments.subsets[-1], epochs=3)
        print(
            f"{name:12} {arguments.subsets[-1]} against float32: losses differ by {difference['loss']:.1e} at most "
            f"(another seed's: {difference['loss_of_another_seed']:.1e}), representations by "
            f"{difference['representation']:.1e} ({difference['representation_of_another_seed']:.1e})"
        )
        for decision, reason in results[-1]["decisions"].items():
            print(f"{name:12} {decision}: {reason}")
        report["sizes"][name] = {"results": results, "equality": difference}
    write(arguments.json, report)


if __name__ == "__main__":
    main()
