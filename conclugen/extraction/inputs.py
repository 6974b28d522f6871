"""Prepare the inputs of backbones from clips, the CPU's half of an extraction.

A clip is cut into blocks (:mod:`conclugen.extraction.readers`). Blocks of descriptors are their vectors already. Long
videos come in portions of bounded size, so no clip is ever decoded as a whole.

Libraries are imported where a recipe needs them. A recipe of descriptors imports no transformers, which takes seconds.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from conclugen.datasets.clips import Clip
from conclugen.extraction.augment import Augmentation
from conclugen.extraction.decoding import ClipError, Sampled, Waveform, read_frames, read_waveform
from conclugen.extraction.readers import Block, Pictures, Sound, Text
from conclugen.extraction.recipe import Backbone, Recipe

__all__ = ["PORTION_BYTES", "Portion", "Preparation", "reader_of"]

Portion = list[list[Block]]
"""Blocks of one clip for each backbone of the recipe, in its order."""
PORTION_BYTES = 32 * 2**20
"""Bytes of pictures at which a portion ends."""
_GAPS = ("empty", "no picture", "no sound", "silent", "no face")
"""Reasons for which a sound file or video is no fault; a file that is missing or corrupt is one."""


def reader_of(backbone: Backbone) -> Pictures | Sound | Text:
    """Return the reader that makes the backbone's blocks.

    Raises:
        OSError, ValueError, ImportError: what the reader needs cannot be loaded, or the backbone is not of its kind.
    """
    if backbone.descriptor is not None:
        from conclugen.extraction.descriptors.readers import reader_of_descriptor

        return reader_of_descriptor(backbone)
    if backbone.onnx is not None:
        from conclugen.extraction.onnx import reader_of_onnx

        return reader_of_onnx(backbone)
    from conclugen.extraction.pretrained import reader_of_pretrained

    return reader_of_pretrained(backbone)


class Preparation:
    """The preparation of a recipe's blocks from clips, one clip at a time.

    Raises:
        OSError, ValueError, ImportError: as for :func:`reader_of`.
    """

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._readers = [reader_of(backbone) for backbone in recipe.backbones]

    def portions(
        self, clip: Clip, file: Path | None, version: int = 0, gaps: dict[int, ClipError] | None = None
    ) -> Iterator[Portion]:
        """Yield the clip's blocks in portions, at least one.

        Args:
            clip: the clip.
            file: its video; None for a clip that is text only.
            version: 0 for the clip itself, else the number of the augmented version.
            gaps: gets backbone -> why the clip has nothing for it to read; None if a clip must have everything.

        Raises:
            ClipError: the clip lacks something that a backbone reads and ``gaps`` is None, or a file is missing or
                corrupt; the error may come only after some portions.
        """
        augmentation = Augmentation(clip.sample_id, version) if version else None
        portion: Portion = [[] for _ in self._readers]
        if self._recipe.kinds - {"text"} and file is None:
            self._lack(ClipError("missing", "the clip list names no video"), self._of(Pictures, Sound), gaps)
        if "text" in self._recipe.kinds:
            if clip.transcript is None or not clip.transcript.strip():
                self._lack(ClipError("no transcript", "the clip list holds none"), self._of(Text), gaps)
            else:
                self._add_text(clip.transcript, augmentation, portion)
        if file is not None:
            self._add_sound(clip, file, augmentation, portion, gaps)
        if file is not None and self._recipe.kinds & {"frames", "clips"}:
            yield from self._portions_of_pictures(clip, file, augmentation, portion, gaps)
        else:
            yield portion

    def _of(self, *kinds: type) -> list[int]:
        """Return the backbones whose readers are of these kinds."""
        return [index for index, reader in enumerate(self._readers) if isinstance(reader, kinds)]

    @staticmethod
    def _lack(error: ClipError, backbones: Sequence[int], gaps: dict[int, ClipError] | None) -> None:
        """Note that ``backbones`` have nothing to read, or raise the error if that is not allowed."""
        if gaps is None:
            raise error
        gaps |= dict.fromkeys(backbones, error)

    def _add_text(self, transcript: str, augmentation: Augmentation | None, portion: Portion) -> None:
        text = transcript if augmentation is None else augmentation.text(transcript)
        for blocks, reader in zip(portion, self._readers, strict=True):
            if isinstance(reader, Text):
                blocks += reader.blocks(text)

    def _add_sound(
        self,
        clip: Clip,
        file: Path,
        augmentation: Augmentation | None,
        portion: Portion,
        gaps: dict[int, ClipError] | None,
    ) -> None:
        waveforms: dict[int, Waveform] = {}
        for index, reader in enumerate(self._readers):
            if isinstance(reader, Sound):
                try:
                    if reader.rate not in waveforms:
                        waveform = read_waveform(file, reader.rate, clip.start, clip.end)
                        waveforms[reader.rate] = waveform if augmentation is None else augmentation.waveform(waveform)
                    portion[index] += reader.blocks(waveforms[reader.rate])
                except ClipError as error:
                    if error.reason not in _GAPS:
                        raise
                    self._lack(error, [index], gaps)

    def _portions_of_pictures(
        self,
        clip: Clip,
        file: Path,
        augmentation: Augmentation | None,
        portion: Portion,
        gaps: dict[int, ClipError] | None,
    ) -> Iterator[Portion]:
        """Yield ``portion`` with the video's blocks, and further portions if the video has many."""
        track = None
        if self._recipe.faces is not None:
            from conclugen.extraction.faces import FaceTrack

            track = FaceTrack(self._recipe.faces.margin)
        sources = [
            (index, reader, backbone.frame_rate)
            for index, (reader, backbone) in enumerate(zip(self._readers, self._recipe.backbones, strict=True))
            if isinstance(reader, Pictures)
        ]
        for _, reader, _ in sources:
            reader.begin()
        rates = sorted({rate for _, _, rate in sources})
        portion_bytes = 0
        any_picture = False
        for sampled in self._frames(clip, file, rates, gaps):
            picture = sampled.picture if track is None else track.crop(sampled.time, sampled.picture)
            if picture is None:
                continue
            any_picture = True
            picture = picture if augmentation is None else augmentation.picture(picture)
            for index, reader, rate in sources:
                if rate == rates[sampled.rate]:
                    for block in reader.add(picture):
                        portion[index].append(block)
                        portion_bytes += sum(array.nbytes for array in block.values())
            if portion_bytes >= PORTION_BYTES:
                yield portion
                portion = [[] for _ in self._readers]
                portion_bytes = 0
        if not any_picture and not any(index in (gaps or ()) for index, _, _ in sources):
            self._lack(ClipError("no face", f"{file}: no face was found in any second"), self._of(Pictures), gaps)
        for index, reader, _ in sources:
            if index not in (gaps or ()):
                try:
                    portion[index] += reader.end()
                except ClipError as error:
                    self._lack(error, [index], gaps)
        yield portion

    def _frames(
        self, clip: Clip, file: Path, rates: Sequence[float], gaps: dict[int, ClipError] | None
    ) -> Iterator[Sampled]:
        """Yield the pictures of a clip at several rates; none if it has none and that is allowed."""
        try:
            yield from read_frames(file, rates, clip.start, clip.end)
        except ClipError as error:
            if error.reason not in _GAPS:
                raise
            self._lack(error, self._of(Pictures), gaps)
