"""Test labels do not leak into the search: if they are poisoned, the search is the same, trial for trial."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from conclugen.features.importing import import_arrays
from sweeps.folder.layout import SweepFolder
from sweeps.ledger import Metric, Record
from tests.sweeps.simulation import run_here


def write_set(folder: Path, *, poisoned: bool) -> Path:
    """Write a set of two classes; if poisoned, its test labels are wrong and its test features are huge noise."""
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 2
    split = np.array(["train", "train", "val", "test"])[np.arange(120) // 2 % 4]
    features = {name: labels[:, None] + rng.normal(size=(120, width)) for name, width in (("video", 4), ("text", 3))}
    if poisoned:
        test = split == "test"
        labels = np.where(test, 1 - labels, labels)
        features = {name: np.where(test[:, None], 1e6 * rng.normal(size=x.shape), x) for name, x in features.items()}
    import_arrays(
        features, folder, labels=labels, split=split, class_names=("a", "b"), sources=dict.fromkeys(features, "x")
    )
    return folder


def contents(records: Mapping[str, Record]) -> dict[str, tuple[Any, ...]]:
    """Return the content of each record without its times."""
    return {
        key: (r.state, r.origin, r.hyperparameters, r.history, r.value, r.losses, list(r.metrics))
        for key, r in records.items()
    }


def scores_on_test(metrics: Sequence[Metric]) -> dict[tuple[str, str, str], float]:
    return {(m.instrument, m.labels, m.metric): m.value for m in metrics if m.split == "test"}


def test_poisoned_test_labels_change_the_test_scores_and_nothing_else(
    write_config: Callable[..., Path], tmp_path: Path
) -> None:
    outcomes = []
    for name in ("sound", "poisoned"):
        data = write_set(tmp_path / name, poisoned=name == "poisoned")
        path = write_config(
            features={"pretrain": str(data), "downstream": {"set": str(data)}},
            modalities=["video", "text"],
            subsets=["Con", "CluGen"],
            baselines=["raw_features", "random_head", "supervised_head"],
            budget={"trials_per_subset": 7, "epochs": 4, "seeds": 1},
            probe={"labels_per_class": [2], "label_draws": 2, "also": ["knn"]},
        )
        outcomes.append(contents(run_here(path, SweepFolder(tmp_path / f"sweep-{name}"))))
    sound, poisoned = outcomes
    assert sound.keys() == poisoned.keys()
    assert any(state == "pruned" for state, *_ in sound.values())
    for key, (*fields, metrics) in sound.items():
        *poisoned_fields, poisoned_metrics = poisoned[key]
        assert poisoned_fields == fields, key
        assert [m for m in poisoned_metrics if m.split == "val"] == [m for m in metrics if m.split == "val"]
        if key.startswith("confirm-"):
            scores = scores_on_test(metrics)
            poisoned_scores = scores_on_test(poisoned_metrics)
            for instrument in {instrument for instrument, _, _ in scores}:
                assert poisoned_scores[instrument, "", "accuracy"] < scores[instrument, "", "accuracy"]
