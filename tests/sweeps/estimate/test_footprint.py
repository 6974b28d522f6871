"""The disk and GPU memory that a sweep needs, against what it takes in fact."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from conclugen.hyperparameters import Hyperparameters
from conclugen.subsets import SUBSETS
from conclugen.training.memory import probe_bytes, step_bytes, stored_bytes
from sweeps.config import SweepConfig, load_config
from sweeps.estimate.duration import Cost
from sweeps.estimate.footprint import cpu_problems, disk_bytes, gpu_problems
from sweeps.folder.layout import SweepFolder
from sweeps.search import Search
from tests.conftest import write_planted
from tests.sweeps.simulation import Simulation, run_here

WIDTHS = {"video": 7, "audio": 5, "text": 4}
ROW = sum(WIDTHS.values()) * 4
"""Bytes of a planted set's row."""
FEATURES = (60 + 120) * ROW
"""Bytes of the planted set on a GPU: its training rows for pretraining, all rows for probing."""
LARGEST = {"representation_dim": 16, "projection_dim": 8, "batch_size": 20}
"""The sizes of the tiny space."""
CON_STEP = step_bytes(WIDTHS, SUBSETS["Con"], replace(Hyperparameters(), **LARGEST))


def test_a_space_that_does_not_fit_the_gpu_is_refused_with_sizes_and_remedy(write_config: Callable[..., Path]) -> None:
    config = load_config(write_config(subsets=["Con", "Gen"], baselines=[]))
    problems = gpu_problems(config, CON_STEP + FEATURES - 1)
    assert any(
        p.startswith("space: Con with representation_dim 16, projection_dim 8, batch_size 20 needs") for p in problems
    )
    assert all("lower representation_dim or batch_size, or use more workers.per_trial" in p for p in problems)
    assert not any(p.startswith("space: Con ") for p in gpu_problems(config, CON_STEP + FEATURES))
    assert gpu_problems(config, 2**30) == []


def test_a_default_configuration_that_this_machine_cannot_measure_is_refused(write_config: Callable[..., Path]) -> None:
    config = load_config(write_config(subsets=["Con"], baselines=[]))
    measured = step_bytes(WIDTHS, SUBSETS["Con"], replace(Hyperparameters(), **{**LARGEST, "representation_dim": 8}))
    (problem,) = (p for p in cpu_problems(config, measured - 1) if p.startswith("space: "))
    assert problem.startswith("space: Con with representation_dim 8, projection_dim 8, batch_size 20 needs at least")
    assert "GiB for a step, but this machine has" in problem
    assert not any(p.startswith("space: ") for p in cpu_problems(config, measured))


@pytest.mark.parametrize("nested", [[], ["modalities"], ["labels"], ["modalities", "labels"]])
def test_every_arm_is_checked_also_baselines_and_nested_ones(
    write_config: Callable[..., Path], nested: list[str]
) -> None:
    path = write_config(baselines="all", modality_subsets=[["video", "text"]], search={"nested": nested})
    config = load_config(path)
    assert gpu_problems(config, 2**30) == []
    arms: dict[str, list[str]] = {"space:": [], "probe:": []}
    for problem in gpu_problems(config, FEATURES + 1):
        place, name, *_ = problem.split()
        arms[place].append(name)
    pretrained = [name for name, arm in config.arms.items() if arm.method != "supervised_head"]
    assert arms == {"space:": list(config.arms), "probe:": pretrained}


def assert_least(config: SweepConfig, memory: int) -> None:
    """A GPU with so much memory is enough, and one byte less is not."""
    assert gpu_problems(config, memory) == []
    assert gpu_problems(config, memory - 1)


def test_a_split_that_finds_no_room_is_streamed_and_takes_none(
    write_config: Callable[..., Path], tmp_path: Path
) -> None:
    """0.4 of the memory holds 480 rows for pretraining, but not also the 480 of a probe, or the 240 to validate it."""
    large = write_planted(tmp_path / "large", rows=960)
    features = {"pretrain": str(large), "downstream": {"large": str(large)}}
    config = load_config(write_config(features=features, subsets=["Con"], baselines=[], probe={"kind": "paper"}))
    assert_least(config, CON_STEP + 480 * ROW)


