"""Augment clips: change pictures, sound and text before the backbones read them.

The released data hold clean features of each downstream training clip and those of ten augmented versions
(docs/method.md, section 1). We have no documentation of these augmentations, so the transformations here are the usual
ones for faces, speech and text. One draw holds for a whole clip, so that motion stays as it was. The draw depends only
on the clip's id and the version's number, not on the order of clips, the machine, or an earlier run.
"""

import hashlib

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageEnhance

__all__ = ["Augmentation"]

_SMALLEST_SIDE = 0.85  # share of the picture's sides that a crop keeps, so 72 % of the area
_LIGHT = 0.2  # largest relative change of brightness, contrast and saturation
_GAIN = 6.0  # largest change of loudness in dB
_NOISE = (15.0, 30.0)  # level of the noise in dB below the speech
_DROPPED = 0.1  # probability that a word is dropped (Wei and Zou 2019, EDA, section 2: random deletion)


class Augmentation:
    """The changes of one augmented version of a clip.

    Args:
        sample_id: the clip's id.
        version: the version's number, from 1 on.
    """

    def __init__(self, sample_id: str, version: int) -> None:
        digest = hashlib.sha256(f"{version} {sample_id}".encode()).digest()
        rng = np.random.default_rng(np.frombuffer(digest, np.uint32))
        self._side = rng.uniform(_SMALLEST_SIDE, 1.0)
        self._place = rng.uniform(size=2)
        self._mirrored = bool(rng.random() < 0.5)
        self._light = rng.uniform(1 - _LIGHT, 1 + _LIGHT, size=3)
        self._gain = rng.uniform(-_GAIN, _GAIN)
        self._noise = rng.uniform(*_NOISE)
        self._sound, self._words = rng.spawn(2)

    def picture(self, picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Crop, perhaps mirror, and relight a picture (height, width, 3); all frames of the clip change alike."""
        height, width = (max(1, round(side * self._side)) for side in picture.shape[:2])
        top = round(self._place[0] * (picture.shape[0] - height))
        left = round(self._place[1] * (picture.shape[1] - width))
        image = Image.fromarray(picture[top : top + height, left : left + width])
        for enhance, factor in zip(
            (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color), self._light, strict=True
        ):
            image = enhance(image).enhance(factor)
        augmented = np.asarray(image)
        return np.ascontiguousarray(augmented[:, ::-1]) if self._mirrored else augmented

    def waveform(self, waveform: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Make a waveform (samples,) louder or softer and add white noise; call it once per version."""
        loudness = float(np.sqrt(np.mean(np.square(waveform, dtype=np.float64))))
        noise = self._sound.normal(size=len(waveform)) * loudness * 10 ** (-self._noise / 20)
        augmented: npt.NDArray[np.float32] = ((waveform + noise) * 10 ** (self._gain / 20)).astype(np.float32)
        return augmented.clip(-1, 1)

    def text(self, text: str) -> str:
        """Drop some words of ``text``, but keep at least one; call it once per version."""
        words = text.split()
        draws = self._words.random(len(words))
        remaining = [word for word, draw in zip(words, draws, strict=True) if draw >= _DROPPED]
        return " ".join(remaining or words[:1])
