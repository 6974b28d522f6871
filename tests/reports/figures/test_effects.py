from reports.figures import style
from reports.figures.effects import effect_forest, instrument_forest
from tests.reports.figures.frames import METRIC, flat, some_effects


def test_effects_stand_in_order_with_plain_names() -> None:
    rows = flat(effect_forest(some_effects(), ["faces"], METRIC, 0.01).static)
    assert [row["effect"] for row in sorted(rows, key=lambda row: row["place"])] == [
        "total: ConCluGen − random_head", "Shapley value of Con", "Shapley value of Clu", "main effect of Con",
        "interaction Con × Clu",
    ]  # fmt: skip


def test_a_set_without_all_eight_cells_is_shown_as_having_no_effects() -> None:
    drawing = effect_forest(some_effects(), ["faces", "voices"], METRIC, 0.01)
    svg = style.svg(drawing)
    assert ">voices</text>" in svg
    assert ">× no result</text>" in svg
    assert "all seven loss subsets and of random_head" in svg
    assert "no interval, as only one seed has a result" in svg
    assert ">+0.300</text>" in svg
    assert ">effect on weighted F1</text>" in svg


def test_the_band_of_differences_that_do_not_matter_is_as_wide_as_the_user_says() -> None:
    (panel,) = effect_forest(some_effects(), ["faces"], METRIC, 0.025).static["concat"]
    band = next(layer for layer in panel["layer"] if layer["mark"]["type"] == "rect")
    assert (band["encoding"]["x"]["datum"], band["encoding"]["x2"]["datum"]) == (-0.025, 0.025)


def test_instruments_stand_side_by_side_and_follow_the_set_of_any_instrument() -> None:
    drawing = instrument_forest(some_effects(["logistic", "knn"]), METRIC, 0.01)
    svg = style.svg(drawing)
    assert ">logistic</text>" in svg
    assert ">knn</text>" in svg
    assert svg.count(">+0.300</text>") == 2
    assert drawing.interactive is not None
    assert "split(dataset, ' (')[0]" in drawing.interactive["transform"][0]["filter"]
