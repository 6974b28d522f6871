"""The demo's data against scikit-learn's images and loops over the definitions of the three views."""

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from conclugen.features.digits import write_digits
from conclugen.features.manifest import SPLITS, SplitName
from conclugen.features.shards import FeatureSet

_DIGITS = load_digits()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("digits") / "set"
    write_digits(out)
    return out


def _rows(folder: Path, split: SplitName) -> list[int]:
    """The images' numbers in scikit-learn's order."""
    return [int(sample_id) for sample_id in FeatureSet(folder).split(split).sample_ids]


def _view(folder: Path, split: SplitName, modality: str) -> np.ndarray:
    rows = FeatureSet(folder).split(split)
    return rows.gather(modality, torch.arange(len(rows))).numpy()


def test_the_digits_have_three_views_in_three_splits(folder: Path) -> None:
    manifest = FeatureSet(folder).manifest
    assert list(manifest.widths.items()) == [("video", 64), ("audio", 40), ("text", 32)]
    assert [manifest.rows(split) for split in SPLITS] == [1077, 360, 360]
    assert manifest.labels is not None
    assert manifest.labels.classes == tuple("0123456789")


def test_every_image_is_in_one_split(folder: Path) -> None:
    assert sorted(row for split in SPLITS for row in _rows(folder, split)) == list(range(1797))


@pytest.mark.parametrize(("split", "share"), [("train", 0.6), ("val", 0.2), ("test", 0.2)])
def test_splits_are_stratified(folder: Path, split: SplitName, share: float) -> None:
    counts = Counter(FeatureSet(folder).split(split).labels.tolist())
    totals = Counter(_DIGITS.target.tolist())
    for digit in range(10):
        assert counts[digit] == pytest.approx(share * totals[digit], abs=1.5)


@pytest.mark.parametrize("split", SPLITS)
def test_splits_are_shuffled(folder: Path, split: SplitName) -> None:
    """scikit-learn's order is that of the writers: a split in blocks would test on other hands than it trains on."""
    assert np.mean(_rows(folder, split)) == pytest.approx(898, abs=60)


@pytest.mark.parametrize("split", SPLITS)
def test_pixels_and_labels_are_those_of_scikit_learn(folder: Path, split: SplitName) -> None:
    rows = _rows(folder, split)
    assert np.array_equal(_view(folder, split, "video"), _DIGITS.data[rows])
    assert FeatureSet(folder).split(split).labels.tolist() == _DIGITS.target[rows].tolist()


def test_audio_is_the_magnitudes_of_the_spectrum(folder: Path) -> None:
    """By the sum over pixels x[a, b] exp(-2 pi i (u a + v b) / 8), for v up to 4: the rest is its mirror image."""
    waves = np.exp(-2j * np.pi * np.outer(np.arange(8), np.arange(8)) / 8)  # [u, a]
    for row, stored in zip(_rows(folder, "test")[:20], _view(folder, "test", "audio"), strict=False):
        spectrum = waves @ _DIGITS.images[row] @ waves[:5].T
        assert stored == pytest.approx(np.abs(spectrum).flatten(), abs=1e-3)


def test_text_is_histograms_of_gradient_orientations(folder: Path) -> None:
    """Per quarter of the image (row by row), the gradient's magnitude summed into eight directions, by pixel."""
    for row, stored in zip(_rows(folder, "test")[:20], _view(folder, "test", "text"), strict=False):
        down, right = np.gradient(_DIGITS.images[row])
        histograms = np.zeros((2, 2, 8))
        for a in range(8):
            for b in range(8):
                angle = math.atan2(down[a, b], right[a, b]) % math.tau
                histograms[a // 4, b // 4, int(angle / math.tau * 8) % 8] += math.hypot(down[a, b], right[a, b])
        assert stored == pytest.approx(histograms.flatten(), abs=1e-3)


def test_the_fingerprint_does_not_depend_on_the_folder(folder: Path, tmp_path: Path) -> None:
    assert write_digits(tmp_path / "again").fingerprint == FeatureSet(folder).manifest.fingerprint
