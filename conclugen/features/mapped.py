"""One shard of a feature set, memory-mapped.

Shapes: n rows of a shard, d_m width of modality m.
"""

import os
import warnings
from pathlib import Path

import pyarrow as pa
import torch
from torch import Tensor

from conclugen.counts import counted
from conclugen.features.columns import AUGMENTATION, LABEL, SAMPLE_ID, group_column, mask_column, shard_schema
from conclugen.features.manifest import FeatureSetError, Manifest, Shard
from conclugen.features.masks import lacking_counts

__all__ = ["MappedShard"]


class MappedShard:
    """One memory-mapped Arrow file as zero-copy tensors.

    Raises:
        FeatureSetError: the file cannot be read or contradicts the manifest.
    """

    def __init__(self, folder: Path, shard: Shard, manifest: Manifest) -> None:
        file = folder / shard.file
        masked = [name for name in manifest.widths if name in shard.masked]
        schema = shard_schema(manifest.dtype, manifest.modalities, manifest.labels, manifest.groupings, masked)
        expected = _describe(shard.rows, schema)
        try:
            self._batch = pa.ipc.open_file(pa.memory_map(os.fsencode(file))).get_batch(0)
            if (content := _describe(self._batch.num_rows, self._batch.schema)) != expected:
                raise ValueError(f"it holds {content}; the manifest says {expected}")
            self._batch.validate()
            self.features = {
                modality.name: _as_tensor(self._batch.column(modality.name).values).view(-1, modality.width)
                for modality in manifest.modalities
            }
            self.labels: Tensor | None = None
            if manifest.labels is not None:
                column = self._batch.column(LABEL)
                multi_label = manifest.labels.kind == "multilabel"
                self.labels = _as_tensor(column.values).view(len(column), -1) if multi_label else _as_tensor(column)
            self.augmentation = _as_tensor(self._batch.column(AUGMENTATION))
            self.present = {
                name: torch.from_numpy(self._batch.column(mask_column(name)).to_numpy(zero_copy_only=False))
                for name in masked
            }
            """Modality -> (n,) which rows have it, for the modalities that some rows lack."""
            masks = {name: mask.numpy() for name, mask in self.present.items()}
            if (lacking := lacking_counts(masks, [*manifest.widths])) != shard.lacking:
                raise ValueError(f"its masks say that rows lack {lacking}; the manifest says {dict(shard.lacking)}")
            self._groups = manifest.groupings
        except (OSError, ValueError, pa.ArrowException) as error:
            raise FeatureSetError(f"shard {file} cannot be read: {error}; make the set again.") from None

    def __len__(self) -> int:
        return int(self._batch.num_rows)

    @property
    def sample_ids(self) -> list[str]:
        """The sample identifier of each row."""
        ids: list[str] = self._batch.column(SAMPLE_ID).to_pylist()
        return ids

    @property
    def groups(self) -> dict[str, list[str]]:
        """Name of each of the set's groupings, such as speaker -> the group of each row."""
        return {name: self._batch.column(group_column(name)).to_pylist() for name in self._groups}


def _describe(rows: int, schema: pa.Schema) -> str:
    return f"{counted(rows, 'row')} of {', '.join(f'{column.name} {column.type}' for column in schema)}"


def _as_tensor(array: pa.Array) -> Tensor:
    with warnings.catch_warnings():
        # The mapping is read-only and torch has no read-only tensors; nothing here writes through them.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array.to_numpy(zero_copy_only=True))
