# mypy: untyped-calls-exclude=transformers
"""Write trained heads as folders that others can load: our own heads, and those of the authors' released checkpoints.

Both become a Hugging Face model folder: ``config.json``, safetensors weights (with the standardisation, see
:mod:`conclugen.model`) and a model card. A folder is written under a temporary name and renamed, so it is whole or
absent.
"""

import hashlib
import json
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from huggingface_hub import EvalResult, ModelCardData
from torch import Tensor
from transformers.utils import logging

from conclugen import __version__
from conclugen.features.standardise import Standardisation
from conclugen.heads import RepresentationHeads
from conclugen.model import ConCluGenConfig, ConCluGenHead
from conclugen.sharing.lightning import CheckpointError, plain, read_checkpoint

__all__ = ["ModelCard", "Score", "SharingError", "export_head", "head_model", "import_checkpoint"]

_CARD_FILE = "README.md"


class SharingError(ValueError):
    """A head that cannot be written, or a checkpoint that cannot be imported; the message lists every reason."""


class Score(NamedTuple):
    """One row of the card's table."""

    dataset: str
    labels: str
    """Label budget of the probe, such as 5 (per class) or 10%; empty for all labels."""
    metric: str
    mean: float


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """Facts about a shared head that its weights do not say."""

    subset: str | None
    """Losses that the head was trained with; None if unknown."""
    hyperparameters: Mapping[str, Any]
    """Name -> plain value."""
    seed: int | None
    """Seed of the training; None if unknown."""
    features_fingerprint: str | None
    """Fingerprint of the feature set whose training rows the head was trained on; None if unknown."""
    scores: Sequence[Score] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    """Software that made the head -> its version."""
    origin: str = ""
    """A sentence on the head's origin, if that is not a sweep."""
    licence: str | None = None
    """Identifier of the licence on the Hub, such as ``mit`` or ``cc-by-nc-4.0``; None leaves it open."""
    data_statement: str = ""
    """Markdown on the people and the recordings behind the features; empty if the user gives none."""


def export_head(
    out: Path,
    head: RepresentationHeads,
    standardisation: Standardisation | None,
    widths: Mapping[str, int],
    card: ModelCard,
) -> None:
    """Write a trained head as a model folder.

    Args:
        out: the folder to write; must not exist, or be empty.
        head: the trained head; stays as it is.
        standardisation: standardisation of the head's modalities, and perhaps of others; None for a model without one.
        widths: modality -> feature width d_m, in modality order.
        card: what the folder says about the head.

    Raises:
        SharingError: ``out`` is neither absent nor empty; nothing is written.
        RuntimeError: the shapes of head, standardisation and widths differ.
    """
    _check_free(out)
    model = head_model(head, standardisation, widths, card)
    with _new_folder(out) as folder, _no_progress_bars():
        model.save_pretrained(folder)
        (folder / _CARD_FILE).write_text(
            _card_text(card, widths, head.representation_dim, standardised=standardisation is not None),
            encoding="utf-8",
        )


def head_model(
    head: RepresentationHeads,
    standardisation: Standardisation | None,
    widths: Mapping[str, int],
    card: ModelCard,
) -> ConCluGenHead:
    """Return a trained head as a model that reads raw features; arguments as for :func:`export_head`.

    Raises:
        RuntimeError: the shapes of head, standardisation and widths differ.
    """
    config = ConCluGenConfig(
        modalities=list(widths),
        widths=list(widths.values()),
        representation_dim=head.representation_dim,
        lift_audio=head.lift_audio,
        subset=card.subset,
        hyperparameters=dict(card.hyperparameters),
        seed=card.seed,
        features_fingerprint=card.features_fingerprint,
    )
    with torch.random.fork_rng(devices=[]):
        model = ConCluGenHead(config)
    state = model.state_dict() | head.state_dict()
    if standardisation is not None:
        for name in widths:
            state[f"standardisation.{name}.mean"] = standardisation.mean[name]
            state[f"standardisation.{name}.scale"] = standardisation.scale[name]
    model.load_state_dict(state)
    return model


def _check_free(out: Path) -> None:
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise SharingError(f"{out} already exists and is not an empty folder; choose another one or remove it first.")


@contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes ``out`` if the body succeeds, and is removed if it does not."""
    out = out.resolve()
    temporary = out.with_name(f".{out.name}.{uuid.uuid4().hex}.partial")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        temporary.replace(out)
    except OSError as error:
        raise SharingError(f"{out} cannot be written: {error}; choose another folder.") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    if not logging.is_progress_bar_enabled():
        yield
        return
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.enable_progress_bar()


def _card_text(card: ModelCard, widths: Mapping[str, int], representation_dim: int, *, standardised: bool) -> str:
    """Return the model card: YAML for the Hub, then Markdown for readers. Names and values are escaped or JSON."""
    name = f"ConCluGen head ({card.subset})" if card.subset is not None else "ConCluGen head"
    metadata = ModelCardData(
        library_name="transformers",
        pipeline_tag="feature-extraction",
        tags=["conclugen", "multimodal", "self-supervised-learning"],
        model_name=name,
        license=card.licence,
        eval_results=[
            EvalResult(
                task_type="feature-extraction",
                dataset_type=score.dataset,
                dataset_name=score.dataset,
                dataset_config=_budget(score.labels),
                metric_type=score.metric,
                metric_value=score.mean,
            )
            for score in card.scores
        ]
        or None,
    )
    inputs = ", ".join(f'"{modality}": {modality}' for modality in widths)
    tensors = "\n".join(f"| {modality} | {width} |" for modality, width in widths.items())
    standardisation = (
        "The model holds the standardisation of the rows that it was trained on: give it the features as the backbone "
        "made them."
        if standardised
        else "No standardisation is part of the model: the heads read features as they are."
    )
    scores = "\n".join(
        f"| {_cell(score.dataset)} | {_cell(_budget(score.labels))} | {_cell(score.metric)} | {score.mean:.4f} |"
        for score in card.scores
    )
    origin = f"{card.origin}\n\n" if card.origin else ""
    return f"""---
{metadata.to_yaml()}
---

# {name}

