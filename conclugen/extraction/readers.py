"""Cut clips into blocks: the inputs of backbones, each of which goes through its backbone by itself.

A block is a frame, a window of frames, a stretch of sound, or as much text as a backbone takes. So its vector cannot
depend on other blocks. The readers here know how a clip is cut. What a backbone does with a picture, a stretch or a
text is a function that they are given, so pretrained models, ONNX files and descriptors share them.
"""

from collections.abc import Callable, Iterator, Sequence
from math import ceil

import numpy as np
import numpy.typing as npt

from conclugen.extraction.decoding import ClipError, Waveform

__all__ = ["Array", "Block", "Picture", "Pictures", "Sound", "Sums", "Text"]

Array = npt.NDArray[np.generic]
Block = dict[str, Array]
"""One input of a backbone: name -> array; the backbones state the shapes."""
Picture = npt.NDArray[np.uint8]
Sums = npt.NDArray[np.float32]
"""Sums of vectors (blocks, width), or their weights (blocks,)."""


class Pictures:
    """Reader that turns frames into blocks, of one frame or of a window of frames each.

    Args:
        process: turns a picture (height, width, 3) into an array of fixed shape, or into None to leave it out.
        block: turns the arrays of one window into a block.
        length: frames of a window.
        stride: frames from one window's start to the next one's.
    """

    def __init__(
        self,
        process: Callable[[Picture], Array | None],
        block: Callable[[Sequence[Array]], Block],
        *,
        length: int = 1,
        stride: int = 1,
    ) -> None:
        self._process = process
        self._block = block
        self.length = length
        self._stride = stride
        self._buffer: list[Array] = []
        self._pictures = 0  # of this clip so far
        self._blocks = 0

    def begin(self) -> None:
        """Start another clip."""
        self._buffer = []
        self._pictures = 0
        self._blocks = 0

    def add(self, picture: Picture) -> Iterator[Block]:
        """Take the next picture (height, width, 3), and yield the block that it completes."""
        first = self._blocks * self._stride
        if self._pictures < first:  # the picture lies between two windows
            self._pictures += 1
            return
        if (array := self._process(picture)) is None:
            return
        self._pictures += 1
        self._buffer.append(array)
        if len(self._buffer) == self.length:
            self._blocks += 1
            yield self._block(self._buffer)
            self._buffer = self._buffer[self._stride :]

    def end(self) -> Iterator[Block]:
        """End the clip; if it is shorter than a window, yield one window over which its pictures are spread.

        Raises:
            ClipError: every picture was left out.
        """
        if self._blocks:
            return
        if not self._buffer:
            raise ClipError("no face", "the detector found a face, but no landmarks in it")
        indices = np.linspace(0, len(self._buffer) - 1, self.length).round().astype(int)
        yield self._block([self._buffer[index] for index in indices])


class Sound:
    """Reader that turns sound into blocks; a clip's blocks are equally long.

    Args:
        block: turns a stretch (samples,) into a block.
        rate: samples per second.
        seconds: longest stretch.
        shortest: samples that a stretch must have.
    """

    def __init__(self, block: Callable[[Waveform], Block], *, rate: int, seconds: float, shortest: int) -> None:
        self._block = block
        self.rate = rate
        self._longest = int(seconds * rate)
        self._shortest = shortest

    def blocks(self, waveform: Waveform) -> Iterator[Block]:
        """Yield the blocks of a waveform (samples,) at :attr:`rate`.

        Raises:
            ClipError: the waveform is too short.
        """
        if len(waveform) < self._shortest:
            raise ClipError("empty", f"{len(waveform)} samples of sound; the backbone needs {self._shortest}")
        count = ceil(len(waveform) / self._longest)
        length = len(waveform) // count  # equal parts: a short remainder would tell the model little
        for start in range(0, count * length, length):
            yield self._block(waveform[start : start + length])


class Text:
    """Reader that turns text into blocks.

    Args:
        blocks: yields the blocks of a text that holds more than white space.
    """

    def __init__(self, blocks: Callable[[str], Iterator[Block]]) -> None:
        self.blocks = blocks
