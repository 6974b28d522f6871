import numpy as np
import pandas as pd
import pytest
from sklearn.manifold import trustworthiness

from reports.statistics.embedding import COLUMNS, Representations, embedding_coordinates

NAN = float("nan")


def representations(method: str, vectors: np.ndarray) -> Representations:
    labels = [("joy", "fear")[n % 2] for n in range(len(vectors))]
    return Representations("s", "faces", method, vectors.astype(np.float32), labels, len(vectors))


@pytest.fixture(scope="module")
def planted() -> np.ndarray:
    """Two clusters in 60 dimensions, one for each class."""
    vectors = np.random.default_rng(0).normal(size=(60, 60))
    vectors[::2] += 3
    return vectors


def test_coordinates_keep_neighbours_together_and_classes_apart(planted: np.ndarray) -> None:
    frame = embedding_coordinates([representations("Con", planted)], seed=1)
    assert tuple(frame.columns) == COLUMNS
    points = frame[["x", "y"]].to_numpy()
    assert trustworthiness(planted, points, n_neighbors=5) > trustworthiness(planted, points[::-1], n_neighbors=5) + 0.1
    distances = np.linalg.norm(points[:, None] - points, axis=2)
    np.fill_diagonal(distances, np.inf)
    nearest = frame["label"].to_numpy()[distances.argmin(axis=1)]
    assert (nearest == frame["label"]).mean() > 0.95


def test_the_same_seed_gives_the_same_coordinates(planted: np.ndarray) -> None:
    both = [representations("Con", planted), representations("Gen", planted[:20])]
    first = embedding_coordinates(both, seed=1)
    second = embedding_coordinates(both, seed=1)
    pd.testing.assert_frame_equal(first, second, check_exact=True)
    assert first.groupby("method").size().to_dict() == {"Con": 60, "Gen": 20}
    gen_only = embedding_coordinates(both[1:], seed=1)
    assert (gen_only["x"].to_numpy() == first["x"].to_numpy()[60:]).all()


def test_samples_without_neighbourhoods_have_no_coordinates(planted: np.ndarray) -> None:
    not_finite = planted[:20].copy()
    not_finite[3, 0] = NAN
    not_finite[7, 5] = np.inf
    missing = embedding_coordinates([representations("Con", not_finite)], seed=0)["x"].isna()
    assert missing[missing].index.tolist() == [3, 7]
    all_equal, few, narrow = np.zeros((20, 8)), planted[:4], planted[:20, :1]
    for vectors in (all_equal, few, narrow):
        assert embedding_coordinates([representations("Con", vectors)], seed=0)["x"].isna().all()
