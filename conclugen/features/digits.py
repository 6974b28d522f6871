"""The demo's data: three views of scikit-learn's handwritten digits.

The set has 1,797 real 8x8 images of ten digits. They come with scikit-learn, so nothing is downloaded. Three views of
each image stand in for the three modalities. Video is its pixels, audio the magnitudes of its 2D Fourier transform,
and text a histogram of its gradient orientations. No claim about faces follows from these stand-ins.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from conclugen.features.importing import import_arrays
from conclugen.features.manifest import Manifest

__all__ = ["write_digits"]

_SPLIT_SEED = 0
_ORIENTATIONS, _CELL = 8, 4


def write_digits(out: Path) -> Manifest:
    """Write the digits as a labelled feature set (60 / 20 / 20 %, stratified) into the folder ``out``."""
    digits = load_digits()
    images: npt.NDArray[np.float64] = digits.images
    rows = np.arange(len(images))
    rest, test = train_test_split(rows, test_size=0.2, stratify=digits.target, random_state=_SPLIT_SEED)
    _, val = train_test_split(rest, test_size=0.25, stratify=digits.target[rest], random_state=_SPLIT_SEED)
    split = np.full(len(images), "train")
    split[val], split[test] = "val", "test"
    return import_arrays(
        {
            "video": images.reshape(len(images), -1),
            "audio": _fourier_magnitudes(images),
            "text": _gradient_orientations(images),
        },
        out,
        labels=digits.target,
        class_names=[str(name) for name in digits.target_names],
        split=split,
        sources={
            "video": "scikit-learn digits: pixels",
            "audio": "scikit-learn digits: 2D Fourier magnitudes",
            "text": "scikit-learn digits: histograms of gradient orientations",
        },
    )


def _fourier_magnitudes(images: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Map images (n, 8, 8) to (n, 40): half of the spectrum, because real images have symmetric spectra."""
    return np.abs(np.fft.rfft2(images)).reshape(len(images), -1)


def _gradient_orientations(images: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Map images (n, 8, 8) to (n, 32): per 4x4 cell, the gradient magnitude summed by orientation."""
    down, right = np.gradient(images, axis=(1, 2))
    magnitude = np.hypot(down, right)
    orientation = np.floor((np.arctan2(down, right) / (2 * np.pi) % 1) * _ORIENTATIONS).astype(int) % _ORIENTATIONS
    one_hot = np.eye(_ORIENTATIONS)[orientation] * magnitude[..., None]
    cells = images.shape[1] // _CELL
    blocks = one_hot.reshape(len(images), cells, _CELL, cells, _CELL, _ORIENTATIONS)
    histograms: npt.NDArray[np.float64] = blocks.sum(axis=(2, 4)).reshape(len(images), -1)
    return histograms
