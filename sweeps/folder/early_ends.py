"""The searches of a sweep that ended before their budget was used, in one sealed file.

An end holds while the settings hold that it rests on: the rule (``search.stop_when``) and the budget. After a change,
the search looks again. A file that is damaged or gone does no harm, because a decision follows from the trials.

Every record repeats the ends that held when its job ended: `reports` reads records alone. But the last decision of a
session may be followed by no record.
"""

import json
from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter

from conclugen.files.durable import SEAL, DamagedError, read_sealed, write_sealed
from sweeps.config import SweepConfig
from sweeps.folder.layout import SweepFolder
from sweeps.ledger import EarlyEnd

__all__ = ["read_early_ends", "write_early_ends"]

_FORMAT = TypeAdapter(dict[str, EarlyEnd])


def read_early_ends(folder: SweepFolder, config: SweepConfig) -> dict[str, EarlyEnd]:
    """Return arm -> its early end, for each search that has ended early under the settings of ``config``.

    Raises:
        OSError: the file cannot be read.
    """
    try:
        document = json.loads(read_sealed(folder.early_ends))
    except (FileNotFoundError, DamagedError):
        return {}
    if document["settings"] != _settings(config):
        return {}
    ends = _FORMAT.validate_python(document["ends"])
    return {arm: end for arm, end in ends.items() if arm in config.arms}


def write_early_ends(folder: SweepFolder, config: SweepConfig, ends: Mapping[str, EarlyEnd]) -> None:
    """Record the ``ends`` that hold under the settings of ``config``, in place of the former ones."""
    document = {"seal": SEAL, "settings": _settings(config), "ends": _FORMAT.dump_python(dict(ends), mode="json")}
    write_sealed(folder.early_ends, json.dumps(document, indent=2).encode())


def _settings(config: SweepConfig) -> dict[str, Any]:
    """Return the settings that a decision rests on."""
    rule, budget = config.search.stop_when, config.budget
    return {
        "stop_when": None if rule is None else rule.model_dump(),
        **{name: getattr(budget, name) for name in ("trials_per_subset", "hours", "gpu_hours")},
    }
