"""Recorded steps against eager ones, bfloat16 against float32, and the decisions on each device.

A CUDA graph needs a GPU, but a recorder with the same semantics (`tape.py`) shows on a CPU that steps are fit for one.
The last class runs on a GPU if there is one.
"""

import logging
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from conclugen.baselines.simclr import SimCLR
from conclugen.clustering import kmeans
from conclugen.features.batches import StandardisedSplit
from conclugen.features.manifest import Modality
from conclugen.features.placement import stays_on_device
from conclugen.features.shards import FeatureSet, FeatureWriter
from conclugen.hyperparameters import Hyperparameters
from conclugen.subsets import SUBSETS
from conclugen.training import execution, pretrain
from conclugen.training.execution import Execution, GraphCapture, Step
from conclugen.training.pretrain import Pretraining
from tests.conclugen.tape import Tape

_CPU = torch.device("cpu")
_WIDTHS = {"video": 7, "audio": 5, "text": 4}
_H = Hyperparameters(
    representation_dim=16,
    projection_dim=8,
    temperature=0.3,
    num_clusters=3,
    kmeans_queue_size=2,
    kmeans_queue_thinning=2,
    kmeans_iterations=3,
    reconstruction_dim=8,
    reconstruction_relu=False,
    feature_dropout=0.3,
    batch_size=10,
    lr=1e-2,
    warmup_epochs=2,
)


