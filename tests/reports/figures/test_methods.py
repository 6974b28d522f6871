from reports.figures import style
from reports.figures.methods import method_scores
from reports.statistics.findings.methods import WITHOUT_PRETRAINING
from tests.reports.figures.frames import some_scores


def test_the_page_has_every_score_by_the_readers_choice() -> None:
    drawing = method_scores(some_scores(), "weighted_f1")
    rows = drawing.interactive["datasets"]["rows"]
    choices = [(row["dataset"], row["labels"], row["metric"]) for row in rows]
    assert len(rows) == len(some_scores())
    assert choices[4:7] == [
        ("faces", "all", "accuracy"), ("faces", "5", "weighted_f1"), ("faces (knn)", "all", "weighted_f1"),
    ]  # fmt: skip
    assert drawing.interactive["params"] == [
        {"name": "dataset", "value": "faces"}, {"name": "labels", "value": "all"},
        {"name": "metric", "value": "weighted_f1"},
    ]  # fmt: skip
    assert "params" not in drawing.static


def test_methods_stand_in_the_order_of_their_scores_and_those_without_a_result_last() -> None:
    rows = method_scores(some_scores(), "weighted_f1").static["datasets"]["rows"]
    faces = sorted((row for row in rows if row["dataset"] == "faces"), key=lambda row: row["place"])
    assert [row["method"] for row in faces] == ["Con", "raw_features", "random_head", "Gen"]


def test_files_show_the_main_metric_of_all_labels_for_each_set() -> None:
    drawing = method_scores(some_scores(), "weighted_f1")
    assert [panel["title"] for panel in drawing.static["concat"]] == ["faces", "voices"]
    svg = style.svg(drawing)
    for text in ("faces", "voices", "weighted F1", "0.512", "0.250", "highest without pretraining"):
        assert f">{text}</text>" in svg, text
    assert "0.300" not in svg
    assert "0.900" not in svg


def test_a_missing_result_and_a_missing_interval_are_said() -> None:
    svg = style.svg(method_scores(some_scores(), "weighted_f1"))
    assert svg.count(">× no result</text>") == 1
    assert "no result: planned, but no job is complete" in svg
    assert "no interval, as only one seed has a result" in svg


def test_complete_results_have_no_remarks() -> None:
    svg = style.svg(method_scores(some_scores()[:2], "weighted_f1"))
    assert "no result" not in svg
    assert "no interval" not in svg


def test_the_axis_fits_the_scores() -> None:
    svg = style.svg(method_scores(some_scores()[:2], "weighted_f1"))
    assert ">0.0</text>" not in svg


def test_no_baseline_without_pretraining_is_pretrained() -> None:
    assert "SimCLR" not in WITHOUT_PRETRAINING
    assert {"raw_features", "supervised_head"} <= set(WITHOUT_PRETRAINING)
