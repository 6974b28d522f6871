"""Clips to what backbones take: the CPU's half of an extraction.

A clip is cut into blocks: a frame, a window of frames, a stretch of sound, or as many tokens as the model takes. Each
block goes through its model by itself, so its vector cannot depend on the others. Pictures leave here resized and
cropped but as bytes; the device scales and normalises them, which moves a quarter of the data. Long videos come in
portions of bounded size, so that no clip is ever decoded as a whole.

Preprocessing is that of the model's own processor, always its PIL version: what torchvision makes of the same picture
differs, and whether it is installed must not decide what the features are. Video processors need it, so windows are
made here of single processed frames.

Shapes: c, h, w channels, height and width of a processed picture; t frames of a window.
"""

from collections.abc import Iterator, Sequence
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from transformers import AutoConfig, AutoFeatureExtractor, AutoImageProcessor, AutoTokenizer

from conclugen.datasets.clips import Clip
from conclugen.extraction.augment import Augmentation
from conclugen.extraction.decoding import ClipError, Waveform, read_frames, read_waveform
from conclugen.extraction.recipe import Backbone, Recipe

__all__ = [
    "PORTION_BYTES", "Block", "Pictures", "Portion", "Preparation", "Sound", "Text", "configuration", "image_processor",
    "reader_of",
]  # fmt: skip

Block = dict[str, npt.NDArray[np.generic]]
"""One input of a model, by the name of the argument; see the readers for shapes."""
Portion = list[list[Block]]
"""Blocks of one clip for each backbone of the recipe, in its order."""
Picture = npt.NDArray[np.uint8]
PORTION_BYTES = 32 * 2**20
"""Pictures of one portion, in bytes; a portion ends once it holds as many."""
_SPECTROGRAMS = {"audio-spectrogram-transformer": "input_values", "whisper": "input_features"}


def configuration(backbone: Backbone) -> Any:
    """Return the model's configuration, of the part that reads pictures or text where it has several.

    Raises:
        OSError, ValueError: it cannot be loaded.
    """
    config = AutoConfig.from_pretrained(backbone.model, revision=backbone.revision, trust_remote_code=False)
    part = "text_config" if backbone.kind == "text" else "vision_config"
    return getattr(config, part, config) if backbone.kind != "audio" else config


def image_processor(backbone: Backbone) -> Any:
    """Return the model's own image processor.

    Raises:
        OSError, ValueError, ImportError: it cannot be loaded, or has no PIL version.
    """
    return AutoImageProcessor.from_pretrained(
        backbone.model, revision=backbone.revision, trust_remote_code=False, backend="pil"
    )


class Pictures:
    """Frames, or windows of frames, to blocks ``pixels``: (c, h, w) or (t, c, h, w), bytes."""

    def __init__(self, backbone: Backbone) -> None:
        self._process = image_processor(backbone)
        self.length = 1
        if backbone.kind == "clips":
            config = configuration(backbone)
            found = getattr(config, "num_frames", None) or getattr(config, "frames_per_clip", None)
            if not isinstance(found, int):
                raise ValueError(f"a {config.model_type} model does not read clips of frames")
            self.length = found
        self._stride = backbone.stride or self.length
        self._windows = backbone.kind == "clips"
        self._buffer: list[Picture] = []
        self._taken = self._made = 0

    def begin(self) -> None:
        """Start another clip."""
        self._buffer, self._taken, self._made = [], 0, 0

    def add(self, picture: Picture) -> Iterator[Block]:
        """Take the next picture (height, width, 3); yield the block that it completes."""
        first = self._made * self._stride
        self._taken += 1
        if self._taken <= first:  # between two windows
            return
        pixels = self._process([picture], do_rescale=False, do_normalize=False, return_tensors="np")["pixel_values"]
        self._buffer.append(np.asarray(pixels).reshape(-1, *pixels.shape[-3:])[0])
        if len(self._buffer) == self.length:
            self._made += 1
            yield self._block(self._buffer)
            self._buffer = self._buffer[self._stride :]

    def end(self) -> Iterator[Block]:
        """Yield what is left: of a clip that is shorter than a window, its pictures spread over one."""
        if self._buffer and not self._made:
            places = np.linspace(0, len(self._buffer) - 1, self.length).round().astype(int)
            yield self._block([self._buffer[place] for place in places])

    def _block(self, pictures: Sequence[Picture]) -> Block:
        return {"pixels": np.stack(pictures) if self._windows else pictures[0]}


