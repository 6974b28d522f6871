"""Sessions: the stretches of time in which one process ran a sweep, and what may change from one to the next.

A sweep may grow from session to session: more trials, seeds, subsets, labelled sets. What it has found so far has to
stay comparable with what is to come; any other change is refused, or accepted by the user and then on record here.
"""

import errno
import fcntl
import hashlib
import json
import os
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic import TypeAdapter

from conclugen import __version__, release
from conclugen.features.manifest import Manifest
from conclugen.files.durable import SEAL, DamagedError, read_sealed, write_sealed
from search_spaces import Space, SpaceError, load_space, named_spaces
from sweeps.config import ConfigError, SweepConfig
from sweeps.folder.layout import SweepFolder
from sweeps.ledger import Ledger, with_former_settings

__all__ = ["Session", "Sessions", "held", "provenance", "running"]

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
_CODE = "conclugen-sweeps"
_TAKE_OVER_SECONDS = 2.0  # `sweep status` holds the lock for a moment, to see whether somebody else does


def provenance(config: SweepConfig) -> dict[str, dict[str, str]]:
    """What results depend on besides the configuration: ``features`` (fingerprints) and ``versions``."""
    downstream = {f"downstream.{name}": folder for name, folder in config.features.downstream.items()}
    sets = {"pretrain": config.features.pretrain, **downstream}
    return {
        "features": {name: Manifest.read(folder).fingerprint for name, folder in sets.items()},
        "versions": {
            _CODE: __version__,
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
        message += f" If its machine has died, delete {folder.lock}: its file system ends no lock by itself."
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
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        return _held_by_another(folder.lock)


def _held_by_another(lock: Path) -> bool:
    """Whether a lock is held that this process may not take, but look at: another user's, or on a read-only mount."""
    try:
        with lock.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
        return bool(_content(lock))  # a soft lock, which is there while it is held
    return False


@dataclass(frozen=True, kw_only=True)
class Session:
    """What one session ran with."""

    started: str
    """UTC time, ISO 8601."""
    accepted_changes: Sequence[str]
    config: Mapping[str, Any]
    """The whole resolved configuration."""
    features: Mapping[str, str]
    """Fingerprint of each feature set, by its place in the configuration."""
    versions: Mapping[str, str]
    space: str
    """Fingerprint of the search space's ranges; empty where it cannot be known any more."""


_FORMAT = TypeAdapter(list[Session])


class Sessions:
    """The sessions of one sweep, in one sealed file.

    What changed is told by the latest of them, never by the folder's configuration, which anybody can edit. Where the
    file is damaged or gone, the ledger's newest record stands in for it.

    Args:
        folder: the sweep's.
    """

    def __init__(self, folder: SweepFolder) -> None:
        self._folder = folder

    def changes(self, config: SweepConfig) -> list[str]:
        """What is different now from the last session, so that results would not compare; one message each.

        Args:
            config: as it would be from now on.
        """
        if (last := self._last()) is None:  # nothing has run, and nothing has to compare
            return []
        current = _session(config)
        found = list(_setting_changes(with_former_settings(dict(last.config)), current.config))
        before, now = _objective_sets(last.config), _objective_sets(current.config)
        if before != now:
            found.append(
                f"objective.dataset: the search scored {_mean(before)}, and would score {_mean(now)} from now on"
                + (f"; keep it with --set objective.dataset={before[0]}." if len(before) == 1 else ".")
            )
        found += [
            f"features.{name}: is not the set that it was: its fingerprint was {fingerprint}, and is "
            f"{current.features[name]}."
            for name, fingerprint in last.features.items()
            if current.features.get(name, fingerprint) != fingerprint
        ]
        if last.space != current.space:
            found.append(f"space: {config.space} holds other ranges than it did.")
        was, code = last.versions[_CODE], current.versions[_CODE]
        if release(was) != release(code):
            found.append(f"{_CODE}: was {was}, and is {code}.")
        return found

    def begin(self, config: SweepConfig, accepted: Sequence[str] = ()) -> list[str]:
        """Put a session on record, with the changes that the user accepted.

        Returns:
            What to tell the user: that the file was damaged, and where it is now.
        """
        sessions, told = list[Session](), list[str]()
        try:
            sessions = self._read()
        except DamagedError as error:
            copies = 1
            while (copy := self._folder.sessions.with_suffix(f".damaged-{copies}.json")).exists():
                copies += 1
            self._folder.sessions.rename(copy)
            told.append(f"{error} It is now {copy}; what has changed was told from the ledger's newest record.")
        sessions.append(_session(config, accepted))
        document = {"seal": SEAL, "sessions": _FORMAT.dump_python(sessions, mode="json")}
        write_sealed(self._folder.sessions, json.dumps(document, indent=2).encode())
        return told

    def _last(self) -> Session | None:
        try:
            sessions = self._read()
        except DamagedError:
            sessions = []
        if sessions:
            return sessions[-1]
        record = max(Ledger(self._folder.ledger).readable(), key=lambda record: record.ended, default=None)
        if record is None:
            return None
        return Session(
            started=record.started,
            accepted_changes=(),
            config=record.config,
            features=record.features,
            versions=record.versions,
            space=self._space_of(record.config),
        )

    def _space_of(self, config: Mapping[str, Any]) -> str:
        """The fingerprint of a former configuration's space; one of the user's own lies in the folder."""
        named = config["space"] in named_spaces()
        try:
            return _ranges(load_space(config["space"] if named else str(self._folder.space)))
        except SpaceError:
            return ""

    def _read(self) -> list[Session]:
        """All sessions, the latest last.

        Raises:
            DamagedError: the file is not as it was written.
        """
        try:
            return _FORMAT.validate_python(json.loads(read_sealed(self._folder.sessions))["sessions"])
        except FileNotFoundError:
            return []


def _session(config: SweepConfig, accepted: Sequence[str] = ()) -> Session:
    known = provenance(config)
    return Session(
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        accepted_changes=list(accepted),
        config=config.model_dump(mode="json"),
        features=known["features"],
        versions=known["versions"],
        space=_ranges(config.load_space()),
    )


def _ranges(space: Space) -> str:
    ranges = {name: {**p.model_dump(mode="json"), "needs": sorted(p.needs)} for name, p in space.parameters.items()}
    return hashlib.sha256(json.dumps(ranges, sort_keys=True).encode()).hexdigest()[:16]


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
