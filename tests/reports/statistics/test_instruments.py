import pytest

from reports.statistics.ablation import PlannedColumn, planned_columns, planned_methods
from reports.statistics.factorial import factorial
from tests.reports.records import config, effects_of, scores_of, sweep_by_instruments


def test_an_effect_has_a_row_for_each_instrument() -> None:
    frame = effects_of(sweep_by_instruments({"": 0.01, "paper": -0.085}))
    clu = frame[(frame["metric"] == "weighted_f1") & (frame["quantity"] == "Clu") & (frame["kind"] == "main")]
    assert clu.set_index("instrument")["value"].to_dict() == pytest.approx({"logistic": 0.01, "paper": -0.085})
    assert not clu["same_sign"].any()


def test_effects_that_all_instruments_find_positive_have_the_same_sign() -> None:
    frame = effects_of(sweep_by_instruments({"": 0.01, "paper": 0.085, "knn": 0.002}))
    assert frame[frame["quantity"] == "Clu"]["same_sign"].all()
    assert set(frame["instrument"]) == {"logistic", "paper", "knn"}


def test_a_single_instrument_has_no_rows() -> None:
    records = sweep_by_instruments({"": 0.01})
    assert len(factorial(scores_of(records))) > 0
    assert effects_of(records).empty


def test_columns_of_further_instruments_follow_those_of_the_probe() -> None:
    records = sweep_by_instruments({"": 0.01, "knn": 0.02}, labels_per_class=[5])
    assert list(planned_columns(records)) == ["digits", "digits@5", "digits (knn)", "digits@5 (knn)"]


@pytest.mark.parametrize("column", [("digits", "", ""), ("a.b-c_d", "10%", "knn"), ("x", "5", "paper")])
def test_a_columns_name_parses_back_to_the_column(column: tuple[str, str, str]) -> None:
    assert PlannedColumn.named(PlannedColumn(*column).name) == column


def test_further_instruments_score_no_method_that_classifies_by_itself() -> None:
    settings = config(
        baselines=["raw_features", "raw_pca", "label_spreading", "random_head", "supervised_head", "SimCLR"]
    )
    by_probe = set(planned_methods(settings, PlannedColumn("digits", "", "")))
    by_instrument = set(planned_methods(settings, PlannedColumn("digits", "", "knn")))
    assert by_probe - by_instrument == {"label_spreading", "supervised_head"}
