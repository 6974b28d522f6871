"""The model of a whole configuration, and the checks of one section against another.

pydantic checks each field by itself. A validator of the later section checks one section against another: modalities
against features, space against budget. It sees only valid earlier sections, so a wrong field neither hides other
problems nor causes false ones. The rest of the program relies on a valid configuration.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from conclugen.features.manifest import Manifest
from conclugen.labels import LabelBudget
from conclugen.subsets import SUBSETS, Loss
from search_spaces import Parameter, Space, load_space
from sweeps.config.errors import ConfigError
from sweeps.config.fields import (
    BaselineName,
    Name,
    SpaceName,
    StorageUrl,
    SubsetName,
    Unique,
    checks_references,
    metrics_of,
)
from sweeps.config.sections import Budget, Checkpoint, Features, Objective, Probe, Search, Section, Tracking, Workers
from sweeps.ledger import BASELINES, LOSSES, TUNED_BASELINES, variant

__all__ = ["Arm", "ConfigError", "SweepConfig"]


@dataclass(frozen=True)
class Arm:
    """A method that is searched, for one set of modalities and one label budget."""

    method: str
    modalities: tuple[str, ...] = ()
    """The modalities that the arm is restricted to; empty for the method's own."""
    labels: LabelBudget | None = None
    """The label budget that the arm is searched for; None for the objective's."""

    @property
    def name(self) -> str:
        """The arm's name in studies and records."""
        return variant(self.method, self.modalities, self.labels)

    @property
    def losses(self) -> tuple[Loss, ...]:
        """The losses whose hyperparameters the arm has."""
        return LOSSES[self.method]

    def parameters(self, space: Space) -> dict[str, Parameter]:
        """Return the parameters of ``space`` that the arm uses, fixed ones included."""
        return space.for_losses(self.losses)


