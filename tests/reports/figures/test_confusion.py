import math

import pandas as pd

from reports.figures import style
from reports.figures.confusion import confusion_matrices
from reports.figures.style import Drawing
from tests.reports.figures.frames import matrices


def svg_of(frame: pd.DataFrame, planned: list[str], *, differences: bool = False) -> str:
    return style.svg(confusion_matrices(frame, "faces", planned, differences, False))


def test_files_show_the_shares_of_every_method_that_was_planned() -> None:
    svg = svg_of(matrices("joy", "fear"), ["raw_features", "Con", "Gen"])
    for text in ("raw_features", "Con", "80%", "20%", "70%", "× no result of Gen"):
        assert f">{text}</text>" in svg, text


def test_differences_are_those_to_the_raw_features() -> None:
    svg = svg_of(matrices("joy", "fear"), ["raw_features", "Con"], differences=True)
    assert svg.count(">−10%</text>") == 4
    assert ">raw_features</text>" not in svg


def test_without_raw_features_there_are_no_differences() -> None:
    svg = svg_of(matrices("joy", "fear", methods=["Con"]), ["Con"], differences=True)
    assert "× no result of raw_features, which the others are compared with" in svg


def test_a_class_without_samples_has_dashes() -> None:
    frame = matrices("joy", "fear", methods=["Con"])
    frame.loc[frame["truth"] == "fear", "share"] = math.nan
    svg = svg_of(frame, ["Con"])
    assert svg.count(">–</text>") == 2
    assert "–: the class has no sample" in svg


def test_classes_of_different_labels_have_no_common_cell() -> None:
    frame = pd.concat([matrices("not joy", "joy", methods=["Con"]), matrices("not fear", "fear", methods=["Con"])])
    svg = svg_of(frame, ["Con"])
    assert svg.count(">80%</text>") == 4
    assert svg.count(">20%</text>") == 4
    assert "–" not in svg


def test_classes_keep_their_order_though_cells_are_empty() -> None:
    frame = matrices("a", "b", "c", methods=["Con"])
    frame.loc[(frame["truth"] == "a") & (frame["predicted"] != "c"), "share"] = 0.0
    svg = svg_of(frame, ["Con"])
    places = [svg.index(f">{name}</text>") for name in "abc"]
    assert places == sorted(places)


def test_forty_eight_classes_are_drawn_without_numbers() -> None:
    frame = matrices(*(f"class {n}" for n in range(48)))
    svg = svg_of(frame, ["raw_features", "Con"])
    assert ">80%</text>" not in svg
    assert svg.count(">class 47</text>") == 4
    assert len(svg) < 2_000_000


def test_the_chart_of_the_page_shows_the_shares_of_the_first_set() -> None:
    interactive = confusion_matrices(matrices("joy", "fear"), "faces", ["Con"], False, True).interactive
    assert interactive is not None
    svg = style.svg(Drawing(None, {**interactive, "width": 300}))
    assert svg.count(">80%</text>") == 2
    assert ">joy</text>" in svg


def test_the_page_has_one_chart_for_all_sets_and_methods() -> None:
    frame = pd.concat([matrices("joy", "fear"), matrices("calm", "loud", dataset="voices", methods=["Con", "Gen"])])
    interactive = confusion_matrices(frame, "faces", ["raw_features", "Con"], False, True).interactive
    assert interactive is not None
    rows = interactive["datasets"]["rows"]
    assert [(row["dataset"], row["method"]) for row in rows] == [
        ("faces", "raw_features"), ("faces", "Con"), ("voices", "Con"), ("voices", "Gen"),
    ]  # fmt: skip
    options = {each["name"]: each.get("bind", {}).get("options") for each in interactive["params"]}
    assert options["method"] == ["raw_features", "Con", "Gen"]
    assert options["cells"] == ["shares of the true class", "differences to raw_features"]
    assert rows[1]["share"] == [[700, 100], [100, 700]]  # per mille
    assert rows[1]["difference"] == [[-100, -100], [-100, -100]]
