"""The record of a finished job, and the names that records and tables use.

These are plain data, the schema that `reports` builds on. The module loads neither Ray nor torch.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Self

from conclugen.labels import LabelBudget
from conclugen.subsets import SUBSETS, Loss

__all__ = [
    "BASELINES",
    "ERROR_METRICS",
    "LOSSES",
    "REPRESENTED",
    "SUMMARY_METRICS",
    "TUNED_BASELINES",
    "EarlyEnd",
    "Hardware",
    "JobKey",
    "LedgerError",
    "Metric",
    "Predictions",
    "Record",
    "ScoredSplit",
    "Stage",
    "State",
    "instruments",
    "label_budgets",
    "method_of",
    "search_of",
    "variant",
    "with_former_settings",
    "with_space",
    "without_search",
]

BASELINES = ("raw_features", "raw_pca", "label_spreading", "random_head", "supervised_head", "SimCLR")
"""Methods that a table shows beside the loss subsets."""
TUNED_BASELINES = ("supervised_head", "SimCLR")
"""Baselines that are searched with the same budget as a loss subset."""
LOSSES: Mapping[str, tuple[Loss, ...]] = {**SUBSETS, "supervised_head": (), "SimCLR": (Loss.CON,)}
"""Method that can be searched -> the losses whose hyperparameters it has."""
SUMMARY_METRICS = ("weighted_f1", "macro_f1", "accuracy")
"""Names of a probe's summary metrics; each class also has ``f1/<class>``."""
ERROR_METRICS = ("nll", "brier", "ece")
"""Names of the probe's metrics that are better when lower."""
REPRESENTED = ("raw_features", "raw_pca", "random_head", "SimCLR", *SUBSETS)
"""Methods whose representations any instrument can read; the other methods are classifiers themselves."""
_FORMER_SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "probe": {"kind": "paper", "also": [], "selection": "validation"},
    "budget": {"searches": 1},
    "search": {"finalists": 1},
}
"""Section -> settings that it lacked in an earlier version, with what that version did. The first tells whether."""

_SEARCH = re.compile(r"~([2-9]|[1-9][0-9]+)\Z")

Stage = Literal["search", "finalist", "confirm"]
ScoredSplit = Literal["val", "test"]
State = Literal["complete", "pruned", "failed"]


class LedgerError(ValueError):
    """A record cannot be read, does not exist, or would be written a second time."""


@dataclass(frozen=True)
class JobKey:
    """The identity of a job within its sweep; its text names the job's record, its head and its folder."""

    stage: Stage
    method: str
    """The method's name in records, as :func:`variant` makes it."""
    number: int

    def __str__(self) -> str:
        return f"{self.stage}-{self.method}-{self.number:05d}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a key from its text, such as ``search-Con-00003``.

        Raises:
            ValueError: the text is no key.
        """
        match = re.fullmatch(r"(search|finalist|confirm)-(.+)-([0-9]{5,})", text, re.DOTALL)
        if match is not None:
            stage, method, number = tuple[Any, ...](match.groups())
            key = cls(stage, method, int(number))
            if str(key) == text:  # a sixth digit is never a leading zero
                return key
        raise ValueError(f"{text!r} is no key of a job, such as search-Con-00003.")


@dataclass(frozen=True)
class Metric:
    """One number: a probe's score on one split of one downstream set."""

    dataset: str
    """The downstream set, by its name in the configuration."""
    split: ScoredSplit
    """The split that was scored; search trials and finalists have val alone."""
    labels: str
    """The probe's label budget, such as 5 (per class) or 10%; empty for all labels."""
    metric: str
    """Name of the metric, such as weighted_f1 or f1/anger."""
    value: float
    """Mean over the label draws, and over the folds of a folded set."""
    instrument: str = ""
    """The instrument that measured the value: one of probe.also, such as knn; empty for the probe itself."""


