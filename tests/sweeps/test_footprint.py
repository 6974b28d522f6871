from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from conclugen.hyperparameters import Hyperparameters
from conclugen.memory import step_bytes
from conclugen.subsets import SUBSETS
from sweeps.config import load_config
from sweeps.estimate import Cost
from sweeps.footprint import disk_bytes, gpu_problems
from tests.conftest import write_planted

FEATURES = (60 + 120) * (7 + 5 + 4) * 4
"""Bytes of the planted set: its train rows for pretraining, all rows for probing."""


def test_a_space_that_does_not_fit_the_gpu_is_refused_with_sizes_and_remedy(write_config: Callable[..., Path]) -> None:
    config = load_config(write_config(subsets=["Con", "Gen"], baselines=[]))
    largest = Hyperparameters(representation_dim=16, projection_dim=8, batch_size=20)
    step = step_bytes({"video": 7, "audio": 5, "text": 4}, SUBSETS["Con"], largest)
    features = FEATURES
    problems = gpu_problems(config, step + features - 1)
    assert any(
        p.startswith("space: Con with representation_dim 16, projection_dim 8, batch_size 20 needs") for p in problems
    )
    assert all("lower representation_dim or batch_size, or use more workers.per_trial" in p for p in problems)
    assert not any(p.startswith("space: Con ") for p in gpu_problems(config, step + features))
    assert gpu_problems(config, 2**30) == []


@pytest.mark.parametrize("nested", [[], ["modalities"], ["labels"], ["modalities", "labels"]])
def test_every_arm_is_weighed_baselines_and_nested_ones_too(
    write_config: Callable[..., Path], nested: list[str]
) -> None:
    path = write_config(baselines="all", modality_subsets=[["video", "text"]], search={"nested": nested})
    config = load_config(path)
    assert gpu_problems(config, 2**30) == []
    assert [problem.split()[1] for problem in gpu_problems(config, FEATURES + 1)] == list(config.arms)


def test_features_that_alone_do_not_fit_have_remedies_of_their_own(
    write_config: Callable[..., Path], tmp_path: Path
) -> None:
    config = load_config(write_config())
    (problem,) = gpu_problems(config, FEATURES)
    assert problem.startswith("features: those of video, audio, text take")
    assert problem.endswith("; use fewer modalities, import them again with --dtype float16, or take a larger GPU.")
    assert not any(problem.startswith("features:") for problem in gpu_problems(config, FEATURES + 1))
    half = tmp_path / "half"
    write_planted(half, dtype="float16")
    small = load_config(write_config(features={"pretrain": str(half), "downstream": {"half": str(half)}}))
    (problem,) = gpu_problems(small, FEATURES // 2)
    assert problem.endswith("; use fewer modalities, or take a larger GPU.")


def test_each_division_of_a_set_with_folds_has_its_rows(write_config: Callable[..., Path], tmp_path: Path) -> None:
    """Three divisions of 120 rows, and all of them for pretraining, too."""
    folder = tmp_path / "folded"
    write_planted(folder, split=None, folds=np.arange(120) // 3 % 3)
    config = load_config(write_config(features={"pretrain": str(folder), "downstream": {"folded": str(folder)}}))
    features = (120 + 3 * 120) * (7 + 5 + 4) * 4
    for memory, begins in ((features, "features:"), (features + 1, "space:")):
        assert all(problem.startswith(begins) for problem in gpu_problems(config, memory))


def test_disk_grows_with_heads_checkpoints_and_predictions(write_config: Callable[..., Path]) -> None:
    config = load_config(write_config(subsets=["Con"], baselines=[], workers={"concurrent_trials": 3}))
    nothing = [Cost("Con", 1.0, 1.0, confirmations=2)]
    kept = [Cost("Con", 1.0, 1.0, confirmations=2, head=10**6, checkpoint=10**7)]
    assert disk_bytes(config, kept) - disk_bytes(config, nothing) == 10**6 + 3 * 10**7
    more = [Cost("Con", 1.0, 1.0, confirmations=4)]
    # 30 test samples; one draw with all labels and two with 2 per class; truth and prediction of 4 bytes each.
    predictions = 30 * (1 + 2) * 2 * 4
    record = (disk_bytes(config, nothing) - 2 * predictions) / 4
    assert disk_bytes(config, more) - disk_bytes(config, nothing) == pytest.approx(2 * (predictions + record))
