"""The sections of a sweep's configuration: every setting with its default, meaning and rule.

pydantic checks each field by itself, and `sweeps.config.checks` checks one against another. The configuration is
written into the sweep's folder for everyone to read, so secrets stay in the environment.
"""

import shutil
from importlib.util import find_spec
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from conclugen.labels import LabelBudget
from sweeps.config.errors import ConfigError
from sweeps.config.fields import (
    FeatureFolder,
    Flag,
    Fraction,
    Hours,
    MetricName,
    Name,
    Number,
    Positive,
    SweepFolderPath,
    Text,
    TrackingUri,
    Unique,
    WebhookUrl,
    as_list,
    with_environment,
)


class Section(BaseModel):
    """A part of the configuration; it is immutable and refuses unknown settings, so misspelt ones are noticed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _without_lines(cls, section: object) -> object:
        """Return the defaults for a name without lines below it, as where all of them are comments."""
        return {} if section is None else section


class Features(Section):
    """The feature sets."""

    pretrain: FeatureFolder = Field(description="feature set whose train rows the heads are pretrained on")
    downstream: Annotated[dict[Name, FeatureFolder], Field(min_length=1)] = Field(
        description="labelled feature sets that probes are trained and scored on, by the name they have in tables"
    )
    standardise: Flag = Field(
        True, description="give features zero mean and unit variance over the pretraining rows; the paper does not"
    )


class Budget(Section):
    """The amount of work: trials or time for the search, and confirmation runs."""

    hours: Hours | None = Field(
        None, description="instead of trials: wall-clock hours of the search, shared equally by the subsets"
    )
    gpu_hours: Hours | None = Field(
        None, description="instead of trials: GPU hours of the search, shared equally by the subsets"
    )
    trials_per_subset: Positive | None = Field(
        None,
        validate_default=True,
        description="search trials of each loss subset, with pruned and failed ones; give this, hours or gpu_hours",
    )
    epochs: Annotated[int, Field(ge=2, le=1_000_000, strict=True)] = Field(
        description="pretraining epochs of a full trial"
    )
    seeds: Annotated[int, Field(ge=1, le=10_000, strict=True)] = Field(
        5, description="confirmation runs of each subset's best configuration"
    )
    searches: Annotated[int, Field(ge=1, le=1000, strict=True)] = Field(
        1,
        description="how often each subset is searched, with other seeds each time; every search has trials_per_subset "
        "trials, and its own confirmation runs",
    )


class Objective(Section):
    """The value that the search maximises, on validation data."""

    metric: MetricName = Field(
        "weighted_f1",
        description="metric of the probe: accuracy or balanced_accuracy; weighted_ or macro_ and f1, precision or "
        "recall; or f1, precision or recall of one class, as in f1/anger",
    )
    dataset: str | None = Field(
        None, description="the downstream set that counts; null for the mean over all of features.downstream"
    )
    labels_per_class: Positive | None = Field(
        None, description="label budget of the search's probe, samples per class; null for all labels"
    )
    label_fraction: Fraction | None = Field(None, description="the same as a fraction of the labels; null for all")

    @property
    def budget(self) -> LabelBudget:
        """The label budget of the search's probe."""
        return LabelBudget(per_class=self.labels_per_class, fraction=self.label_fraction)


