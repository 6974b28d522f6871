"""Sessions: the stretches of time in which one process ran a sweep, and what may change from one to the next.

A sweep may grow from session to session: more trials, seeds, subsets, labelled sets. What it has found so far has to
stay comparable with what is to come; any other change is refused, or accepted by the user and then on record here.
"""

import hashlib
import json
import os
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from conclugen import __version__
from conclugen.durable import write_whole
from conclugen.manifest import Manifest
from sweeps.config import ConfigError, SweepConfig
from sweeps.plan import SweepFolder

__all__ = ["Sessions", "held", "provenance", "running"]

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
_GROWING = ("baselines", "modality_subsets", "probe.label_fraction", "probe.labels_per_class", "subsets")
"""Lists that may get longer: what is new is run, and what was there stays."""
_TAKE_OVER_SECONDS = 2.0  # `sweep status` holds the lock for a moment, to see whether somebody else does


def provenance(config: SweepConfig) -> dict[str, dict[str, str]]:
    """What results depend on besides the configuration: ``features`` (fingerprints) and ``versions``."""
    downstream = {f"downstream.{name}": folder for name, folder in config.features.downstream.items()}
    sets = {"pretrain": config.features.pretrain, **downstream}
    return {
        "features": {name: Manifest.read(folder).fingerprint for name, folder in sets.items()},
        "versions": {
            "conclugen-sweeps": __version__,
            "python": sys.version.split()[0],
            **{package: version(package) for package in ("torch", "ray", "optuna")},
            "driver": socket.gethostname(),
        },
    }


@contextmanager
def held(folder: SweepFolder) -> Iterator[None]:
    """Hold a sweep's folder: nobody else runs the sweep meanwhile. The system lets go of it when the process dies.

    Where the file system has no such locks (Lustre mounted without flock), the lock is a file that names its owner
    (filelock's soft lock), and whoever comes next on the same machine finds out that the owner is dead.

    Raises:
        ConfigError: another process holds it.
    """
    lock = FileLock(folder.lock, timeout=_TAKE_OVER_SECONDS)
    try:
        lock.acquire()
    except Timeout:
        raise ConfigError([_taken(folder)]) from None
    try:
        folder.owner.write_text(f"process {os.getpid()} on {socket.gethostname()}")
        yield
    finally:
        lock.release()


def _taken(folder: SweepFolder) -> str:
    who = _content(folder.owner) or "another process"
    message = f"{folder.root}: {who} runs this sweep; wait for it, or end it first."
    if _content(folder.lock):  # a soft lock, whose owner's death only its own machine can tell
        message += (
            f" If its machine has died, delete {folder.lock}: the file system has no locks that end by themselves."
        )
    return message


def _content(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def running(folder: SweepFolder) -> bool:
    """Whether some process runs the sweep."""
    try:
        with FileLock(folder.lock, blocking=False):
            return False
    except Timeout:
        return True


class Sessions:
    """The sessions of one sweep.

    Args:
        folder: the sweep's.
    """

    def __init__(self, folder: SweepFolder) -> None:
        self._folder = folder

    @property
    def last(self) -> dict[str, Any] | None:
        """The latest; None if there is none that can be read."""
        sessions = self._read()
        return sessions[-1] if sessions else None

    def changes(self, config: SweepConfig) -> list[str]:
        """What is different now from the last session, so that results would not compare; one message each.

        Args:
            config: as it would be from now on. The folder still holds the former.
        """
        former: dict[str, Any] = yaml.safe_load(self._folder.config.read_text())
        found = list(_setting_changes(former, config.model_dump(mode="json")))
        before, now = _objective_sets(former), _objective_sets(config.model_dump(mode="json"))
        if before != now:
            found.append(
                f"objective.dataset: the search scored {_mean(before)}, and would score {_mean(now)} from now on"
                + (f"; keep it with --set objective.dataset={before[0]}." if len(before) == 1 else ".")
            )
        if (last := self.last) is not None:
            current = _fingerprints(config)
            found += [
                f"features.{name}: is not the set that it was: its fingerprint was {fingerprint}, and is "
                f"{current['features'][name]}."
                for name, fingerprint in last["features"].items()
                if current["features"].get(name, fingerprint) != fingerprint
            ]
            if last["space"] != current["space"]:
                found.append(f"space: {config.space} holds other ranges than it did.")
            code = current["versions"]["conclugen-sweeps"]
            if last["versions"]["conclugen-sweeps"].split(".")[:2] != code.split(".")[:2]:
                found.append(f"conclugen-sweeps: was {last['versions']['conclugen-sweeps']}, and is {code}.")
        return found

    def begin(self, config: SweepConfig, accepted: Sequence[str] = ()) -> None:
        """Put a session on record, with the changes that the user accepted."""
        session = {
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "accepted_changes": list(accepted),
            **_fingerprints(config),
        }
        write_whole(self._folder.sessions, json.dumps([*self._read(), session], indent=2).encode())

    def _read(self) -> list[dict[str, Any]]:
        try:
            sessions: list[dict[str, Any]] = json.loads(self._folder.sessions.read_bytes())
        except (OSError, ValueError):  # the sweep's results do not depend on it
            return []
        return sessions


def _fingerprints(config: SweepConfig) -> dict[str, Any]:
    parameters = config.load_space().parameters.items()
    ranges = {name: {**p.model_dump(mode="json"), "needs": sorted(p.needs)} for name, p in parameters}
    space = hashlib.sha256(json.dumps(ranges, sort_keys=True).encode()).hexdigest()[:16]
    return {**provenance(config), "space": space}


def _setting_changes(former: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
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
            yield from _setting_changes(old, new, f"{key}.")
        else:
            yield f"{key}: was {old}, and is {new}."


def _objective_sets(config: Mapping[str, Any]) -> list[str]:
    named = config["objective"]["dataset"]
    return [named] if named is not None else sorted(config["features"]["downstream"])


def _mean(sets: list[str]) -> str:
    return sets[0] if len(sets) == 1 else f"the mean over {', '.join(sets)}"