class Sound:
    """Sound to blocks of at most the backbone's seconds, all of a clip equally long.

    ``input_values`` (samples,) where the model reads waveforms; else a spectrogram as the model takes it, padded to
    its one length, and ``seconds`` (), of which it holds sound.
    """

    def __init__(self, backbone: Backbone) -> None:
        self._extract = AutoFeatureExtractor.from_pretrained(
            backbone.model, revision=backbone.revision, trust_remote_code=False
        )
        config = configuration(backbone)
        self.rate = int(self._extract.sampling_rate)
        self._longest = int(backbone.seconds * self.rate)
        self._spectrogram = _SPECTROGRAMS.get(config.model_type)
        self._shortest = 400
        if self._spectrogram is None:
            if not hasattr(config, "conv_kernel"):
                raise ValueError(
                    f"a {config.model_type} model is none of the kinds of sound: waveform encoders such as Wav2Vec2, "
                    "HuBERT and WavLM, audio spectrogram transformers, Whisper"
                )
            self._shortest = _receptive_field(config.conv_kernel, config.conv_stride)
        else:
            takes = _seconds_taken(self._extract)
            if backbone.seconds > takes:
                raise ValueError(f"its window may have {takes:g} seconds, not {backbone.seconds:g}")

    def blocks(self, waveform: Waveform) -> Iterator[Block]:
        """Yield the blocks of (samples,), at :attr:`rate`.

        Raises:
            ClipError: it is too short.
        """
        if len(waveform) < self._shortest:
            raise ClipError("empty", f"{len(waveform)} samples of sound; the backbone needs {self._shortest}")
        count = ceil(len(waveform) / self._longest)
        length = len(waveform) // count  # equal parts, as a short rest would weigh little and tell less
        for start in range(0, count * length, length):
            piece = waveform[start : start + length]
            made = self._extract(piece, sampling_rate=self.rate, return_tensors="np")
            if self._spectrogram is None:
                yield {"input_values": np.asarray(made["input_values"][0], np.float32)}
            else:
                seconds = np.array(length / self.rate, np.float32)
                yield {self._spectrogram: np.asarray(made[self._spectrogram][0], np.float32), "seconds": seconds}


class Text:
    """Text to blocks ``input_ids`` and what else the tokenizer gives, (tokens,) each, special tokens in each block."""

    def __init__(self, backbone: Backbone) -> None:
        self._tokenize = AutoTokenizer.from_pretrained(
            backbone.model, revision=backbone.revision, trust_remote_code=False
        )
        if not self._tokenize.is_fast:  # others do not say where they cut a long text
            raise ValueError("its tokenizer comes without a fast version")
        positions = getattr(configuration(backbone), "max_position_embeddings", None) or 2**30
        self._longest = min(int(self._tokenize.model_max_length), positions)

    def blocks(self, text: str) -> Iterator[Block]:
        """Yield the blocks of a text that holds more than white space."""
        made = self._tokenize(text, truncation=True, max_length=self._longest, return_overflowing_tokens=True)
        made.pop("overflow_to_sample_mapping")
        for index in range(len(made["input_ids"])):
            yield {name: np.asarray(values[index], np.int64) for name, values in made.items()}


