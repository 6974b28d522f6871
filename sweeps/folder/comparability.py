"""Decides which results stay comparable when a sweep's settings, features or code change.

The basis of a result is a text: two results have the same basis if they follow from the same settings and features. The
text holds a setting only where it differs from its default. A record from an earlier patch version lacks the settings
that came later, and so still has the basis that it would have today. Comparing whole sections was rejected: each new
setting would make every confirmation run again.
"""

import hashlib
import json
import socket
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from conclugen import __version__
from conclugen.features.manifest import Manifest
from conclugen.hyperparameters import Hyperparameters
from sweeps.config import SweepConfig
from sweeps.config.sections import Objective, Probe
from sweeps.jobs import Job

__all__ = [
    "CODE",
    "confirmation_basis",
    "mean_over",
    "objective_sets",
    "provenance",
    "reports_basis",
    "setting_changes",
]

CODE = "conclugen-sweeps"
"""The name of this code among the versions that records keep."""
_FREE = (
    "budget.trials_per_subset",
    "budget.hours",
    "budget.gpu_hours",
    "budget.seeds",
    "checkpoint",
    "search.warm_start",
    "storage",
    "tracking",
    "workers",
)
"""Settings that change how much is run and where, not what a result means."""
_GROWING = ("baselines", "modality_subsets", "probe.also", "probe.label_fraction", "probe.labels_per_class", "subsets")
"""Lists that may get longer: new entries are run, and earlier results stay."""


def confirmation_basis(
    hyperparameters: Mapping[str, Any], config: Mapping[str, Any], features: Mapping[str, str]
) -> str:
    """Return the basis of a confirmation's result; its method and seed are not part of it.

    Args:
        hyperparameters: the run's; empty where the method has none.
        config: the sweep's configuration, as in a record.
        features: fingerprints of the feature sets, as in a record.
    """
    probe = _differing_from_defaults(config["probe"], Probe().model_dump(mode="json"))
    probe.pop("every", None)  # only search trials use it
    tuned = _differing_from_defaults(hyperparameters, asdict(Hyperparameters()))
    return _text([tuned, _training(config), probe, _objective(config), features])


def reports_basis(job: Job, config: Mapping[str, Any], features: Mapping[str, str]) -> str:
    """Return the basis of a search trial's reports: what its checkpoints follow from, and how it is scored.

    Args:
        job: the trial.
        config: the sweep's configuration, as in a record.
        features: fingerprints of the feature sets, as in a record.
    """
    probe = _differing_from_defaults(config["probe"], Probe().model_dump(mode="json"))
    # No report depends on when a trial reports, how confirmations are scored, or settings of an unused probe.
    unused = () if config["probe"]["kind"] == "paper" else ("layers", "hidden_dim", "lr", "patience")
    for name in ("every", "labels_per_class", "label_fraction", "also", *unused):
        probe.pop(name, None)
    objective = _objective(config)
    used_features = [features[name] for name in ("pretrain", *(f"downstream.{name}" for name in objective["sets"]))]
    text = _text([asdict(job), _training(config), probe, objective, used_features])
    return hashlib.sha256(text.encode()).hexdigest()


def _training(config: Mapping[str, Any]) -> list[Any]:
    return [config["modalities"], config["seed"], config["budget"]["epochs"], config["features"]["standardise"]]


def _objective(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the objective with its sets; naming a sweep's only set makes no difference."""
    objective = _differing_from_defaults(config["objective"], Objective().model_dump(mode="json"))
    objective.pop("dataset", None)
    return {**objective, "sets": objective_sets(config)}


def _differing_from_defaults(settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name not in defaults or value != defaults[name]}


def _text(values: Any) -> str:
    return json.dumps(values, sort_keys=True)


def provenance(config: SweepConfig) -> dict[str, dict[str, str]]:
    """Return what results follow from besides the configuration: ``features`` (fingerprints) and ``versions``."""
    downstream = {f"downstream.{name}": folder for name, folder in config.features.downstream.items()}
    sets = {"pretrain": config.features.pretrain, **downstream}
    return {
        "features": {name: Manifest.read(folder).fingerprint for name, folder in sets.items()},
        "versions": {
            CODE: __version__,
            "python": sys.version.split()[0],
            **{package: version(package) for package in ("torch", "ray", "optuna")},
            "driver": socket.gethostname(),
        },
    }


def setting_changes(former: Mapping[str, Any], current: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield a message for each changed setting that makes results differ in meaning.

    Free settings may change, and growing lists may get longer. A setting that the former configuration lacks is no
    change. `sweeps.folder.sessions` compares the objective's sets, the space and the features.

    Args:
        former: the configuration of the last session, or a section of it.
        current: the same part of the configuration from now on.
        prefix: the section's dotted name, with a dot at the end; empty for the whole configuration.
    """
    for name, old in former.items():
        key = f"{prefix}{name}"
        new = current.get(name)
        if old == new or key in (*_FREE, "objective.dataset", "space", "features.pretrain"):
            continue
        if key == "features.downstream":
            missing = sorted(set(old) - set(new or ()))
            yield from (f"{key}.{entry}: is missing now, and was there before; keep it." for entry in missing)
        elif key in _GROWING:
            missing = [entry for entry in old if entry not in (new or ())]
            yield from (f"{key}: had {entry}, and lacks it now; keep it." for entry in missing)
        elif isinstance(old, dict) and isinstance(new, dict):
            yield from setting_changes(old, new, f"{key}.")
        else:
            yield f"{key}: was {old}, and is {new}."


def objective_sets(config: Mapping[str, Any]) -> list[str]:
    """Return the names of the labelled sets that a configuration's objective counts."""
    dataset = config["objective"].get("dataset")
    return [dataset] if dataset is not None else sorted(config["features"]["downstream"])


def mean_over(sets: list[str]) -> str:
    """Return the words for the mean over labelled sets, or the name of a single one."""
    return sets[0] if len(sets) == 1 else f"the mean over {', '.join(sets)}"
