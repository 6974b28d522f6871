import numpy as np
import pandas as pd

from reports.figures import style
from reports.figures.hyperparameters import parallel_coordinates
from tests.reports.figures.frames import flat, trials


def test_trials_are_lines_from_0_to_1_on_axes_that_fit_them() -> None:
    rows = flat(parallel_coordinates({"Con": trials()}, False).static)
    heights = {
        axis: [row["height"] for row in rows if row["axis"] == axis and row["trial"] is not None]
        for axis in ("lr (log)", "width", "mode", "queue")
    }
    # The trial without a value comes first, the best one last.
    assert heights["lr (log)"] == [0.5, 0, 1]
    assert heights["width"] == [1, 0, 0.333333]
    assert heights["mode"] == [0, 0, 1]
    assert heights["queue"] == [1, -0.1, 0]


def test_ticks_name_the_values_and_remarks_what_is_missing() -> None:
    drawing = parallel_coordinates({"Con": trials()}, False)
    svg = style.svg(drawing)
    for text in ("1e-05", "0.001", "0.1", "mean", "sum", "16", "–"):
        assert f">{text}</text>" in svg, text
    assert "not shown, since equal in all trials: margin" in svg
    assert "dotted: trials without a value" in svg
    assert "the trial had no such hyperparameter" in svg


def test_of_many_trials_the_best_and_some_others_have_lines() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"value": rng.random(600), "lr": rng.random(600)})
    drawing = parallel_coordinates({"Con": frame}, True)
    values = [row["value"] for row in flat(drawing.static) if row["trial"] is not None]
    assert len(values) == 200
    assert min(values[-50:]) >= round(float(frame["value"].nlargest(50).min()), 4) - 1e-3
    assert drawing.interactive is not None
    assert sum(row["trial"] is not None for row in flat(drawing.interactive)) == 60
    svg = style.svg(drawing)
    assert "lines: the best 50 of 600 trials, and 150 others, by rank" in svg


def test_the_page_has_one_chart_for_all_searches() -> None:
    drawing = parallel_coordinates({"Con": trials(), "Gen": trials()}, True)
    assert drawing.interactive is not None
    assert {row["search"] for row in flat(drawing.interactive)} == {"Con", "Gen"}
    assert {row["search"] for row in flat(drawing.static)} == {"Con"}
