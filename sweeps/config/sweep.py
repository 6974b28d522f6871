"""The model of a whole configuration, and what follows from it: arms, confirmations, epochs of probes.

pydantic checks each field by itself, and :mod:`sweeps.config.checks` checks one against another. The rest of the
program relies on a valid configuration.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PrivateAttr, ValidationInfo, field_validator

from conclugen.features.manifest import Manifest
from conclugen.labels import LabelBudget
from conclugen.subsets import SUBSETS, Loss
from search_spaces import LEAST_SAMPLES, Parameter, Space, fitted, load_space, named_spaces
from sweeps.config.fields import (
    BaselineName,
    Name,
    SpaceName,
    StorageUrl,
    SubsetName,
    Unique,
    as_list,
    as_lists,
)
from sweeps.config.sections import (
    Budget,
    Checkpoint,
    Features,
    Notify,
    Objective,
    Probe,
    Search,
    Section,
    Tracking,
    Workers,
)
from sweeps.ledger import BASELINES, LOSSES, TUNED_BASELINES, variant

__all__ = ["Arm", "SweepConfig", "as_written", "rungs", "searched_methods"]


@dataclass(frozen=True)
class Arm:
    """A method that is searched, for one set of modalities and one label budget, once or several times."""

    method: str
    modalities: tuple[str, ...] = ()
    """The modalities that the arm is restricted to; empty for the method's own."""
    labels: LabelBudget | None = None
    """The label budget that the arm is searched for; None for the objective's."""
    search: int = 1
    """The number of the search, from 1; every repeated search is an arm of its own."""

    @property
    def name(self) -> str:
        """The arm's name in studies and records."""
        return variant(self.method, self.modalities, self.labels, self.search)

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
    modalities: Annotated[tuple[str, ...], BeforeValidator(as_list), Field(min_length=2), Unique] = Field(
        description="feature columns that are used, in the order of the contrastive ring"
    )
    subsets: Annotated[
        tuple[SubsetName, ...],
        BeforeValidator(lambda value: list(SUBSETS) if value == "all" else as_list(value)),
        Field(min_length=1),
        Unique,
    ] = Field(tuple(SUBSETS), description="all, or a list of loss subsets")
    baselines: Annotated[
        tuple[BaselineName, ...],
        BeforeValidator(lambda value: list(BASELINES) if value == "all" else as_list(value)),
        Unique,
    ] = Field(
        tuple(name for name in BASELINES if name != "SimCLR"),
        validate_default=True,
        description="methods beside the loss subsets: all, or a list",
    )
    modality_subsets: Annotated[tuple[tuple[str, ...], ...], BeforeValidator(as_lists)] = Field(
        (),
        description="lists of modalities; every best configuration is confirmed on each of them as well",
    )
    budget: Budget
    objective: Objective = Objective()
    probe: Probe = Probe()
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
    notify: Notify = Notify()
    seed: Annotated[int, Field(ge=0, lt=2**63, strict=True)] = Field(
        127, description="every random choice of the sweep follows from it"
    )
    _as_written: bool = PrivateAttr(False)

    @field_validator("modality_subsets")
    @classmethod
    def _in_order(cls, subsets: tuple[tuple[str, ...], ...], info: ValidationInfo) -> tuple[tuple[str, ...], ...]:
        """Return the subsets, each in the sweep's order of modalities, which the contrastive ring follows."""
        order = info.data.get("modalities", ())
        return tuple(tuple(sorted(subset, key=lambda name: (*order, name).index(name))) for subset in subsets)

    @property
    def arms(self) -> dict[str, Arm]:
        """Name -> arm: subsets and tuned baselines, for several modalities or budgets if ``search.nested`` says so.

        Each of them exists once per search.
        """
        every_budget = "labels" in self.search.nested
        every_choice = "modalities" in self.search.nested
        arms = [
            Arm(method, modalities, labels, search)
            for search in self._searches
            for labels in (self.probe.budgets if every_budget else [None])
            for method in searched_methods(self.subsets, self.baselines)
            for modalities in (self.modality_choices(method) if every_choice else [()])
        ]
        return {arm.name: arm for arm in arms}

    def confirmed_on(self, arm: Arm) -> list[Arm]:
        """Return the arms on which an arm's best configuration is confirmed: the arm, then its modality subsets."""
        if "modalities" in self.search.nested:
            return [arm]
        return [Arm(arm.method, modalities, arm.labels, arm.search) for modalities in self.modality_choices(arm.method)]

    @property
    def untuned(self) -> list[Arm]:
        """The baselines that are not searched, for each choice of modalities, once per search."""
        methods = [name for name in self.baselines if name not in TUNED_BASELINES]
        return [
            Arm(method, modalities, search=search)
            for search in self._searches
            for method in methods
            for modalities in self.modality_choices(method)
        ]

    @property
    def _searches(self) -> range:
        return range(1, self.budget.searches + 1)

    def widths(self, method: str, modalities: Sequence[str] = ()) -> dict[str, int]:
        """Return the widths of the modalities that a method uses, in the sweep's order.

        SimCLR compares views of one modality: video where the sweep has it, else the first.

        Args:
            method: the method's own name.
            modalities: the modalities that the method is restricted to; empty for its own.
        """
        names = self.simclr_modalities if method == "SimCLR" else modalities or self.modalities
        widths = Manifest.read(self.features.pretrain).widths
        return {name: widths[name] for name in names}

    @property
    def simclr_modalities(self) -> tuple[str, ...]:
        """The modality of which SimCLR compares views."""
        return ("video",) if "video" in self.modalities else self.modalities[:1]

    def modality_choices(self, method: str) -> list[tuple[str, ...]]:
        """Return the modalities that ``method`` is confirmed on: its own (empty), then each subset of them."""
        return [()] if method == "SimCLR" else [(), *self.modality_subsets]

    @property
    def probe_epochs(self) -> tuple[int, ...]:
        """The numbers of finished epochs after which a search trial is probed; the last is the whole budget."""
        return probe_epochs(self.budget, self.probe)

    @property
    def rungs(self) -> tuple[int, ...]:
        """The numbers of finished epochs after which a search trial may be pruned; empty if none may be."""
        return rungs(self.budget, self.probe, self.search)

    @property
    def training_samples(self) -> int:
        """The number of samples on which heads are pretrained, of the choice of modalities that has the fewest.

        Raises:
            FeatureSetError: the pretraining set cannot be read.
        """
        return min(map(self.samples_with, (self.modalities, *self.modality_subsets)))

    def samples_with(self, modalities: Sequence[str]) -> int:
        """Return how many training samples have one of the modalities; the versions of a sample count once.

        Raises:
            FeatureSetError: the pretraining set cannot be read.
        """
        manifest = Manifest.read(self.features.pretrain)
        samples = sum(map(manifest.samples, manifest.training))
        if not manifest.has_gaps:
            return samples
        counts = [item for part in manifest.training for item in manifest.rows_by_modalities(part).items()]
        useful = sum(rows for names, rows in counts if set(names.split("+")) & set(modalities))
        return samples * useful // max(1, sum(rows for _, rows in counts))  # all versions of a sample have its gaps

    def model_post_init(self, context: Any) -> None:
        """Remember whether the configuration comes from a sweep's folder."""
        self._as_written = as_written(context)

    def load_space(self) -> Space:
        """Return the search space; a named one is fitted to the training samples.

        A sweep's folder names a space only if the sweep ran with it as it is, so such a configuration reads no
        features.

        Raises:
            FeatureSetError: the pretraining set cannot be read.
        """
        space = load_space(self.space)
        if self._as_written or self.space not in named_spaces():
            return space
        samples = self.training_samples
        return fitted(space, self.space, samples) if samples >= LEAST_SAMPLES else space


def as_written(context: Mapping[str, Any] | None) -> bool:
    """Return whether the context of a validation says that the configuration comes from a sweep's folder."""
    return any((context or {}).get(key, False) for key in ("alone", "written"))


def searched_methods(subsets: Sequence[str], baselines: Sequence[str]) -> list[str]:
    """Return the methods that are searched."""
    return [*subsets, *(name for name in TUNED_BASELINES if name in baselines)]


def probe_epochs(budget: Budget, probe: Probe) -> tuple[int, ...]:
    """Return the numbers of finished epochs after which a search trial is probed."""
    every = probe.every or max(1, budget.epochs // 5)
    return (*range(every, budget.epochs, every), budget.epochs)


def rungs(budget: Budget, probe: Probe, search: Search) -> tuple[int, ...]:
    """Return the numbers of finished epochs after which a search trial may be pruned; empty if none may be."""
    if search.pruner == "none":
        return ()
    grace = Fraction(str(search.grace_period)) * budget.epochs  # exact: 0.07 * 100 is more than 7
    return tuple(epoch for epoch in probe_epochs(budget, probe)[:-1] if epoch >= grace)
