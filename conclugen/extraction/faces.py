"""Crop a clip's pictures to the face.

The detector is OpenCV's boosted cascade (Viola and Jones, 2001). If the cascade for frontal faces finds none, the one
for profiles is tried. The package opencv-python-headless brings the weights, so nothing is downloaded. The neural
detectors of OpenCV and MediaPipe are better, but were rejected because their packages lack the weights. facenet-pytorch
was rejected because it pins an old torch.

A detection holds for a second. Detection in every frame was rejected: it costs more than a small backbone, and a box
that trembles from frame to frame looks like motion to a backbone that reads windows.
"""

from functools import cache
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

__all__ = ["FaceTrack", "largest_face"]

Picture = npt.NDArray[np.uint8]
Box = tuple[int, int, int, int]
"""Left, top, width and height in pixels."""
_SIDE = 480  # pixels of the longer side of the picture that the detector gets
_SMALLEST = 1 / 12  # of that side; smaller faces are bystanders, or no faces
_NEIGHBOURS = 6  # overlapping hits that make a detection; OpenCV's default, 3, finds faces in textures
_HOLD = 1.0  # seconds that a detection holds


class FaceTrack:
    """A face in one clip; crops the clip's pictures in the order of their times.

    Args:
        margin: added on each side, as a share of the face's width.
    """

    def __init__(self, margin: float) -> None:
        self._margin = margin
        self._box: Box | None = None
        self._last_detection = -np.inf

    def crop(self, time: float, picture: Picture) -> Picture | None:
        """Return the square around the face (side, side, 3), or None as long as no face has been found."""
        if time - self._last_detection >= _HOLD or self._box is None:
            self._box = largest_face(picture) or self._box
            self._last_detection = time
        return None if self._box is None else _square(picture, self._box, self._margin)


def largest_face(picture: Picture) -> Box | None:
    """Return the box of the largest face in ``picture`` (height, width, 3), or None if it shows no face."""
    scale = min(1.0, _SIDE / max(picture.shape[:2]))
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else grey
    grey = cv2.equalizeHist(grey)
    width = grey.shape[1]
    smallest = max(20, round(max(grey.shape) * _SMALLEST))
    for name, mirrored in (("frontalface_default", False), ("profileface", False), ("profileface", True)):
        boxes = _cascade(name).detectMultiScale(
            grey[:, ::-1] if mirrored else grey,
            scaleFactor=1.1,
            minNeighbors=_NEIGHBOURS,
            minSize=(smallest, smallest),
        )
        if len(boxes):
            left, top, w, h = max(np.asarray(boxes).tolist(), key=lambda box: (box[2] * box[3], box))
            left = width - left - w if mirrored else left
            return round(left / scale), round(top / scale), round(w / scale), round(h / scale)
    return None


@cache
def _cascade(name: str) -> cv2.CascadeClassifier:
    return cv2.CascadeClassifier(str(Path(cv2.__file__).parent / "data" / f"haarcascade_{name}.xml"))


def _square(picture: Picture, box: Box, margin: float) -> Picture:
    """Cut out the square of box and margin, shrunk and moved so that it lies within the picture."""
    left, top, width, height = box
    side = min(round(max(width, height) * (1 + 2 * margin)), *picture.shape[:2])
    x = min(max(0, round(left + width / 2 - side / 2)), picture.shape[1] - side)
    y = min(max(0, round(top + height / 2 - side / 2)), picture.shape[0] - side)
    return np.ascontiguousarray(picture[y : y + side, x : x + side])