Maps frozen features of each modality to representations of width {representation_dim}
(ConCluGen, https://arxiv.org/abs/2404.10904).

{origin}| modality | feature width |
|---|---|
{tensors}

## Use

```python
import conclugen.model  # registers the model
from transformers import AutoModel

model = AutoModel.from_pretrained("PATH/OF/THIS/FOLDER")
representations = model({{{inputs}}})  # (batch, width) each -> (batch, {representation_dim}) each
```

Some of the modalities are enough. {standardisation}

## Data and licence

- licence: {_known(card.licence)}

{card.data_statement.strip() or "No data statement was given: ask who made this model, before you use it on people."}

## Training

- losses: {_known(card.subset)}
- seed: {_known(card.seed)}
- fingerprint of the training features: {_known(card.features_fingerprint)}

Hyperparameters:

{_json(card.hyperparameters)}

Versions:

{_json(card.versions)}

## Scores

{_SCORES_HEADER + scores if card.scores else "None recorded."}
"""


_SCORES_HEADER = """Mean scores of classifiers on the frozen representations.

| dataset | labels | metric | mean |
|---|---|---|---|
"""


def _budget(labels: str) -> str:
    if not labels:
        return "all labels"
    return f"{labels} per class" if labels.isdecimal() else labels


def _known(value: object) -> str:
    return "not recorded" if value is None else f"`{value}`"


def _cell(text: str) -> str:
    return re.sub(r"([\\|`*_<\[])", r"\\\1", " ".join(text.split()))


def _json(values: Mapping[str, Any]) -> str:
    """Return ``values`` as a fenced block, which no value can end: JSON strings have no line breaks."""
    return f"```json\n{json.dumps(dict(values), indent=2)}\n```" if values else "not recorded"


# The released checkpoints ------------------------------------------------------------------------------------------

_PREFIX = "_representation_heads.heads."
_MODALITIES = {"video": "frames_2d_3d", "audio": "audio_spectrograms", "text": "texts"}
"""Our names, in modality order -> the released code's."""
_UNIT = {"input": ("fc1", "R", "d"), "gate": ("context_gating.fc", "R", "R"), "output": ("fc2", "R", "R")}
"""Our layer -> the released code's, with its weight's shape: R representation width, d the modality's feature width."""
_LIFTED_UNIT = {
    "0.input": ("0.fc1", "d", "d"),
    "0.gate": ("0.context_gating.fc", "d", "d"),
    "0.output": ("0.fc2", "d", "d"),
    "1": ("1", "R", "d"),
}


def import_checkpoint(file: Path, out: Path) -> ConCluGenConfig:
    """Turn one of the authors' PyTorch Lightning checkpoints into a model folder; nothing in the file is executed.

    The folder gets the representation heads (frames_2d_3d as video, audio_spectrograms as audio, texts as text) and
    the hyperparameters that are plain values. The checkpoint holds no standardisation, so the model has none.

    Args:
        file: the .ckpt file.
        out: the folder to write; must not exist, or be empty.

    Returns:
        The folder's configuration.

    Raises:
        SharingError: ``out`` is neither absent nor empty. Or the file cannot be read, needs code, or lacks the heads
            of the released code. The message has a line per problem; nothing is written.
    """
    _check_free(out)
    try:
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        content = read_checkpoint(file)
    except OSError as error:
        raise SharingError(f"{file} cannot be read: {error}.") from None
    except CheckpointError as error:
        raise SharingError(str(error)) from None
    heads, widths = _read_heads(file, content)
    version = content.get("pytorch-lightning_version")
    hyperparameters = plain(content.get("hyper_parameters"))
    card = ModelCard(
        subset=None,
        hyperparameters=hyperparameters if isinstance(hyperparameters, dict) else {},
        seed=None,
        features_fingerprint=None,
        versions={"conclugen": __version__} | ({"pytorch-lightning": version} if isinstance(version, str) else {}),
        origin=f"Imported from a PyTorch Lightning checkpoint of the released code (SHA-256 `{digest}`).",
    )
    export_head(out, heads, None, widths, card)
    return ConCluGenConfig.from_pretrained(out)


def _read_heads(file: Path, content: Mapping[str, Any]) -> tuple[RepresentationHeads, dict[str, int]]:
    """Return the heads of a checkpoint and modality -> d_m.

    Raises:
        SharingError: with every problem of the checkpoint's entries.
    """
    entries = {
        key.removeprefix(_PREFIX): value
        for key, value in content["state_dict"].items()
        if isinstance(key, str) and key.startswith(_PREFIX)
    }
    problems: list[str] = []
    if not entries:
        problems.append(f"{_PREFIX}*: missing; are these weights of the released code?")
    state: dict[str, Tensor] = {}
    widths: dict[str, int] = {}
    sizes: dict[str, int] = {}  # R, and d of the modality, taken from the first weight that has them
    for name, released_name in _MODALITIES.items():
        if not any(key.startswith(f"{released_name}.") for key in entries):
            continue
        sizes.pop("d", None)
        for layer, (released_layer, *symbols) in (_LIFTED_UNIT if name == "audio" else _UNIT).items():
            for kind, axes in (("weight", symbols), ("bias", symbols[:1])):
                key = f"{released_name}.{released_layer}.{kind}"
                value = entries.pop(key, None)
                if problem := _problem(value, axes, sizes):
                    problems.append(f"{_PREFIX}{key}: {problem}")
                else:
                    state[f"heads.{name}.{layer}.{kind}"] = value
        widths[name] = sizes.get("d", 0)
    problems += [f"{_PREFIX}{key}: not known of the released code." for key in entries]
    if problems:
        raise SharingError("\n".join([f"{file} does not hold the released heads:", *problems]))
    with torch.random.fork_rng(devices=[]):
        heads = RepresentationHeads(widths, sizes["R"], lift_audio="audio" in widths)
    heads.load_state_dict(state)
    return heads, widths


def _problem(value: object, axes: Sequence[str], sizes: dict[str, int]) -> str | None:
    """Return what is wrong with an entry of shape ``axes``, or None; add the sizes of its new axes to ``sizes``."""
    if value is None:
        return "missing."
    if (
        not isinstance(value, Tensor)
        or value.layout != torch.strided
        or not value.is_floating_point()
        or value.is_meta
        or value.numel() * value.element_size() > value.untyped_storage().nbytes()  # a view that repeats few numbers
    ):
        return "expected a dense tensor of floating-point numbers."
    if value.ndim == len(axes) and value.numel():
        for axis, size in zip(axes, value.shape, strict=True):
            sizes.setdefault(axis, size)
    expected = tuple(sizes.get(axis, axis) for axis in axes)
    if tuple(value.shape) != expected:
        return f"expected shape ({', '.join(map(str, expected))}), got {tuple(value.shape)}."
    if not value.isfinite().all():
        return "holds NaN or infinite values."
    return None
