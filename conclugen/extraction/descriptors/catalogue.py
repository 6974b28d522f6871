"""The descriptors that a recipe may name: what each reads, how wide it is, which packages it needs, whose work it is.

The module loads no library, so a recipe is checked at once.
"""

from dataclasses import dataclass
from typing import Literal

__all__ = ["DESCRIPTORS", "Descriptor"]


@dataclass(frozen=True)
class Descriptor:
    """One descriptor.

    A descriptor of frames gives a vector per frame. A descriptor of clips gives mean and standard deviation over a
    window of frames.
    """

    kind: Literal["frames", "clips", "audio", "text"]
    width: int
    """Width of its vectors."""
    packages: tuple[str, ...]
    """Names on PyPI of the packages that its values depend on."""
    source: str
    """What it is, and where it is from."""
    licence: str = ""
    """Terms of use, where they are narrower than those of this project; every feature set repeats them."""
    needs_faces: bool = False
    """Whether its pictures have to be crops of faces."""


_MESH = ("opencv-python-headless",)
_MESH_SOURCE = "MediaPipe's face landmarker (Kartynnik et al. 2019, arXiv 1907.06724; Google's weights, Apache 2.0)"

DESCRIPTORS = {
    "egemaps": Descriptor(
        "audio", 88, ("opensmile",),
        "88 functionals of eGeMAPSv02 (Eyben et al. 2016, IEEE Transactions on Affective Computing 7(2)), by openSMILE",
        licence="openSMILE is free for research and private use only; companies need audEERING's licence",
    ),
    "mfcc": Descriptor(
        "audio", 160, ("scipy", "transformers"),
        "mean and standard deviation of 40 mel cepstral coefficients and of their differences in time "
        "(Davis and Mermelstein 1980, IEEE Transactions on Acoustics, Speech, and Signal Processing 28(4))",
    ),
    "hog": Descriptor(
        "frames", 324, ("scikit-image", "opencv-python-headless"),
        "histograms of oriented gradients (Dalal and Triggs 2005, CVPR) of the 64 x 64 grey picture",
    ),
    "lbp": Descriptor(
        "frames", 531, ("scikit-image", "opencv-python-headless"),
        "uniform local binary patterns in 3 x 3 regions (Ahonen et al. 2006, IEEE Transactions on Pattern Analysis and "
        "Machine Intelligence 28(12)) of the 96 x 96 grey picture",
    ),
    "colour": Descriptor(
        "frames", 32, ("opencv-python-headless",),
        "histograms of hue, saturation and value (Swain and Ballard 1991, International Journal of Computer Vision 7)",
    ),
    "landmarks": Descriptor(
        "clips", 584, _MESH,
        f"mean and deviation of 146 landmarks, upright and of one size, by {_MESH_SOURCE}", needs_faces=True,
    ),
    "blendshapes": Descriptor(
        "clips", 104, _MESH,
        f"mean and deviation of 52 blendshapes, akin to action units, by {_MESH_SOURCE}", needs_faces=True,
    ),
    "char_ngrams": Descriptor(
        "text", 512, ("scikit-learn",),
        "hashed character 2- to 4-grams within words (Weinberger et al. 2009, ICML: feature hashing)",
    ),
}  # fmt: skip
"""Name in a recipe -> descriptor."""