def reader_of(backbone: Backbone) -> Pictures | Sound | Text:
    """Return what makes the backbone's blocks.

    Raises:
        OSError, ValueError, ImportError: the model's processor cannot be loaded, or the model is not of its kind.
    """
    if backbone.kind == "text":
        return Text(backbone)
    return Sound(backbone) if backbone.kind == "audio" else Pictures(backbone)


class Preparation:
    """Makes the blocks of clips; one per process, used for one clip at a time.

    Raises:
        OSError, ValueError, ImportError: as for :func:`reader_of`.
    """

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._readers = [reader_of(backbone) for backbone in recipe.backbones]

    def portions(self, clip: Clip, file: Path | None, version: int = 0) -> Iterator[Portion]:
        """Yield the clip's blocks, portion by portion; one at least.

        Args:
            clip: the clip.
            file: its video; None for a clip that is text only.
            version: 0 for the clip itself, else which augmented version of it.

        Raises:
            ClipError: it has not what the recipe's backbones read; maybe only after some portions.
        """
        changes = Augmentation(clip.sample_id, version) if version else None
        portion: Portion = [[] for _ in self._readers]
        if self._recipe.kinds - {"text"} and file is None:
            raise ClipError("missing", "the clip list names no video")
        self._add_text(clip, changes, portion)
        self._add_sound(clip, file, changes, portion)
        if file is not None and self._recipe.kinds & {"frames", "clips"}:
            yield from self._pictures(clip, file, changes, portion)
        else:
            yield portion

    def _add_text(self, clip: Clip, changes: Augmentation | None, portion: Portion) -> None:
        if "text" not in self._recipe.kinds:
            return
        if clip.transcript is None or not clip.transcript.strip():
            raise ClipError("no transcript", "the clip list holds none")
        text = clip.transcript if changes is None else changes.text(clip.transcript)
        for blocks, reader in zip(portion, self._readers, strict=True):
            if isinstance(reader, Text):
                blocks += reader.blocks(text)

    def _add_sound(self, clip: Clip, file: Path | None, changes: Augmentation | None, portion: Portion) -> None:
        heard: dict[int, Waveform] = {}
        for blocks, reader in zip(portion, self._readers, strict=True):
            if isinstance(reader, Sound) and file is not None:
                if reader.rate not in heard:
                    waveform = read_waveform(file, reader.rate, clip.start, clip.end)
                    heard[reader.rate] = waveform if changes is None else changes.waveform(waveform)
                blocks += reader.blocks(heard[reader.rate])

    def _pictures(self, clip: Clip, file: Path, changes: Augmentation | None, portion: Portion) -> Iterator[Portion]:
        """Yield ``portion`` with the video's blocks, in several where they are many."""
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
        held, seen = 0, False
        for sampled in read_frames(file, rates, clip.start, clip.end):
            picture = sampled.picture if track is None else track.crop(sampled.time, sampled.picture)
            if picture is None:
                continue
            seen = True
            picture = picture if changes is None else changes.picture(picture)
            for index, reader, rate in sources:
                if rate == rates[sampled.rate]:
                    for block in reader.add(picture):
                        portion[index].append(block)
                        held += block["pixels"].nbytes
            if held >= PORTION_BYTES:
                yield portion
                portion, held = [[] for _ in self._readers], 0
        if not seen:
            raise ClipError("no face", f"{file}: none was found in any second")
        for index, reader, _ in sources:
            portion[index] += reader.end()
        yield portion


def _receptive_field(kernels: Sequence[int], strides: Sequence[int]) -> int:
    """Samples that a stack of convolutions needs for one output."""
    samples = 1
    for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
        samples = (samples - 1) * stride + kernel
    return samples


def _seconds_taken(extractor: Any) -> float:
    """Seconds of sound in a model's one length of spectrogram; more would be cut off without a word."""
    if hasattr(extractor, "chunk_length"):  # Whisper
        return float(extractor.chunk_length)
    return float(extractor.max_length) / 100  # a column each 10 ms
