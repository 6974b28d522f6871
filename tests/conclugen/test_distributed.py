"""Two workers on halves of each batch against one worker on the whole batch.

The workers are real processes that communicate over gloo. One pair of processes runs everything that needs two, and
leaves its results in files. They compute in float64, so that rounding cannot hide a difference of method.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn

from conclugen import distributed
from conclugen.clustering import kmeans
from conclugen.distributed import (
    GlobalBatchNorm1d,
    average,
    average_gradients,
    broadcast,
    gather,
    rank_and_size,
)
from conclugen.features.batches import StandardisedSplit
from conclugen.hyperparameters import Hyperparameters
from conclugen.subsets import SUBSETS, Loss
from conclugen.training import pretrain
from conclugen.training.adamw import AdamW
from conclugen.training.pretrain import Pretraining

_WORKERS = 2
_TIMEOUT = 150  # seconds; both processes import torch, which is slow on a busy machine
pytestmark = pytest.mark.timeout(_TIMEOUT + 30)
_WIDTHS = {"video": 7, "audio": 5, "text": 4}
_EPOCHS = 3
_H = Hyperparameters(
    representation_dim=16,
    lift_audio=True,
    projection_dim=8,
    temperature=0.3,
    num_clusters=3,
    kmeans_queue_size=1,
    kmeans_queue_thinning=2,
    reconstruction_dim=8,
    reconstruction_relu=False,
    feature_dropout=0.3,
    batch_size=14,
    lr=1e-2,
    warmup_epochs=1,
)
_GAPS = " with gaps"
_RUNS = [*SUBSETS, *(f"{name}{_GAPS}" for name in SUBSETS)]
_Results = dict[str, Any]
_Workers = list[_Results]


class _Planted(StandardisedSplit):
    """Three groups of samples whose rows grow in length, so that the halves of a batch differ.

    With gaps, a modality is missing in more rows of one half of a batch than in the other; one row has none.
    """

    def __init__(self, *, gaps: bool = False) -> None:
        rng = np.random.default_rng(0)
        groups = np.arange(60) % 3
        lengths = np.linspace(0.2, 3, 60)[:, None]
        self.device = torch.device("cpu")
        self.features = {
            name: torch.from_numpy(lengths * (rng.normal(size=(3, width))[groups] + rng.normal(size=(60, width))))
            for name, width in _WIDTHS.items()
        }
        self.batches: list[list[int]] = []
        self._modalities = tuple(_WIDTHS)
        self._gaps = {}
        if gaps:
            self._gaps = {
                name: torch.from_numpy(rng.random(60) > share)
                for name, share in zip(_WIDTHS, (0.2, 0.6, 0.4), strict=True)
            }
            self._gaps["text"] |= ~(self._gaps["video"] | self._gaps["audio"])
            for name, mask in self._gaps.items():
                mask[7] = False
                self.features[name][~mask] = 0

    @property
    def gaps(self) -> dict[str, Tensor]:
        return self._gaps

    @property
    def versions(self) -> Tensor:
        return torch.arange(len(self))[:, None]

    def __len__(self) -> int:
        return 60

    def batch(self, rows: Tensor) -> dict[str, Tensor]:
        self.batches.append(rows.tolist())
        return {name: x[rows] for name, x in self.features.items()}


def _hyperparameters(name: str) -> Hyperparameters:
    return replace(_H, kmeans_start_epoch=1 if name == "ConCluGen" else 0, lift_audio=name != "Gen")


def _pretrained(run_name: str) -> _Results:
    """Pretrain with a subset, and return everything that can be observed."""
    name = run_name.removesuffix(_GAPS)
    data = _Planted(gaps=run_name.endswith(_GAPS))
    gradients = []
    run = Pretraining(data, _WIDTHS, SUBSETS[name], _hyperparameters(name), epochs=_EPOCHS, seed=3)

    def recording_step(optimizer: AdamW) -> None:
        gradients.append([p.grad.clone() for p in optimizer.parameters if p.grad is not None])
        step(optimizer)

    step = AdamW.step
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AdamW, "step", recording_step)
        losses = [run.run_epoch() for _ in range(_EPOCHS)]
    return {"losses": losses, "gradients": gradients[0], "state": run.state(), "batches": data.batches}


def _kmeans_in_float64(*arguments: Any, **options: Any) -> tuple[Tensor, Tensor]:
    centroids, labels = kmeans(*arguments, **options, backend="torch")  # faiss would start threads in each process
    if rank_and_size()[0] > 0:  # exaggerates a rank that rounds differently: its result must not be used
        return -centroids.double(), torch.zeros_like(labels)
    return centroids.double(), labels


@contextmanager
def _float64() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pretrain, "kmeans", _kmeans_in_float64)
        torch.set_default_dtype(torch.float64)
        yield
        torch.set_default_dtype(torch.float32)


def _rows(*shape: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(len(shape)).normal(loc=3, size=shape))


def _normalised(module: nn.Module, share: slice) -> _Results:
    """Return outputs and gradients of two training steps, running statistics, and an output in evaluation."""
    x = _rows(2, 10, 4)[:, share].clone().requires_grad_()
    outputs = [module(step) for step in x]
    scale = torch.arange(10.0)[
        share, None
    ]  # rows have different gradients, else the gradient through the statistics is 0
    sum((scale * output**3).sum() for output in outputs).backward()
    return {
        "outputs": torch.stack(outputs).detach(),
        "gradient": x.grad,
        "parameters": [p.grad for p in module.parameters()],
        "state": module.state_dict(),
        "evaluated": module.eval()(x[0]).detach(),
    }


def _collectives(rank: int) -> _Results:
    x = (10.0 * rank + torch.arange(3.0))[:, None].requires_grad_()
    gathered = gather(x)
    (gathered.squeeze() * torch.arange(6.0) * (rank + 1)).sum().backward()
    used, unused = nn.Parameter(torch.zeros(2, 3)), nn.Parameter(torch.zeros(1))
    used.grad = torch.full((2, 3), float(rank))
    average_gradients([used, unused])
    return {
        "gathered": gathered.detach(),
        "gradient": x.grad,
        "average": average(torch.tensor([1.0 + rank, 3.0])),
        "averaged gradients": (used.grad, unused.grad),
        "broadcast": broadcast((rank + 1) * torch.arange(4).view(2, 2).T),
        "rank and size": rank_and_size(),
    }


def _refusal() -> str:
    try:
        Pretraining(_Planted(), _WIDTHS, SUBSETS["Gen"], replace(_H, batch_size=15), epochs=1, seed=0)
    except ValueError as error:
        return str(error)
    return ""


def _work(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=_WORKERS)
    with _float64():
        results = {
            **{name: _pretrained(name) for name in _RUNS},
            "normalised": _normalised(GlobalBatchNorm1d(4), slice(5 * rank, 5 * rank + 5)),
            "collectives": _collectives(rank),
            "refusal": _refusal(),
        }
    torch.save(results, folder / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> _Workers:
    """The results of each of two processes."""
    folder = tmp_path_factory.mktemp("workers")
    processes = mp.spawn(_work, args=(folder,), nprocs=_WORKERS, join=False)
    deadline = time.monotonic() + _TIMEOUT
    try:
        while not processes.join(timeout=1):
            assert time.monotonic() < deadline, "the workers hang"
    finally:
        for process in processes.processes:
            process.kill()
    return [torch.load(folder / f"{rank}.pt") for rank in range(_WORKERS)]


@pytest.fixture(scope="module")
def alone() -> _Results:
    """The results of one worker."""
    with _float64():
        return {name: _pretrained(name) for name in _RUNS}


def _assert_close(one: Tensor, other: Tensor, tolerance: float) -> None:
    torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", _RUNS)
class TestTwoWorkersAreOne:
    def test_two_workers_reach_the_state_of_one(self, name: str, workers: _Workers, alone: _Results) -> None:
        one, state = alone[name], alone[name]["state"]
        losses = SUBSETS[name.removesuffix(_GAPS)]
        assert ("centroids" in state) == (Loss.CLU in losses)
        assert any(key.endswith("running_var") for key in state) == (losses != (Loss.GEN,))
        for worker in workers:
            for means, expected in zip(worker[name]["losses"], one["losses"], strict=True):
                assert means == pytest.approx(expected, rel=1e-9)
            assert worker[name]["state"].keys() == state.keys()
            for key, value in worker[name]["state"].items():
                _assert_close(value, state[key], 1e-7)

    def test_two_workers_compute_the_gradient_of_one(self, name: str, workers: _Workers, alone: _Results) -> None:
        one = alone[name]["gradients"]
        assert max(gradient.abs().max() for gradient in one) > 1e-3
        for worker in workers:
            for gradient, expected in zip(worker[name]["gradients"], one, strict=True):
                _assert_close(gradient, expected, 1e-12)

    def test_two_workers_hold_the_same_bits(self, name: str, workers: _Workers) -> None:
        first, second = (worker[name] for worker in workers)
        assert first["losses"] == second["losses"]
        assert all(torch.equal(value, second["state"][key]) for key, value in first["state"].items())

    def test_two_workers_share_each_batch_in_its_order(self, name: str, workers: _Workers, alone: _Results) -> None:
        shares = zip(*(worker[name]["batches"] for worker in workers), strict=True)
        assert [list(chain(*parts)) for parts in shares] == alone[name]["batches"]


class TestGlobalBatchNorm:
    def test_two_workers_equal_torch_on_all_rows(self, workers: _Workers) -> None:
        with _float64():
            whole = _normalised(nn.BatchNorm1d(4), slice(None))
        parts = [worker["normalised"] for worker in workers]
        for key in ("outputs", "gradient"):
            _assert_close(torch.cat([part[key] for part in parts], dim=1), whole[key], 1e-12)
        _assert_close(torch.cat([part["evaluated"] for part in parts]), whole["evaluated"], 1e-12)
        for index, expected in enumerate(whole["parameters"]):  # the gradient of the whole batch is the sum over ranks
            _assert_close(parts[0]["parameters"][index] + parts[1]["parameters"][index], expected, 1e-12)
        for part in parts:
            assert part["state"].keys() == whole["state"].keys()
            for key, value in part["state"].items():
                _assert_close(value, whole["state"][key], 1e-12)

    def test_one_worker_equals_torch(self) -> None:
        with _float64():
            ours, reference = (_normalised(module(4), slice(None)) for module in (GlobalBatchNorm1d, nn.BatchNorm1d))
        assert ours["state"].keys() == reference["state"].keys()
        for key in ("outputs", "gradient", "evaluated"):
            assert torch.equal(ours[key], reference[key])
        assert all(torch.equal(value, reference["state"][key]) for key, value in ours["state"].items())

    def test_statistics_of_bfloat16_rows_are_float32(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Two workers with the same rows have the statistics of one worker with these rows twice."""
        x = _rows(2, 40, 4)[0].bfloat16()
        whole, ours = nn.BatchNorm1d(4), GlobalBatchNorm1d(4)
        expected = whole(torch.cat([x, x]).float())[:40]
        monkeypatch.setattr(distributed, "rank_and_size", lambda: (0, 2))
        monkeypatch.setattr(distributed, "gather", lambda x: torch.cat([x, x]))
        _assert_close(ours(x), expected, 1e-5)
        for key, value in ours.state_dict().items():
            _assert_close(value, whole.state_dict()[key], 1e-5)


