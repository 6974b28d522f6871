from dataclasses import replace

import pandas as pd
import pytest

from reports.output.choice import fixed
from reports.output.probe_tables import calibration_table, instrument_table, precision_tables, sign_differences
from reports.statistics.ablation import COLUMNS, Ablation
from sweeps.ledger import Record
from tests.reports.records import effects_of, sweep_by_instruments

ERRORS = {"nll": (0.9, 0.4), "brier": (0.5, 0.2), "ece": (0.01, 0.3)}
GAINS = {"balanced_accuracy": (0.6, 0.8), "weighted_f1": (0.7, 0.75)}


def table_of(metrics: dict[str, tuple[float, float]], datasets: tuple[str, ...] = ("faces",)) -> Ablation:
    rows = [
        (dataset, method, metric, mean, 0.01, 3, 8, 0, 0)
        for dataset in datasets
        for metric, means in metrics.items()
        for method, mean in zip(("Con", "Gen"), means, strict=True)
    ]
    return Ablation(pd.DataFrame(rows, columns=COLUMNS), dict.fromkeys(datasets, 3))


def test_the_lowest_error_and_the_highest_accuracy_are_the_best() -> None:
    table = calibration_table(table_of(ERRORS | GAINS), {})
    assert table is not None
    marks = {
        name: {method: cell.mark for method, cell in column.items()}
        for name, column in table.shown.set_index("method").drop(columns="dataset").items()
    }
    assert marks == {
        "NLL": {"Con": "plain", "Gen": "best"},
        "Brier score": {"Con": "plain", "Gen": "best"},
        "ECE": {"Con": "best", "Gen": "plain"},
        "balanced accuracy": {"Con": "plain", "Gen": "best"},
    }


def test_each_data_set_has_its_own_rows_and_best_method() -> None:
    table = calibration_table(table_of(ERRORS, ("faces", "voices", "faces (knn)")), {})
    assert table is not None
    assert table.shown["dataset"].tolist() == ["faces", "faces", "voices", "voices"]
    assert [cell.mark for cell in table.shown["NLL"]] == ["plain", "best"] * 2


def test_records_without_probabilities_have_no_table() -> None:
    assert calibration_table(table_of({"weighted_f1": (0.5, 0.6)}), {}) is None
    planned = table_of(ERRORS)
    assert calibration_table(Ablation(planned.frame.assign(mean=float("nan")), planned.planned_seeds), {}) is None


def test_each_label_has_an_average_precision() -> None:
    metrics = {
        "average_precision": (0.4, 0.5),
        "average_precision/joy": (0.3, 0.6),
        "average_precision/fear": (0.5, 0.4),
    }
    (table,) = precision_tables(table_of(metrics), {})
    assert table.name == "precision-faces"
    assert list(table.shown.columns) == ["method", "joy", "fear"]
    assert [cell.mark for cell in table.shown["fear"]] == ["best", "plain"]


@pytest.mark.parametrize("metric", ["nll", "brier", "ece"])
def test_the_files_have_the_numbers_of_the_ablation(metric: str) -> None:
    table = calibration_table(table_of(ERRORS), {})
    assert table is not None
    rows = table.numbers[table.numbers["metric"] == metric]
    assert tuple(rows["mean"]) == ERRORS[metric]


def test_metrics_that_older_records_lack_are_not_missing_results() -> None:
    """A sweep that was started with an older version has confirmations without these metrics."""
    table = table_of(GAINS | ERRORS)
    lacking = (table.frame["method"] == "Con") & (table.frame["metric"] != "weighted_f1")
    mixed = Ablation(
        table.frame.assign(mean=table.frame["mean"].mask(lacking), n_seeds=table.frame["n_seeds"].mask(lacking, 0)),
        table.planned_seeds,
    )
    assert mixed.complete
    calibration = calibration_table(mixed, {})
    assert calibration is not None
    assert "Con" not in calibration.shown["method"].tolist()
    unconfirmed = table.frame["n_seeds"].mask(table.frame["method"] == "Con", 0)
    assert not Ablation(table.frame.assign(n_seeds=unconfirmed), table.planned_seeds).complete


def test_the_instrument_table_has_a_column_for_each_instrument() -> None:
    table = instrument_table(effects_of(sweep_by_instruments({"": 0.01, "paper": -0.085})), "weighted_f1")
    effects = fixed(table).shown.set_index(["quantity", "kind"])
    clu = effects.loc[("Clu", "main")]
    assert clu["by logistic"].text == "+0.010"
    assert clu["by paper"].text == "−0.085"
    assert clu["by paper"].mark == "best"
    assert clu["sign"] == "differs"
    assert effects.loc[("Con", "main"), "sign"] == "same"


def test_an_effect_whose_sign_differs_is_named_with_the_value_by_every_instrument() -> None:
    frame = effects_of(sweep_by_instruments({"": 0.01, "paper": -0.085}))
    main, shapley = sign_differences(frame, "weighted_f1", 0.01)
    assert main == "digits, main Clu: +0.010 by logistic, −0.085 by paper."
    assert shapley.startswith("digits, shapley Clu: ")


def test_an_effect_with_the_same_sign_is_not_named() -> None:
    frame = effects_of(sweep_by_instruments({"": 0.01, "paper": 0.085, "knn": 0.002}))
    assert not [sentence for sentence in sign_differences(frame, "weighted_f1", 0.01) if "Clu:" in sentence]


def test_an_effect_that_is_too_small_to_matter_is_not_named() -> None:
    frame = effects_of(sweep_by_instruments({"": 0.004, "paper": -0.005}))
    assert sign_differences(frame, "weighted_f1", 0.01) == []
    assert sign_differences(frame, "weighted_f1", 0.001)


def test_a_value_whose_interval_includes_zero_is_named_as_such() -> None:
    def with_noise(run: Record) -> Record:
        noise = 0.2 * run.number * (run.method == "Clu")
        return replace(run, metrics=[replace(metric, value=metric.value + noise) for metric in run.metrics])

    records = [with_noise(run) for run in sweep_by_instruments({"": 0.01, "paper": -0.2})]
    main, *_ = sign_differences(effects_of(records), "weighted_f1", 0.01)
    assert "by logistic (interval includes 0)" in main