class SweepConfig(Section):
    """The configuration of a whole sweep."""

    name: Name = Field(description="name of the sweep, in its studies and records")
    features: Features
    modalities: Annotated[tuple[str, ...], Field(min_length=2), Unique] = Field(
        description="feature columns that are used, in the order of the contrastive ring"
    )
    subsets: Annotated[
        tuple[SubsetName, ...],
        BeforeValidator(lambda value: list(SUBSETS) if value == "all" else value),
        Field(min_length=1),
        Unique,
    ] = Field(tuple(SUBSETS), description="all, or a list of loss subsets")
    baselines: Annotated[
        tuple[BaselineName, ...],
        BeforeValidator(lambda value: list(BASELINES) if value == "all" else value),
        Unique,
    ] = Field(
        tuple(name for name in BASELINES if name != "SimCLR"),
        validate_default=True,
        description="methods beside the loss subsets: all, or a list",
    )
    modality_subsets: tuple[tuple[str, ...], ...] = Field(
        (),
        validate_default=True,
        description="lists of modalities; every best configuration is confirmed on each of them as well",
    )
    budget: Budget
    objective: Objective = Objective()
    probe: Probe = Field(Probe(), validate_default=True)
    workers: Workers = Workers()
    search: Search = Search()
    space: SpaceName = Field("small", validate_default=True, description="a named search space, or a YAML file")
    checkpoint: Checkpoint = Checkpoint()
    storage: StorageUrl | None = Field(
        None,
        description="database URL of the Optuna studies, ${VARIABLES} taken from the environment; null for a journal "
        "file in the sweep's folder",
    )
    tracking: Tracking = Tracking()
    seed: Annotated[int, Field(ge=0, strict=True)] = Field(
        127, description="every random choice of the sweep follows from it"
    )

    @field_validator("modalities")
    @classmethod
    def _modalities_in_features(cls, modalities: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if checks_references(info) and (features := info.data.get("features")) is not None:
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

    @field_validator("baselines")
    @classmethod
    def _baselines_suit_labels(cls, baselines: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        downstream = info.data["features"].downstream if checks_references(info) and "features" in info.data else {}
        sets = [name for name, folder in downstream.items() if Manifest.read(folder).multi_label]
        if sets and "label_spreading" in baselines:
            raise ConfigError(
                [
                    f"label_spreading cannot give samples of {', '.join(sets)} several labels; "
                    "leave label_spreading out of baselines."
                ]
            )
        return baselines

    @field_validator("objective")
    @classmethod
    def _objective_of_known_sets(cls, objective: Objective, info: ValidationInfo) -> Objective:
        if "features" not in info.data:
            return objective
        sets = info.data["features"].downstream
        if objective.dataset is not None and objective.dataset not in sets:
            raise ConfigError(
                [f"dataset: {objective.dataset!r} is no set of features.downstream, which has {', '.join(sets)}."]
            )
        if checks_references(info):
            names = list(sets) if objective.dataset is None else [objective.dataset]
            labels = [Manifest.read(sets[name]).labels for name in names]
            classes = [each.classes if each is not None else () for each in labels]
            shared = [label for label in classes[0] if all(label in each for each in classes)]
            if objective.metric not in (allowed := metrics_of(shared)):
                raise ConfigError(
                    [f"metric: {objective.metric!r} must be one that {', '.join(names)} has: {', '.join(allowed)}."]
                )
        return objective

    @field_validator("search")
    @classmethod
    def _search_not_idle(cls, search: Search, info: ValidationInfo) -> Search:
        problems = []
        if search.sampler == "grid" and (search.warm_start is not None or search.share_best):
            problems.append("sampler: a grid visits its own points only; drop warm_start and share_best.")
        if "modalities" in search.nested and info.data.get("modality_subsets") == ():
            problems.append("nested: modalities has nothing to search without modality_subsets; list some.")
        if "labels" in search.nested and "probe" in info.data and len(info.data["probe"].budgets) < 2:
            problems.append("nested: labels has nothing to search without label budgets of the probe; list some.")
        if problems:
            raise ConfigError(problems)
        return search

    @field_validator("workers")
    @classmethod
    def _workers_can_spend(cls, workers: Workers, info: ValidationInfo) -> Workers:
        if workers.gpus == 0 and "budget" in info.data and info.data["budget"].gpu_hours is not None:
            raise ConfigError(["gpus: none, so no gpu_hours of the budget are ever used; give budget.hours."])
        return workers

    @field_validator("modality_subsets")
    @classmethod
    def _proper_subsets(cls, subsets: tuple[tuple[str, ...], ...], info: ValidationInfo) -> tuple[tuple[str, ...], ...]:
        """Return the subsets, each in the sweep's order of modalities, which the contrastive ring follows."""
        if (every := info.data.get("modalities")) is None:
            return subsets
        problems = [
            f"{list(subset)}: must name some, not all, of {', '.join(every)}, at least two and each once."
            for subset in subsets
            if not set(subset) < set(every) or len(set(subset)) != len(subset) or len(subset) < 2
        ]
        ordered = [tuple(name for name in every if name in subset) for subset in subsets]
        problems += [
            f"{list(subset)}: is listed twice." for subset in dict.fromkeys(ordered) if ordered.count(subset) > 1
        ]
        if problems:
            raise ConfigError(problems)
        return tuple(ordered)

    @field_validator("probe")
    @classmethod
    def _known_fusion(cls, probe: Probe, info: ValidationInfo) -> Probe:
        allowed = ("concat", "mean", *info.data.get("modalities", (probe.fusion,)))
        if probe.fusion not in allowed:
            raise ConfigError([f"fusion: {probe.fusion!r} must be one of {', '.join(allowed)}."])
        if probe.fusion not in allowed[:2] and info.data.get("modality_subsets"):
            raise ConfigError(["fusion: one modality alone leaves nothing of modality_subsets to compare; drop one."])
        return probe

    @field_validator("space")
    @classmethod
    def _space_fits_budget(cls, name: str, info: ValidationInfo) -> str:
        valid = info.data if checks_references(info) else {}
        if {"features", "subsets", "baselines", "budget", "probe", "workers", "search"} <= valid.keys():
            pretrain = Manifest.read(valid["features"].pretrain)
            space = load_space(name)
            searched = {method: LOSSES[method] for method in _searched(valid["subsets"], valid["baselines"])}
            budget = valid["budget"]
            probe = valid["probe"]
            pruned = valid["search"].pruner != "none"
            problems = space.problems(
                searched,
                epochs=budget.epochs,
                first_rung=_probe_epochs(budget, probe)[0] if pruned else None,
                rungs_grow=probe.every is None,
                rows=sum(map(pretrain.samples, pretrain.training)),
                workers=valid["workers"].per_trial,
            )
            problems += space.unsuitable(valid["search"].sampler, searched, budget.trials_per_subset)
            if problems:
                raise ConfigError([f"{name}: {problem}" for problem in problems])
        return name

    @property
    def arms(self) -> dict[str, Arm]:
        """Name -> arm: subsets and tuned baselines, for several modalities or budgets if ``search.nested`` says so."""
        every_budget = "labels" in self.search.nested
        every_choice = "modalities" in self.search.nested
        arms = [
            Arm(method, modalities, labels)
            for labels in (self.probe.budgets if every_budget else [None])
            for method in _searched(self.subsets, self.baselines)
            for modalities in (self.modality_choices(method) if every_choice else [()])
        ]
        return {arm.name: arm for arm in arms}

    def confirmed_on(self, arm: Arm) -> list[Arm]:
        """Return the arms on which an arm's best configuration is confirmed: the arm, then its modality subsets."""
        if "modalities" in self.search.nested:
            return [arm]
        return [Arm(arm.method, modalities, arm.labels) for modalities in self.modality_choices(arm.method)]

    @property
    def untuned(self) -> list[Arm]:
        """The baselines that are not searched, for each choice of modalities."""
        methods = [name for name in self.baselines if name not in TUNED_BASELINES]
        return [Arm(method, modalities) for method in methods for modalities in self.modality_choices(method)]

    def widths(self, method: str, modalities: Sequence[str] = ()) -> dict[str, int]:
        """Return the widths of the modalities that a method uses, in the sweep's order.

        SimCLR compares views of one modality: video where the sweep has it, else the first.

        Args:
            method: the method's own name.
            modalities: the modalities that the method is restricted to; empty for its own.
        """
        names = modalities or self.modalities
        if method == "SimCLR":
            names = ("video",) if "video" in self.modalities else self.modalities[:1]
        widths = Manifest.read(self.features.pretrain).widths
        return {name: widths[name] for name in names}

    def modality_choices(self, method: str) -> list[tuple[str, ...]]:
        """Return the modalities that ``method`` is confirmed on: its own (empty), then each subset of them."""
        return [()] if method == "SimCLR" else [(), *self.modality_subsets]

    @property
    def probe_epochs(self) -> tuple[int, ...]:
        """The numbers of finished epochs after which a search trial is probed; the last is the whole budget."""
        return _probe_epochs(self.budget, self.probe)

    def load_space(self) -> Space:
        """Return the search space, which validation has already loaded once."""
        return load_space(self.space)


def _searched(subsets: Sequence[str], baselines: Sequence[str]) -> list[str]:
    """Return the methods that are searched."""
    return [*subsets, *(name for name in TUNED_BASELINES if name in baselines)]


def _probe_epochs(budget: Budget, probe: Probe) -> tuple[int, ...]:
    every = probe.every or max(1, budget.epochs // 5)
    return (*range(every, budget.epochs, every), budget.epochs)