@dataclass(frozen=True)
class Predictions:
    """A confirmed probe's predictions on a test split, for paired tests and confusion matrices.

    ``truth`` and ``predicted`` hold class indices. Where samples have several labels, they hold one 0 or 1 per sample
    and class, sample by sample.
    """

    dataset: str
    """As in Metric."""
    labels: str
    """Label budget, as in Metric."""
    fold: int
    """The fold that was the test split; 0 for a set without folds."""
    draw: int
    """The label draw, counted from 0."""
    classes: Sequence[str]
    """Names of the classes, in the order of their indices."""
    multi_label: bool
    """Whether a sample may have several labels."""
    truth: Sequence[int]
    """The labels of the test samples."""
    predicted: Sequence[int]
    """What the probe says."""
    instrument: str = ""
    """As in Metric."""
    chosen: str = ""
    """The setting that validation samples chose for this draw, such as ``C=0.01``, ``k=5`` or ``epoch 40``."""
    probabilities: bytes = b""
    """The class probabilities, sample by sample: little-endian numbers of half precision (numpy's ``<f2``).

    Empty where they were not kept, or where the ledger was read without them.
    """
    train_samples: int = 0
    """How many labelled training samples this draw learned from; 0 in records of an earlier version."""
    train_labels: Sequence[int] = ()
    """How many of them have each class; empty in records of an earlier version."""
    selection_samples: int = 0
    """How many validation samples chose the setting; 0 in records of an earlier version."""
    groups: Sequence[int] = ()
    """The group of each test sample as a number, for each name in ``grouped_by`` in turn; empty without groups."""
    grouped_by: Sequence[str] = ()
    """What the groups are, such as speaker and dialogue; empty in records of a version that knew speakers only."""

    @property
    def groupings(self) -> dict[str, Sequence[int]]:
        """Name of each grouping -> the group of each test sample; empty if the set does not say.

        Samples of one group are not independent of each other. Groups have the same numbers in all folds.
        """
        names = self.grouped_by or (("speaker",) if len(self.groups) else ())
        n = len(self.groups) // max(1, len(names))
        return {name: self.groups[place * n : (place + 1) * n] for place, name in enumerate(names)}


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """The hardware that a job ran on, as its first worker found it."""

    host: str
    """Name of the machine."""
    processor: str
    """Name of the CPU."""
    threads: int
    """CPU threads of each worker."""
    workers: int
    """Workers that trained the job together."""
    device: str
    """The device that trained the head: the GPU's name, or ``cpu``."""
    gpus: int
    """GPUs of all workers together; 0 on the CPU."""


@dataclass(frozen=True, kw_only=True)
class EarlyEnd:
    """The end of an arm's search before its budget was used (``search.stop_when``)."""

    trials: int
    """The trials that the arm had started, which are all that it has."""
    improvement: float
    """What the next trial was expected to gain, in units of the objective."""
    high: float
    """A gain that the next trial would have exceeded with a probability of 2.5 %."""

    def in_words(self, planned: int | None) -> str:
        """Return what happened.

        Args:
            planned: the trials of the budget; None if the budget is time.
        """
        of = "" if planned is None else f" of {planned}"
        return (
            f"ended after {self.trials}{of} trials: the next was expected to gain {self.improvement:.2g} "
            f"(0 to {self.high:.2g})"
        )


