"""Read recipes of extractions: the backbones of each modality, from a YAML file or a preset's name.

The module loads neither torch nor transformers, so a recipe is checked at once. Only the weights can tell whether a
model loads and is of the recipe's kind. :mod:`conclugen.extraction.backbones` checks that, before anything is written.

A recipe states what a backbone reads: single frames, windows of frames, sound, or text. Deriving this from the model's
type was rejected: a CLIP model reads both images and text, and nobody would notice a wrong guess.
"""

import re
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from conclugen.features.manifest import MODALITY_NAME
from conclugen.settings.documents import DocumentError, UnreadableError, read_settings
from conclugen.settings.paths import PathError, expanded
from conclugen.settings.wording import problems_of

__all__ = ["PRESETS", "Backbone", "Faces", "Kind", "Recipe", "RecipeError", "load_recipe"]

PRESETS = ("paper", "strong")
"""Recipes that come with the package."""
Kind = Literal["frames", "clips", "audio", "text"]
_FIELDS_OF = {"rate": ("frames", "clips"), "stride": ("clips",), "window": ("audio",)}
_DEFAULT_RATE = {"frames": 1.0, "clips": 16.0}
_HUB_ID = r"^[A-Za-z0-9][\w.-]*(/[\w.-]+)?$"


class RecipeError(ValueError):
    """A recipe, or one of its backbones, cannot be used; ``problems`` holds one message per problem."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, regex_engine="python-re")


def _model(model: str, info: ValidationInfo) -> str:
    """Return a hub id, or the absolute path of a model's folder, where the recipe is read from a file."""
    if info.context is None:
        return model
    folder: Path | None = info.context["folder"]
    if folder is not None and (local := (folder / expanded(model, folder)).absolute()).is_dir():
        return str(local)
    if not re.fullmatch(_HUB_ID, model):
        raise ValueError("is neither a folder nor a hub id such as facebook/wav2vec2-base; give one of the two.")
    return model


class Backbone(_Section):
    """A frozen model, and how it is applied."""

    model: Annotated[str, Field(min_length=1), AfterValidator(_model)]
    """A hub id, or a folder as `save_pretrained` writes it, relative to the recipe's folder."""
    kind: Kind
    """Input that the model reads: single frames, clips (windows of frames), audio or text."""
    revision: str | None = None
    """Branch, tag or commit of a hub id."""
    rate: Annotated[float, Field(gt=0, le=240, strict=True)] | None = None
    """Frames per second; None for 1 of frames and 16 of clips."""
    stride: Annotated[int, Field(gt=0, le=1_000_000, strict=True)] | None = None
    """Frames from one window's start to the next one's; None for windows without overlap or gap."""
    window: Annotated[float, Field(gt=0, le=86_400, strict=True)] | None = None
    """Longest stretch of sound in seconds that is one block; None for 10."""
    pooling: Literal["mean", "cls", "pooler"] = "mean"
    """A block's vector: mean over all positions of the last hidden state, its first position, or the pooled output."""
    batch: Annotated[int, Field(gt=0, le=1_000_000, strict=True)] = 32
    """Blocks per forward pass."""
    gpus: Annotated[float, Field(gt=0, le=1, strict=True)] | None = None
    """Share of a GPU that one copy takes; None to divide a GPU equally among one copy of each backbone."""

    @model_validator(mode="after")
    def _of_the_kind(self) -> "Backbone":
        for name, kinds in _FIELDS_OF.items():
            if getattr(self, name) is not None and self.kind not in kinds:
                raise ValueError(f"{name} is for {' and '.join(kinds)}, not for {self.kind}; leave it out.")
        if self.revision is not None and Path(self.model).is_absolute():
            raise ValueError(f"revision is for hub ids, but {self.model} is a folder; leave it out.")
        return self

    @property
    def frame_rate(self) -> float:
        """Frames per second of a backbone that reads frames or clips."""
        return self.rate or _DEFAULT_RATE[self.kind]

    @property
    def seconds(self) -> float:
        """Longest stretch of sound in seconds of a backbone that reads audio."""
        return self.window or 10.0


class Faces(_Section):
    """Crops of every frame to its largest face."""

    margin: Annotated[float, Field(ge=0, le=2, strict=True)] = 0.3
    """Margin on each side, as a share of the face's width."""


def _modality(name: str) -> str:
    if not re.match(MODALITY_NAME, name):
        raise ValueError(
            "is no name for a modality; names start with a letter, hold only letters, digits and underscores, and are "
            "not sample_id, augmentation, label or speaker."
        )
    return name


def _as_list(value: object) -> object:
    return [value] if isinstance(value, dict) else value


class Recipe(_Section):
    """The backbones of each modality, face crops and augmented versions of an extraction."""

    description: str = ""
    modalities: Annotated[
        dict[
            Annotated[str, AfterValidator(_modality)],
            Annotated[tuple[Backbone, ...], BeforeValidator(_as_list), Field(min_length=1)],
        ],
        Field(min_length=1),
    ]
    """Modality -> backbones, whose vectors are concatenated, in modality order."""
    faces: Faces | None = None
    augmented: Annotated[int, Field(ge=0, le=1000, strict=True)] = 0
    """Augmented versions of each training clip, beside the clean one."""

    @property
    def backbones(self) -> tuple[Backbone, ...]:
        """All backbones, in the order of modalities."""
        return tuple(backbone for backbones in self.modalities.values() for backbone in backbones)

    @property
    def kinds(self) -> frozenset[Kind]:
        """Kinds of input that the backbones read."""
        return frozenset(backbone.kind for backbone in self.backbones)


def load_recipe(source: str) -> Recipe:
    """Read a recipe.

    Args:
        source: a YAML file, or the name of a preset.

    Raises:
        RecipeError: with every problem of the file.
    """
    try:
        path = Path(expanded(source))
        if source in PRESETS and not path.exists():
            file, folder = resources.files(__package__) / "presets" / f"{source}.yaml", None
        else:
            file, folder = path, path.parent
        return Recipe.model_validate(read_settings(file), context={"folder": folder})
    except PathError as error:
        raise RecipeError([f"--backbones {source}: {error}"]) from None
    except UnreadableError as error:
        presets = " or ".join(PRESETS)
        raise RecipeError([f"--backbones {source}: {error} Give a YAML file, or {presets}."]) from None
    except DocumentError as error:
        raise RecipeError([f"{source}: {problem}" for problem in error.problems]) from None
    except ValidationError as error:
        raise RecipeError([f"{source}: {problem}" for problem in problems_of(error, Recipe)]) from None
