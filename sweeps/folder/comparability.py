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
from sweeps.ledger.comparability import CODE, GROWING, objective_sets, setting_differences

__all__ = ["confirmation_basis", "finalist_basis", "provenance", "reports_basis", "setting_changes"]


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


def finalist_basis(hyperparameters: Mapping[str, Any], config: Mapping[str, Any], features: Mapping[str, str]) -> str:
    """Return the basis of the result of a finalist's run; its method and seed are not part of it.

    Args:
        hyperparameters: the run's.
        config: the sweep's configuration, as in a record.
        features: fingerprints of the feature sets, as in a record.
    """
    tuned = _differing_from_defaults(hyperparameters, asdict(Hyperparameters()))
    return _text([tuned, *_validation(config, features)])


def reports_basis(job: Job, config: Mapping[str, Any], features: Mapping[str, str]) -> str:
    """Return the basis of a search trial's reports: what its checkpoints follow from, and how it is scored.

    Args:
        job: the trial.
        config: the sweep's configuration, as in a record.
        features: fingerprints of the feature sets, as in a record.
    """
    text = _text([job.settings(), *_validation(config, features)])
    return hashlib.sha256(text.encode()).hexdigest()


def _validation(config: Mapping[str, Any], features: Mapping[str, str]) -> list[Any]:
    """Return what an objective on validation data follows from, besides the job: training, probe, sets."""
    probe = _differing_from_defaults(config["probe"], Probe().model_dump(mode="json"))
    # No objective depends on when a trial reports, how confirmations are scored, or settings of an unused probe.
    unused = () if config["probe"]["kind"] == "paper" else ("layers", "hidden_dim", "lr", "patience")
    for name in ("every", "labels_per_class", "label_fraction", "also", *unused):
        probe.pop(name, None)
    objective = _objective(config)
    used_features = [features[name] for name in ("pretrain", *(f"downstream.{name}" for name in objective["sets"]))]
    return [_training(config), probe, objective, used_features]


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


def provenance(config: SweepConfig) -> dict[str, dict[str, Any]]:
    """Return what results follow from besides the configuration, by field of a record.

    These are ``features`` (fingerprints), ``rows_by_modalities`` (of sets with gaps) and ``versions``.
    """
    downstream = {f"downstream.{name}": folder for name, folder in config.features.downstream.items()}
    sets = {"pretrain": config.features.pretrain, **downstream}
    manifests = {name: Manifest.read(folder) for name, folder in sets.items()}
    return {
        "features": {name: manifest.fingerprint for name, manifest in manifests.items()},
        "rows_by_modalities": {
            name: {split: manifest.rows_by_modalities(split) for split in manifest.splits}
            for name, manifest in manifests.items()
            if manifest.has_gaps
        },
        "versions": {
            CODE: __version__,
            "python": sys.version.split()[0],
            **{package: version(package) for package in ("torch", "ray", "optuna")},
            "driver": socket.gethostname(),
        },
    }


def setting_changes(former: Mapping[str, Any], current: Mapping[str, Any]) -> Iterator[str]:
    """Yield a message for each changed setting that makes results differ in meaning.

    Free settings may change, and growing lists may get longer. `sweeps.folder.sessions` compares the objective's sets,
    the space and the features.

    Args:
        former: the configuration of the last session.
        current: the configuration from now on.
    """
    missing = sorted(set(former["features"]["downstream"]) - set(current["features"]["downstream"]))
    yield from (f"features.downstream.{name}: is missing now, and was there before; keep it." for name in missing)
    for key in GROWING:
        old, new = (_setting(config, key) for config in (former, current))
        yield from (f"{key}: had {entry}, and lacks it now; keep it." for entry in old if entry not in new)
    yield from (f"{key}: was {old}, and is {new}." for key, old, new in setting_differences(former, current))


def _setting(config: Mapping[str, Any], key: str) -> list[Any]:
    """Return a list of the configuration by its dotted name; empty where an earlier version had no such setting."""
    *sections, name = key.split(".")
    for section in sections:
        config = config[section]
    return list(config.get(name, ()))
