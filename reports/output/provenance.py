"""The origin of a report: command, folders, versions, features, hardware and configurations."""

import shlex
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from conclugen.counts import counted, shown_counts
from conclugen.settings.documents import dump
from reports.output.page import Provenance
from reports.statistics.gaps import row_counts
from search_spaces import SpaceError, load_space
from sweeps.ledger import Hardware, Record

__all__ = ["hardware_lines", "provenance"]


def provenance(ledgers: Sequence[Sequence[Record]], folders: Sequence[Path], command: str) -> Provenance:
    """Return the origin of the report of these sweeps.

    Args:
        ledgers: records of each sweep.
        folders: folder of each sweep.
        command: command line that makes the report.
    """
    facts = [("Made by", command)]
    configs: dict[str, str] = {}
    for records, folder in zip(ledgers, folders, strict=True):
        latest = max(records, key=lambda record: record.started)
        name = latest.sweep
        started = min(record.started for record in records)
        ended = max(record.ended for record in records)
        facts += [
            (f"{name}: folder", str(folder)),
            (f"{name}: jobs", f"{len(records)}, {started} to {ended}"),
            *((f"{name}: hardware", line) for line in hardware_lines(records)),
            (
                f"{name}: command to replay one record",
                f"conclugen sweep replay {shlex.quote(str(folder))} --trial {latest.key}",
            ),
        ]
        with suppress(SpaceError):  # the space is gone
            if (adapted := load_space(latest.config["space"]).adapted) is not None:
                facts.append((f"{name}: search space", str(adapted)))
        facts += [(f"{name}: features {place}", value) for place, value in sorted(latest.features.items())]
        facts += [
            (f"{name}: rows of {place} {split}", shown_counts(counts))
            for place, splits in row_counts([records]).get(name, {}).items()
            for split, counts in splits.items()
        ]
        drivers = sorted({record.versions["driver"] for record in records if "driver" in record.versions})
        facts += [(f"{name}: run from host", driver) for driver in drivers]
        versions = dict.fromkeys(
            tuple(sorted((package, version) for package, version in record.versions.items() if package != "driver"))
            for record in records
        )
        for combination in versions:  # several if the sweep was resumed with another version
            facts.append((f"{name}: versions", ", ".join(f"{package} {version}" for package, version in combination)))
        configs[f"{name}: configuration"] = dump(dict(latest.config))
    return Provenance(facts, configs)


def hardware_lines(records: Sequence[Record]) -> list[str]:
    """Return a line for each kind of hardware that a sweep ran on, with the number of jobs and the hosts."""
    hosts: dict[Hardware, list[str]] = {}
    for record in records:
        if record.hardware is not None:
            hosts.setdefault(replace(record.hardware, host=""), []).append(record.hardware.host)
    return [
        f"{_jobs(len(names))} on {_kind(kind)}; {'host' if len(set(names)) == 1 else 'hosts'} "
        f"{', '.join(sorted(set(names)))}"
        for kind, names in hosts.items()
    ]


def _jobs(number: int) -> str:
    return counted(number, "job")


def _kind(kind: Hardware) -> str:
    cpu = f"{kind.threads} thread{'s' if kind.threads != 1 else ''} of {kind.processor}"
    per_worker = f"{kind.gpus // kind.workers} × {kind.device}, {cpu}" if kind.gpus else cpu
    return per_worker if kind.workers == 1 else f"{kind.workers} workers, each with {per_worker}"
