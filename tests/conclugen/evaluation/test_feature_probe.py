"""The probe on a set as it is: chosen on validation, scored on test, and what sets it refuses."""

from pathlib import Path
from statistics import fmean, stdev

import numpy as np
import pytest
import torch

from conclugen.batches import StandardisedSplit
from conclugen.evaluation.feature_probe import Probed, probe_features
from conclugen.evaluation.metrics import classification_metrics
from conclugen.evaluation.probe import ProbeSettings, draw_labels, fit_probes
from conclugen.features import FeatureSet
from conclugen.labels import LabelBudget
from conclugen.manifest import FeatureSetError
from tests.conftest import CLASSES, write_planted

RATES, SEEDS = (1e-4, 0.01, 0.03), 2
CPU = torch.device("cpu")


def probed(folder: Path, **changes: object) -> Probed:
    wanted: dict[str, object] = {"modalities": ["text"], "settings": ProbeSettings(epochs=15), "seeds": SEEDS}
    return probe_features(folder, rates=RATES, device=CPU, **{**wanted, **changes})  # type: ignore[arg-type]


def test_it_is_the_probe_on_standardised_features_chosen_on_validation(tmp_path: Path) -> None:
    folder = write_planted(tmp_path / "set", rows=240)
    features = FeatureSet(folder)
    parts = {
        name: StandardisedSplit(features.split(name), features.standardisation, ["text"], CPU)
        for name in ("train", "val", "test")
    }
    x = {name: part.batch(torch.arange(len(part)))["text"] for name, part in parts.items()}
    y = {name: part.split.labels for name, part in parts.items()}
    scores: dict[tuple[float, str], list[float]] = {}
    for rate in RATES:
        for seed in range(SEEDS):
            draws = draw_labels(y["train"], LabelBudget(), 1, 0)
            settings = ProbeSettings(epochs=15, lr=rate)
            probes = fit_probes(x["train"], y["train"], draws, (x["val"], y["val"]), CLASSES, settings, seed)
            for name in ("val", "test"):
                metrics = classification_metrics(y[name].numpy(), probes.predict(x[name])[0].numpy(), CLASSES)
                scores.setdefault((rate, name), []).append(metrics["weighted_f1"])
    found = probed(folder)
    assert [found.validation[rate].mean for rate in RATES] == pytest.approx([fmean(scores[r, "val"]) for r in RATES])
    assert found.lr == max(RATES, key=lambda rate: fmean(scores[rate, "val"]))
    tested = scores[found.lr, "test"]
    assert found.test["weighted_f1"].mean == pytest.approx(fmean(tested))
    assert found.test["weighted_f1"].std == pytest.approx(stdev(tested))
    assert len({round(found.validation[rate].mean, 6) for rate in RATES}) > 1


def test_test_labels_choose_nothing(tmp_path: Path) -> None:
    """With its test labels turned round, a set gives the same choice and validation scores, and another test score."""
    split = np.array(["train", "train", "val", "test"])[np.arange(120) // 3 % 4]
    labels = np.arange(120) % 3
    wrong = np.where(split == "test", (labels + 1) % 3, labels)
    right = probed(write_planted(tmp_path / "right", labels=labels), modalities=[])
    turned = probed(write_planted(tmp_path / "turned", labels=wrong), modalities=[])
    assert (right.lr, right.validation) == (turned.lr, turned.validation)
    assert right.test["accuracy"].mean > 0.8 > 0.2 > turned.test["accuracy"].mean


def test_one_seed_has_no_spread(planted: Path) -> None:
    found = probed(planted, seeds=1)
    assert found.test["accuracy"].std is None
    assert "±" not in str(found.test["accuracy"])


def test_sets_that_cannot_be_probed_say_why(tmp_path: Path, planted: Path) -> None:
    unlabelled = write_planted(tmp_path / "unlabelled", labels=None, class_names=None)
    folds = write_planted(tmp_path / "folds", split=None, folds=np.arange(120) % 4)
    for folder, modalities, part in (
        (planted, ["smell"], "no modality 'smell'; it has video, audio, text"),
        (unlabelled, [], "has no labels"),
        (folds, [], "is cross-validated"),
        (tmp_path / "none", [], "none"),
    ):
        with pytest.raises(FeatureSetError, match=part):
            probed(folder, modalities=modalities)
