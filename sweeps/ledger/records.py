"""What a ledger holds: the record of a finished attempt, and the names that records and tables use.

Plain data, the schema that `reports` builds on; it loads neither Ray nor torch.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
    "variant",
    "with_former_settings",
]

BASELINES = ("raw_features", "raw_pca", "label_spreading", "random_head", "supervised_head", "SimCLR")
"""Methods that stand beside the loss subsets in a table."""
TUNED_BASELINES = ("supervised_head", "SimCLR")
"""Baselines that are searched with the same budget as a loss subset."""
LOSSES: Mapping[str, tuple[Loss, ...]] = {**SUBSETS, "supervised_head": (), "SimCLR": (Loss.CON,)}
"""Method that can be searched -> the losses whose hyperparameters it has."""
SUMMARY_METRICS = ("weighted_f1", "macro_f1", "accuracy")
"""Names of a probe's summary metrics; ``f1/<class>`` stand beside them."""
ERROR_METRICS = ("nll", "brier", "ece")
"""Those of its metrics that are better when lower."""
REPRESENTED = ("raw_features", "raw_pca", "random_head", "SimCLR", *SUBSETS)
"""Methods that are a representation, which any instrument can read; the others are classifiers of their own."""
_FORMER_PROBE = {"kind": "paper", "also": [], "selection": "validation"}  # what 0.2 did, which had no such settings

Stage = Literal["search", "confirm"]
ScoredSplit = Literal["val", "test"]
State = Literal["complete", "pruned", "failed"]


class LedgerError(ValueError):
    """A record cannot be read, is not there, or would be written a second time."""


@dataclass(frozen=True)
class JobKey:
    """The identity of a job within its sweep; its text names the job's record, its head and its folder."""

    stage: Stage
    method: str
    """As in Record: with the modalities and the label budget that the job is restricted to."""
    number: int

    def __str__(self) -> str:
        return f"{self.stage}-{self.method}-{self.number:05d}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a key from its text, such as ``search-Con-00003``.

        Raises:
            ValueError: the text is no key.
        """
        match = re.fullmatch(r"(search|confirm)-(.+)-([0-9]{5,})", text, re.DOTALL)
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
    split: ScoredSplit
    labels: str
    """Label budget of the probe: such as 5 (per class) or 10%; empty for all labels."""
    metric: str
    value: float
    """Mean over the label draws, and over the folds of a folded set."""
    instrument: str = ""
    """What has read it off, such as knn, where it is not the sweep's probe: one of the configuration's probe.also."""


@dataclass(frozen=True)
class Predictions:
    """A confirmed probe's predictions on a test split, for paired tests and confusion matrices.

    ``truth`` and ``predicted`` hold class indices, or, where samples have several labels, one 0 or 1 per sample and
    class, sample by sample.
    """

    dataset: str
    labels: str
    """Label budget, as in Metric."""
    fold: int
    """The fold that was the test split; 0 for a set without folds."""
    draw: int
    classes: Sequence[str]
    multi_label: bool
    truth: Sequence[int]
    predicted: Sequence[int]
    instrument: str = ""
    """As in Metric."""
    chosen: str = ""
    """What was chosen for this draw on validation samples, such as ``C=0.01``, ``k=5`` or ``epoch 40``."""
    probabilities: bytes = b""
    """The class probabilities, sample by sample: little-endian numbers of half precision (numpy's ``<f2``). Empty where
    they were not kept, or where the ledger was read without them."""


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """What an attempt ran on, as its first worker found it."""

    host: str
    processor: str
    """Name of the CPU."""
    threads: int
    """Of each worker on the CPU."""
    workers: int
    device: str
    """What heads were trained on: the GPU's name, or ``cpu``."""
    gpus: int
    """Of all workers together; 0 on the CPU."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """One finished attempt of the search, of a confirmation or of a baseline."""

    sweep: str
    stage: Stage
    method: str
    """Loss subset, or baseline; with the modalities in brackets where they are not all of the sweep's."""
    number: int
    """Trial number within the subset's study, or index of the confirmation seed."""
    seed: int
    state: State
    origin: str = ""
    """Where the configuration of a search trial came from: default, the sampler's name, grid, warm_start with the
    earlier sweep's trial, or share_best with this sweep's."""
    reason: str = ""
    """Why a failed or pruned attempt ended; its first word is the class of the reason."""
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    """Every hyperparameter of the attempt, defaults written out."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """The sweep's whole configuration when the attempt ended; it also says what else was planned."""
    epochs: int = 0
    """Pretraining epochs done."""
    value: float | None = None
    """The objective on validation data; None for an attempt that never got one. That of a search trial which is not
    complete comes of a brief probe, which scores another way."""
    history: Sequence[tuple[int, float]] = ()
    """(epochs done, objective) at each validation probe, all brief but the last of a complete trial."""
    losses: Mapping[str, float] = field(default_factory=dict)
    """Last epoch's mean pretraining losses; recorded, never an objective."""
    metrics: Sequence[Metric] = ()
    predictions: Sequence[Predictions] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Wall time: total, train, probe; on several kinds of hardware one after the other, ``hardware`` is the last."""
    started: str = ""
    """UTC time, ISO 8601, as is ``ended``."""
    ended: str = ""
    features: Mapping[str, str] = field(default_factory=dict)
    """Fingerprint of each feature set, by its place in the configuration."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Code and library versions."""
    hardware: Hardware | None = None
    """None for an attempt whose worker was lost before it had told."""

    @property
    def key(self) -> str:
        """Identity within the sweep."""
        return str(JobKey(self.stage, self.method, self.number))


def variant(method: str, modalities: Sequence[str], labels: LabelBudget | str | None = None) -> str:
    """Return the name of a method in studies, records and tables.

    Args:
        method: its own name.
        modalities: those that it is restricted to, as in ``Con[video-audio]``; empty for no restriction.
        labels: the label budget, or its name, that it is searched for, as in ``Con@5`` or ``Con@all``; None for the
            sweep's.
    """
    name = f"{method}[{'-'.join(modalities)}]" if modalities else method
    return name if labels is None else f"{name}@{str(labels) or 'all'}"


def method_of(name: str) -> str:
    """Return the method that :func:`variant` made ``name`` of."""
    return name.partition("@")[0].partition("[")[0]


def with_former_settings(config: dict[str, Any]) -> dict[str, Any]:
    """Return a sweep's configuration, with the settings that the version that wrote it did not have yet.

    The same object where there is none, or no section ``probe``.
    """
    if "kind" in config.get("probe", {"kind": ""}):
        return config
    return {**config, "probe": {**config["probe"], **_FORMER_PROBE}}


def instruments(probe: Mapping[str, Any]) -> list[str]:
    """Return the names of the instruments in a configuration's ``probe`` section, the probe itself (empty) first."""
    return ["", *probe["also"]]


def label_budgets(probe: Mapping[str, Any]) -> list[str]:
    """Return the names of the label budgets in a configuration's ``probe`` section, all labels (empty) first."""
    budgets = [LabelBudget(per_class=number) for number in probe["labels_per_class"]]
    return ["", *map(str, budgets), *(str(LabelBudget(fraction=part)) for part in probe["label_fraction"])]
