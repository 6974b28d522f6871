"""Prepare the inputs of backbones from clips, the CPU's half of an extraction.

A clip is cut into blocks: a frame, a window of frames, a stretch of sound, or as many tokens as the model takes. Each
block goes through its model by itself, so its vector cannot depend on other blocks. Pictures are resized and cropped
here, but stay bytes; the device scales and normalises them. So only a quarter of the data is moved. Long videos come in
portions of bounded size, so no clip is ever decoded as a whole.

The model's own processor preprocesses, always in its PIL version. torchvision's version gives other pictures, and the
features must not depend on whether torchvision is installed. Video processors need torchvision, so windows are built
here from single processed frames.

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
"""One input of a model: argument name -> array; the readers state the shapes."""
Portion = list[list[Block]]
"""Blocks of one clip for each backbone of the recipe, in its order."""
Picture = npt.NDArray[np.uint8]
PORTION_BYTES = 32 * 2**20
"""Bytes of pictures at which a portion ends."""
_SPECTROGRAMS = {"audio-spectrogram-transformer": "input_values", "whisper": "input_features"}


def configuration(backbone: Backbone) -> Any:
    """Return the model's configuration, or that of its part for pictures or text if it has several parts.

    Raises:
        OSError, ValueError: the configuration cannot be loaded.
    """
    config = AutoConfig.from_pretrained(backbone.model, revision=backbone.revision, trust_remote_code=False)
    part = "text_config" if backbone.kind == "text" else "vision_config"
    return getattr(config, part, config) if backbone.kind != "audio" else config


def image_processor(backbone: Backbone) -> Any:
    """Return the model's own image processor.

    Raises:
        OSError, ValueError, ImportError: the processor cannot be loaded, or has no PIL version.
    """
    return AutoImageProcessor.from_pretrained(
        backbone.model, revision=backbone.revision, trust_remote_code=False, backend="pil"
    )


class Pictures:
    """Reader that turns frames into blocks ``pixels`` of bytes: frames (c, h, w), or windows of frames (t, c, h, w)."""

    def __init__(self, backbone: Backbone) -> None:
        self._process = image_processor(backbone)
        self.length = 1
        if backbone.kind == "clips":
            config = configuration(backbone)
            frames = getattr(config, "num_frames", None) or getattr(config, "frames_per_clip", None)
            if not isinstance(frames, int):
                raise ValueError(f"a {config.model_type} model does not read clips of frames")
            self.length = frames
        self._stride = backbone.stride or self.length
        self._windows = backbone.kind == "clips"
        self._buffer: list[Picture] = []
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
        self._pictures += 1
        if self._pictures <= first:  # the picture lies between two windows
            return
        pixels = self._process([picture], do_rescale=False, do_normalize=False, return_tensors="np")["pixel_values"]
        self._buffer.append(np.asarray(pixels).reshape(-1, *pixels.shape[-3:])[0])
        if len(self._buffer) == self.length:
            self._blocks += 1
            yield self._block(self._buffer)
            self._buffer = self._buffer[self._stride :]

    def end(self) -> Iterator[Block]:
        """End the clip; if it is shorter than a window, yield one window over which its pictures are spread."""
        if self._buffer and not self._blocks:
            indices = np.linspace(0, len(self._buffer) - 1, self.length).round().astype(int)
            yield self._block([self._buffer[index] for index in indices])

    def _block(self, pictures: Sequence[Picture]) -> Block:
        return {"pixels": np.stack(pictures) if self._windows else pictures[0]}


class Sound:
    """Reader that turns sound into blocks of at most the backbone's seconds; a clip's blocks are equally long.

    A block for a model of waveforms is ``input_values`` (samples,). A block for a model of spectrograms is the
    spectrogram, padded to the model's one length, and ``seconds`` (), the duration of the sound in it.
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
            longest = _spectrogram_seconds(self._extract)
            if backbone.seconds > longest:
                raise ValueError(f"its window may have {longest:g} seconds, not {backbone.seconds:g}")

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
            piece = waveform[start : start + length]
            extracted = self._extract(piece, sampling_rate=self.rate, return_tensors="np")
            if self._spectrogram is None:
                yield {"input_values": np.asarray(extracted["input_values"][0], np.float32)}
            else:
                seconds = np.array(length / self.rate, np.float32)
                yield {self._spectrogram: np.asarray(extracted[self._spectrogram][0], np.float32), "seconds": seconds}


