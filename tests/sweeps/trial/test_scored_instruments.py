"""Confirmed methods are scored with the sweep's probe and with its other instruments."""

import re
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from sklearn.metrics import f1_score

from conclugen.evaluation.classification import Classifiers
from conclugen.evaluation.probe import fit_probes
from conclugen.hyperparameters import Hyperparameters
from conclugen.subsets import SUBSETS
from conclugen.training.pretrain import build_head
from sweeps.config import SweepConfig, load_config
from sweeps.folder.layout import SweepFolder
from sweeps.jobs import Job, Report
from sweeps.ledger import Predictions
from sweeps.trial import TrialRunner
from tests.conftest import write_planted

WIDTHS = {"video": 7, "audio": 5, "text": 4}
CHOSEN = {"": r"C=[\d.e-]+", "logistic": r"C=[\d.e-]+", "knn": r"k=\d+", "paper": r"epoch \d+"}
"""Instrument -> the text of its chosen setting."""
BUDGETS = {"": 1, "2": 2, "25%": 2}
"""Label budget -> draws."""
PROBABILITY_METRICS = {"nll", "brier", "ece"}

Configure = Callable[..., SweepConfig]


@pytest.fixture
def configure(write_config: Callable[..., Path]) -> Configure:
    """Return a sweep with given settings of its probe, and of other sections."""

    def load(settings: dict[str, Any] | None = None, **probe: Any) -> SweepConfig:
        budgets = {"labels_per_class": [2], "label_fraction": [0.25], "label_draws": 2}
        return load_config(write_config(probe={**budgets, **probe}, **(settings or {})))

    return load


def run(config: SweepConfig, folder: Path, method: str, stage: str = "confirm") -> tuple[Report, list[Report]]:
    """Run a job; return its final report and its earlier ones."""
    hyperparameters = {}
    if method not in ("raw_features", "raw_pca", "label_spreading"):
        defaults = config.load_space().default_configuration(SUBSETS.get(method, ()))
        hyperparameters = asdict(replace(Hyperparameters(), **defaults))
    job = Job(stage=stage, method=method, number=0, seed=11, hyperparameters=hyperparameters)
    reports = list[Report]()

    def listen(report: Report) -> bool:
        reports.append(report)
        return True

    final = TrialRunner(config, SweepFolder(folder), torch.device("cpu")).run(job, listen)
    assert final is not None
    return final, reports


def probabilities_of(predictions: Predictions) -> npt.NDArray[np.float64]:
    """Return the kept probabilities (samples, classes)."""
    values = np.frombuffer(predictions.probabilities, dtype="<f2").astype(np.float64)
    return values.reshape(-1, len(predictions.classes))


@pytest.mark.parametrize("method", ["Con", "raw_features", "raw_pca", "random_head", "SimCLR"])
def test_a_representation_is_scored_with_every_instrument_at_every_label_budget(
    configure: Configure, tmp_path: Path, method: str
) -> None:
    final, _ = run(configure(also=["knn", "paper"]), tmp_path, method)
    instruments = ("", "knn", "paper")
    names = {(m.instrument, m.split, m.labels): set[str]() for m in final.metrics}
    for metric in final.metrics:
        names[metric.instrument, metric.split, metric.labels].add(metric.metric)
    assert set(names) == {(i, split, labels) for i in instruments for split in ("val", "test") for labels in BUDGETS}
    assert len(set(map(frozenset, names.values()))) == 1
    assert len(final.metrics) == sum(map(len, names.values()))  # each once

    draws = [(each.instrument, each.labels, each.draw) for each in final.predictions]
    assert sorted(draws) == sorted(
        (i, labels, d) for i in instruments for labels, n in BUDGETS.items() for d in range(n)
    )
    for each in final.predictions:
        assert re.fullmatch(CHOSEN[each.instrument], each.chosen)
    values = {
        (m.instrument, m.labels): m.value for m in final.metrics if (m.split, m.metric) == ("test", "weighted_f1")
    }
    for (instrument, labels), value in values.items():
        draws = [each for each in final.predictions if (each.instrument, each.labels) == (instrument, labels)]
        scores = [f1_score(each.truth, each.predicted, average="weighted") for each in draws]
        assert value == pytest.approx(np.mean(scores))