@dataclass(frozen=True, kw_only=True)
class Record:
    """One finished job: a search trial, a finalist's run or a confirmation run."""

    sweep: str
    """Name of the sweep."""
    stage: Stage
    """What the job was for: the search, a finalist, or a confirmation."""
    method: str
    """Loss subset or baseline, with its modalities, label budget and search, as :func:`variant` makes it."""
    number: int
    """Trial number within the arm's study, or index of the confirmation seed.

    A finalist's run has the number that `sweeps.ledger.winners.run_number` makes of both.
    """
    seed: int
    """Seed of the training."""
    state: State
    """How the job ended."""
    origin: str = ""
    """The source of the hyperparameters of a search trial or of a finalist's run.

    A search trial has one of: default, the sampler's name, grid, warm_start with the earlier sweep's trial, or
    share_best with this sweep's trial. A finalist's run has its search trial, such as ``trial 7``.
    """
    reason: str = ""
    """Why a failed or pruned job ended; the first word is the class of the reason."""
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    """Every hyperparameter of the job, defaults written out."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """The sweep's whole configuration when the job ended, which also says what else was planned."""
    epochs: int = 0
    """Pretraining epochs done."""
    value: float | None = None
    """The objective on validation data; None for a job that never got one.

    The value of a search trial that is not complete comes from a brief probe, which scores another way.
    """
    history: Sequence[tuple[int, float]] = ()
    """(epochs done, objective) at each validation probe. All are brief, except the last of a complete trial."""
    losses: Mapping[str, float] = field(default_factory=dict)
    """Last epoch's mean pretraining losses; recorded, never an objective."""
    metrics: Sequence[Metric] = ()
    """Every score of the job."""
    predictions: Sequence[Predictions] = ()
    """Predictions on test data; confirmation runs alone have some."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Wall time: total, train, probe. If the job ran on several kinds of hardware, ``hardware`` is the last."""
    started: str = ""
    """UTC time at which the job began, ISO 8601; ``ended`` has the same form."""
    ended: str = ""
    """UTC time at which the job ended."""
    features: Mapping[str, str] = field(default_factory=dict)
    """Fingerprint of each feature set, by its place in the configuration."""
    rows_by_modalities: Mapping[str, Mapping[str, Mapping[str, int]]] = field(default_factory=dict)
    """Place of each feature set some of whose rows lack a modality -> split -> modalities, joined by + -> rows."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Code and library versions."""
    early_ends: Mapping[str, EarlyEnd] = field(default_factory=dict)
    """Arm -> its early end, for each search that had ended early when the job ended."""
    hardware: Hardware | None = None
    """None for a job whose worker was lost before its first report."""

    @property
    def key(self) -> str:
        """The job's identity within the sweep."""
        return str(JobKey(self.stage, self.method, self.number))

    @property
    def failure_class(self) -> str:
        """The class of a failed job's reason, such as ``nan_loss``: what stands before the first colon."""
        return self.reason.partition(":")[0].strip() or "unknown"


def variant(method: str, modalities: Sequence[str], labels: LabelBudget | str | None = None, search: int = 1) -> str:
    """Return the name of a method in studies, records and tables.

    Args:
        method: the method's own name.
        modalities: the modalities that the method is restricted to, as in ``Con[video-audio]``; empty for no
            restriction.
        labels: the label budget that the method is searched for, or the budget's name, as in ``Con@5`` or ``Con@all``;
            None for the sweep's budget.
        search: the number of the search, from 1; the second search of ``Con`` is ``Con~2``.
    """
    name = f"{method}[{'-'.join(modalities)}]" if modalities else method
    if labels is not None:
        name += f"@{str(labels) or 'all'}"
    return name if search == 1 else f"{name}~{search}"


def method_of(name: str) -> str:
    """Return the method's own name from a name that :func:`variant` made."""
    return without_search(name).partition("@")[0].partition("[")[0]


def search_of(name: str) -> int:
    """Return the number of the search, from 1, from a name that :func:`variant` made."""
    match = _SEARCH.search(name)
    return 1 if match is None else int(match[1])


def without_search(name: str) -> str:
    """Return the name that the method of ``name`` has in the first search: all its searches share it."""
    return _SEARCH.sub("", name)


def with_former_settings(config: dict[str, Any]) -> dict[str, Any]:
    """Return a sweep's configuration, completed by the settings that its version did not have yet.

    A configuration that lacks none in the sections that it has is returned itself.
    """
    former = {
        section: {**config[section], **settings}
        for section, settings in _FORMER_SETTINGS.items()
        if isinstance(config.get(section), Mapping) and next(iter(settings)) not in config[section]
    }
    return {**config, **former} if former else config


def with_space(records: Sequence[Record], space: Path) -> list[Record]:
    """Return records whose configuration names ``space`` as its search space, if that file exists.

    A sweep folder holds the space of a user's own, as it was used. The path in a record may be gone, or may hold
    another space today.
    """
    if not space.is_file():
        return list(records)
    configs: dict[int, Mapping[str, Any]] = {}  # most records share one configuration
    return [
        replace(record, config=configs.setdefault(id(record.config), {**record.config, "space": str(space)}))
        for record in records
    ]


def instruments(probe: Mapping[str, Any]) -> list[str]:
    """Return the names of the instruments in a configuration's ``probe`` section, the probe itself (empty) first."""
    return ["", *probe["also"]]


def label_budgets(probe: Mapping[str, Any]) -> list[str]:
    """Return the names of the label budgets in a configuration's ``probe`` section, all labels (empty) first."""
    budgets = [LabelBudget(per_class=number) for number in probe["labels_per_class"]]
    return ["", *map(str, budgets), *(str(LabelBudget(fraction=part)) for part in probe["label_fraction"])]
