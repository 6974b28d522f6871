"""Backbones in ONNX files: what a file takes is read from its inputs and checked, and ONNX Runtime runs it.

| kind | the model's inputs |
|---|---|
| frames | one of float32, (b, 3, height, width) or (b, height, width, 3) |
| audio | one of float32, (b, samples), (b, 1, samples) or (samples,) |
| text | input_ids (b, tokens) of int64; attention_mask and token_type_ids as well, if it has them |

Only blocks of equal shape share a run, so nothing is padded, but for models whose sound has a fixed length. The output
is (b, width), or has positions, (b, positions, width) or (b, width, rows, columns), whose mean is taken.

Rejected: windows of frames, because files differ in the order of their five axes and nothing in them says which it is.

Shapes: b blocks of one run.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from conclugen.extraction.decoding import Waveform
from conclugen.extraction.descriptors.packages import missing_packages
from conclugen.extraction.readers import Array, Block, Picture, Pictures, Sound, Sums, Text
from conclugen.extraction.recipe import Backbone

__all__ = ["OnnxEncoder", "reader_of_onnx"]

_TEXT = ("input_ids", "attention_mask", "token_type_ids")
_SHORTEST = 400
"""Samples of the shortest sound for a model that takes any length."""


def reader_of_onnx(backbone: Backbone) -> Pictures | Sound | Text:
    """Return the reader of an ONNX file; its blocks have the names of the model's inputs.

    Raises:
        ImportError: ONNX Runtime is not installed.
        ValueError: the file is no ONNX model, or takes other inputs than its kind.
    """
    inputs = _inputs(_session(backbone, 1))
    if backbone.kind == "text":
        return Text(_tokens(backbone, inputs))
    if len(inputs) != 1 or inputs[0].type != "tensor(float)":
        raise ValueError(f"a model of {backbone.kind} has one input of float32, but this one has {_listed(inputs)}")
    return _sound(backbone, inputs[0]) if backbone.kind == "audio" else _pictures(backbone, inputs[0])


def _pictures(backbone: Backbone, model_input: Any) -> Pictures:
    shape = model_input.shape
    if len(shape) != 4 or 3 not in (shape[1], shape[3]):
        raise ValueError(
            f"a model of frames takes (b, 3, height, width) or (b, height, width, 3), but this one has "
            f"{_listed([model_input])}"
        )
    channels_first = shape[1] == 3
    sides = shape[2:] if channels_first else shape[1:3]
    height, width = (side if isinstance(side, int) else backbone.size for side in sides)
    if height is None or width is None:
        raise ValueError(f"it takes pictures of any size, {_listed([model_input])}; give one by `size`, such as 224")
    mean = np.array(backbone.mean or (0, 0, 0), np.float32)
    std = np.array(backbone.std or (1, 1, 1), np.float32)

    def process(picture: Picture) -> Array:
        resized = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
        pixels = (resized - mean) / std
        return np.ascontiguousarray(pixels.transpose(2, 0, 1) if channels_first else pixels)

    return Pictures(process, lambda arrays: {model_input.name: arrays[0]})


def _sound(backbone: Backbone, model_input: Any) -> Sound:
    shape = model_input.shape
    if len(shape) not in (1, 2, 3) or (len(shape) == 3 and shape[1] != 1):
        raise ValueError(
            f"a model of audio takes (b, samples), (b, 1, samples) or (samples,), but this one has "
            f"{_listed([model_input])}"
        )
    rate = backbone.sample_rate or 16_000
    fixed = shape[-1] if isinstance(shape[-1], int) else None
    seconds = backbone.seconds if fixed is None else min(backbone.seconds, fixed / rate)

    def block(stretch: Waveform) -> Block:
        samples = stretch if fixed is None else np.pad(stretch, (0, fixed - len(stretch)))
        return {model_input.name: samples[None] if len(shape) == 3 else samples}

    return Sound(block, rate=rate, seconds=seconds, shortest=1 if fixed is not None else _SHORTEST)


def _tokens(backbone: Backbone, inputs: Sequence[Any]) -> Callable[[str], Iterator[Block]]:
    """Return a function that yields the blocks of a text, by the tokenizer.json beside the model."""
    from tokenizers import Tokenizer

    names = [model_input.name for model_input in inputs]
    if "input_ids" not in names or not set(names) <= set(_TEXT) or any(i.type != "tensor(int64)" for i in inputs):
        raise ValueError(f"a model of text takes {', '.join(_TEXT)} of int64, but this one has {_listed(inputs)}")
    file = Path(backbone.onnx or "").parent / "tokenizer.json"
    if not file.is_file():
        raise ValueError(f"a model of text needs its tokenizer beside it, but there is no file {file}")
    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.no_padding()
    if tokenizer.truncation is None:
        tokenizer.enable_truncation(512)

    def blocks(text: str) -> Iterator[Block]:
        encoding = tokenizer.encode(text)
        for piece in (encoding, *encoding.overflowing):
            arrays = {"input_ids": piece.ids, "attention_mask": piece.attention_mask, "token_type_ids": piece.type_ids}
            yield {name: np.asarray(arrays[name], np.int64) for name in names}

    return blocks


class OnnxEncoder:
    """An ONNX model in this process, on a GPU if ONNX Runtime has one.

    Args:
        backbone: the file, and how it is applied.
        threads: of one run.

    Raises:
        ImportError: ONNX Runtime is not installed.
        ValueError: the file is no ONNX model.
    """

    def __init__(self, backbone: Backbone, threads: int = 1) -> None:
        self._backbone = backbone
        self._session = _session(backbone, threads)
        shape = _inputs(self._session)[0].shape
        self._batched = len(shape) > 1
        self._batch = backbone.batch if self._batched and not isinstance(shape[0], int) else 1

    def __call__(self, blocks: Sequence[Block]) -> tuple[Sums, Sums]:
        """Return the sums (blocks, width) and weights (blocks,) of the blocks.

        Raises:
            ValueError: the model does not take its blocks, or its output has no such shape.
        """
        groups: dict[tuple[int, ...], list[int]] = {}
        for index, block in enumerate(blocks):
            groups.setdefault(next(iter(block.values())).shape, []).append(index)
        sums: list[npt.NDArray[np.float32] | None] = [None] * len(blocks)
        weights = np.ones(len(blocks), np.float32)
        for group in groups.values():
            for start in range(0, len(group), self._batch):
                batch = group[start : start + self._batch]
                for index, (vector, weight) in zip(batch, self._run([blocks[i] for i in batch]), strict=True):
                    sums[index] = vector * weight
                    weights[index] = weight
        return np.stack([vector for vector in sums if vector is not None]), weights

    def _run(self, blocks: Sequence[Block]) -> Iterator[tuple[npt.NDArray[np.float32], float]]:
        """Yield the vector (width,) and the weight of each of the blocks, which have one shape."""
        feeds = {name: np.stack([b[name] for b in blocks]) if self._batched else blocks[0][name] for name in blocks[0]}
        try:
            output = np.asarray(self._session.run([self._output], feeds)[0])
        except Exception as error:  # ONNX Runtime's errors have no common class
            raise ValueError(f"it fails on an input of its kind: {error}") from None
        if self._batched and len(output) != len(blocks):
            raise ValueError(f"its output {self._output} is {output.shape} for {len(blocks)} blocks")
        if not self._batched:
            output = output[None] if output.ndim == 1 else output
        positions = output.shape[1] if output.ndim == 3 and self._backbone.kind != "frames" else 1
        if output.ndim == 4:
            output = output.mean((2, 3))
        elif output.ndim == 3:
            output = output[:, 0] if self._backbone.pooling == "cls" else output.mean(1)
        if output.ndim != 2 or output.dtype.kind != "f":
            raise ValueError(
                f"its output {self._output} is {output.dtype} {output.shape}; it must be of floats, (b, width), "
                "(b, positions, width) or (b, width, rows, columns); name another one by `output`"
            )
        weight = float(positions) if self._backbone.pooling == "mean" else 1.0
        for vector in output.astype(np.float32):
            yield vector, weight

    @property
    def _output(self) -> str:
        names = [output.name for output in self._session.get_outputs()]
        if self._backbone.output is not None and self._backbone.output not in names:
            raise ValueError(f"it has no output {self._backbone.output!r}; its outputs are {', '.join(names)}")
        return str(self._backbone.output or names[0])


def _session(backbone: Backbone, threads: int) -> Any:
    if missing_packages(("onnxruntime",)):
        raise ImportError("onnxruntime is not installed; pip install 'conclugen-sweeps[onnx]'")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors
    wanted = ("CUDAExecutionProvider", "CPUExecutionProvider")
    providers = [name for name in wanted if name in onnxruntime.get_available_providers()]
    try:
        return onnxruntime.InferenceSession(backbone.onnx, options, providers=providers)
    except Exception as error:  # ONNX Runtime's errors have no common class
        raise ValueError(f"it cannot be read as an ONNX model: {error}") from None


def _inputs(session: Any) -> list[Any]:
    return list(session.get_inputs())


def _listed(inputs: Sequence[Any]) -> str:
    """Return inputs for a message: name, type and shape of each."""
    return " and ".join(
        f"{i.name} {i.type.removeprefix('tensor(').removesuffix(')')} ({', '.join(map(str, i.shape))})" for i in inputs
    )