@pytest.mark.parametrize(("method", "chosen"), [("label_spreading", "neighbours="), ("supervised_head", "epoch ")])
def test_a_method_that_is_a_classifier_is_scored_without_instruments(
    configure: Configure, tmp_path: Path, method: str, chosen: str
) -> None:
    final, _ = run(configure(also=["knn", "paper"]), tmp_path, method)
    assert {metric.instrument for metric in final.metrics} == {""}
    assert {(metric.split, metric.labels) for metric in final.metrics} == {
        (split, labels) for split in ("val", "test") for labels in BUDGETS
    }
    assert len(final.predictions) == sum(BUDGETS.values())
    assert {each.instrument for each in final.predictions} == {""}
    assert all(each.chosen.startswith(chosen) for each in final.predictions)


def test_other_instruments_change_no_score_of_the_sweeps_probe(configure: Configure, tmp_path: Path) -> None:
    one = configure()
    three = configure(also=["knn", "paper"])
    final, reports = run(one, tmp_path / "one", "Con", "search")
    final_of_three, reports_of_three = run(three, tmp_path / "three", "Con", "search")
    values = [(report.epochs, report.value) for report in (*reports, final)]
    assert values == [(report.epochs, report.value) for report in (*reports_of_three, final_of_three)]

    final, _ = run(one, tmp_path / "one", "Con")
    final_of_three, _ = run(three, tmp_path / "three", "Con")
    assert final_of_three.value == final.value
    assert [metric for metric in final_of_three.metrics if not metric.instrument] == list(final.metrics)
    assert [each for each in final_of_three.predictions if not each.instrument] == list(final.predictions)


def test_an_instrument_scores_the_same_beside_another_or_as_the_sweeps_probe(
    configure: Configure, tmp_path: Path
) -> None:
    beside, _ = run(configure(also=["paper"]), tmp_path, "raw_features")
    alone, _ = run(configure(kind="paper"), tmp_path, "raw_features")
    predictions = [replace(each, instrument="") for each in beside.predictions if each.instrument == "paper"]
    assert predictions == list(alone.predictions)


