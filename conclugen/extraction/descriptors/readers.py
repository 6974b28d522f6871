"""Readers of descriptors: their blocks hold vectors, ``vector`` (width,)."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from conclugen.extraction.decoding import Waveform
from conclugen.extraction.descriptors.catalogue import DESCRIPTORS
from conclugen.extraction.descriptors.packages import missing_packages
from conclugen.extraction.readers import Array, Block, Picture, Pictures, Sound, Text
from conclugen.extraction.recipe import Backbone

__all__ = ["reader_of_descriptor"]

_WINDOW = 2.0
"""Seconds of a window of frames."""
_SHORTEST = 800
"""Samples of sound, 0.05 s, below which statistics over frames mean nothing."""


def reader_of_descriptor(backbone: Backbone) -> Pictures | Sound | Text:
    """Return the reader of a descriptor.

    Raises:
        ImportError: a package is missing.
        ValueError: the weights are missing.
    """
    name = backbone.descriptor or ""
    descriptor = DESCRIPTORS[name]
    if absent := missing_packages(descriptor.packages):
        raise ImportError(f"{' and '.join(absent)} is not installed; pip install 'conclugen-sweeps[local]'")
    if descriptor.kind == "text":
        from conclugen.extraction.descriptors.words import char_ngrams

        return Text(_of_text(char_ngrams))
    if descriptor.kind == "audio":
        from conclugen.extraction.descriptors import sound

        describe: Callable[[Waveform], Array] = {"egemaps": sound.egemaps, "mfcc": sound.mfcc}[name]
        return Sound(_of_sound(describe), rate=sound.RATE, seconds=backbone.seconds, shortest=_SHORTEST)
    if descriptor.kind == "clips":
        from conclugen.extraction.descriptors.mesh import Mesh

        mesh = Mesh.of(backbone.weights)
        process: Callable[[Picture], Array | None] = {"landmarks": mesh.landmarks, "blendshapes": mesh.blendshapes}[
            name
        ]
        length = max(2, round(_WINDOW * backbone.frame_rate))
        return Pictures(process, _moments, length=length, stride=backbone.stride or max(1, length // 2))
    from conclugen.extraction.descriptors import pictures

    of_picture = {"hog": pictures.hog, "lbp": pictures.lbp, "colour": pictures.colour}[name]
    return Pictures(of_picture, lambda arrays: {"vector": arrays[0]})


def _moments(arrays: Sequence[Array]) -> Block:
    """Return the mean and the standard deviation of a window's vectors (width / 2,)."""
    values = np.stack(arrays).astype(np.float64)
    return {"vector": np.concatenate([values.mean(0), values.std(0)]).astype(np.float32)}


def _of_sound(describe: Callable[[Waveform], Array]) -> Callable[[Waveform], Block]:
    return lambda stretch: {"vector": describe(stretch)}


def _of_text(describe: Callable[[str], Array]) -> Callable[[str], Iterator[Block]]:
    def blocks(text: str) -> Iterator[Block]:
        yield {"vector": describe(text)}

    return blocks
