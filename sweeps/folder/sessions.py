"""Sessions: the stretches of time in which one process ran a sweep.

A sweep may grow from session to session: more trials, seeds, subsets, labelled sets. Its results have to stay
comparable. A change that makes them incomparable is refused, unless the user accepts it; then it is recorded here.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from typing import Any

from pydantic import TypeAdapter

from conclugen import release
from conclugen.files.durable import SEAL, DamagedError, read_sealed, set_aside, write_sealed
from search_spaces import Space, SpaceError, load_space, named_spaces
from sweeps.config import SweepConfig
from sweeps.folder.comparability import provenance, setting_changes
from sweeps.folder.layout import SweepFolder
from sweeps.ledger import Ledger, with_former_settings
from sweeps.ledger.comparability import CODE, mean_over, objective_sets

__all__ = ["Session", "Sessions"]


@dataclass(frozen=True, kw_only=True)
class Session:
    """One process's stretch of running a sweep, and the settings, features and versions that it used."""

    started: str
    """UTC time, ISO 8601."""
    accepted_changes: Sequence[str]
    config: Mapping[str, Any]
    """The whole resolved configuration."""
    features: Mapping[str, str]
    """Fingerprint of each feature set, by its place in the configuration."""
    versions: Mapping[str, str]
    space: str
    """Fingerprint of the search space's ranges; empty where it is unknown."""


_FORMAT = TypeAdapter(list[Session])


class Sessions:
    """The sessions of one sweep, in one sealed file.

    A new configuration is compared with the latest session, never with the folder's configuration, which anybody can
    edit. If the file is damaged or gone, the ledger's newest record stands in for the latest session.

    Args:
        folder: the sweep's folder.
    """

    def __init__(self, folder: SweepFolder) -> None:
        self._folder = folder

    def changes(self, config: SweepConfig) -> list[str]:
        """Return a message for each change since the last session that makes results incomparable.

        Args:
            config: the configuration from now on.
        """
        last = self._last()
        if last is None:  # nothing has run, so no result needs to stay comparable
            return []
        current = _session(config)
        messages = list(setting_changes(with_former_settings(dict(last.config)), current.config))
        old_sets = objective_sets(last.config)
        new_sets = objective_sets(current.config)
        if old_sets != new_sets:
            remedy = f"; keep it with --set objective.dataset={old_sets[0]}" if len(old_sets) == 1 else ""
            messages.append(
                f"objective.dataset: the search scored {mean_over(old_sets)}, and would score {mean_over(new_sets)} "
                f"from now on{remedy}."
            )
        messages += [
            f"features.{name}: is another set than before: its fingerprint was {fingerprint}, and is "
            f"{current.features[name]}."
            for name, fingerprint in last.features.items()
            if current.features.get(name, fingerprint) != fingerprint
        ]
        if last.space != current.space:
            messages.append(f"space: {config.space} holds other ranges than before.")
        old_version = last.versions[CODE]
        new_version = current.versions[CODE]
        if release(old_version) != release(new_version):
            messages.append(f"{CODE}: was {old_version}, and is {new_version}.")
        return messages

    def begin(self, config: SweepConfig, accepted: Sequence[str] = ()) -> list[str]:
        """Record a new session, with the changes that the user accepted.

        Returns:
            A message for the user if the file was damaged: it says where the file is now.
        """
        sessions: list[Session] = []
        messages: list[str] = []
        try:
            sessions = self._read()
        except DamagedError as error:
            file = self._folder.sessions
            aside = set_aside(file, (file.with_suffix(f".damaged-{number}.json") for number in count(1)))
            messages.append(f"{error} It is now {aside}; changes are told from the ledger's newest record instead.")
        sessions.append(_session(config, accepted))
        document = {"seal": SEAL, "sessions": _FORMAT.dump_python(sessions, mode="json")}
        write_sealed(self._folder.sessions, json.dumps(document, indent=2).encode())
        return messages

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
        """Return the fingerprint of an earlier configuration's space; the folder holds a space of the user's own."""
        named = config["space"] in named_spaces()
        try:
            return _ranges(load_space(config["space"] if named else str(self._folder.space)))
        except SpaceError:
            return ""

    def _read(self) -> list[Session]:
        """Return all sessions, the latest last.

        Raises:
            DamagedError: the file is not as it was written.
        """
        try:
            return _FORMAT.validate_python(json.loads(read_sealed(self._folder.sessions))["sessions"])
        except FileNotFoundError:
            return []


def _session(config: SweepConfig, accepted: Sequence[str] = ()) -> Session:
    sources = provenance(config)
    return Session(
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        accepted_changes=list(accepted),
        config=config.model_dump(mode="json"),
        features=sources["features"],
        versions=sources["versions"],
        space=_ranges(config.load_space()),
    )


def _ranges(space: Space) -> str:
    ranges = {name: {**p.model_dump(mode="json"), "needs": sorted(p.needs)} for name, p in space.parameters.items()}
    return hashlib.sha256(json.dumps(ranges, sort_keys=True).encode()).hexdigest()[:16]
