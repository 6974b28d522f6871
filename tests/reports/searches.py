"""Records of a small sweep's search, for the tests of what reports say about it."""

from collections.abc import Mapping, Sequence
from typing import Any

from sweeps.ledger import Hardware, Metric, Record

CONFIG: dict[str, Any] = {
    "features": {"downstream": {"digits": "/somewhere"}},
    "subsets": ["Con", "Gen"],
    "baselines": ["raw_features", "random_head"],
    "modality_subsets": [],
    "budget": {"trials_per_subset": 4, "hours": None, "gpu_hours": None, "epochs": 10, "seeds": 2},
    "objective": {"metric": "weighted_f1", "dataset": None, "labels_per_class": None, "label_fraction": None},
    "probe": {"kind": "logistic", "also": [], "selection": "budget", "labels_per_class": [5], "label_fraction": []},
    "workers": {"per_trial": 1, "gpus": 0},
    "search": {"nested": []},
    "space": "/no/such/space.yaml",
}


ON_CPU = Hardware(host="node-a", processor="EPYC", threads=4, workers=1, device="cpu", gpus=0)


def config(**sections: Any) -> dict[str, Any]:
    """CONFIG with some sections changed; of a section, only what is given."""
    return CONFIG | {
        name: {**CONFIG[name], **value} if isinstance(value, dict) else value for name, value in sections.items()
    }


def record(stage: str, method: str, number: int, **fields: Any) -> Record:
    return Record(
        **{
            "sweep": "s", "stage": stage, "method": method, "number": number, "seed": number, "state": "complete",
            "config": CONFIG, "hardware": ON_CPU, "started": "2026-01-01T00:00:00+00:00", **fields,
        }
    )  # fmt: skip


def trial(method: str, number: int, value: float | None, **fields: Any) -> Record:
    return record("search", method, number, **{"value": value, "origin": "tpe" if number else "default", **fields})


def confirmation(method: str, number: int, scores: Mapping[tuple[str, str], float], **fields: Any) -> Record:
    """A confirmation run with one metric: (split, label budget) -> its value on digits."""
    metrics = [Metric("digits", split, labels, "weighted_f1", value) for (split, labels), value in scores.items()]  # type: ignore[arg-type]
    return record("confirm", method, number, metrics=metrics, **fields)


def failed(method: str, number: int, reason: str, **fields: Any) -> Record:
    return trial(method, number, None, state="failed", reason=reason, **fields)


def pruned(method: str, number: int, value: float, **fields: Any) -> Record:
    return trial(method, number, value, state="pruned", reason="median: judged too low", **fields)


def trials(method: str, values: Sequence[float], **fields: Any) -> list[Record]:
    return [trial(method, number, value, **fields) for number, value in enumerate(values)]