class Text:
    """Reader that turns text into blocks of the tokenizer's arrays, such as ``input_ids``, (tokens,) each.

    Every block has its own special tokens.
    """

    def __init__(self, backbone: Backbone) -> None:
        self._tokenize = AutoTokenizer.from_pretrained(
            backbone.model, revision=backbone.revision, trust_remote_code=False
        )
        if not self._tokenize.is_fast:  # slow tokenizers do not say where they cut a long text
            raise ValueError("its tokenizer has no fast version")
        positions = getattr(configuration(backbone), "max_position_embeddings", None) or 2**30
        self._longest = min(int(self._tokenize.model_max_length), positions)

    def blocks(self, text: str) -> Iterator[Block]:
        """Yield the blocks of a text that holds more than white space."""
        tokens = self._tokenize(text, truncation=True, max_length=self._longest, return_overflowing_tokens=True)
        tokens.pop("overflow_to_sample_mapping")
        for index in range(len(tokens["input_ids"])):
            yield {name: np.asarray(values[index], np.int64) for name, values in tokens.items()}


def reader_of(backbone: Backbone) -> Pictures | Sound | Text:
    """Return the reader that makes the backbone's blocks.

    Raises:
        OSError, ValueError, ImportError: the model's processor cannot be loaded, or the model is not of its kind.
    """
    if backbone.kind == "text":
        return Text(backbone)
    return Sound(backbone) if backbone.kind == "audio" else Pictures(backbone)


class Preparation:
    """The preparation of a recipe's blocks from clips, one clip at a time.

    Raises:
        OSError, ValueError, ImportError: as for :func:`reader_of`.
    """

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._readers = [reader_of(backbone) for backbone in recipe.backbones]

    def portions(self, clip: Clip, file: Path | None, version: int = 0) -> Iterator[Portion]:
        """Yield the clip's blocks in portions, at least one.

        Args:
            clip: the clip.
            file: its video; None for a clip that is text only.
            version: 0 for the clip itself, else the number of the augmented version.

        Raises:
            ClipError: the clip lacks something that a backbone reads; the error may come only after some portions.
        """
        augmentation = Augmentation(clip.sample_id, version) if version else None
        portion: Portion = [[] for _ in self._readers]
        if self._recipe.kinds - {"text"} and file is None:
            raise ClipError("missing", "the clip list names no video")
        self._add_text(clip, augmentation, portion)
        self._add_sound(clip, file, augmentation, portion)
        if file is not None and self._recipe.kinds & {"frames", "clips"}:
            yield from self._portions_of_pictures(clip, file, augmentation, portion)
        else:
            yield portion

    def _add_text(self, clip: Clip, augmentation: Augmentation | None, portion: Portion) -> None:
        if "text" not in self._recipe.kinds:
            return
        if clip.transcript is None or not clip.transcript.strip():
            raise ClipError("no transcript", "the clip list holds none")
        text = clip.transcript if augmentation is None else augmentation.text(clip.transcript)
        for blocks, reader in zip(portion, self._readers, strict=True):
            if isinstance(reader, Text):
                blocks += reader.blocks(text)

    def _add_sound(self, clip: Clip, file: Path | None, augmentation: Augmentation | None, portion: Portion) -> None:
        waveforms: dict[int, Waveform] = {}
        for blocks, reader in zip(portion, self._readers, strict=True):
            if isinstance(reader, Sound) and file is not None:
                if reader.rate not in waveforms:
                    waveform = read_waveform(file, reader.rate, clip.start, clip.end)
                    waveforms[reader.rate] = waveform if augmentation is None else augmentation.waveform(waveform)
                blocks += reader.blocks(waveforms[reader.rate])

    def _portions_of_pictures(
        self, clip: Clip, file: Path, augmentation: Augmentation | None, portion: Portion
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
        for sampled in read_frames(file, rates, clip.start, clip.end):
            picture = sampled.picture if track is None else track.crop(sampled.time, sampled.picture)
            if picture is None:
                continue
            any_picture = True
            picture = picture if augmentation is None else augmentation.picture(picture)
            for index, reader, rate in sources:
                if rate == rates[sampled.rate]:
                    for block in reader.add(picture):
                        portion[index].append(block)
                        portion_bytes += block["pixels"].nbytes
            if portion_bytes >= PORTION_BYTES:
                yield portion
                portion = [[] for _ in self._readers]
                portion_bytes = 0
        if not any_picture:
            raise ClipError("no face", f"{file}: no face was found in any second")
        for index, reader, _ in sources:
            portion[index] += reader.end()
        yield portion


def _receptive_field(kernels: Sequence[int], strides: Sequence[int]) -> int:
    """Return the number of samples that a stack of convolutions needs for one output."""
    samples = 1
    for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
        samples = (samples - 1) * stride + kernel
    return samples


def _spectrogram_seconds(extractor: Any) -> float:
    """Return the seconds of sound in a model's spectrogram, whose extractor would silently cut off more."""
    if hasattr(extractor, "chunk_length"):  # Whisper
        return float(extractor.chunk_length)
    return float(extractor.max_length) / 100  # the spectrogram has a column each 10 ms
