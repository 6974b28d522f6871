"""Run frozen backbones, the device's half of an extraction: blocks in, a sum of vectors and its weight per block out.

A clip's feature is the sum of its blocks' vectors over the sum of their weights. A frame or a window weighs 1, as in
the paper's mean over frames and windows. A stretch of sound or text weighs its number of positions. So the mean is over
time and tokens, however the clip was cut. Padding is never averaged in:

* Text is padded, and masked in the model and in the mean. Special tokens count, as in sentence encoders.
* Waveforms are padded and masked for models whose extractor gives a mask (layer norm: HuBERT large, WavLM large). The
  other models (group norm over time: Wav2Vec2 base) read padding in spite of a mask, so only equally long blocks share
  a forward pass.
* Spectrograms have one length, padded by the model's own extractor, as in its training. The mean leaves out the
  columns without sound.

Weights are loaded in float32. On a GPU the model runs under bf16 autocast; sums are float32. A model that lacks a
weight is refused: transformers would make the weight random with a mere warning, and its features would look normal.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from transformers import AutoModel
from transformers.utils import logging

from conclugen.extraction.pretrained import configuration, image_processor
from conclugen.extraction.readers import Block, Sums
from conclugen.extraction.recipe import Backbone

__all__ = ["Encoder", "unused"]

_UNUSED = r"pooler|masked_spec_embed|mask_token"


def unused(weight: str, backbone: Backbone) -> bool:
    """Return whether no feature depends on the weight of that name, so that it may be missing and random."""
    return backbone.pooling != "pooler" and re.search(_UNUSED, weight) is not None


class Encoder:
    """A backbone on a device.

    Args:
        backbone: the model, and how it is applied.
        device: where it runs.

    Raises:
        OSError, ValueError: the model cannot be loaded, or lacks weights.
    """

    def __init__(self, backbone: Backbone, device: torch.device) -> None:
        self._backbone = backbone
        self._device = device
        self.model = _load(backbone).to(device).eval().requires_grad_(False)
        self._pad = configuration(backbone).pad_token_id if backbone.kind == "text" else 0
        if backbone.kind in ("frames", "clips"):
            process = image_processor(backbone)
            scale = process.rescale_factor if process.do_rescale else 1.0
            mean, std = (process.image_mean, process.image_std) if process.do_normalize else (0.0, 1.0)
            # (x * scale - mean) / std becomes one factor and one term per channel
            channel_std = torch.tensor(std, device=device).reshape(-1, 1, 1)
            self._factor = scale / channel_std
            self._term = torch.tensor(mean, device=device).reshape(-1, 1, 1) / channel_std

    @torch.inference_mode()
    def __call__(self, blocks: Sequence[Block]) -> tuple[Sums, Sums]:
        """Return the sums (blocks, width) and weights (blocks,) of the blocks."""
        sums: list[Tensor | None] = [None] * len(blocks)
        weights: list[Tensor | None] = [None] * len(blocks)
        for batch in self._batches(blocks):
            with torch.autocast(self._device.type, torch.bfloat16, enabled=self._device.type == "cuda"):
                total, weight = self._forward([blocks[index] for index in batch])
            for index, block_sum, block_weight in zip(batch, total.cpu(), weight.cpu(), strict=True):
                sums[index] = block_sum
                weights[index] = block_weight
        return (
            torch.stack([total for total in sums if total is not None]).numpy(),
            torch.stack([weight for weight in weights if weight is not None]).numpy(),
        )

    def _batches(self, blocks: Sequence[Block]) -> Iterator[list[int]]:
        """Yield the indices of blocks that share a forward pass: of one shape, or of similar length if padded."""
        groups: dict[tuple[int, ...], list[int]] = {}
        for index, block in enumerate(blocks):
            groups.setdefault(() if self._pads else _array(block).shape, []).append(index)
        for group in groups.values():
            group.sort(key=lambda index: _array(blocks[index]).shape)
            for start in range(0, len(group), self._backbone.batch):
                yield group[start : start + self._backbone.batch]

    @property
    def _pads(self) -> bool:
        """Whether blocks of different lengths may share a forward pass, because the model heeds a mask."""
        if self._backbone.kind == "text":
            return True
        return getattr(self.model.config, "feat_extract_norm", None) == "layer"

    def _forward(self, blocks: Sequence[Block]) -> tuple[Tensor, Tensor]:
        """Return the sums (b, width) and weights (b,) of b blocks that share a forward pass."""
        if self._backbone.kind == "text":
            inputs = {name: self._padded([b[name] for b in blocks], name) for name in blocks[0]}
            inputs.setdefault("attention_mask", self._mask([len(_array(b)) for b in blocks]))
            return self._pool(self.model(**inputs), inputs["attention_mask"])
        if self._backbone.kind != "audio":
            pixels = torch.from_numpy(np.stack([b["pixels"] for b in blocks])).to(self._device)
            out = self.model(**{self.model.main_input_name: pixels.float() * self._factor - self._term})
            return self._pool(out, None)
        name = self.model.main_input_name
        if "seconds" in blocks[0]:
            spectrograms = torch.from_numpy(np.stack([b[name] for b in blocks])).to(self._device)
            return self._pool(self.model(spectrograms), self._sound_mask([float(b["seconds"]) for b in blocks]))
        lengths = [len(b[name]) for b in blocks]
        waveforms = self._padded([b[name] for b in blocks], name)
        if not self._pads:
            return self._pool(self.model(waveforms), self._mask([1] * len(blocks)))
        out = self.model(waveforms, attention_mask=self._mask(lengths))
        positions = self.model._get_feat_extract_output_lengths(torch.tensor(lengths))
        return self._pool(out, self._mask(positions.tolist()))

    def _padded(self, arrays: Sequence[npt.NDArray[np.generic]], name: str) -> Tensor:
        """Stack arrays (n_i,) to (b, max n_i); input ids get the model's padding token, which some models look for."""
        value = (self._pad or 0) if name == "input_ids" else 0
        rows = [torch.from_numpy(array) for array in arrays]
        return nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=value).to(self._device)

    def _mask(self, lengths: Sequence[int]) -> Tensor:
        """Return (b, max length) of 1 where a row has a position."""
        positions = torch.arange(max(lengths))
        return (positions < torch.tensor(lengths)[:, None]).long().to(self._device)

    def _sound_mask(self, seconds: Sequence[float]) -> Tensor:
        """Return (b, positions) of 1 where a position of a spectrogram model begins within the sound."""
        config = self.model.config
        if config.model_type == "whisper":  # a position each 20 ms
            audible = torch.tensor(seconds)[:, None] > 0.02 * torch.arange(config.max_source_positions)
            return audible.long().to(self._device)
        rows = (config.num_mel_bins - config.patch_size) // config.frequency_stride + 1
        columns = (config.max_length - config.patch_size) // config.time_stride + 1
        audible = torch.tensor(seconds)[:, None] > 0.01 * config.time_stride * torch.arange(columns)
        special = torch.ones(len(seconds), 2, dtype=torch.bool)  # class and distillation token
        # patches lie row by row, each row a band of frequencies over time
        return torch.cat([special, audible.repeat(1, rows)], dim=1).long().to(self._device)

    def _pool(self, output: Any, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Reduce a model's output to sums (b, width) and weights (b,).

        Args:
            output: has ``last_hidden_state`` (b, positions, width), or (b, width, rows, columns) of a convolutional
                model.
            mask: (b, positions) of 1 for positions that count. With a mask (b, 1) all positions count. With None all
                positions count and the block weighs 1.
        """
        if self._backbone.pooling == "pooler":
            if getattr(output, "pooler_output", None) is None:
                raise ValueError("the model has no pooled output; choose another pooling")
            vectors = output.pooler_output.float().flatten(1)
            return vectors, torch.ones(len(vectors))
        states = output.last_hidden_state.float()
        if states.ndim == 4:
            if self._backbone.pooling == "cls":
                raise ValueError("a convolutional model has no class position; choose another pooling")
            states = states.flatten(2).transpose(1, 2)
        if self._backbone.pooling == "cls":
            return states[:, 0], torch.ones(len(states))
        if mask is None:
            return states.mean(1), torch.ones(len(states))
        if mask.shape[1] not in (1, states.shape[1]):
            raise ValueError(f"the model gives {states.shape[1]} positions where {mask.shape[1]} were expected")
        counts = mask.expand(-1, states.shape[1]).float()
        return torch.einsum("bpw,bp->bw", states, counts), counts.sum(1)


def _array(block: Block) -> npt.NDArray[np.generic]:
    """Return the array whose shape decides which blocks share a batch."""
    return next(array for array in block.values() if array.ndim)


def _load(backbone: Backbone) -> Any:
    """Load the part of the model that reads the backbone's kind of input.

    Raises:
        OSError, ValueError: the model cannot be loaded, or lacks weights.
    """
    verbosity = logging.get_verbosity()
    bars = logging.is_progress_bar_enabled()
    logging.set_verbosity_error()  # missing weights are reported below
    logging.disable_progress_bar()
    try:
        model, info = AutoModel.from_pretrained(
            backbone.name,
            revision=backbone.revision,
            trust_remote_code=False,
            output_loading_info=True,
            dtype=torch.float32,
        )
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
    missing = sorted(name for name in info["missing_keys"] if not unused(name, backbone))
    if missing:
        names = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        raise ValueError(f"its weights lack {names}, which would be random")
    if model.config.is_encoder_decoder:
        return model.get_encoder()
    tower = "text_model" if backbone.kind == "text" else "vision_model"
    return getattr(model, tower, model) if backbone.kind != "audio" else model
