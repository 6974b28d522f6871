import numpy as np
import pandas as pd
import pytest

from reports.figures.embedding import embedding, embedding_caption
from reports.figures.former_style import MANY
from reports.statistics.embedding import Representations

NAN = float("nan")


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        (60, "Representations of all test samples of faces by each method's best head."),
        (9000, "of 60 of the 9000 test samples (in the classes' proportions) of faces"),
    ],
)
def test_the_caption_says_how_many_test_samples_the_figure_shows(samples: int, words: str) -> None:
    vectors = np.zeros((60, 8), np.float32)
    assert words in embedding_caption([Representations("s", "faces", "Con", vectors, ["joy"] * 60, samples)])


def test_each_method_has_a_panel_with_its_classes() -> None:
    rows = [("Con", 0.0, 1.0, "joy"), ("Con", NAN, NAN, "joy"), ("Con", 2.0, 3.0, "fear"), ("Gen", NAN, NAN, "joy")]
    figure = embedding(pd.DataFrame(rows, columns=["method", "x", "y", "label"]))
    con, gen = figure.axes
    assert [con.get_title(), gen.get_title()] == ["Con", "Gen"]
    assert con.lines[0].get_xydata().tolist() == [[2.0, 3.0]]  # fear, which is first in alphabetical order
    assert [text.get_text() for text in gen.texts] == ["× no result"]
    assert figure.get_supxlabel().startswith("Con: 1 of 3 samples have no coordinates")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["fear", "joy"]


@pytest.mark.parametrize(("points", "pixels"), [(MANY, False), (MANY + 1, True)])
def test_many_points_are_drawn_as_pixels(points: int, pixels: bool) -> None:
    frame = pd.DataFrame({"method": "Con", "x": 0.0, "y": 0.0, "label": "joy"}, index=range(points))
    assert {line.get_rasterized() for line in embedding(frame).axes[0].lines} == {pixels}
