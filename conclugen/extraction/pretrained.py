"""Readers of pretrained models: the model's own processors turn pictures, sound and text into its inputs.

The processor preprocesses always in its PIL version. torchvision's version gives other pictures, and the features must
not depend on whether torchvision is installed. Video processors need torchvision, so windows are built here from single
processed frames. Pictures are resized and cropped, but stay bytes; the device scales and normalises them. So only a
quarter of the data is moved.

Shapes: c, h, w channels, height and width of a processed picture; t frames of a window.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from transformers import AutoConfig, AutoFeatureExtractor, AutoImageProcessor, AutoTokenizer

from conclugen.extraction.decoding import Waveform
from conclugen.extraction.readers import Array, Block, Picture, Pictures, Sound, Text
from conclugen.extraction.recipe import Backbone

__all__ = ["configuration", "image_processor", "reader_of_pretrained"]

_SPECTROGRAMS = {"audio-spectrogram-transformer": "input_values", "whisper": "input_features"}


def configuration(backbone: Backbone) -> Any:
    """Return the model's configuration, or that of its part for pictures or text if it has several parts.

    Raises:
        OSError, ValueError: the configuration cannot be loaded.
    """
    config = AutoConfig.from_pretrained(backbone.name, revision=backbone.revision, trust_remote_code=False)
    part = "text_config" if backbone.kind == "text" else "vision_config"
    return getattr(config, part, config) if backbone.kind != "audio" else config


def image_processor(backbone: Backbone) -> Any:
    """Return the model's own image processor.

    Raises:
        OSError, ValueError, ImportError: the processor cannot be loaded, or has no PIL version.
    """
    return AutoImageProcessor.from_pretrained(
        backbone.name, revision=backbone.revision, trust_remote_code=False, backend="pil"
    )


def reader_of_pretrained(backbone: Backbone) -> Pictures | Sound | Text:
    """Return the reader of a model as transformers stores it.

    Raises:
        OSError, ValueError, ImportError: the model's processor cannot be loaded, or the model is not of its kind.
    """
    if backbone.kind == "text":
        return Text(_tokens(backbone))
    return _sound(backbone) if backbone.kind == "audio" else _pictures(backbone)


def _pictures(backbone: Backbone) -> Pictures:
    """Return a reader whose blocks are ``pixels`` of bytes: frames (c, h, w), or windows of frames (t, c, h, w)."""
    processor = image_processor(backbone)
    length = 1
    if backbone.kind == "clips":
        config = configuration(backbone)
        frames = getattr(config, "num_frames", None) or getattr(config, "frames_per_clip", None)
        if not isinstance(frames, int):
            raise ValueError(f"a {config.model_type} model does not read clips of frames")
        length = frames

    def process(picture: Picture) -> Array:
        pixels = processor([picture], do_rescale=False, do_normalize=False, return_tensors="np")["pixel_values"]
        processed: Array = np.asarray(pixels).reshape(-1, *pixels.shape[-3:])[0]
        return processed

    def block(pictures: Sequence[Array]) -> Block:
        return {"pixels": np.stack(pictures) if backbone.kind == "clips" else pictures[0]}

    return Pictures(process, block, length=length, stride=backbone.stride or length)


def _sound(backbone: Backbone) -> Sound:
    """Return a reader of sound.

    A block for a model of waveforms is ``input_values`` (samples,). A block for a model of spectrograms is the
    spectrogram, padded to the model's one length, and ``seconds`` (), the duration of the sound in it.
    """
    extract = AutoFeatureExtractor.from_pretrained(backbone.name, revision=backbone.revision, trust_remote_code=False)
    config = configuration(backbone)
    rate = int(extract.sampling_rate)
    spectrogram = _SPECTROGRAMS.get(config.model_type)
    shortest = 400
    if spectrogram is None:
        if not hasattr(config, "conv_kernel"):
            raise ValueError(
                f"a {config.model_type} model is none of the kinds of sound: waveform encoders such as Wav2Vec2, "
                "HuBERT and WavLM, audio spectrogram transformers, Whisper"
            )
        shortest = _receptive_field(config.conv_kernel, config.conv_stride)
    else:
        longest = _spectrogram_seconds(extract)
        if backbone.seconds > longest:
            raise ValueError(f"its window may have {longest:g} seconds, not {backbone.seconds:g}")

    def block(stretch: Waveform) -> Block:
        extracted = extract(stretch, sampling_rate=rate, return_tensors="np")
        if spectrogram is None:
            return {"input_values": np.asarray(extracted["input_values"][0], np.float32)}
        seconds = np.array(len(stretch) / rate, np.float32)
        return {spectrogram: np.asarray(extracted[spectrogram][0], np.float32), "seconds": seconds}

    return Sound(block, rate=rate, seconds=backbone.seconds, shortest=shortest)


def _tokens(backbone: Backbone) -> Callable[[str], Iterator[Block]]:
    """Return a function that yields blocks of the tokenizer's arrays, such as ``input_ids``, (tokens,) each.

    Every block has its own special tokens.
    """
    tokenize = AutoTokenizer.from_pretrained(backbone.name, revision=backbone.revision, trust_remote_code=False)
    if not tokenize.is_fast:  # slow tokenizers do not say where they cut a long text
        raise ValueError("its tokenizer has no fast version")
    positions = getattr(configuration(backbone), "max_position_embeddings", None) or 2**30
    longest = min(int(tokenize.model_max_length), positions)

    def blocks(text: str) -> Iterator[Block]:
        tokens = tokenize(text, truncation=True, max_length=longest, return_overflowing_tokens=True)
        tokens.pop("overflow_to_sample_mapping")
        for index in range(len(tokens["input_ids"])):
            yield {name: np.asarray(values[index], np.int64) for name, values in tokens.items()}

    return blocks


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
