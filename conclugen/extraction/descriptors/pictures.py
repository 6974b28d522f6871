"""Descriptors of single pictures: gradients, texture and colour."""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from conclugen.extraction.readers import Picture

__all__ = ["colour", "hog", "lbp"]

Vector = npt.NDArray[np.float32]
_PATTERNS = 59  # of 8 neighbours: 58 uniform ones, and one for all others
_REGIONS = 3  # on each side
_BINS = (16, 8, 8)  # of hue, saturation and value


def hog(picture: Picture) -> Vector:
    """Return 9 orientations of 4 x 4 cells, normalised in blocks of 2 x 2 cells: (324,)."""
    from skimage.feature import hog as histograms

    vector = histograms(_grey(picture, 64), orientations=9, pixels_per_cell=(16, 16), cells_per_block=(2, 2))
    return np.asarray(vector, np.float32)


def lbp(picture: Picture) -> Vector:
    """Return the shares of 59 patterns in each of 3 x 3 regions: (531,)."""
    from skimage.feature import local_binary_pattern

    patterns: Any = local_binary_pattern  # without annotations
    codes = patterns(_grey(picture, 96), 8, 1, method="nri_uniform").astype(np.int64)
    side = len(codes) // _REGIONS
    regions = codes.reshape(_REGIONS, side, _REGIONS, side).swapaxes(1, 2).reshape(_REGIONS**2, -1)
    counts = [np.bincount(region, minlength=_PATTERNS) for region in regions]
    return (np.concatenate(counts) / side**2).astype(np.float32)


def colour(picture: Picture) -> Vector:
    """Return the shares of 16 hues, 8 saturations and 8 values among the pixels: (32,)."""
    channels = cv2.cvtColor(picture, cv2.COLOR_RGB2HSV)
    ranges = (180, 256, 256)  # OpenCV's range of each channel
    counts = [
        cv2.calcHist([channels], [index], None, [bins], [0, top]).ravel()
        for index, (bins, top) in enumerate(zip(_BINS, ranges, strict=True))
    ]
    return np.asarray(np.concatenate(counts) / (picture.shape[0] * picture.shape[1]), np.float32)


def _grey(picture: Picture, side: int) -> npt.NDArray[np.uint8]:
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.resize(grey, (side, side), interpolation=cv2.INTER_AREA), np.uint8)
