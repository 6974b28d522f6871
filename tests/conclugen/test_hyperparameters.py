import subprocess
import sys
from dataclasses import FrozenInstanceError, asdict

import pytest

from conclugen.hyperparameters import HYPERPARAMETERS, Hyperparameters


def test_defaults_reproduce_the_released_code() -> None:
    """docs/method.md, sections 3 and 5."""
    values = asdict(Hyperparameters())
    released = {
        "margin": 0.001,
        "temperature": 1.0,
        "weight_con": 1.0,
        "weight_clu": 1.0,
        "weight_gen": 1.0,
        "feature_dropout": 0.0,
        "reconstruction_relu": True,
        "kmeans_loss_mode": "individual",
        "batch_size": 4096,
        "warmup_epochs": 5,
    }
    assert {name: values[name] for name in released} == released


def test_hyperparameters_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        Hyperparameters().lr = 1.0  # type: ignore[misc]


def test_every_field_is_a_named_hyperparameter() -> None:
    assert list(HYPERPARAMETERS) == list(asdict(Hyperparameters()))


def test_configurations_are_checked_without_torch() -> None:
    program = """
import sys
import conclugen, conclugen.hyperparameters, conclugen.seeds, conclugen.subsets, search_spaces
search_spaces.load_space("small")
sys.exit(",".join(sorted({"torch", "ray", "optuna", "sklearn"} & set(sys.modules))) or 0)
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, encoding="utf-8", check=False)
    assert (result.returncode, result.stderr) == (0, "")
