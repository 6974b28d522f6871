"""The objective counts the labelled sets and labels that the configuration says."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conclugen.evaluation.metrics import classification_metrics
from conclugen.hyperparameters import Hyperparameters
from conclugen.labels import LabelBudget
from conclugen.training.pretrain import build_head
from sweeps.config import ConfigError, SweepConfig, load_config
from sweeps.config.fields import metrics_of
from sweeps.folder.layout import SweepFolder
from sweeps.jobs import Job
from sweeps.trial import TrialRunner
from tests.conftest import write_planted

WIDTHS = {"video": 7, "audio": 5, "text": 4}


@pytest.fixture
def configure(write_config: Callable[..., Path], planted: Path, tmp_path: Path) -> Callable[..., SweepConfig]:
    """Return a sweep with two labelled sets."""
    other = write_planted(tmp_path / "other", seed=1)
    features = {"pretrain": str(planted), "downstream": {"first": str(planted), "second": str(other)}}
    return lambda **objective: load_config(write_config(features=features, objective=objective))


def runner(config: SweepConfig, tmp_path: Path) -> TrialRunner:
    return TrialRunner(config, SweepFolder(tmp_path / "sweep"), torch.device("cpu"))


def test_the_objective_is_the_mean_over_the_sets_or_that_of_a_named_set(
    configure: Callable[..., SweepConfig], tmp_path: Path
) -> None:
    head = build_head(WIDTHS, Hyperparameters(representation_dim=8), 0)
    values = {
        name: runner(configure(labels_per_class=2, dataset=name), tmp_path).objective(head)
        for name in ("first", "second", None)
    }
    assert values["first"] != values["second"]
    assert values[None] == pytest.approx((values["first"] + values["second"]) / 2)


def test_the_search_opens_only_a_named_set(configure: Callable[..., SweepConfig], tmp_path: Path) -> None:
    scoring = runner(configure(dataset="second"), tmp_path).scoring
    assert list(scoring.search_sets) == ["second"]
    assert list(scoring.confirm_sets) == ["first", "second"]


def test_a_confirmation_reports_the_objective_beside_the_scores_of_all_sets(
    configure: Callable[..., SweepConfig], tmp_path: Path
) -> None:
    config = configure(dataset="second", labels_per_class=2, metric="accuracy")
    job = Job(stage="confirm", method="raw_features", number=0, seed=3, hyperparameters={})
    final = runner(config, tmp_path).run(job, lambda report: True)
    assert final is not None
    scores = {(m.dataset, m.split, m.labels, m.metric): m.value for m in final.metrics}
    assert final.value == scores["second", "val", "2", "accuracy"]
    assert {dataset for dataset, *_ in scores} == {"first", "second"}


def test_a_job_for_one_label_budget_is_scored_at_that_budget_alone(
    configure: Callable[..., SweepConfig], tmp_path: Path
) -> None:
    budget = LabelBudget(per_class=2)
    job = Job(stage="confirm", method="raw_features", number=0, seed=3, hyperparameters={}, labels=budget)
    final = runner(configure(), tmp_path).run(job, lambda report: True)
    assert final is not None
    assert {m.labels for m in final.metrics} == {"2"}
    values = [m.value for m in final.metrics if (m.split, m.metric) == ("val", "weighted_f1")]
    assert final.value == pytest.approx(sum(values) / 2)


def test_the_metrics_that_a_configuration_may_name_are_those_that_a_probe_has() -> None:
    truth = np.array([0, 1, 1])
    assert set(metrics_of(["a", "b/c"])) == set(classification_metrics(truth, truth, ["a", "b/c"]))


@pytest.mark.parametrize("kind", ["splits", "folds", "several labels"])
@pytest.mark.parametrize("metric", ["accuracy", "macro_recall", "weighted_precision", "f1/a", "recall/c"])
def test_any_metric_of_the_probe_is_an_objective(
    write_config: Callable[..., Path], tmp_path: Path, metric: str, kind: str
) -> None:
    """A confirmation's objective is the value that it reports under the metric's name, on validation."""
    classes = np.arange(120) % 3
    changes: dict[str, Any] = {
        "splits": {},
        "folds": {"split": None, "folds": np.arange(120) // 3 % 3},
        "several labels": {"labels": (classes[:, None] != np.arange(3)).astype(int)},
    }[kind]
    folder = str(write_planted(tmp_path / "set", **changes))
    features = {"pretrain": folder, "downstream": {"set": folder}}
    config = load_config(write_config(features=features, objective={"metric": metric, "labels_per_class": 2}))
    job = Job(stage="confirm", method="raw_features", number=0, seed=3, hyperparameters={})
    final = runner(config, tmp_path).run(job, lambda report: True)
    assert final is not None
    scores = {(m.split, m.labels, m.metric): m.value for m in final.metrics}
    assert final.value == scores["val", "2", metric]
    head = build_head(WIDTHS, Hyperparameters(representation_dim=8), 0)
    assert 0 < runner(config, tmp_path).objective(head) <= 1


def test_the_objective_may_name_a_class_only_if_every_counted_set_has_it(
    write_config: Callable[..., Path], planted: Path, tmp_path: Path
) -> None:
    """If a set lacked the class, the mean of the others would stand under the name of all."""
    other = write_planted(tmp_path / "other", class_names=("c", "d", "e"))
    features = {"pretrain": str(planted), "downstream": {"first": str(planted), "second": str(other)}}
    for allowed in ({"metric": "f1/c"}, {"metric": "f1/e", "dataset": "second"}):
        load_config(write_config(features=features, objective=allowed))
    for refused in ({"metric": "f1/e"}, {"metric": "f1/e", "dataset": "first"}):
        with pytest.raises(ConfigError, match=r"objective\.metric: 'f1/e' must be one that first"):
            load_config(write_config(features=features, objective=refused))
    assert load_config(write_config(features=features, objective={"metric": "f1/z"}), alone=True)
