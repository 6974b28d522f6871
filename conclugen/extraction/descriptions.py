"""Describe a recipe's backbones before anything is written: whether each can be used, its width, what it depends on.

A pretrained model and an ONNX file run on a sample. A descriptor is known, but its packages and weights must be there.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from conclugen.extraction.descriptors.catalogue import DESCRIPTORS
from conclugen.extraction.inputs import reader_of
from conclugen.extraction.readers import Block, Pictures, Sound, Text
from conclugen.extraction.recipe import Backbone, Recipe, RecipeError

__all__ = ["Description", "describe"]


@dataclass(frozen=True)
class Description:
    """Facts about a backbone that only its files tell."""

    width: int
    """Width of its vectors."""
    weights: str
    """SHA-256 of all that features depend on: names and values of weights, a file, or a descriptor's definition."""
    model_type: str
    """Type of the model, as transformers names it; onnx, or descriptor."""


def describe(recipe: Recipe) -> list[Description]:
    """Load every backbone of a recipe, run it on a sample, and describe it.

    Raises:
        RecipeError: with every backbone that cannot be used, and the reason.
    """
    problems: list[str] = []
    descriptions = []
    for modality, backbones in recipe.modalities.items():
        for index, backbone in enumerate(backbones):
            try:
                descriptions.append(_describe(backbone))
            except (OSError, ValueError, ImportError, RuntimeError, TypeError, KeyError) as error:
                reason = " ".join(str(error).split()) or type(error).__name__
                problems.append(
                    f"modalities.{modality}.{index}: {backbone.name!r} cannot be a backbone of {backbone.kind}: "
                    f"{reason[:400]}"
                )
    if problems:
        raise RecipeError(problems)
    return descriptions


def _describe(backbone: Backbone) -> Description:
    reader = reader_of(backbone)
    if backbone.descriptor is not None:
        return _describe_descriptor(backbone, backbone.descriptor)
    if backbone.onnx is not None:
        from conclugen.extraction.onnx import OnnxEncoder

        sums, _ = OnnxEncoder(backbone)(list(_sample(reader)))
        return Description(sums.shape[1], _checksum(Path(backbone.onnx)), "onnx")
    return _describe_pretrained(backbone, reader)


def _describe_descriptor(backbone: Backbone, name: str) -> Description:
    descriptor = DESCRIPTORS[name]
    definition = f"{name} {descriptor.width}"
    if descriptor.needs_faces:
        from conclugen.extraction.descriptors.mesh import weights_file

        definition += _checksum(weights_file(backbone.weights))
    return Description(descriptor.width, hashlib.sha256(definition.encode()).hexdigest(), "descriptor")


def _describe_pretrained(backbone: Backbone, reader: Pictures | Sound | Text) -> Description:
    import torch

    from conclugen.extraction.backbones import Encoder, unused
    from conclugen.extraction.pretrained import configuration

    encoder = Encoder(backbone, torch.device("cpu"))
    sums, _ = encoder(list(_sample(reader)))
    digest = hashlib.sha256()
    for name, weight in sorted(encoder.model.state_dict().items()):
        if unused(name, backbone):
            continue
        digest.update(name.encode())
        digest.update(weight.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return Description(sums.shape[1], digest.hexdigest(), configuration(backbone).model_type)


def _checksum(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _sample(reader: Pictures | Sound | Text) -> Iterator[Block]:
    """Yield blocks of random pictures or sound, or of a sentence, to try a model with."""
    rng = np.random.default_rng(0)
    if isinstance(reader, Pictures):
        reader.begin()
        yield from reader.add(rng.integers(0, 256, (240, 320, 3), np.uint8))
        yield from reader.end()
    elif isinstance(reader, Sound):
        yield from reader.blocks(rng.uniform(-0.5, 0.5, reader.rate).astype(np.float32))
    else:
        yield from reader.blocks("A sentence.")
