"""Sessions: the stretches of time in which one process ran a sweep, and what may change from one to the next.

A sweep may grow from session to session: more trials, seeds, subsets, labelled sets. What it has found so far has to
stay comparable with what is to come; any other change is refused, or accepted by the user and then on record here.
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
from sweeps.folder.comparability import CODE, mean_over, objective_sets, provenance, setting_changes
from sweeps.folder.layout import SweepFolder
from sweeps.ledger import Ledger, with_former_settings

__all__ = ["Session", "Sessions"]


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
        found = list(setting_changes(with_former_settings(dict(last.config)), current.config))
        before, now = objective_sets(last.config), objective_sets(current.config)
        if before != now:
            found.append(
                f"objective.dataset: the search scored {mean_over(before)}, and would score {mean_over(now)} "
                + "from now on"
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
        was, code = last.versions[CODE], current.versions[CODE]
        if release(was) != release(code):
            found.append(f"{CODE}: was {was}, and is {code}.")
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
            file = self._folder.sessions
            aside = set_aside(file, (file.with_suffix(f".damaged-{number}.json") for number in count(1)))
            told.append(f"{error} It is now {aside}; what has changed was told from the ledger's newest record.")
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