def test_each_division_of_a_set_with_folds_has_its_rows(write_config: Callable[..., Path], tmp_path: Path) -> None:
    """Each of three folds has a copy of all 120 rows, and pretraining has one."""
    folder = tmp_path / "folded"
    write_planted(folder, split=None, folds=np.arange(120) // 3 % 3)
    features = {"pretrain": str(folder), "downstream": {"folded": str(folder)}}
    config = load_config(write_config(features=features, subsets=["Con"], baselines=[], probe={"kind": "paper"}))
    assert_least(config, CON_STEP + (120 + 3 * 120) * ROW)


class TestProbe:
    """The probe has 4800 training rows, beside which a step of 20 rows needs little."""

    SAMPLES, WIDTH = 4800, 256

    @pytest.fixture(scope="class")
    @staticmethod
    def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
        return write_planted(tmp_path_factory.mktemp("features") / "large", rows=2 * TestProbe.SAMPLES)

    @pytest.fixture
    def configure(
        self, write_config: Callable[..., Path], tmp_path: Path, large: Path, planted: Path
    ) -> Callable[..., SweepConfig]:
        space = tmp_path / "wide.yaml"
        parameters = {"representation_dim": self.WIDTH, "projection_dim": 8, "batch_size": 20, "warmup_epochs": 1}
        space.write_text(yaml.safe_dump({"description": "wide", "parameters": parameters}), encoding="utf-8")
        features = {"pretrain": str(planted), "downstream": {"small": str(planted), "large": str(large)}}
        settings = {"features": features, "subsets": ["Con"], "baselines": [], "space": str(space)}
        return lambda **probe: load_config(write_config(**settings, probe=probe))

    @pytest.mark.parametrize(
        ("probe", "heads"),
        [({}, 3), ({"fusion": "mean"}, 1), ({"fusion": "audio"}, 1), ({"kind": "paper", "also": ["logistic"]}, 3)],
    )
    def test_a_probe_of_all_labels_that_does_not_fit_is_refused_with_its_size_and_remedy(
        self, configure: Callable[..., SweepConfig], probe: dict[str, Any], heads: int
    ) -> None:
        """The probe takes most of the memory, so that all rows stay there: those of pretraining and of both sets."""
        config = configure(**probe)
        rows = 60 + 120 + 2 * self.SAMPLES
        memory = probe_bytes(self.SAMPLES, heads * self.WIDTH) + rows * ROW
        assert rows * ROW <= 0.4 * memory
        assert_least(config, memory)
        (problem,) = gpu_problems(config, memory - 1)
        assert problem.startswith("probe: Con with representation_dim 256 needs at least 0.0 GiB for a probe of all")
        assert problem.endswith("lower representation_dim, or take the mean of the modalities (probe.fusion: mean).")

    def test_a_probe_that_is_trained_in_batches_needs_no_room_of_its_own(
        self, configure: Callable[..., SweepConfig]
    ) -> None:
        config = configure(kind="paper", also=["knn"])
        assert not any(problem.startswith("probe:") for problem in gpu_problems(config, 1))


def test_disk_grows_with_heads_checkpoints_and_predictions(write_config: Callable[..., Path]) -> None:
    settings = {"subsets": ["Con"], "baselines": []}
    config = load_config(write_config(**settings, workers={"concurrent_trials": 3}))
    nothing = [Cost("Con", 1.0, 1.0, confirmations=2)]
    head, checkpoint = stored_bytes(
        {"video": 7, "audio": 5, "text": 4}, SUBSETS["Con"], replace(Hyperparameters(), **LARGEST)
    )
    # Each trial keeps two checkpoints and writes one more, each with up to four reports.
    two = load_config(write_config(**settings, workers={"concurrent_trials": 2}))
    record = 100  # bytes by which records of another configuration may differ
    assert disk_bytes(config, nothing) - disk_bytes(two, nothing) == pytest.approx(
        3 * (checkpoint + 4 * 200), abs=record
    )
    both = load_config(write_config(**settings, workers={"concurrent_trials": 3}, checkpoint={"heads": 2}))
    assert disk_bytes(both, nothing) - disk_bytes(config, nothing) == pytest.approx(head, abs=record)
    more = [Cost("Con", 1.0, 1.0, confirmations=4)]
    # 30 test samples; one draw with all labels and two with 2 per class; truth and prediction of 4 bytes each, and
    # probabilities of three classes of 2 bytes each.
    predictions = 30 * (1 + 2) * (2 * 4 + 3 * 2)
    assert disk_bytes(config, more) - disk_bytes(config, nothing) > 2 * predictions
    most = [Cost("Con", 1.0, 1.0, confirmations=6)]
    assert disk_bytes(config, most) - disk_bytes(config, more) == disk_bytes(config, more) - disk_bytes(config, nothing)


def test_a_finalist_takes_as_much_disk_as_was_estimated(write_config: Callable[..., Path], tmp_path: Path) -> None:
    path = write_config(
        subsets=["Con"], baselines=[], search={"finalists": 2, "pruner": "none"}, tracking={"tensorboard": False}
    )
    folder = SweepFolder(tmp_path / "sweep")
    run_here(path, folder)
    sizes = [file.stat().st_size for file in folder.ledger.glob("finalist-*.arrow")]
    assert len(sizes) == 4
    config = load_config(path)
    none, all_runs = (disk_bytes(config, [Cost("Con", 1.0, 1.0, 2, 1.0, number)]) for number in (0, 4))
    assert (all_runs - none) / 4 == pytest.approx(max(sizes), rel=0.1)


def multi_labelled(folder: Path) -> Path:
    """A set of 8 labels, with several labels per sample."""
    labels = (np.arange(120)[:, None] // np.arange(1, 9) % 3 == 0).astype(int)
    return write_planted(folder, labels=labels, class_names=[f"label {c}" for c in range(8)])


def folded(folder: Path) -> Path:
    return write_planted(folder, split=None, folds=np.arange(120) // 3 % 4)


@pytest.mark.parametrize(
    ("make", "also", "probabilities"),
    [
        (write_planted, [], True),
        (write_planted, ["knn", "paper"], True),
        (write_planted, ["knn"], False),
        (multi_labelled, ["knn"], True),
        (folded, ["knn"], True),
    ],
)
def test_a_confirmations_record_takes_no_more_than_was_estimated(
    write_config: Callable[..., Path],
    tmp_path: Path,
    make: Callable[[Path], Path],
    also: list[str],
    probabilities: bool,
) -> None:
    data = make(tmp_path / "data")
    path = write_config(
        features={"pretrain": str(data), "downstream": {"data": str(data)}},
        subsets=["Con"],
        baselines=["raw_features", *([] if make is multi_labelled else ["label_spreading"])],
        budget={"trials_per_subset": 1, "epochs": 2, "seeds": 1},
        probe={"labels_per_class": [2], "label_draws": 2, "also": also},
        checkpoint={"probabilities": probabilities},
        tracking={"tensorboard": False},
    )
    folder = SweepFolder(tmp_path / "sweep")
    run_here(path, folder)
    bound = confirmation_bytes(load_config(path))
    sizes = {method: record_bytes(folder, method) for method in ("Con", "raw_features")}
    assert bound / 1.3 < max(sizes.values()) <= bound
    if "label_spreading" in load_config(path).baselines:  # whose only instrument is the probe
        assert record_bytes(folder, "label_spreading") <= bound


def record_bytes(folder: SweepFolder, method: str) -> int:
    return (folder.ledger / f"confirm-{method}-00000.arrow").stat().st_size


def confirmation_bytes(config: SweepConfig) -> float:
    """Bytes that a confirmation run adds to the sweep's folder, without event files."""
    sizes = [disk_bytes(config, [Cost("Con", 1.0, 1.0, confirmations=number)]) for number in (0, 10)]
    return (sizes[1] - sizes[0]) / 10


def test_disk_grows_with_instruments_and_with_probabilities(write_config: Callable[..., Path]) -> None:
    """An instrument takes 8 bytes for each of 30 test samples and 3 draws, and 6 for probabilities of 3 classes."""

    def size(also: list[str], *, probabilities: bool) -> float:
        probe = {"labels_per_class": [2], "label_draws": 2, "also": also}
        settings = {"subsets": ["Con"], "baselines": [], "tracking": {"tensorboard": False}}
        path = write_config(**settings, probe=probe, checkpoint={"probabilities": probabilities})
        return confirmation_bytes(load_config(path))

    for also in ([], ["knn"], ["knn", "paper"]):
        saved = size(also, probabilities=True) - size(also, probabilities=False)
        assert saved == pytest.approx((1 + len(also)) * 3 * 30 * 6, abs=64)  # the letters of the setting itself
    one, two, three = (size(also, probabilities=True) for also in ([], ["knn"], ["knn", "paper"]))
    assert two - one > 3 * 30 * (8 + 6)
    assert three - two == pytest.approx(two - one, rel=0.05)


def test_disk_includes_the_trials_that_a_budget_of_time_allows(write_config: Callable[..., Path]) -> None:
    """An hour has room for as many trials of Con as the other sweep has."""
    settings = {"subsets": ["Con"], "baselines": [], "workers": {"concurrent_trials": 1}}
    hour = load_config(write_config(**settings, budget={"hours": 1, "epochs": 4}))
    trials = load_config(write_config(**settings, budget={"trials_per_subset": 1200, "epochs": 4}))
    costs = [Cost("Con", 3.0, 1.0, confirmations=5)]
    assert disk_bytes(hour, costs) == pytest.approx(disk_bytes(trials, costs), rel=1e-3)


def test_journal_and_event_files_take_what_was_estimated(write_config: Callable[..., Path], tmp_path: Path) -> None:
    """The search has twenty trials with four probes each; the size of an event file was measured."""
    budget = {"trials_per_subset": 20, "epochs": 4, "seeds": 1}
    settings = {"subsets": ["ConCluGen"], "baselines": [], "budget": budget, "search": {"pruner": "none"}}
    config = load_config(write_config(**settings))
    folder = SweepFolder(tmp_path / "sweep")
    folder.prepare(config)
    Simulation(config, Search(config, folder), lambda job, epoch: epoch / 10, slots=1).run()
    costs = [Cost("ConCluGen", 1.0, 1.0, confirmations=1)]
    database = load_config(write_config(**settings, storage="postgresql://h/db"))
    estimated = disk_bytes(config, costs) - disk_bytes(database, costs)
    assert estimated == pytest.approx(folder.journal.stat().st_size, rel=0.2)
    untracked = load_config(write_config(**settings, tracking={"tensorboard": False}))
    events = disk_bytes(config, costs) - disk_bytes(untracked, costs)
    assert events == pytest.approx(21 * 2100, rel=0.01)  # records contain the setting itself


def test_a_sweep_keeps_two_checkpoints_and_the_best_heads(write_config: Callable[..., Path], tmp_path: Path) -> None:
    path = write_config(
        subsets=["Con", "Gen"],
        baselines=["raw_features"],
        budget={"trials_per_subset": 2, "epochs": 6, "seeds": 2},
        checkpoint={"every": 1},
        workers={"concurrent_trials": 1},
    )
    folder, checkpoints, sizes = SweepFolder(tmp_path / "sweep"), list[int](), list[int]()

    def watch() -> None:
        checkpoints.append(len(list(folder.running.glob("*/checkpoint-*"))))
        sizes.append(sum(file.stat().st_size for file in folder.root.rglob("*") if file.is_file()))

    run_here(path, folder, watch)
    assert max(checkpoints) == 2
    costs = [Cost(name, 1.0, 1.0, confirmations=2) for name in ("Con", "Gen", "raw_features")]
    bound = disk_bytes(load_config(path), costs)
    assert bound / 3 < max(sizes) <= bound
    assert not any(folder.running.iterdir())  # no checkpoint is left
    assert {file.stem.rpartition("-")[0] for file in folder.heads.iterdir()} == {"confirm-Con", "confirm-Gen"}
    assert len(list(folder.heads.iterdir())) == 2