@pytest.fixture(autouse=True)
def _torch_kmeans(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use torch's k-means, as on a GPU, because a recorder does not see what faiss does."""
    monkeypatch.setattr(pretrain, "kmeans", partial(kmeans, backend="torch"))


@pytest.fixture
def _early(monkeypatch: pytest.MonkeyPatch) -> None:
    """Record steps of a kind after two eager ones."""
    monkeypatch.setattr(execution, "EAGER_STEPS", 2)


def _write(folder: Path, dtype: str = "float32", *, gaps: bool = False) -> FeatureSet:
    """Write three groups of samples in two shards; with gaps, a third of the rows lack video, another third text."""
    rng = np.random.default_rng(0)
    modalities = [Modality(name=name, width=width, source="planted") for name, width in _WIDTHS.items()]
    with FeatureWriter(folder, modalities, dtype=dtype) as writer:
        for shard in range(2):
            groups = np.arange(30) % 3
            features = {
                name: 5 + rng.normal(size=(3, width))[groups] + 0.3 * rng.normal(size=(30, width))
                for name, width in _WIDTHS.items()
            }
            thirds = np.arange(30) // 10
            present = {"video": thirds != 0, "text": thirds != 1} if gaps else None
            writer.write("train", [f"{shard}-{row}" for row in range(30)], features, present=present)
    return FeatureSet(folder)


def _split(features: FeatureSet, *, resident: bool | None = None) -> StandardisedSplit:
    return StandardisedSplit(features.split("train"), features.standardisation, list(_WIDTHS), _CPU, resident=resident)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> StandardisedSplit:
    return _split(_write(tmp_path_factory.mktemp("features")))


@pytest.fixture(scope="module")
def with_gaps(tmp_path_factory: pytest.TempPathFactory) -> StandardisedSplit:
    return _split(_write(tmp_path_factory.mktemp("features"), gaps=True))


def _run(
    data: StandardisedSplit, name: str, how: Execution, h: Hyperparameters = _H, *, epochs: int = 8
) -> Pretraining:
    if name == "SimCLR":
        return SimCLR(data.only(["video"]), {"video": 7}, h, epochs=epochs, seed=0, execution=how)
    return Pretraining(data, _WIDTHS, SUBSETS[name], h, epochs=epochs, seed=0, execution=how)


def _same(one: Pretraining, other: Pretraining) -> bool:
    ours, reference = one.state(), other.state()
    return ours.keys() == reference.keys() and all(torch.equal(value, reference[name]) for name, value in ours.items())


class _Eager(Execution):
    """Eager steps with the optimiser of recorded steps, whose learning rate is a float32 tensor."""

    def __init__(self, precision: torch.dtype = torch.float32) -> None:
        super().__init__(_CPU, precision=precision, recorder=Tape())

    def run(self, kind: Hashable, step: Step, inputs: Sequence[Mapping[str, Tensor]]) -> None:
        step(inputs)


@pytest.mark.usefixtures("_early")
class TestRecordedStepsAreEagerOnes:
    @pytest.mark.parametrize("name", [*SUBSETS, "SimCLR"])
    def test_recorded_steps_equal_eager_ones_to_the_bit(self, name: str, data: StandardisedSplit) -> None:
        """The epochs include the warm-up, the start of clustering and the filling of the queue."""
        h = replace(_H, kmeans_start_epoch=1 if name in SUBSETS and len(SUBSETS[name]) > 1 else 0)
        tape = Tape()
        recorded, eager = _run(data, name, Execution(_CPU, recorder=tape), h), _run(data, name, _Eager(), h)
        for _ in range(4):
            assert recorded.run_epoch() == eager.run_epoch()
        assert _same(recorded, eager)
        clustered = "Clu" in name
        kinds = (2 if clustered else 1) + (clustered and name != "Clu")
        assert tape.recordings == kinds
        assert set(tape.replays) == set(range(kinds))
        assert recorded.execution.decisions == {}  # no recording failed

    @pytest.mark.parametrize("name", SUBSETS)
    def test_recorded_steps_follow_the_gaps_of_each_batch(self, name: str, with_gaps: StandardisedSplit) -> None:
        tape = Tape()
        recorded, eager = _run(with_gaps, name, Execution(_CPU, recorder=tape)), _run(with_gaps, name, _Eager())
        for _ in range(3):
            assert recorded.run_epoch() == eager.run_epoch()
        assert _same(recorded, eager)
        assert tape.replays
        assert recorded.execution.decisions == {}

    def test_recorded_steps_equal_eager_ones_without_dropout_and_in_joint_mode(self, data: StandardisedSplit) -> None:
        h = replace(_H, feature_dropout=0.0, kmeans_loss_mode="joint", kmeans_queue_size=0)
        tape = Tape()
        recorded, eager = (
            _run(data, "ConCluGen", Execution(_CPU, recorder=tape), h),
            _run(data, "ConCluGen", _Eager(), h),
        )
        for _ in range(2):
            assert recorded.run_epoch() == eager.run_epoch()
        assert _same(recorded, eager)
        assert len(tape.replays) == 9  # 12 steps: one starts k-means, two warm up

    def test_a_resumed_run_records_anew_and_continues_to_the_same_bits(self, data: StandardisedSplit) -> None:
        """The resumed run already has recordings, of tensors that it no longer uses."""
        whole, used = (_run(data, "ConCluGen", Execution(_CPU, recorder=Tape())) for _ in range(2))
        whole.run_epoch()
        whole.run_epoch()
        state = {name: value.clone() for name, value in whole.state().items()}
        for _ in range(3):
            used.run_epoch()
        used.load_state(state)
        for _ in range(2):
            assert used.run_epoch() == whole.run_epoch()
        assert _same(used, whole)

    def test_the_optimiser_of_eager_steps_differs_by_rounding_only(self, data: StandardisedSplit) -> None:
        """The only difference is the learning rate, a float32 tensor and not a float64 number."""
        recorded, plain = (
            _run(data, "ConCluGen", Execution(_CPU, recorder=Tape())),
            _run(data, "ConCluGen", Execution.on(_CPU)),
        )
        for _ in range(2):
            assert recorded.run_epoch() == pytest.approx(plain.run_epoch(), rel=1e-4)


class TestWhatIsRecorded:
    def test_a_kind_is_recorded_after_its_eager_steps(self, data: StandardisedSplit) -> None:
        tape = Tape()
        run = _run(data, "Gen", Execution(_CPU, recorder=tape))
        run.run_epoch()
        assert (run.steps_per_epoch, tape.warm_ups, tape.recordings) == (6, 6, 0)
        run.run_epoch()
        assert (tape.warm_ups, tape.recordings, len(tape.replays)) == (10, 1, 2)

    @pytest.mark.usefixtures("_early")
    def test_k_means_from_random_points_is_never_recorded(self, data: StandardisedSplit) -> None:
        tape = Tape()
        run = _run(data, "Clu", Execution(_CPU, recorder=tape), replace(_H, kmeans_warm_start=False))
        run.run_epoch()
        assert (tape.warm_ups, tape.recordings) == (0, 0)

    @pytest.mark.usefixtures("_early")
    def test_a_step_that_cannot_be_recorded_runs_eagerly_and_says_why(
        self, data: StandardisedSplit, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The failed recording leaves no effect."""

        def waiting_kmeans(x: Tensor, k: int, seed: int, **options: object) -> tuple[Tensor, Tensor]:
            assert math.isfinite(x.sum().item())
            return kmeans(x, k, seed, backend="torch", **options)  # type: ignore[arg-type]

        eager = _run(data, "ConCluGen", _Eager())
        expected = [eager.run_epoch() for _ in range(2)]
        monkeypatch.setattr(pretrain, "kmeans", waiting_kmeans)
        run = _run(data, "ConCluGen", Execution(_CPU, recorder=Tape()))
        with caplog.at_level(logging.WARNING):
            assert [run.run_epoch() for _ in range(2)] == expected
        assert _same(run, eager)
        assert "the host waits for a value" in run.execution.decisions["steps"]
        assert [record.getMessage() for record in caplog.records] == [
            "steps are no longer captured: aten._local_scalar_dense.default: the host waits for a value"
        ]


class TestTheTapeItself:
    """The tape must refuse what a graph refuses and freeze what a graph freezes, else it proves nothing."""

    @pytest.mark.parametrize(
        "step",
        [
            lambda x: x.sum().item(),
            lambda x: x[x > 0],
            lambda x: x + torch.rand(3, generator=torch.Generator()),
            lambda x: x + torch.tensor([1.0, 2.0, 3.0]),
        ],
        ids=["value", "shape", "random", "host"],
    )
    def test_the_tape_refuses_what_a_graph_refuses(self, step: Callable[[Tensor], object]) -> None:
        x = torch.arange(3.0)
        with pytest.raises(RuntimeError, match="aten"):
            Tape().record(lambda: [step(x)].clear())

    def test_a_recording_has_no_effect_and_a_replay_reads_new_inputs(self) -> None:
        x, total, count = torch.ones(3), torch.zeros(3), 0

        def step() -> None:
            nonlocal count
            count += 1
            total.add_(2 * x + count)

        replay = Tape().record(step)
        assert total.tolist() == [0, 0, 0]
        x.fill_(5)
        replay()
        replay()
        assert (total.tolist(), count) == ([22, 22, 22], 1)  # the value that Python counted stays 1

    def test_a_replay_does_not_follow_state_to_another_place(self) -> None:
        state = {"weight": torch.zeros(1)}

        def step() -> None:
            state["weight"] = state["weight"] + 1

        replay = Tape().record(step)
        replay()
        replay()
        assert state["weight"].item() == 1


class TestBFloat16:
    """The code of a GPU, with the CPU's bfloat16."""

    def _in_bfloat16(self) -> Execution:
        return Execution(_CPU, precision=torch.bfloat16)

    @pytest.mark.parametrize("name", [*SUBSETS, "SimCLR"])
    def test_losses_stay_close_to_float32(self, name: str, data: StandardisedSplit) -> None:
        """bfloat16 has 8 bits, but errors of products average out."""
        h = replace(_H, warmup_epochs=0, lr=1e-3)
        half, plain = _run(data, name, self._in_bfloat16(), h), _run(data, name, Execution.on(_CPU), h)
        for _ in range(2):
            ours, expected = half.run_epoch(), plain.run_epoch()
            assert ours == pytest.approx(expected, rel=0.02)
            assert ours != expected

    def test_weights_gradients_and_state_stay_float32(self, data: StandardisedSplit) -> None:
        run = _run(data, "ConCluGen", self._in_bfloat16())
        run.run_epoch()
        assert {x.dtype for x in run.state().values() if x.is_floating_point()} <= {torch.float32, torch.float64}
        assert all(x.grad is not None and x.grad.dtype == torch.float32 for x in run.head.parameters())

    def test_losses_see_float32(self, data: StandardisedSplit, monkeypatch: pytest.MonkeyPatch) -> None:
        dtypes: list[torch.dtype] = []

        def recording(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
            def loss(first: dict[str, Tensor], *rest: object, **options: object) -> Tensor:
                dtypes.extend(x.dtype for x in first.values())
                return function(first, *rest, **options)

            return loss

        for name in ("contrastive_loss", "clustering_loss", "reconstruction_loss"):
            monkeypatch.setattr(pretrain, name, recording(getattr(pretrain, name)))
        _run(data, "ConCluGen", self._in_bfloat16()).run_epoch(max_steps=1)
        assert dtypes == [torch.float32] * 9

    @pytest.mark.usefixtures("_early")
    def test_bfloat16_steps_can_be_recorded(self, data: StandardisedSplit) -> None:
        """As on a GPU, steps are recorded and in bfloat16, and equal eager bfloat16 steps to the bit."""
        tape = Tape()
        recorded = _run(data, "ConCluGen", Execution(_CPU, precision=torch.bfloat16, recorder=tape))
        eager = _run(data, "ConCluGen", _Eager(torch.bfloat16))
        for _ in range(2):
            assert recorded.run_epoch() == eager.run_epoch()
        assert tape.replays


class TestResidency:
    def test_a_cpu_maps_the_files(self) -> None:
        assert not stays_on_device(1, _CPU)

    def test_a_gpu_keeps_features_that_leave_room_for_the_step(self, monkeypatch: pytest.MonkeyPatch) -> None:
        free = 1000
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free, 1000))
        resident = []
        for size in (401, 250, 151, 150, 1):
            if stays_on_device(size, torch.device("cuda")):
                resident.append(size)
                free -= size
        assert resident == [250, 150]

    def test_a_gpu_in_use_has_less_room(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (700, 1000))
        assert [stays_on_device(size, torch.device("cuda")) for size in (100, 101)] == [True, False]

    @pytest.mark.parametrize("dtype", ["float16", "float32"])
    def test_resident_and_streamed_batches_are_equal(self, dtype: str, tmp_path: Path) -> None:
        features = _write(tmp_path, dtype)
        resident, streamed = _split(features, resident=True), _split(features, resident=False)
        assert {x.dtype for x in resident.resident.values()} == {getattr(torch, dtype)}
        assert streamed.resident == {}
        rows = torch.tensor([59, 0, 31, 31])
        ours, reference = resident.batch(rows), streamed.batch(rows)
        assert ours.keys() == reference.keys() == _WIDTHS.keys()
        for name, x in ours.items():
            assert x.dtype == torch.float32
            assert torch.equal(x, reference[name])

    def test_the_size_is_that_of_the_stored_precision(self, tmp_path: Path) -> None:
        split = _write(tmp_path, "float16").split("train")
        assert {name: split.size(name) for name in _WIDTHS} == {"video": 840, "audio": 600, "text": 480}


class TestDecisions:
    def test_a_cpu_is_the_reference(self) -> None:
        ours = Execution.on(_CPU)
        assert ours.decisions.keys() == {"precision", "steps"}
        assert ours.decisions["precision"].startswith("float32")
        assert ours.decisions["steps"].startswith("eager")
        weight = torch.nn.Parameter(torch.ones(2))
        optimizer = ours.optimizer([weight], lr=0.1, weight_decay=0.2)
        assert optimizer.lr == 0.1  # exactly, in float64
        weight.grad = torch.zeros(2)
        optimizer.step()
        assert weight.tolist() == pytest.approx([1 - 0.1 * 0.2] * 2)

    @pytest.mark.parametrize(
        ("capability", "workers", "precision", "steps"),
        [
            ((9, 0), 1, "bfloat16 heads: compute capability 9.0", "CUDA graphs"),
            ((8, 0), 1, "bfloat16 heads: compute capability 8.0", "CUDA graphs"),
            ((7, 5), 1, "float32: compute capability 7.5", "CUDA graphs"),
            ((9, 0), 4, "bfloat16 heads", "eager: 4 workers"),
        ],
    )
    def test_a_gpu_decides_by_its_capability_and_the_workers(
        self,
        capability: tuple[int, int],
        workers: int,
        precision: str,
        steps: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
        monkeypatch.setattr(execution, "rank_and_size", lambda: (0, workers))
        monkeypatch.setattr(execution, "GraphCapture", lambda _: Tape())
        ours = Execution.on(torch.device("cuda"))
        assert ours.decisions["precision"].startswith(precision)
        assert ours.decisions["steps"].startswith(steps)
        assert ours.precision == (torch.bfloat16 if capability[0] >= 8 else torch.float32)
        assert (ours.recorder is None) == (workers > 1)

    def test_a_learning_rate_reaches_recorded_and_eager_steps(self) -> None:
        """Recorded steps keep it in a float32 tensor, which 0.1 does not fit."""
        for recorder in (None, Tape()):
            ours = Execution(_CPU, recorder=recorder)
            optimizer = ours.optimizer([torch.nn.Parameter(torch.ones(2))], lr=0.5, weight_decay=0.0)
            optimizer.lr = 0.1
            assert optimizer.lr == pytest.approx(0.1, rel=1e-6)
            assert (optimizer.lr == 0.1) == (recorder is None)


def test_a_step_restores_the_matrix_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorFloat-32 is for steps only; representations outside training are computed in float32."""
    during = list[str]()
    ours = Execution(torch.device("cuda"), precision=torch.bfloat16)
    before = torch.get_float32_matmul_precision()
    ours.run(None, lambda _: during.append(torch.get_float32_matmul_precision()), [])
    assert (during, torch.get_float32_matmul_precision()) == (["high"], before)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
class TestOnAGPU:
    @pytest.fixture
    def resident(self, data: StandardisedSplit) -> StandardisedSplit:
        """The features on the GPU."""
        return StandardisedSplit(data.split, data.standardisation, list(_WIDTHS), torch.device("cuda"))

    @pytest.mark.parametrize("name", [*SUBSETS, "SimCLR"])
    def test_losses_on_a_gpu_stay_close_to_float32(self, name: str, resident: StandardisedSplit) -> None:
        h = replace(_H, warmup_epochs=0, lr=1e-3)
        device = resident.device
        ours, plain = _run(resident, name, Execution.on(device), h), _run(resident, name, Execution(device), h)
        for _ in range(3):
            assert ours.run_epoch() == pytest.approx(plain.run_epoch(), rel=0.02)

    @pytest.mark.parametrize("name", [*SUBSETS, "SimCLR"])
    def test_graphs_equal_eager_steps(
        self, name: str, resident: StandardisedSplit, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        recordings = []
        record = GraphCapture.record

        def counted(capture: GraphCapture, step: Callable[[], None]) -> Callable[[], None]:
            recordings.append(record(capture, step))
            return recordings[-1]

        monkeypatch.setattr(GraphCapture, "record", counted)
        graphs, eager = Execution.on(resident.device), Execution.on(resident.device, recorded=False)
        one, other = _run(resident, name, graphs), _run(resident, name, eager)
        for _ in range(6):
            assert one.run_epoch() == pytest.approx(other.run_epoch(), rel=0.01)
        assert graphs.decisions["steps"].startswith("CUDA graphs")
        assert recordings
