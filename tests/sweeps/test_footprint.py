from collections.abc import Callable
from pathlib import Path

import pytest

from conclugen.hyperparameters import Hyperparameters
from conclugen.memory import step_bytes
from conclugen.subsets import SUBSETS
from sweeps.config import load_config
from sweeps.estimate import Cost
from sweeps.footprint import disk_bytes, gpu_problems


def test_a_space_that_does_not_fit_the_gpu_is_refused_with_sizes_and_remedy(write_config: Callable[..., Path]) -> None:
    config = load_config(write_config(subsets=["Con", "Gen"], baselines=[]))
    largest = Hyperparameters(representation_dim=16, projection_dim=8, batch_size=20)
    step = step_bytes({"video": 7, "audio": 5, "text": 4}, SUBSETS["Con"], largest)
    features = 2 * 120 * (7 + 5 + 4) * 4
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
    assert [problem.split()[1] for problem in gpu_problems(config, 25_000)] == list(config.arms)


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
