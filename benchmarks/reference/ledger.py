"""Reads the reference ledger: one file, a row for each trial."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from conclugen.features.synthesis import SyntheticSet, write_synthetic
from sweeps.config import Arm, SweepConfig
from sweeps.search.replay import RecordedTrial

REFERENCE = Path(__file__).parent / "reference.parquet"
_SPACE = Path(__file__).parent / "space.yaml"
_SETTINGS = {"handwritten": (5, 20), "mosi": (50, 20), "emodb": (5, 40)}  # labels per class, epochs
_USUAL_SETTINGS = (5, 20)


def settings(name: str, features: str, modalities: Sequence[str]) -> SweepConfig:
    """Return the sweep whose search trials are run on a set.

    Args:
        name: the set's name.
        features: folder of the set's features.
        modalities: their names.
    """
    labels_per_class, epochs = _SETTINGS.get(name, _USUAL_SETTINGS)
    return SweepConfig.model_validate(
        {
            "name": name,
            "features": {"pretrain": features, "downstream": {name: features}},
            "modalities": list(modalities),
            "space": str(_SPACE),
            "budget": {"trials_per_subset": 1, "epochs": epochs},
            "objective": {"labels_per_class": labels_per_class},
            "probe": {"every": epochs // 5},
        }
    )


def as_table(lines: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Return trials as the table that is published; hyperparameters are a JSON object."""
    epochs = [[entry[0] for entry in line["history"]] for line in lines]
    scores = [[entry[1] for entry in line["history"]] for line in lines]
    return pa.table(
        {
            "set": pa.array([line["set"] for line in lines]).dictionary_encode(),
            "subset": pa.array([line["subset"] for line in lines]).dictionary_encode(),
            "number": pa.array([line["number"] for line in lines], pa.int32()),
            "seed": pa.array([line["seed"] for line in lines], pa.int64()),
            "hyperparameters": pa.array([json.dumps(line["hyperparameters"], sort_keys=True) for line in lines]),
            "epochs": pa.array(epochs, pa.list_(pa.int32())),
            "scores": pa.array(scores, pa.list_(pa.float64())),
            "value": pa.array([line["value"] for line in lines], pa.float64()),
            "seconds": pa.array([line["seconds"] for line in lines], pa.float64()),
            "reason": pa.array([line["reason"] for line in lines]),
        }
    )


def recorded_searches(file: Path = REFERENCE) -> dict[str, tuple[SweepConfig, dict[Arm, list[RecordedTrial]]]]:
    """Return set -> its sweep, and the completed trials of each arm."""
    table = pq.read_table(file)
    with TemporaryDirectory() as folder:
        # A replay reads no features, but a configuration must name a set that exists.
        features = Path(folder) / "features"
        write_synthetic(SyntheticSet(samples=20, widths={"a": 8, "b": 8}, labelled=True), features)
        configs = {name: settings(name, str(features), ["a", "b"]) for name in table["set"].unique().to_pylist()}
    trials = defaultdict[str, dict[Arm, list[RecordedTrial]]](lambda: defaultdict(list))
    for row in table.to_pylist():
        if row["value"] is not None:
            last = {configs[row["set"]].budget.epochs: row["value"]}
            curve = {**dict(zip(row["epochs"], row["scores"], strict=True)), **last}
            trial = RecordedTrial(json.loads(row["hyperparameters"]), curve)
            trials[row["set"]][Arm(row["subset"])].append(trial)
    return {name: (config, dict(trials[name])) for name, config in configs.items()}