class Probe(Section):
    """The probe that scores representations on labelled data."""

    kind: Literal["logistic", "paper"] = Field(
        "logistic",
        description="logistic: logistic regression with L2, solved to its optimum; paper: what the released code "
        "trains for 140 epochs, to compare with published numbers",
    )
    also: Annotated[tuple[Literal["logistic", "knn", "paper"], ...], BeforeValidator(as_list), Unique] = Field(
        (),
        description="further instruments that score confirmed methods, each a column of the table: knn (nearest "
        "neighbours by cosine), paper, logistic",
    )
    selection: Literal["validation", "budget"] = Field(
        "budget",
        description="validation labels that choose a classifier's setting (the strength of the L2 penalty, a number of "
        "neighbours, an epoch): budget for as many as the label budget has for training, validation for all",
    )
    labels_per_class: Annotated[tuple[Positive, ...], BeforeValidator(as_list), Unique] = Field(
        (), description="label budgets that are reported beside all labels: a number, a list of numbers, or null"
    )
    label_fraction: Annotated[tuple[Fraction, ...], BeforeValidator(as_list), Unique] = Field(
        (), description="label budgets as fractions of the labels, such as 0.1"
    )
    label_draws: Positive = Field(5, description="random draws of labelled samples that a label budget averages over")
    fusion: str = Field(
        "concat", description="how the probe joins the modalities' representations: concat, mean, or one modality alone"
    )
    layers: Annotated[int, Field(ge=1, le=3, strict=True)] = Field(1, description="layers of the paper's probe")
    hidden_dim: Positive = Field(256, description="width of the hidden layers of the paper's probe, if it has any")
    lr: Annotated[Number, Field(gt=0)] = Field(9.67e-3, description="learning rate of the paper's probe")
    patience: Positive = Field(
        40,
        description="epochs without a better validation loss after which the paper's probe stops; the released code "
        "has 15",
    )
    every: Positive | None = Field(
        None, description="epochs between the brief validation probes of a search trial; null for a fifth of the budget"
    )
    class_weights: Literal["none", "balanced"] = Field(
        "none", description="weights of the classes when a classifier is fitted"
    )

    @property
    def budgets(self) -> tuple[LabelBudget, ...]:
        """The label budgets that are reported, all labels first."""
        per_class = [LabelBudget(per_class=number) for number in self.labels_per_class]
        return (LabelBudget(), *per_class, *(LabelBudget(fraction=part) for part in self.label_fraction))


class Workers(Section):
    """The workers that run jobs."""

    per_trial: Positive = Field(
        1, description="Ray Train workers that train one trial together, each on its share of every batch"
    )
    gpus: Literal["auto"] | Annotated[int, Field(ge=0, le=1, strict=True)] = Field(
        "auto", description="GPUs of a worker: 0, 1, or auto for 1 where the cluster has GPUs"
    )
    concurrent_trials: Literal["auto"] | Positive = Field(
        "auto",
        description="trials at a time; auto for one per GPU, or per CPU where trials use none; on a cluster given by "
        "address, auto follows the nodes that come and go, and a number asks the autoscaler for that much",
    )
    wait_minutes: Annotated[Number, Field(ge=0, le=1_000_000)] = Field(
        0, description="how long to wait for nodes where a cluster given by address has no room for a single trial"
    )
    hang_minutes: Annotated[Number, Field(ge=0.5, le=1_000_000)] | None = Field(
        30,
        description="minutes without any progress of a job (an epoch, a probe, a report) after which its workers are "
        "killed and the job is started again from its last checkpoint, three times at most in all; null for never",
    )


class StopWhen(Section):
    """The rule that ends a subset's search before its budget is used."""

    improvement: Annotated[Number, Field(gt=0)] = Field(
        description="the search ends if its next trial is expected to gain less than this, in units of the objective"
    )
    trials: Annotated[int, Field(ge=2, le=1_000_000, strict=True)] = Field(
        8, description="no search ends before so many of its trials have ended, complete or pruned"
    )


