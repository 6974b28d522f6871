import pytest

from reports.figures import style
from reports.figures.labels import label_efficiency
from tests.reports.figures.frames import METRIC, NAN, flat, scores


def some_labels() -> list[tuple[object, ...]]:
    columns = {"faces@5": 0.6, "faces@10%": 0.7, "faces": 0.9}
    return [
        (column, method, METRIC, value + gain, value - 0.1, value + 0.1, 0.01, 0.01, 3)
        for column, value in columns.items()
        for method, gain in (("Con", 0.0), ("Gen", 0.01))
    ]


def places(per_class: dict[str, float]) -> dict[str, float]:
    rows = flat(label_efficiency(scores(*some_labels()), per_class, METRIC).static)
    return {row["labels"]: row["place"] for row in rows}


def test_budgets_stand_at_their_true_number_of_labels_per_class() -> None:
    assert places({"faces": 812.34, "faces@10%": 81.2}) == {"5": 5, "10%": 81.2, "all": 812.34}


def test_budgets_of_unknown_number_stand_at_the_right_end_and_are_named() -> None:
    assert places({}) == {"5": 5, "10%": 20, "all": 80}
    drawing = label_efficiency(scores(*some_labels()), {}, METRIC)
    svg = style.svg(drawing)
    assert "number per class is not known: 10% (faces), all (faces)" in svg


def test_methods_of_a_budget_stand_side_by_side() -> None:
    rows = flat(label_efficiency(scores(*some_labels()), {}, METRIC).static)
    beside = [row["apart"] for row in rows if row["labels"] == "5"]
    assert beside[0] < 5 < beside[1]
    assert beside == pytest.approx([5, 5], rel=0.1)


def test_missing_results_and_intervals_are_said() -> None:
    missing = ("faces@5", "Clu", METRIC, NAN, NAN, NAN, NAN, NAN, NAN)
    single = ("faces", "Clu", METRIC, 0.5, NAN, NAN, NAN, NAN, 1)
    drawing = label_efficiency(scores(*some_labels(), missing, single), {"faces": 80}, METRIC)
    svg = style.svg(drawing)
    assert "faces: no result of Clu (5)" in svg
    assert "no interval, as only one seed has a result" in svg


def test_a_label_budget_is_no_choice_in_this_figure() -> None:
    interactive = label_efficiency(scores(*some_labels()), {}, METRIC).interactive
    assert interactive is not None
    assert [each["name"] for each in interactive["params"]] == ["dataset", "metric", "curves"]
    assert all(">" not in text and "labels ===" not in text for text in (interactive["transform"][0]["filter"],))


def test_methods_on_fewer_modalities_are_left_out() -> None:
    only_video = ("faces", "Con[video]", METRIC, 0.5, 0.4, 0.6, 0.01, 0.01, 3)
    rows = flat(label_efficiency(scores(*some_labels(), only_video), {}, METRIC).static)
    assert {row["method"] for row in rows} == {"Con", "Gen"}
