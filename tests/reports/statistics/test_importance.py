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
from tests.reports.searches import config, failed, pruned, trial

SPACE = """
description: three ranges, two of them searched for their logarithm, and choices
parameters:
  lr: {low: 1.0e-4, high: 1.0e-1, log: true, default: 1.0e-3}
  weight_decay: {low: 1.0e-6, high: 1.0e-2, log: true, default: 1.0e-4}
  feature_dropout: {low: 0.0, high: 0.8, default: 0.5}
  batch_size: {choices: [128, 256, 512], default: 256}
"""
Score = Callable[[dict[str, Any]], float]


def draw(rng: np.random.Generator) -> dict[str, Any]:
    return {
        "lr": float(10 ** rng.uniform(-4, -1)),
        "weight_decay": float(10 ** rng.uniform(-6, -2)),
        "feature_dropout": float(rng.uniform(0, 0.8)),
        "batch_size": int(rng.choice([128, 256, 512])),
        "margin": 0.001,
    }


def search(n: int, score: Score, seed: int = 0, **fields: Any) -> list[Record]:
    """Random trials of Con, whose objective is the score."""
    rng = np.random.default_rng(seed)
    drawn = [draw(rng) for _ in range(n)]
    return [trial("Con", number, score(h), hyperparameters=h, **fields) for number, h in enumerate(drawn)]


def decade(h: dict[str, Any]) -> float:
    return math.log10(h["lr"]) / 10


@pytest.fixture(params=["space", "no space"])
def sweep(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """A configuration whose space is there; and one whose space is gone, so that values stand in for it."""
    path = tmp_path / "space.yaml"
    if request.param == "space":
        path.write_text(SPACE)
    return config(space=str(path))


def shares(records: list[Record]) -> dict[str, dict[str, float]]:
    frame = importance([records])
    return {
        evaluator: dict(zip(of["hyperparameter"], of["importance"], strict=True))
        for evaluator, of in frame.groupby("evaluator")
    }


@pytest.mark.parametrize("alone", ["lr", "feature_dropout", "batch_size"])
def test_what_alone_matters_is_found_and_the_rest_is_not(alone: str, sweep: dict[str, Any]) -> None:
    found = shares(search(300, lambda h: math.log(h[alone]), config=sweep))
    assert set(found) == {"fanova", "ped_anova"}
    for of in found.values():
        assert of[alone] > 0.8
        assert max(share for name, share in of.items() if name != alone) < 0.1
        assert next(iter(of)) == alone
        assert sum(of.values()) == pytest.approx(1)
        assert set(of) == {"lr", "weight_decay", "feature_dropout", "batch_size"}  # what is fixed has no importance


def test_a_log_range_matters_by_its_decades(sweep: dict[str, Any]) -> None:
    """Only the lowest decade of lr is bad: a hundredth of the range's width, a third of its logarithm's."""
    both = search(80, lambda h: float(h["lr"] > 1e-3) + 0.5 * h["feature_dropout"], config=sweep)
    assert shares(both)["fanova"]["lr"] > 0.9


def test_pruned_and_failed_trials_are_not_looked_at(sweep: dict[str, Any]) -> None:
    records = search(20, decade, config=sweep)
    others = [
        *(pruned("Con", 100 + n, 9.0, hyperparameters=draw(np.random.default_rng(n)), config=sweep) for n in range(5)),
        failed("Con", 200, "nan_loss: at once", hyperparameters=draw(np.random.default_rng(9)), config=sweep),
    ]
    pd.testing.assert_frame_equal(importance([[*records, *others]]), importance([records]))
    assert set(importance([records])["n_trials"]) == {20}


def test_seven_trials_are_too_few() -> None:
    assert len(importance([search(7, decade)])) == 0
    assert len(importance([search(8, decade)])) > 0
    assert len(importance([[*search(7, decade), pruned("Con", 7, 0.5), failed("Con", 8, "hung: still")]])) == 0


def test_where_nothing_varies_there_is_nothing_to_say() -> None:
    assert len(importance([search(20, lambda h: 0.5)])) == 0
    same = [trial("Con", n, n / 20, hyperparameters={"lr": 0.1}) for n in range(20)]
    assert len(importance([same])) == 0


def test_ped_anova_is_silent_where_the_best_are_like_the_worst() -> None:
    records = search(10, lambda h: 0.5)
    one = trial("Con", 10, 0.6, hyperparameters=draw(np.random.default_rng(3)))
    assert set(importance([[*records, one]])["evaluator"]) == {"fanova"}


def test_words_and_switches_are_choices() -> None:
    rng = np.random.default_rng(0)
    records = []
    for n in range(40):
        h = {
            "kmeans_loss_mode": str(rng.choice(["individual", "joint"])),
            "kmeans_warm_start": bool(rng.random() < 0.5),
        }
        records.append(trial("Con", n, float(h["kmeans_loss_mode"] == "joint"), hyperparameters=h))
    assert shares(records)["fanova"]["kmeans_loss_mode"] > 0.9


def test_the_same_ledger_gives_the_same_numbers_and_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    records = search(20, decade)
    with caplog.at_level(logging.INFO):
        pd.testing.assert_frame_equal(importance([records]), importance([records]))
    assert not caplog.records


def test_of_very_many_trials_some_are_looked_at() -> None:
    frame = importance([search(700, decade)])
    assert set(frame["n_trials"]) == {500}
    assert frame.groupby("evaluator")["importance"].max().min() > 0.8
