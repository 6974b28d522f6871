"""What results rest on: the settings and features that they follow from, as texts that are equal where these are.

A setting counts only where it is not what it is by default. So a record that a former patch version wrote without the
settings that came later rests on the same as one of today; whole sections, compared as they are, would make such a
version run every confirmation again.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from conclugen.hyperparameters import Hyperparameters
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
    probe = _unusual(config["probe"], Probe().model_dump(mode="json"))
    probe.pop("every", None)  # of search trials
    own = _unusual(hyperparameters, asdict(Hyperparameters()))
    return _text([own, _training(config), probe, _objective(config), features])


def reports_basis(job: Job, config: Mapping[str, Any], features: Mapping[str, str]) -> str:
    """What a search trial's reports rest on: all that its checkpoints do, and how its objective is scored.

    Arguments as for :func:`confirmation_basis`.
    """
    probe = _unusual(config["probe"], Probe().model_dump(mode="json"))
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
    objective = _unusual(config["objective"], Objective().model_dump(mode="json"))
    named = objective.pop("dataset", None)
    return {**objective, "sets": sorted(config["features"]["downstream"]) if named is None else [named]}


def _unusual(settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name not in defaults or value != defaults[name]}


def _text(values: Any) -> str:
    return json.dumps(values, sort_keys=True)
