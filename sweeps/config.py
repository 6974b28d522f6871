"""The sweep's configuration: one YAML file, one frozen model, all problems at once.

pydantic checks each field by itself. Checks of one section against another (modalities against features, space
against budget) are validators of the later section: they see only those earlier sections that are valid, so that one
wrong field neither hides other problems nor causes false ones. The rest of the program takes a configuration as valid.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from conclugen.manifest import SPLITS, FeatureSetError, Manifest
from conclugen.subsets import SUBSETS, Loss
from search_spaces import Space, SpaceError, load_space

__all__ = ["ConfigError", "SweepConfig", "load_config"]


class ConfigError(ValueError):
    """A configuration, or a part of it, is not valid; ``problems`` holds one message per problem."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = list(problems)


def _resolve(value: object, info: ValidationInfo) -> object:
    """Relative paths count from the folder of the configuration file."""
    base = (info.context or {}).get("base")
    return str(Path(base, value).resolve()) if isinstance(value, str) and base is not None else value


def _feature_set(path: Path) -> Path:
    Manifest.read(path)
    return path


def _known_subset(name: str) -> str:
    if name not in SUBSETS:
        raise ValueError(f"is no loss subset; allowed are all, or a list of {', '.join(SUBSETS)}.")
    return name


def _unique(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(values)) != len(values):
        raise ValueError(f"names something twice: {list(values)}; list each once.")
    return values


def _loadable(name: str) -> str:
    load_space(name)
    return name


def _resolve_space(value: object, info: ValidationInfo) -> object:
    is_file = isinstance(value, str) and value.endswith((".yaml", ".yml"))
    return _resolve(value, info) if is_file else value


def _as_list(value: object) -> object:
    return [] if value is None else [value] if isinstance(value, int) else value