def test_only_confirmations_use_the_other_instruments(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = list[str]()

    def fit(instrument: Any, *arguments: Any, **settings: Any) -> Classifiers:
        used.append(instrument)
        return fit_probes(instrument, *arguments, **settings)

    monkeypatch.setattr("sweeps.trial.scoring.fit_probes", fit)
    config = configure(also=["knn", "paper"])
    run(config, tmp_path, "Con", "search")
    assert used == ["logistic"] * 4
    used.clear()
    run(config, tmp_path, "Con")
    assert used == ["logistic", "knn", "paper"] * len(BUDGETS)
    head = build_head(WIDTHS, Hyperparameters(representation_dim=8), 0)
    runner = TrialRunner(config, SweepFolder(tmp_path), torch.device("cpu"))
    for stage, expected in (("search", ["logistic"]), ("confirm", ["logistic", "knn", "paper"])):
        used.clear()
        runner.objective(head, stage=stage)
        assert used == expected


class TestProbabilities:
    @pytest.mark.parametrize("method", ["Con", "label_spreading", "supervised_head"])
    def test_probabilities_are_kept_with_the_predictions_that_follow_from_them(
        self, configure: Configure, tmp_path: Path, method: str
    ) -> None:
        final, _ = run(configure(also=["knn", "paper"]), tmp_path, method)
        for each in final.predictions:
            kept = probabilities_of(each)
            assert kept.shape == (len(each.truth), 3)
            assert kept.sum(axis=1) == pytest.approx(1, abs=2e-3)
            assert (kept[np.arange(len(kept)), each.predicted] == kept.max(axis=1)).all()  # of equals, either

    def test_each_of_several_labels_has_a_probability(self, configure: Configure, tmp_path: Path) -> None:
        config = configure(several_labels(tmp_path / "set"), label_fraction=[0.5], also=["knn", "paper"])
        final, _ = run(config, tmp_path, "raw_features")
        assert {each.instrument for each in final.predictions} == {"", "knn", "paper"}
        for each in final.predictions:
            kept = probabilities_of(each)
            predicted = np.reshape(each.predicted, (-1, 2))
            assert (kept[predicted == 1] >= 0.5).all()
            assert (kept[predicted == 0] <= 0.5).all()
            assert 0 <= kept.min() < kept.max() <= 1

    def test_probabilities_are_left_out_where_the_configuration_says_so(
        self, configure: Configure, tmp_path: Path
    ) -> None:
        kept, _ = run(configure(also=["knn"]), tmp_path, "raw_features")
        config = configure({"checkpoint": {"probabilities": False}}, also=["knn"])
        final, _ = run(config, tmp_path, "raw_features")
        assert list(final.predictions) == [replace(each, probabilities=b"") for each in kept.predictions]
        assert list(final.metrics) == list(kept.metrics)

    def test_probabilities_are_scored_in_confirmations_and_not_in_the_search(
        self, configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        config = configure(also=["knn"])
        final, _ = run(config, tmp_path, "Con")
        by_cell = {(m.instrument, m.split, m.labels): set[str]() for m in final.metrics}
        for metric in final.metrics:
            by_cell[metric.instrument, metric.split, metric.labels].add(metric.metric)
        assert all(names >= {*PROBABILITY_METRICS, "balanced_accuracy"} for names in by_cell.values())
        assert not any("average_precision" in name for names in by_cell.values() for name in names)

        def forbidden(*_: object) -> dict[str, float]:
            pytest.fail("a search scores probabilities")

        monkeypatch.setattr("sweeps.trial.scoring.probability_metrics", forbidden)
        run(config, tmp_path, "Con", "search")

    def test_scores_of_probabilities_follow_from_the_kept_ones(self, configure: Configure, tmp_path: Path) -> None:
        final, _ = run(configure(also=["knn", "paper"]), tmp_path, "raw_features")
        scores = {(m.instrument, m.labels): m.value for m in final.metrics if (m.split, m.metric) == ("test", "brier")}
        assert len(scores) == 3 * len(BUDGETS)
        for (instrument, labels), value in scores.items():
            draws = [each for each in final.predictions if (each.instrument, each.labels) == (instrument, labels)]
            errors = [np.square(probabilities_of(each) - np.eye(3)[list(each.truth)]).sum(axis=1) for each in draws]
            assert value == pytest.approx(np.mean(errors), abs=2e-3)

    @pytest.mark.parametrize("method", ["raw_features", "supervised_head"])
    def test_a_set_of_several_labels_has_average_precision(
        self, configure: Configure, tmp_path: Path, method: str
    ) -> None:
        final, _ = run(configure(several_labels(tmp_path / "set")), tmp_path, method)
        for split in ("val", "test"):
            names = {metric.metric for metric in final.metrics if metric.split == split}
            precision = {"average_precision", "average_precision/zero", "average_precision/not one"}
            assert names >= {*PROBABILITY_METRICS, "balanced_accuracy", *precision}


def several_labels(folder: Path) -> dict[str, Any]:
    """Write a set whose samples may have two labels; return settings with it."""
    classes = np.arange(120) % 3
    labels = np.stack([classes == 0, classes != 1], axis=1).astype(int)
    write_planted(folder, labels=labels, class_names=("zero", "not one"))
    return {"features": {"pretrain": str(folder), "downstream": {"several": str(folder)}}, "baselines": []}