class TestCollectives:
    def test_collectives_combine_two_workers(self, workers: _Workers) -> None:
        """Rank r's loss is sum_i (r + 1) i x_i over all six rows, so the gradient of row i is (1 + 2) i."""
        for rank, worker in enumerate(workers):
            results = worker["collectives"]
            assert results["gathered"].squeeze().tolist() == [0, 1, 2, 10, 11, 12]
            assert results["gradient"].squeeze().tolist() == [[0, 3, 6], [9, 12, 15]][rank]
            assert results["average"].tolist() == [1.5, 3]
            assert results["averaged gradients"][0].tolist() == [[0.5] * 3] * 2
            assert results["averaged gradients"][1] is None
            assert results["broadcast"].tolist() == [[0, 2], [1, 3]]
            assert results["rank and size"] == (rank, 2)

    def test_collectives_are_the_identity_for_one_worker(self) -> None:
        x = torch.randn(3, 2)
        assert rank_and_size() == (0, 1)
        assert all(function(x) is x for function in (gather, average, broadcast))
        parameter = nn.Parameter(x)
        parameter.grad = torch.ones(3, 2)
        average_gradients([parameter])
        assert torch.equal(parameter.grad, torch.ones(3, 2))


def test_a_batch_that_does_not_divide_is_refused(workers: _Workers) -> None:
    for worker in workers:
        assert "15 rows for 2" in worker["refusal"]
        assert "multiple of 2" in worker["refusal"]
