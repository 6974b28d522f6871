"""Augmented versions of a clip: what its backbones are shown instead of the clip itself.

The released data hold, for each downstream training clip, the clean features and those of ten augmented versions
(METHOD 1); how these were made is not documented in what we have, so the transformations here are the usual ones for
faces, speech and text. One draw holds for a whole clip, so that time stays what it was. It follows from the clip's id
and the version's number alone: not from the order of clips, the machine, or an earlier run.
"""

import hashlib

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageEnhance

__all__ = ["Augmentation"]

_SMALLEST_SIDE = 0.85  # of the picture's sides, so 72 % of its area
_LIGHT = 0.2  # brightness, contrast and saturation change by up to this share
_GAIN = 6.0  # dB
_NOISE = (15.0, 30.0)  # dB below the speech
_DROPPED = 0.1  # of the words (Wei and Zou 2019, EDA, section 2: random deletion)


class Augmentation:
    """One version's changes.

    Args:
        sample_id: the clip.
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
        """Return (height, width, 3) cropped, maybe mirrored, in another light; the same for each frame of the clip."""
        height, width = (max(1, round(side * self._side)) for side in picture.shape[:2])
        top = round(self._place[0] * (picture.shape[0] - height))
        left = round(self._place[1] * (picture.shape[1] - width))
        image = Image.fromarray(picture[top : top + height, left : left + width])
        for enhance, factor in zip(
            (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color), self._light, strict=True
        ):
            image = enhance(image).enhance(factor)
        changed = np.asarray(image)
        return np.ascontiguousarray(changed[:, ::-1]) if self._mirrored else changed

    def waveform(self, waveform: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return (samples,) louder or softer, with white noise; call it once."""
        loudness = float(np.sqrt(np.mean(np.square(waveform, dtype=np.float64))))
        noise = self._sound.normal(size=len(waveform)) * loudness * 10 ** (-self._noise / 20)
        changed: npt.NDArray[np.float32] = ((waveform + noise) * 10 ** (self._gain / 20)).astype(np.float32)
        return changed.clip(-1, 1)

    def text(self, text: str) -> str:
        """Return ``text`` without some of its words, but with one at least; call it once."""
        words = text.split()
        kept = [word for word, chance in zip(words, self._words.random(len(words)), strict=True) if chance >= _DROPPED]
        return " ".join(kept or words[:1])
