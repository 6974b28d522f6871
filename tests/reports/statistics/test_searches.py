from pathlib import Path
from typing import Any

import pytest

from reports.statistics.searches import searched_space, trial_history
from sweeps.ledger import LOSSES, Record
from tests.reports.records import config, trial

SPACE = """
description: one parameter of each kind
parameters:
  lr: {low: 1.0e-4, high: 1.0e-2, log: true, default: 1.0e-3}
  feature_dropout: {low: 0.1, high: 0.8, step: 0.1, default: 0.5}
  num_clusters: {low: 4, high: 32, step: 4, default: 8}
  batch_size: {choices: [128, 256], default: 256}
  weight_decay: 0.01
"""
VALUES = {"lr": 1e-3, "feature_dropout": 0.5, "num_clusters": 8, "batch_size": 256, "weight_decay": 0.01, "margin": 0.5}


def two_trials(space: str | Path, method: str = "Clu", **changes: Any) -> list[Record]:
    """Return a trial with VALUES and another one with changes to them."""
    return [
        trial(method, n, 0.5, hyperparameters=h, config=config(space=str(space)))
        for n, h in enumerate([VALUES, VALUES | changes])
    ]


@pytest.fixture
def space(tmp_path: Path) -> Path:
    path = tmp_path / "space.yaml"
    path.write_text(SPACE, encoding="utf-8")
    return path


def test_the_space_holds_the_parameters_that_the_search_could_choose(space: Path) -> None:
    assert set(searched_space(two_trials(space)) or ()) == {"lr", "feature_dropout", "num_clusters", "batch_size"}
    assert set(searched_space(two_trials(space, "Gen[video-audio]@5")) or ()) == {"lr", "feature_dropout", "batch_size"}


@pytest.mark.parametrize(
    "fields",
    [
        {"lr": 0.1},
        {"feature_dropout": 0.55},
        {"num_clusters": 9},
        {"batch_size": 512},
        {"weight_decay": 0.02},
        {"margin": 0.6},
    ],
)
def test_a_space_that_lacks_a_tried_value_is_not_used(space: Path, fields: dict[str, Any]) -> None:
    assert searched_space(two_trials(space)) is not None
    assert searched_space(two_trials(space, **fields)) is None


def test_multiples_of_a_step_may_differ_by_rounding(space: Path) -> None:
    assert searched_space(two_trials(space, feature_dropout=0.1 + 2 * 0.1)) is not None


def test_a_missing_or_broken_space_is_none(tmp_path: Path) -> None:
    assert searched_space(two_trials(tmp_path / "gone.yaml")) is None
    (tmp_path / "broken.yaml").write_text("parameters: [", encoding="utf-8")
    assert searched_space(two_trials(tmp_path / "broken.yaml")) is None


def test_every_searchable_method_has_its_losses() -> None:
    assert set(LOSSES) == {"Con", "Clu", "Gen", "ConClu", "ConGen", "CluGen", "ConCluGen", "supervised_head", "SimCLR"}


def test_the_history_names_the_method_and_the_search_of_each_trial() -> None:
    records = [trial(name, 0, 0.5, config=config(budget={"searches": 2})) for name in ("Con~2", "Con")]
    frame = trial_history([records])
    assert frame[["method", "search", "number"]].to_numpy().tolist() == [["Con", 1, 0], ["Con", 2, 0]]
