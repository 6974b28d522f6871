"""Import of small files in the tests of layouts, and what the set then holds."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conclugen.features.manifest import FeatureSetError
from conclugen.features.shards import FeatureSet
from conclugen.formats.importing import import_files
from conclugen.formats.options import Options
from conclugen.formats.plan import Plan, understand

__all__ = ["Rows", "imported", "planned", "refused"]


class Rows:
    """The rows of an imported set by their identifiers."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        self.plan = plan
        features = FeatureSet(folder)
        self.manifest = features.manifest
        self.splits: dict[str, str] = {}
        self.labels: dict[str, str] = {}
        self.groups: dict[str, dict[str, str]] = {name: {} for name in self.manifest.groupings}
        self.vectors: dict[str, dict[str, list[float]]] = {name: {} for name in self.manifest.widths}
        for shard in self.manifest.shards:
            content = features.shard(shard)
            for row, key in enumerate(content.sample_ids):
                self.splits[key] = shard.split
                if content.labels is not None and self.manifest.labels is not None:
                    self.labels[key] = self.manifest.labels.classes[int(content.labels[row])]
                for name, of_rows in content.groups.items():
                    self.groups[name][key] = of_rows[row]
                for name, array in content.features.items():
                    self.vectors[name][key] = array[row].tolist()

    def same(self, modality: str, expected: Mapping[str, Any]) -> bool:
        """Whether a modality holds exactly the expected vectors."""
        stored = self.vectors[modality]
        return stored.keys() == expected.keys() and all(
            np.allclose(stored[key], np.asarray(vector, np.float64).reshape(-1), rtol=1e-5, atol=1e-6)
            for key, vector in expected.items()
        )


def _options(options: Mapping[str, Any]) -> Options:
    return Options(**options)


def imported(folder: Path, *paths: Path, **options: Any) -> Rows:
    """Import files into a new set in ``folder``."""
    out = folder / "set"
    plan, _ = import_files(paths, out, _options(options))
    assert not [file for file in folder.iterdir() if file.name.startswith(".")]
    return Rows(out, plan)


def planned(*paths: Path, **options: Any) -> Plan:
    """What an import would do."""
    return understand(paths, _options(options))


def refused(*paths: Path, **options: Any) -> Sequence[str]:
    """The messages of an import that is refused before anything is written."""
    with pytest.raises(FeatureSetError) as caught:
        understand(paths, _options(options))
    return str(caught.value).split("\n")
