from pathlib import Path
from typing import Any

import pandas as pd

from reports.statistics.configurations import best_configurations
from sweeps.ledger import Record
from tests.reports.records import config, failed, pruned, record, trial, trials

SPACE = """
description: three that vary, one fixed, one with a condition
parameters:
  lr: {low: 1.0e-4, high: 1.0e-2, log: true, default: 1.0e-3}
  batch_size: {choices: [128, 256], default: 256}
  weight_decay: 0.01
  temperature: {low: 0.1, high: 1.0, default: 0.5}
  reconstruction_relu: {choices: [true, false], default: true}
"""


def values(**changes: Any) -> dict[str, Any]:
    """Return the hyperparameters of a trial."""
    defaults = {"lr": 1e-3, "batch_size": 256, "weight_decay": 0.01, "temperature": 0.5, "reconstruction_relu": True}
    return defaults | changes


def best(records: list[Record]) -> pd.DataFrame:
    return best_configurations([records]).set_index("method")


def config_with_space(tmp_path: Path) -> dict[str, Any]:
    """Return a configuration whose search space is SPACE."""
    (tmp_path / "space.yaml").write_text(SPACE, encoding="utf-8")
    return config(space=str(tmp_path / "space.yaml"))


def test_the_best_full_trial_has_the_values_that_its_own_search_could_choose(tmp_path: Path) -> None:
    settings = config_with_space(tmp_path)
    frame = best(
        [
            trial("Con", 0, 0.5, hyperparameters=values(), config=settings),
            trial("Con", 1, 0.7, hyperparameters=values(lr=2e-3, batch_size=128), config=settings),
            pruned("Con", 2, 0.9, hyperparameters=values(), config=settings),
            failed("Con", 3, "hung: no sign of life", hyperparameters=values(), config=settings),
            trial("Gen", 0, 0.6, hyperparameters=values(), config=settings),
        ]
    )
    assert frame.loc["Con", ["key", "origin", "objective"]].tolist() == ["search-Con-00001", "tpe", 0.7]
    assert frame.loc["Gen", ["key", "origin", "objective"]].tolist() == ["search-Gen-00000", "default", 0.6]
    # The columns have the order of HYPERPARAMETERS. weight_decay is fixed, so it has none.
    assert list(frame.columns[5:]) == ["temperature", "reconstruction_relu", "batch_size", "lr"]
    assert frame.loc["Con", ["temperature", "batch_size", "lr"]].tolist() == [0.5, 128, 2e-3]
    assert frame.loc["Con", "reconstruction_relu"] is pd.NA
    assert frame.loc["Gen", "temperature"] is pd.NA
    assert bool(frame.loc["Gen", "reconstruction_relu"])
    assert frame["batch_size"].dtype == "Int64"


def test_the_earliest_of_equal_trials_is_the_best() -> None:
    assert best(trials("Con", [0.5, 0.7, 0.7])).loc["Con", "key"] == "search-Con-00001"


def test_without_the_search_space_the_columns_are_the_hyperparameters_that_vary() -> None:
    frame = best(
        [
            trial("Con", 0, 0.5, hyperparameters=values()),
            failed("Con", 1, "hung: no sign of life", hyperparameters=values(lr=2e-3)),
            trial("Gen", 0, 0.5, hyperparameters=values()),
        ]
    )
    assert list(frame.columns[5:]) == ["lr"]
    assert frame.loc["Con", "lr"] == 1e-3
    assert frame.loc["Gen", "lr"] is pd.NA


def test_a_method_without_a_full_trial_has_a_row_with_only_its_name() -> None:
    frame = best([trial("Con", 0, 0.5, hyperparameters=values()), pruned("Gen", 0, 0.9, hyperparameters=values())])
    assert frame.loc["Gen"].drop(["sweep", "search"]).isna().all()


def test_the_table_survives_parquet(tmp_path: Path) -> None:
    records = [trial("Con", 0, 0.5, hyperparameters=values(), config=config_with_space(tmp_path))]
    frame = best_configurations([records])
    frame.to_parquet(tmp_path / "table.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "table.parquet"), frame)


def test_the_finalist_that_won_is_shown() -> None:
    """Trial 1 has the best objective, but trial 0 has the better mean after both were trained again."""
    settings = config(search={"finalists": 2})
    records = [
        trial("Con", n, value, hyperparameters=values(lr=n), config=settings) for n, value in enumerate((0.5, 0.7))
    ]
    records += [record("finalist", "Con", n * 10_000, value=0.6 - 0.1 * n, config=settings) for n in range(2)]
    assert best(records).loc["Con", ["search", "key", "objective"]].tolist() == [1, "search-Con-00000", 0.5]