class Search(Section):
    """How the search proposes configurations and stops trials."""

    sampler: Literal["tpe", "joint", "random", "grid", "cmaes"] = Field(
        "joint",
        description="how configurations are proposed: joint (one Gaussian process that learns from the trials of all "
        "subsets), tpe (each subset by itself), random, grid (finite spaces), cmaes (ranges only)",
    )
    pruner: Literal["median", "successive_halving", "hyperband", "none"] = Field(
        "median",
        description="how trials are stopped, each within its own study: median, successive_halving, hyperband, none",
    )
    reduction_factor: Annotated[int, Field(ge=2, le=1000, strict=True)] = Field(
        3, description="at a rung of successive halving and hyperband, one trial in so many continues"
    )
    grace_period: Annotated[Number, Field(ge=0, lt=1)] = Field(
        0.4,
        description="share of a trial's epochs before which it is not pruned; earlier probes say too little of how it "
        "will end",
    )
    finalists: Annotated[int, Field(ge=1, le=1000, strict=True)] = Field(
        3,
        description="best configurations of each search, the default among them, that are trained anew with "
        "budget.seeds fresh seeds; the best mean on validation data is confirmed; 1 for the search's best as it is",
    )
    warm_start: Annotated[tuple[SweepFolderPath, ...], BeforeValidator(as_list), Unique] = Field(
        (),
        description="folders of earlier sweeps: joint learns from all their trials, as far as they are like this "
        "sweep's; other samplers begin with their best configurations",
    )
    share_best: Flag = Field(
        False,
        description="one early trial of each subset copies the hyperparameters that it shares with the other subsets' "
        "best so far",
    )
    stop_when: StopWhen | None = Field(
        None,
        description="end a subset's search early: `{improvement: 0.001}` once its next trial is expected to gain less "
        "than that, in units of the objective, and at least 8 of its trials have ended (`trials`); its other turns go "
        "to nobody; null for never",
    )
    nested: Annotated[tuple[Literal["modalities", "labels"], ...], BeforeValidator(as_list), Unique] = Field(
        (),
        description="search each of modality_subsets (modalities), or each label budget of the probe (labels), by "
        "itself with the whole budget; without this, the one best configuration is confirmed there",
    )


class Checkpoint(Section):
    """The files that are kept: a running trial's state to continue from, and confirmed heads to export."""

    every: Positive = Field(10, description="epochs between a trial's checkpoints")
    heads: Positive = Field(1, description="kept heads of each method, those of its best confirmation runs")
    probabilities: Flag = Field(
        True, description="keep the class probabilities of confirmed test predictions in the ledger, in half precision"
    )


class MLflow(Section):
    """The MLflow server or database that keeps the runs."""

    tracking_uri: TrackingUri
    experiment: Text


class WeightsAndBiases(Section):
    """The Weights & Biases project that keeps the runs."""

    project: Text
    entity: Text | None = None


class Tracking(Section):
    """The services that receive the runs, besides the ledger."""

    tensorboard: Flag = Field(True, description="write TensorBoard event files into the sweep's folder")
    mlflow: MLflow | None = Field(
        None,
        description="runs in MLflow: `{tracking_uri, experiment}`, a server or database; secrets in the environment",
    )
    wandb: WeightsAndBiases | None = Field(
        None,
        description="runs in Weights & Biases: `{project, entity}`; WANDB_API_KEY in the environment",
    )

    def missing(self) -> list[str]:
        """Return a problem for each service whose package is not installed; only running a sweep needs packages."""
        services = {"mlflow": self.mlflow, "wandb": self.wandb}
        return [
            f"tracking.{name}: the package {name} is not installed; pip install 'conclugen-sweeps[tracking]'."
            for name, settings in services.items()
            if settings is not None and not _installed(name)
        ]


class Notify(Section):
    """The receivers of a message when a session of the sweep ends: finished, failed or interrupted."""

    url: WebhookUrl | None = Field(
        None,
        description="address that gets a JSON object by POST when a session ends (Slack and Mattermost show its "
        "`text`); secrets as ${VARIABLES}, taken from the environment",
    )
    command: Annotated[tuple[Text, ...], BeforeValidator(as_list)] = Field(
        (), description="program with its arguments, a list, that gets the same JSON object on its standard input"
    )

    def missing(self) -> list[str]:
        """Return a problem for each receiver that this machine cannot reach by what it has."""
        problems = []
        if self.url is not None:
            try:
                with_environment("notify.url", self.url)
            except ConfigError as error:
                problems += error.problems
        if self.command and shutil.which(self.command[0]) is None:
            problems.append(f"notify.command: {self.command[0]} is no program here; give the path of one.")
        return problems


def _installed(package: str) -> bool:
    spec = find_spec(package)
    return spec is not None and spec.origin is not None  # a folder wandb/ of files is a package without origin
