"""The probe of a feature set without a head: its inputs, its choice on validation labels, and refused sets."""

import json
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
import pytest
import torch

from conclugen.evaluation.draws import LabelledDraws, draw_labels, draw_selection
from conclugen.evaluation.feature_probe import FeatureProbe, Probed, Spread, probe_features
from conclugen.evaluation.metrics import classification_metrics, probability_metrics
from conclugen.evaluation.probe import Instrument, fit_probes
from conclugen.features.batches import StandardisedSplit
from conclugen.features.manifest import FeatureSetError
from conclugen.features.shards import FeatureSet
from conclugen.features.synthesis import SyntheticSet, write_synthetic
from conclugen.labels import LabelBudget
from tests.conftest import CLASSES, write_planted

FIVE = LabelBudget(per_class=5)
CPU = torch.device("cpu")


def probed(folder: Path, how: FeatureProbe | None = None, modalities: tuple[str, ...] = ("text",)) -> list[Probed]:
    return probe_features(folder, modalities, how or FeatureProbe(), CPU)


@pytest.fixture(scope="module")
def planted_240(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_planted(tmp_path_factory.mktemp("features") / "planted", rows=240)


@pytest.fixture(scope="module")
def augmented(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("features") / "augmented"
    widths = {"text": 6, "audio": 4}
    description = SyntheticSet(samples=120, widths=widths, classes=3, labelled=True, signal={"text": 1.0}, augmented=2)
    write_synthetic(description, folder)
    return folder


@pytest.mark.parametrize("set_name", ["planted_240", "augmented"])
@pytest.mark.parametrize("instrument", ["logistic", "knn"])
@pytest.mark.parametrize("selection", ["validation", "budget"])
def test_a_feature_probe_is_the_probe_on_standardised_features(
    request: pytest.FixtureRequest, set_name: str, instrument: Instrument, selection: str
) -> None:
    """Modalities are concatenated; training samples have all versions, and the other splits their clean rows."""
    folder = request.getfixturevalue(set_name)
    features = FeatureSet(folder)
    classes = features.manifest.labels.classes
    parts = {
        name: StandardisedSplit(features.split(name), features.standardisation, ["text", "audio"], CPU)
        for name in ("train", "val", "test")
    }
    x = {name: torch.cat(list(part.batch(torch.arange(len(part))).values()), dim=1) for name, part in parts.items()}
    y = {name: part.split.labels[part.split.clean_rows] for name, part in parts.items()}
    how = FeatureProbe(
        instrument=instrument,
        budgets=(FIVE, LabelBudget()),
        draws=3,
        selection=selection,
        class_weights="balanced",
        seed=4,
    )
    results = probed(folder, how, ("text", "audio"))
    assert [each.labels for each in results] == ["5", ""]
    for each, budget, draws in zip(results, how.budgets, (3, 1), strict=True):
        data = LabelledDraws(
            x=x["train"],
            labels=y["train"],
            draws=draw_labels(y["train"], budget, 3, 4),
            validation_x=x["val"],
            validation_labels=y["val"],
            classes=classes,
            selection=draw_selection(y["val"], budget, 3, 4, selection),
            versions=features.split("train").versions,
            class_weights="balanced",
        )
        probes = fit_probes(instrument, data)
        assert list(each.chosen) == list(probes.chosen)
        assert len(each.chosen) == draws
        for name, spreads in (("val", each.validation), ("test", each.test)):
            answers, truth = probes.answer(x[name]), y[name].numpy()
            scores = [
                classification_metrics(truth, predicted, classes) | probability_metrics(truth, p, classes)
                for predicted, p in zip(answers.predicted.numpy(), answers.probabilities.numpy(), strict=True)
            ]
            assert spreads.keys() == scores[0].keys() >= {"weighted_f1", "balanced_accuracy", "nll"}
            for metric, spread in spreads.items():
                values = [score[metric] for score in scores]
                assert spread.mean == pytest.approx(fmean(values))
                assert spread.std == (None if draws == 1 else pytest.approx(stdev(values)))


def test_the_test_set_has_versions_and_can_be_learned(augmented: Path) -> None:
    assert FeatureSet(augmented).split("train").versions.shape[1] == 3
    assert 0.4 < probed(augmented)[0].test["accuracy"].mean < 1


@pytest.mark.parametrize("selection", ["validation", "budget"])
def test_test_labels_do_not_influence_the_choice(tmp_path: Path, selection: str) -> None:
    """A set with wrong test labels gives the same choice and validation scores, and another test score."""
    split = np.array(["train", "train", "val", "test"])[np.arange(120) // 3 % 4]
    labels = np.arange(120) % 3
    wrong = np.where(split == "test", (labels + 1) % 3, labels)
    how = FeatureProbe(budgets=(LabelBudget(), FIVE), draws=2, selection=selection)
    right = probed(write_planted(tmp_path / "right", labels=labels), how, ())
    spoiled = probed(write_planted(tmp_path / "spoiled", labels=wrong), how, ())
    for one, other in zip(right, spoiled, strict=True):
        assert (one.chosen, one.validation) == (other.chosen, other.validation)
        assert one.test["accuracy"].mean > 0.8 > 0.2 > other.test["accuracy"].mean


def test_no_modalities_means_all_modalities(planted_240: Path) -> None:
    assert probed(planted_240, modalities=()) == probed(planted_240, modalities=("video", "audio", "text"))
    assert probed(planted_240, modalities=()) != probed(planted_240)


def test_the_draws_follow_the_seed(planted_240: Path) -> None:
    how = FeatureProbe(budgets=(LabelBudget(per_class=2),), draws=3)
    assert probed(planted_240, how) == probed(planted_240, how)
    assert probed(planted_240, how) != probed(planted_240, replace(how, seed=1))


def test_the_budget_applies_to_validation_labels(planted_240: Path) -> None:
    how = FeatureProbe(instrument="knn", budgets=(LabelBudget(per_class=6),), draws=12)
    few, every = (
        probed(planted_240, replace(how, selection=selection))[0].chosen for selection in ("budget", "validation")
    )
    assert few != every


def test_the_papers_probe_follows_the_seed(planted_240: Path) -> None:
    how = FeatureProbe(instrument="paper", budgets=(FIVE,), draws=2)
    first, other = probed(planted_240, how)[0], probed(planted_240, replace(how, seed=1))[0]
    assert all(chosen.startswith("epoch ") for chosen in first.chosen)
    assert first != other


def test_each_budget_is_reported_when_it_is_done(planted_240: Path) -> None:
    calls = []
    how = FeatureProbe(budgets=(LabelBudget(), FIVE), draws=2)
    results = probe_features(planted_240, ["text"], how, CPU, lambda: calls.append(None))
    assert len(calls) == len(results) == 2


def test_one_draw_has_no_spread(planted: Path) -> None:
    (result,) = probed(planted)
    assert result.test["accuracy"].std is None
    assert "±" not in str(result.test["accuracy"])


def test_a_spread_by_hand() -> None:
    """The sample standard deviation of 0.2 and 0.4 is 0.1 times the square root of 2."""
    assert str(Spread.of([0.2, 0.4])) == "0.3000 ± 0.1414"
    assert str(Spread.of([0.25])) == "0.2500"


def test_the_document_is_json(planted: Path) -> None:
    (result,) = probed(planted, FeatureProbe(budgets=(FIVE,), draws=2))
    document = json.loads(json.dumps(result.document()))
    assert document["labels"] == "5"
    assert len(document["chosen"]) == 2
    assert document["test"]["weighted_f1"] == {
        "mean": result.test["weighted_f1"].mean,
        "std": result.test["weighted_f1"].std,
    }
    assert f"f1/{CLASSES[0]}" in document["validation"]


def test_sets_that_cannot_be_probed_say_why(tmp_path: Path, planted: Path) -> None:
    unlabelled = write_planted(tmp_path / "unlabelled", labels=None, class_names=None)
    folds = write_planted(tmp_path / "folds", split=None, folds=np.arange(120) % 4)
    for folder, modalities, part in (
        (planted, ("smell",), "no modality 'smell'; it has video, audio, text"),
        (unlabelled, (), "has no labels"),
        (folds, (), "is cross-validated"),
        (tmp_path / "none", (), "none"),
    ):
        with pytest.raises(FeatureSetError, match=part):
            probed(folder, modalities=modalities)
