import numpy as np
import pandas as pd
import pytest
from sklearn.manifold import trustworthiness

from reports.figures.embedding import COLUMNS, Represented, embedding, places, seen
from reports.figures.style import MANY

NAN = float("nan")


def represented(method: str, vectors: np.ndarray, samples: int | None = None) -> Represented:
    labels = [("joy", "fear")[n % 2] for n in range(len(vectors))]
    return Represented("s", "faces", method, vectors.astype(np.float32), labels, samples or len(vectors))


@pytest.fixture(scope="module")
def planted() -> np.ndarray:
    """Two clusters in 60 dimensions, one for each class."""
    vectors = np.random.default_rng(0).normal(size=(60, 60))
    vectors[::2] += 3
    return vectors


def test_neighbours_stay_neighbours_and_classes_apart(planted: np.ndarray) -> None:
    frame = places([represented("Con", planted)], seed=1)
    assert tuple(frame.columns) == COLUMNS
    placed = frame[["x", "y"]].to_numpy()
    assert trustworthiness(planted, placed, n_neighbors=5) > trustworthiness(planted, placed[::-1], n_neighbors=5) + 0.1
    distances = np.linalg.norm(placed[:, None] - placed, axis=2)
    np.fill_diagonal(distances, np.inf)
    nearest = frame["label"].to_numpy()[distances.argmin(axis=1)]
    assert (nearest == frame["label"]).mean() > 0.95


def test_the_same_seed_gives_the_same_places(planted: np.ndarray) -> None:
    both = [represented("Con", planted), represented("Gen", planted[:20])]
    first, again = places(both, seed=1), places(both, seed=1)
    pd.testing.assert_frame_equal(first, again, check_exact=True)
    assert first.groupby("method").size().to_dict() == {"Con": 60, "Gen": 20}
    alone = places(both[1:], seed=1)
    assert (alone["x"].to_numpy() == first["x"].to_numpy()[60:]).all()


def test_what_has_no_place_says_so(planted: np.ndarray) -> None:
    broken = planted[:20].copy()
    broken[3, 0] = NAN
    broken[7, 5] = np.inf
    lost = places([represented("Con", broken)], seed=0)["x"].isna()
    assert lost[lost].index.tolist() == [3, 7]
    collapsed, few, narrow = np.zeros((20, 8)), planted[:4], planted[:20, :1]
    for vectors in (collapsed, few, narrow):
        assert places([represented("Con", vectors)], seed=0)["x"].isna().all()


def test_the_caption_says_how_many_samples_are_drawn(planted: np.ndarray) -> None:
    assert "of all test samples of faces" in seen([represented("Con", planted)])
    assert "of 60 of the 9000 test samples (in the classes' proportions) of faces" in seen(
        [represented("Con", planted, samples=9000)]
    )


def test_a_panel_for_each_method_with_its_classes() -> None:
    rows = [("Con", 0.0, 1.0, "joy"), ("Con", NAN, NAN, "joy"), ("Con", 2.0, 3.0, "fear"), ("Gen", NAN, NAN, "joy")]
    figure = embedding(pd.DataFrame(rows, columns=["method", "x", "y", "label"]))
    con, gen = figure.axes
    assert [con.get_title(), gen.get_title()] == ["Con", "Gen"]
    assert con.lines[0].get_xydata().tolist() == [[2.0, 3.0]]  # of fear, which comes first
    assert [text.get_text() for text in gen.texts] == ["× no result"]
    assert figure.get_supxlabel().startswith("Con: 1 of 3 samples have no place")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["fear", "joy"]


@pytest.mark.parametrize(("points", "picture"), [(MANY, False), (MANY + 1, True)])
def test_many_points_are_a_picture(points: int, picture: bool) -> None:
    frame = pd.DataFrame({"method": "Con", "x": 0.0, "y": 0.0, "label": "joy"}, index=range(points))
    assert {line.get_rasterized() for line in embedding(frame).axes[0].lines} == {picture}
