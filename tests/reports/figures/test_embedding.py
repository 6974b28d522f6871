import numpy as np
import pandas as pd

from reports.figures import style
from reports.figures.embedding import embedding, embedding_caption
from reports.statistics.embedding import Representations
from tests.reports.figures.frames import flat, points


def test_each_method_has_a_panel_and_missing_coordinates_are_said() -> None:
    drawing = embedding(points())
    assert [panel["title"] for panel in drawing.static["concat"]] == ["Con", "Gen"]
    svg = style.svg(drawing)
    assert "Gen: 1 of 1 samples have no coordinates" in svg
    assert ">fear</text>" in svg


def test_of_many_samples_500_are_drawn_which_is_said() -> None:
    values = np.arange(1300.0)
    drawing = embedding(pd.DataFrame({"method": "Con", "x": values, "y": -values, "label": "joy"}))
    drawn = [row["x"] for row in flat(drawing.static)]
    assert len(drawn) == 500
    assert np.diff(drawn).max() <= 3
    assert "drawn: 500 samples of each method" in style.svg(drawing)


def test_the_caption_says_how_many_samples_were_drawn() -> None:
    group = Representations("s", "faces", "Con", np.zeros((2, 3), np.float32), ["joy", "fear"], 10)
    assert "2 of the 10 test samples (in the classes' proportions) of faces" in embedding_caption([group])
