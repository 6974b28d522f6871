import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from reports.statistics.importance import importance
from sweeps.ledger import Record
from tests.reports.records import config, failed, pruned, trial

SPACE = """
description: three ranges, two of them logarithmic, and choices
parameters:
  lr: {low: 1.0e-4, high: 1.0e-1, log: true, default: 1.0e-3}
  weight_decay: {low: 1.0e-6, high: 1.0e-2, log: true, default: 1.0e-4}
  feature_dropout: {low: 0.0, high: 0.8, default: 0.5}
  batch_size: {choices: [128, 256, 512], default: 256}
"""
Score = Callable[[dict[str, Any]], float]


def draw(rng: np.random.Generator) -> dict[str, Any]:
    """Return random hyperparameters in SPACE."""
    return {
        "lr": float(10 ** rng.uniform(-4, -1)),
        "weight_decay": float(10 ** rng.uniform(-6, -2)),
        "feature_dropout": float(rng.uniform(0, 0.8)),
        "batch_size": int(rng.choice([128, 256, 512])),
        "margin": 0.001,
    }


def search(n: int, score: Score, seed: int = 0, **fields: Any) -> list[Record]:
    """Return random trials of Con whose objective is the score."""
    rng = np.random.default_rng(seed)
    configurations = [draw(rng) for _ in range(n)]
    return [trial("Con", number, score(h), hyperparameters=h, **fields) for number, h in enumerate(configurations)]


def decade(h: dict[str, Any]) -> float:
    """Return a score that depends on the learning rate alone."""
    return math.log10(h["lr"]) / 10


@pytest.fixture(params=["space", "no space"])
def sweep(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """Return a configuration with its search space, or one whose space is gone, so that values replace it."""
    path = tmp_path / "space.yaml"
    if request.param == "space":
        path.write_text(SPACE, encoding="utf-8")
    return config(space=str(path))


def shares(records: list[Record]) -> dict[str, dict[str, float]]:
    """Map each evaluator to the importance of each hyperparameter."""
    frame = importance([records])
    return {
        evaluator: dict(zip(rows["hyperparameter"], rows["importance"], strict=True))
        for evaluator, rows in frame.groupby("evaluator")
    }


@pytest.mark.parametrize("cause", ["lr", "feature_dropout", "batch_size"])
def test_both_evaluators_find_the_only_hyperparameter_that_matters(cause: str, sweep: dict[str, Any]) -> None:
    by_evaluator = shares(search(300, lambda h: math.log(h[cause]), config=sweep))
    assert set(by_evaluator) == {"fanova", "ped_anova"}
    for importances in by_evaluator.values():
        assert importances[cause] > 0.8
        assert max(share for name, share in importances.items() if name != cause) < 0.1
        assert next(iter(importances)) == cause
        assert sum(importances.values()) == pytest.approx(1)
        assert set(importances) == {"lr", "weight_decay", "feature_dropout", "batch_size"}  # margin is constant


def test_a_log_range_is_weighted_by_decades(sweep: dict[str, Any]) -> None:
    """Only the lowest decade of lr is bad: a hundredth of the range, but a third of its logarithm."""
    records = search(80, lambda h: float(h["lr"] > 1e-3) + 0.5 * h["feature_dropout"], config=sweep)
    assert shares(records)["fanova"]["lr"] > 0.9


def test_pruned_and_failed_trials_do_not_count(sweep: dict[str, Any]) -> None:
    records = search(20, decade, config=sweep)
    others = [
        *(pruned("Con", 100 + n, 9.0, hyperparameters=draw(np.random.default_rng(n)), config=sweep) for n in range(5)),
        failed("Con", 200, "nan_loss: at once", hyperparameters=draw(np.random.default_rng(9)), config=sweep),
    ]
    pd.testing.assert_frame_equal(importance([[*records, *others]]), importance([records]))
    assert set(importance([records])["n_trials"]) == {20}


def test_fewer_than_eight_full_trials_have_no_rows() -> None:
    assert len(importance([search(7, decade)])) == 0
    assert len(importance([search(8, decade)])) > 0
    assert len(importance([[*search(7, decade), pruned("Con", 7, 0.5), failed("Con", 8, "hung: still")]])) == 0


def test_a_constant_objective_or_constant_hyperparameters_have_no_rows() -> None:
    assert len(importance([search(20, lambda h: 0.5)])) == 0
    constant = [trial("Con", n, n / 20, hyperparameters={"lr": 0.1}) for n in range(20)]
    assert len(importance([constant])) == 0


def test_ped_anova_has_no_rows_if_the_best_trials_include_the_worst() -> None:
    records = search(10, lambda h: 0.5)
    better = trial("Con", 10, 0.6, hyperparameters=draw(np.random.default_rng(3)))
    assert set(importance([[*records, better]])["evaluator"]) == {"fanova"}


def test_text_and_boolean_hyperparameters_are_choices() -> None:
    rng = np.random.default_rng(0)
    records = []
    for n in range(40):
        h = {
            "kmeans_loss_mode": str(rng.choice(["individual", "joint"])),
            "kmeans_warm_start": bool(rng.random() < 0.5),
        }
        records.append(trial("Con", n, float(h["kmeans_loss_mode"] == "joint"), hyperparameters=h))
    assert shares(records)["fanova"]["kmeans_loss_mode"] > 0.9


def test_the_same_ledger_gives_the_same_numbers_without_log_messages(caplog: pytest.LogCaptureFixture) -> None:
    records = search(20, decade)
    with caplog.at_level(logging.INFO):
        pd.testing.assert_frame_equal(importance([records]), importance([records]))
    assert not caplog.records


def test_a_large_search_is_evaluated_on_a_sample_of_500_trials() -> None:
    frame = importance([search(700, decade)])
    assert set(frame["n_trials"]) == {500}
    assert frame.groupby("evaluator")["importance"].max().min() > 0.8