FeatureFolder = Annotated[Path, BeforeValidator(_resolve), AfterValidator(_feature_set)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=64)]
Positive = Annotated[int, Field(gt=0)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Features(_Section):
    """Where the features are."""

    pretrain: FeatureFolder = Field(description="feature set whose train rows the heads are pretrained on")
    downstream: Annotated[dict[Name, FeatureFolder], Field(min_length=1)] = Field(
        description="labelled feature sets that probes are trained and scored on, by the name they have in tables"
    )

    @model_validator(mode="after")
    def _fit_each_other(self) -> Self:
        widths, problems = Manifest.read(self.pretrain).widths, []
        for name, folder in self.downstream.items():
            manifest = Manifest.read(folder)
            if manifest.labels is None:
                problems.append(f"downstream.{name}: {folder} has no labels; import it with --labels.")
            if missing := [split for split in SPLITS if manifest.rows(split) == 0]:
                problems.append(
                    f"downstream.{name}: {folder} has no rows in {', '.join(missing)}; import with --split."
                )
            if differing := {m: w for m, w in manifest.widths.items() if m in widths and widths[m] != w}:
                problems.append(f"downstream.{name}: widths {differing} differ from those of the pretraining set.")
        if problems:
            raise ConfigError(problems)
        return self


class Budget(_Section):
    """How much is run."""

    trials_per_subset: Positive = Field(description="search trials of each loss subset, pruned and failed ones counted")
    epochs: Annotated[int, Field(ge=2)] = Field(description="pretraining epochs of a full trial")
    seeds: Annotated[int, Field(ge=1)] = Field(5, description="confirmation runs of each subset's best configuration")


class Objective(_Section):
    """What the search maximises, on validation data."""

    metric: Literal["weighted_f1", "macro_f1", "accuracy"] = Field("weighted_f1", description="metric of the probe")
    labels_per_class: Positive | None = Field(
        None, description="label budget of the search's probe; null for all labels"
    )


class Probe(_Section):
    """The downstream linear probe."""

    labels_per_class: Annotated[tuple[Positive, ...], BeforeValidator(_as_list), AfterValidator(_unique)] = Field(
        (), description="label budgets that are reported beside all labels: a number, a list of numbers, or null"
    )
    label_draws: Positive = Field(5, description="random draws of labelled samples that a label budget averages over")
    every: Positive | None = Field(
        None, description="epochs between validation probes of a search trial; null for a fifth of the budget"
    )
    class_weights: Literal["none", "balanced"] = Field("none", description="weighting of the probe's loss by class")


class Workers(_Section):
    """Where trials run."""

    per_trial: Literal[1] = Field(1, description="Ray Train workers of a trial (one, so far)")
    gpus: Literal["auto"] | Annotated[int, Field(ge=0, le=1)] = Field(
        "auto", description="GPUs of a worker: 0, 1, or auto for 1 where the cluster has GPUs"
    )
    concurrent_trials: Literal["auto"] | Positive = Field(
        "auto", description="trials at a time; auto for one per GPU, or per CPU where trials use none"
    )


class Search(_Section):
    """How configurations are proposed and stopped."""

    pruner: Literal["median", "none"] = Field(
        "median", description="median stops a trial that is below its study's median at the same epoch"
    )


class Checkpoint(_Section):
    """What a cut trial can go on from."""

    every: Positive = Field(10, description="epochs between a trial's checkpoints, taken at validation probes")


class SweepConfig(_Section):
    """A whole sweep."""

    name: Name = Field(description="name of the sweep, in its studies and records")
    features: Features
    modalities: Annotated[tuple[str, ...], Field(min_length=2), AfterValidator(_unique)] = Field(
        description="feature columns that are used, in the order of the contrastive ring"
    )
    subsets: Annotated[
        tuple[Annotated[str, AfterValidator(_known_subset)], ...],
        BeforeValidator(lambda value: list(SUBSETS) if value == "all" else value),
        Field(min_length=1),
        AfterValidator(_unique),
    ] = Field(tuple(SUBSETS), description="all, or a list of loss subsets")
    budget: Budget
    objective: Objective = Objective()
    probe: Probe = Probe()
    space: Annotated[str, BeforeValidator(_resolve_space), AfterValidator(_loadable)] = Field(
        "small", validate_default=True, description="a named search space, or a YAML file"
    )
    workers: Workers = Workers()
    search: Search = Search()
    checkpoint: Checkpoint = Checkpoint()
    storage: str | None = Field(
        None,
        description="database URL of the Optuna studies, ${VARIABLES} taken from the environment; null for a journal "
        "file in the sweep's folder",
    )
    seed: Annotated[int, Field(ge=0)] = Field(127, description="every random choice of the sweep follows from it")

    @field_validator("modalities")
    @classmethod
    def _in_features(cls, modalities: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if (features := info.data.get("features")) is not None:
            sets = {"pretrain": features.pretrain, **{f"downstream.{n}": f for n, f in features.downstream.items()}}
            problems = [
                f"{name!r} is no modality of features.{where}, which has {', '.join(manifest.widths)}."
                for where, folder in sets.items()
                for manifest in [Manifest.read(folder)]
                for name in modalities
                if name not in manifest.widths
            ]
            if problems:
                raise ConfigError(problems)
        return modalities

    @field_validator("space")
    @classmethod
    def _fits_budget(cls, name: str, info: ValidationInfo) -> str:
        valid = info.data
        if {"features", "subsets", "budget", "probe"} <= valid.keys():
            problems = load_space(name).problems(
                {subset: SUBSETS[subset] for subset in valid["subsets"]},
                epochs=valid["budget"].epochs,
                first_rung=_probe_epochs(valid["budget"], valid["probe"])[0],
                rows=Manifest.read(valid["features"].pretrain).rows("train"),
            )
            if problems:
                raise ConfigError([f"{name}: {problem}" for problem in problems])
        return name

    @property
    def losses(self) -> dict[str, tuple[Loss, ...]]:
        """Subset name -> its losses, for the subsets of this sweep."""
        return {name: SUBSETS[name] for name in self.subsets}

    @property
    def probe_epochs(self) -> tuple[int, ...]:
        """Numbers of finished epochs after which a search trial is probed; the last is the whole budget."""
        return _probe_epochs(self.budget, self.probe)

    def load_space(self) -> Space:
        """The search space, which validation has already loaded once."""
        return load_space(self.space)

    def to_yaml(self) -> str:
        """The resolved configuration: every default written out, paths absolute."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


def _probe_epochs(budget: Budget, probe: Probe) -> tuple[int, ...]:
    every = probe.every or max(1, budget.epochs // 5)
    return (*range(every, budget.epochs, every), budget.epochs)


def load_config(path: Path, overrides: Sequence[str] = ()) -> SweepConfig:
    """Load and check a configuration.

    Args:
        path: the YAML file.
        overrides: ``dotted.key=value`` each, the value read as YAML.

    Raises:
        ConfigError: with every problem found.
    """
    try:
        data = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError([f"{path} cannot be read as YAML: {error}"]) from None
    if not isinstance(data, dict):
        raise ConfigError([f"{path} must hold a mapping of settings, but holds {type(data).__name__}."])
    problems = [problem for override in overrides if (problem := _apply(data, override))]
    try:
        config = SweepConfig.model_validate(data, context={"base": path.resolve().parent})
    except ValidationError as error:
        problems += [message for details in error.errors() for message in _messages(details)]
    if problems:
        raise ConfigError(problems)
    return config


def _apply(data: dict[str, Any], override: str) -> str | None:
    """Set one ``dotted.key=value`` in ``data``; return what is wrong with it, if anything."""
    key, separator, text = override.partition("=")
    if not separator or not all(key.split(".")):
        return f"--set {override}: expected key=value, such as budget.epochs=30."
    *parents, last = key.split(".")
    for parent in parents:
        data = data.setdefault(parent, {})
        if not isinstance(data, dict):
            return f"--set {override}: {parent} is a single value, it has no settings of its own."
    try:
        data[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        return f"--set {override}: the value is not valid YAML: {error}"
    return None


def _messages(details: Mapping[str, Any]) -> list[str]:
    """One pydantic error as messages ``field: value: rule``."""
    # pydantic puts the branch of a union into the location, such as literal['auto'] or constrained-int
    field = ".".join(
        part for part in map(str, details["loc"]) if not part.startswith(("literal[", "constrained-", "int"))
    )
    error = (details.get("ctx") or {}).get("error")
    if isinstance(error, ConfigError | SpaceError):
        return [f"{field}: {problem}" for problem in error.problems]
    if isinstance(error, FeatureSetError):
        return [f"{field}: {error}"]
    if details["type"] == "missing":
        return [f"{field}: is required; add it."]
    if details["type"] == "extra_forbidden":
        return [f"{field}: is no setting of a sweep; the README lists the settings."]
    rule = details["msg"].removeprefix("Value error, ")
    return [f"{field}: {details['input']!r}: {rule[:1].lower()}{rule[1:]}"]
