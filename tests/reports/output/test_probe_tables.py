import pandas as pd
import pytest

from reports.output.probe_tables import calibration_table, precision_tables
from reports.statistics.ablation import COLUMNS, Ablation

ERRORS = {"nll": (0.9, 0.4), "brier": (0.5, 0.2), "ece": (0.01, 0.3)}
GAINS = {"balanced_accuracy": (0.6, 0.8), "weighted_f1": (0.7, 0.75)}


def a_table(metrics: dict[str, tuple[float, float]], datasets: tuple[str, ...] = ("faces",)) -> Ablation:
    rows = [
        (dataset, method, metric, mean, 0.01, mean - 0.02, mean + 0.02, 3, 8, 0, 0)
        for dataset in datasets
        for metric, means in metrics.items()
        for method, mean in zip(("Con", "Gen"), means, strict=True)
    ]
    return Ablation(pd.DataFrame(rows, columns=COLUMNS), dict.fromkeys(datasets, 3))


def test_the_least_error_is_the_best_and_the_highest_accuracy() -> None:
    table = calibration_table(a_table(ERRORS | GAINS), {})
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


def test_each_data_set_has_rows_and_a_best_of_its_own() -> None:
    table = calibration_table(a_table(ERRORS, ("faces", "voices", "faces (knn)")), {})
    assert table is not None
    assert table.shown["dataset"].tolist() == ["faces", "faces", "voices", "voices"]
    assert [cell.mark for cell in table.shown["NLL"]] == ["plain", "best"] * 2


def test_records_without_probabilities_have_no_table() -> None:
    assert calibration_table(a_table({"weighted_f1": (0.5, 0.6)}), {}) is None
    nothing = a_table(ERRORS)
    assert calibration_table(Ablation(nothing.frame.assign(mean=float("nan")), nothing.planned_seeds), {}) is None


def test_labels_have_an_average_precision_each() -> None:
    metrics = {
        "average_precision": (0.4, 0.5),
        "average_precision/joy": (0.3, 0.6),
        "average_precision/fear": (0.5, 0.4),
    }
    (table,) = precision_tables(a_table(metrics), {})
    assert table.name == "precision-faces"
    assert list(table.shown.columns) == ["method", "joy", "fear"]
    assert [cell.mark for cell in table.shown["fear"]] == ["best", "plain"]


@pytest.mark.parametrize("metric", ["nll", "brier", "ece"])
def test_numbers_of_the_table_are_those_of_the_frame(metric: str) -> None:
    table = calibration_table(a_table(ERRORS), {})
    assert table is not None
    of_metric = table.numbers[table.numbers["metric"] == metric]
    assert tuple(of_metric["mean"]) == ERRORS[metric]


def test_what_older_records_lack_is_no_missing_result() -> None:
    """A sweep that a former version began has confirmations without these metrics."""
    table = a_table(GAINS | ERRORS)
    lacking = (table.frame["method"] == "Con") & (table.frame["metric"] != "weighted_f1")
    mixed = Ablation(
        table.frame.assign(mean=table.frame["mean"].mask(lacking), n_seeds=table.frame["n_seeds"].mask(lacking, 0)),
        table.planned_seeds,
    )
    assert mixed.complete
    shown = calibration_table(mixed, {})
    assert shown is not None
    assert "Con" not in shown.shown["method"].tolist()
    unconfirmed = table.frame["n_seeds"].mask(table.frame["method"] == "Con", 0)
    assert not Ablation(table.frame.assign(n_seeds=unconfirmed), table.planned_seeds).complete
