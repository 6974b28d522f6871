"""Draw a face that the detector finds; a search found its proportions and greys."""

import cv2
import numpy as np
import numpy.typing as npt

_BACKGROUND = 159
_ELLIPSES = (
    # centre and radii as shares of the size, grey
    (0.0, -0.1, 0.56, 0.68, 23),  # hair
    (0.0, 0.05, 0.46, 0.58, 209),  # skin
    *((side * 0.2, -0.1, 0.14, 0.07, 131) for side in (-1, 1)),  # sockets
    *((side * 0.2, -0.18, 0.15, 0.03, 79) for side in (-1, 1)),  # brows
    *((side * 0.2, -0.09, 0.1, 0.045, 20) for side in (-1, 1)),  # eyes
    (0.0, -0.02, 0.073, 0.18, 191),  # nose
    (0.0, 0.16, 0.09, 0.025, 117),  # nostrils
    (0.0, 0.32, 0.17, 0.045, 66),  # mouth
)


def drawn_face(height: int, width: int, x: int, y: int, size: int) -> npt.NDArray[np.uint8]:
    """Draw a grey picture with a face about ``size`` wide, centred on (x, y)."""
    picture = np.full((height, width, 3), _BACKGROUND, np.uint8)
    for dx, dy, rx, ry, level in _ELLIPSES:
        centre = (round(x + dx * size), round(y + dy * size))
        axes = (max(1, round(rx * size)), max(1, round(ry * size)))
        cv2.ellipse(picture, centre, axes, 0, 0, 360, (level, level, level), -1)
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), max(0.6, size / 34)), np.uint8)
