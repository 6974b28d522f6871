"""What results rest on: the settings and features that they follow from, as texts that are equal where these are.

A setting counts only where it is not what it is by default. So a record that a former patch version wrote without the
settings that came later rests on the same as one of today; whole sections, compared as they are, would make such a
version run every confirmation again.
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

__all__ = ["confirmation_basis", "reports_basis"]


def confirmation_basis(
    hyperparameters: Mapping[str, Any], config: Mapping[str, Any], features: Mapping[str, str]
) -> str:
    """What the result of a confirmation rests on, besides its method and seed.

    Args:
        hyperparameters: of the run; none where the method has none.
        config: of the sweep, as in a record.
        features: fingerprints, as in a record.
    """
    probe = _differing_from_defaults(config["probe"], Probe().model_dump(mode="json"))
    probe.pop("every", None)  # of search trials
    own = _differing_from_defaults(hyperparameters, asdict(Hyperparameters()))
    return _text([own, _training(config), probe, _objective(config), features])


def reports_basis(job: Job, config: Mapping[str, Any], features: Mapping[str, str]) -> str:
    """What a search trial's reports rest on: all that its checkpoints do, and how its objective is scored.

    Arguments as for :func:`confirmation_basis`.
    """
    probe = _differing_from_defaults(config["probe"], Probe().model_dump(mode="json"))
    # When it reports, what confirmations are scored at and with, and settings of a probe that is not the objective's.
    others = () if config["probe"]["kind"] == "paper" else ("layers", "hidden_dim", "lr", "patience")
    for name in ("every", "labels_per_class", "label_fraction", "also", *others):
        probe.pop(name, None)
    objective = _objective(config)
    used = [features[name] for name in ("pretrain", *(f"downstream.{name}" for name in objective["sets"]))]
    return hashlib.sha256(_text([asdict(job), _training(config), probe, objective, used]).encode()).hexdigest()


def _training(config: Mapping[str, Any]) -> list[Any]:
    return [config["modalities"], config["seed"], config["budget"]["epochs"], config["features"]["standardise"]]


def _objective(config: Mapping[str, Any]) -> dict[str, Any]:
    """The objective, with the sets that count: where they are all, they may be named or not."""
    objective = _differing_from_defaults(config["objective"], Objective().model_dump(mode="json"))
    named = objective.pop("dataset", None)
    return {**objective, "sets": sorted(config["features"]["downstream"]) if named is None else [named]}


def _differing_from_defaults(settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name not in defaults or value != defaults[name]}


def _text(values: Any) -> str:
    return json.dumps(values, sort_keys=True)


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
"""Settings that change how much is done and where, not what a result means."""
_GROWING = ("baselines", "modality_subsets", "probe.also", "probe.label_fraction", "probe.labels_per_class", "subsets")
"""Lists that may get longer: what is new is run, and what was there stays."""
CODE = "conclugen-sweeps"


def provenance(config: SweepConfig) -> dict[str, dict[str, str]]:
    """What results depend on besides the configuration: ``features`` (fingerprints) and ``versions``."""
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


def setting_changes(former: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Messages for settings that are neither free nor have grown; one that the former version had not is new."""
    for name, old in former.items():
        key, new = f"{prefix}{name}", now.get(name)
        if old == new or key in (*_FREE, "objective.dataset", "space", "features.pretrain"):
            continue
        if key == "features.downstream":
            gone = sorted(set(old) - set(new or ()))
            yield from (f"{key}.{lost}: was there, and is not any more; keep it." for lost in gone)
        elif key in _GROWING:
            missing = [entry for entry in old if entry not in (new or ())]
            yield from (f"{key}: had {entry}, and has it no more; keep it." for entry in missing)
        elif isinstance(old, dict) and isinstance(new, dict):
            yield from setting_changes(old, new, f"{key}.")
        else:
            yield f"{key}: was {old}, and is {new}."


def objective_sets(config: Mapping[str, Any]) -> list[str]:
    named = config["objective"]["dataset"]
    return [named] if named is not None else sorted(config["features"]["downstream"])


def mean_over(sets: list[str]) -> str:
    return sets[0] if len(sets) == 1 else f"the mean over {', '.join(sets)}"
