"""Where a report comes from: commands, folders, versions, features and configurations."""

import shlex
from collections.abc import Sequence
from pathlib import Path

import yaml

from reports.output.page import Provenance
from reports.statistics.accounting import hardware
from sweeps.ledger import Record

__all__ = ["provenance"]


def provenance(ledgers: Sequence[Sequence[Record]], folders: Sequence[Path], command: str) -> Provenance:
    """Return where the report of these sweeps comes from.

    Args:
        ledgers: their records.
        folders: where they lie.
        command: the command line that asks for the report.
    """
    facts, configs = [("Made by", command)], dict[str, str]()
    for records, folder in zip(ledgers, folders, strict=True):
        latest = max(records, key=lambda record: record.started)
        name = latest.sweep
        facts += [
            (f"{name}: folder", str(folder)),
            (
                f"{name}: attempts",
                f"{len(records)}, {min(r.started for r in records)} to {max(r.ended for r in records)}",
            ),
            *((f"{name}: hardware", kind) for kind in hardware(records)),
            (f"{name}: one record again", f"conclugen sweep replay {shlex.quote(str(folder))} --trial {latest.key}"),
        ]
        facts += [(f"{name}: features {place}", value) for place, value in sorted(latest.features.items())]
        versions = dict.fromkeys(tuple(sorted(record.versions.items())) for record in records)
        for known in versions:  # more than one where a sweep was resumed with another version
            facts.append((f"{name}: versions", ", ".join(f"{package} {version}" for package, version in known)))
        configs[f"{name}: configuration"] = yaml.safe_dump(dict(latest.config), sort_keys=False)
    return Provenance(facts, configs)
