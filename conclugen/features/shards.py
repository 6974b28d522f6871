"""Feature shards: this module and its columns alone know how features lie on disk.

A feature set is a folder of uncompressed Arrow IPC files. Each holds one record batch with a fixed-size-list column
per modality. Files are memory-mapped, so all workers of a node share one copy in the page cache. Rejected formats:
Parquet, because it is decoded into private memory; one .npy file per sample, as in the released code, because random
reads of small files bound the training speed.

Every shard belongs to one split. Code that must not see test labels opens a set with ``splits=("train", "val")``. The
set's method ``split`` then refuses to open the test split.

The mean and standard deviation of each feature over the training rows are stored beside the shards. They are applied
when rows are read, so the stored features stay what the backbone gave.

Shapes: n rows of a split, b rows of a batch, d_m width of modality m.
"""

import hashlib
import os
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

from conclugen import __version__
from conclugen.features.columns import AUGMENTATION, LABEL, SAMPLE_ID, group_column, mask_column, shard_schema
from conclugen.features.manifest import (
    MANIFEST_FILE,
    SPEAKER,
    SPLITS,
    STATISTICS_FILE,
    FeatureSetError,
    Labels,
    Location,
    Manifest,
    Modality,
    Shard,
    SplitName,
    local_folder,
    statistics_problem,
)
from conclugen.features.mapped import MappedShard
from conclugen.features.masks import Mask, lacking_counts
from conclugen.features.standardise import RunningMoments, Standardisation
from conclugen.files.tensors import read_tensors, write_tensors

__all__ = ["FeatureSet", "FeatureWriter", "Split"]


class FeatureWriter:
    """Writer of a feature set, shard by shard; a context manager that writes the manifest on success.

    Args:
        folder: folder of the set; created, and refused if it already holds a set.
        modalities: the feature columns in modality order.
        dtype: precision of the stored features.
        labels: the classes of a labelled set, else None.
        groups: names of the groups that are known of each sample, such as speaker or video.

    Raises:
        FeatureSetError: ``folder`` already holds a feature set; or, on exit, no training row has some modality.
    """

    def __init__(
        self,
        folder: Path,
        modalities: Sequence[Modality],
        *,
        dtype: str = "float32",
        labels: Labels | None = None,
        groups: Sequence[str] = (),
    ) -> None:
        if (folder / MANIFEST_FILE).exists():
            raise FeatureSetError(f"{folder} already holds a feature set; choose another folder or remove it first.")
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._modalities = tuple(modalities)
        self._dtype = dtype
        self._labels = labels
        self._groups = tuple(sorted(groups, key=lambda name: name != SPEAKER))  # as in the manifest
        self._shards: list[Shard] = []
        self._moments = {m.name: RunningMoments(m.width) for m in self._modalities}

    def write(
        self,
        split: SplitName,
        sample_ids: Sequence[str],
        features: Mapping[str, npt.NDArray[np.floating]],
        labels: npt.NDArray[np.integer] | None = None,
        augmentation: npt.NDArray[np.integer] | None = None,
        groups: Mapping[str, Sequence[str]] | None = None,
        number: int | None = None,
        present: Mask | None = None,
    ) -> Shard:
        """Write one shard and return its entry of the manifest.

        Args:
            split: the split or fold that all rows belong to; a set has splits or folds.
            sample_ids: n identifiers; the augmented versions of a sample share one.
            features: modality -> (n, d_m).
            labels: (n,) class indices, or (n, classes) of 0 and 1 for several labels; None if the set is unlabelled.
            augmentation: (n,) version index, 0 for the clean version (the default).
            groups: name of each of the set's groupings -> the groups of the n rows.
            number: number in the file's name, unique in the set; None to count the shards.
            present: which rows have which modalities (:mod:`conclugen.features.masks`); None if all have all. The
                features of the others do not matter, as zeros are stored.

        Raises:
            ValueError: there is no row, or the arrays do not fit the set, or a row has no modality; nothing is written.
        """
        n = len(sample_ids)
        expected = {modality.name: (n, modality.width) for modality in self._modalities}
        shapes = {name: array.shape for name, array in features.items()}
        if n == 0 or shapes != expected:
            raise ValueError(f"expected features of shapes {expected} with one row at least, got {shapes}.")
        if (labels is None) != (self._labels is None):
            raise ValueError("a labelled set needs labels in every shard, an unlabelled one takes none.")
        groups = groups or {}
        if groups.keys() != set(self._groups):
            raise ValueError(f"every shard of the set needs the groups {list(self._groups)}, got {list(groups)}.")
        if self._labels is not None and labels is not None:
            classes = len(self._labels.classes)
            multi_label = self._labels.kind == "multilabel"
            shape, allowed = ((n, classes), 2) if multi_label else ((n,), classes)
            if labels.shape != shape or not np.isin(labels, range(allowed)).all():
                raise ValueError(f"expected labels of shape {shape} in 0..{allowed - 1}, got {labels!r}.")
            if multi_label:
                labels = pa.FixedSizeListArray.from_arrays(labels.astype(np.int8).reshape(-1), classes)
        present = present or {}
        if wrong := [name for name, mask in present.items() if mask.shape != (n,) or name not in expected]:
            raise ValueError(f"expected masks of the set's modalities, of shape {(n,)}; got others for {wrong}.")
        masks = {name: mask for name, mask in present.items() if not mask.all()}
        if masks.keys() == expected.keys() and not np.any([*masks.values()], axis=0).all():
            raise ValueError("a row has no modality; leave it out.")
        stored = {name: np.ascontiguousarray(array, dtype=self._dtype) for name, array in features.items()}
        stored |= {name: np.where(mask[:, None], stored[name], 0).astype(self._dtype) for name, mask in masks.items()}
        columns = {
            SAMPLE_ID: sample_ids,
            AUGMENTATION: np.zeros(n) if augmentation is None else augmentation,
            **{group_column(name): of_rows for name, of_rows in groups.items()},
            LABEL: labels,
            **{m: pa.FixedSizeListArray.from_arrays(array.reshape(-1), array.shape[1]) for m, array in stored.items()},
            **{mask_column(name): mask for name, mask in masks.items()},
        }
        masked = [modality.name for modality in self._modalities if modality.name in masks]
        schema = shard_schema(self._dtype, self._modalities, self._labels, self._groups, masked)
        batch = pa.record_batch({name: columns[name] for name in schema.names}, schema)
        file = f"{split}-{len(self._shards) if number is None else number:05d}.arrow"
        temporary = self._folder / f".{file}.partial"
        with pa.OSFile(os.fsencode(temporary), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
            writer.write_batch(batch)
        with temporary.open("rb") as stream:
            checksum = hashlib.file_digest(stream, "sha256").hexdigest()
        temporary.replace(self._folder / file)
        samples = n if augmentation is None else int((augmentation == 0).sum())
        lacking = lacking_counts(masks, [*expected])
        shard = Shard(file=file, split=split, rows=n, samples=samples, sha256=checksum, lacking=lacking)
        self._count(shard, stored, masks)
        return shard

    def adopt(self, shard: Shard) -> None:
        """Add a shard that an earlier writer wrote before it died.

        Raises:
            FeatureSetError: the file does not match what :meth:`write` returned.
        """
        file = self._folder / shard.file
        try:
            with file.open("rb") as stream:
                if hashlib.file_digest(stream, "sha256").hexdigest() != shard.sha256:
                    raise FeatureSetError(f"shard {file} is damaged: its checksum is another; remove it.")
        except OSError as error:
            raise FeatureSetError(f"shard {file} cannot be read: {error.strerror}.") from None
        mapped = MappedShard(self._folder, shard, self._manifest((shard,)))
        stored = {name: features.numpy() for name, features in mapped.features.items()}
        self._count(shard, stored, {name: mask.numpy() for name, mask in mapped.present.items()})

    def _count(self, shard: Shard, stored: Mapping[str, npt.NDArray[np.floating]], masks: Mask) -> None:
        """Add a shard to the manifest, and the vectors that its training rows have to the statistics."""
        self._shards.append(shard)
        if shard.split not in ("val", "test"):
            for name, array in stored.items():
                if len(there := array[masks[name]] if name in masks else array):
                    self._moments[name].add(there)

    def _manifest(self, shards: Sequence[Shard]) -> Manifest:
        return Manifest(
            schema_version=3 if any(shard.lacking for shard in shards) else 2,
            dtype=self._dtype,
            modalities=self._modalities,
            labels=self._labels,
            speakers=SPEAKER in self._groups,
            groups=tuple(name for name in self._groups if name != SPEAKER),
            shards=tuple(shards),
            created_by=f"conclugen {__version__}",
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            return
        if all(shard.split in ("val", "test") for shard in self._shards):
            raise FeatureSetError(f"{self._folder}: no row is 'train'; the standardisation needs training rows.")
        if absent := [name for name, moments in self._moments.items() if not moments.rows]:
            raise FeatureSetError(
                f"{self._folder}: no training row has {' or '.join(absent)}; the standardisation needs some."
            )
        moments = {name: moments.tensors() for name, moments in self._moments.items()}
        statistics = {f"{name}.mean": mean for name, (mean, _) in moments.items()}
        statistics |= {f"{name}.std": std for name, (_, std) in moments.items()}
        write_tensors(self._folder / STATISTICS_FILE, statistics)
        self._manifest(self._shards).write(self._folder)


class FeatureSet:
    """A feature set on disk, whose method :meth:`split` opens only the splits in ``splits``.

    A remote set is fetched first.

    Raises:
        FeatureSetError: there is no feature set that this version can read, or it cannot be fetched.
    """

    def __init__(self, location: Location, splits: Collection[SplitName] = SPLITS) -> None:
        self.folder = local_folder(location)
        self.manifest = Manifest.read(self.folder)
        self._splits = frozenset(splits)

    def split(self, *names: SplitName) -> "Split":
        """Open one split, or several folds as one, memory-mapped.

        Checksums are not compared; :func:`conclugen.features.manifest.damaged_shards` does that.

        Raises:
            FeatureSetError: the set was not opened for a split; or a split has no rows; or a shard cannot be read or
                contradicts the manifest.
        """
        for name in names:
            if name not in self._splits:
                raise FeatureSetError(f"{self.folder} was opened for {sorted(self._splits)}; {name!r} is out of reach.")
            if self.manifest.rows(name) == 0:
                raise FeatureSetError(f"{self.folder} has no rows in split {name!r}.")
        return Split(
            [MappedShard(self.folder, shard, self.manifest) for shard in self.manifest.shards if shard.split in names]
        )

    def shard(self, shard: Shard) -> "MappedShard":
        """Open one of the manifest's shards, to inspect a set as it lies on disk.

        Raises:
            FeatureSetError: the shard cannot be read or contradicts the manifest.
        """
        return MappedShard(self.folder, shard, self.manifest)

    @cached_property
    def standardisation(self) -> Standardisation:
        """The standardisation by the set's own training rows.

        Raises:
            FeatureSetError: the statistics are missing or cannot be read.
        """
        if (problem := statistics_problem(self.folder)) is not None:
            raise FeatureSetError(problem)
        stored, _ = read_tensors(self.folder / STATISTICS_FILE)
        mean, std = ({m: stored[f"{m}.{kind}"] for m in self.manifest.widths} for kind in ("mean", "std"))
        return Standardisation.from_moments(mean, std)


class Split:
    """The rows of one split, whose features stay in the mapped files until they are gathered."""

    def __init__(self, shards: Sequence[MappedShard]) -> None:
        self._shards = shards
        self._ends = np.cumsum([len(shard) for shard in shards])  # one past the last row of each shard

    def __len__(self) -> int:
        return int(self._ends[-1])

    @cached_property
    def labels(self) -> Tensor:
        """The (n,) int64 class indices, or (n, classes) int8 of 0 and 1 if samples have several labels.

        Raises:
            FeatureSetError: the set is not labelled.
        """
        labels = [shard.labels for shard in self._shards if shard.labels is not None]
        if not labels:
            raise FeatureSetError("this feature set has no labels.")
        return torch.cat(labels)

    @cached_property
    def present(self) -> dict[str, Tensor]:
        """Modality -> (n,) which rows have it, for the modalities that some rows lack; empty without gaps."""
        names = dict.fromkeys(name for shard in self._shards for name in shard.present)
        return {
            name: torch.cat(
                [shard.present.get(name, torch.ones(len(shard), dtype=torch.bool)) for shard in self._shards]
            )
            for name in names
        }

    @cached_property
    def sample_ids(self) -> list[str]:
        """The n sample identifiers."""
        return [sample_id for shard in self._shards for sample_id in shard.sample_ids]

    @cached_property
    def groups(self) -> dict[str, list[str]]:
        """Name of each of the set's groupings, such as speaker -> the groups of the n rows."""
        by_shard = [shard.groups for shard in self._shards]
        return {name: [group for groups in by_shard for group in groups[name]] for name in by_shard[0]}

    @cached_property
    def clean_rows(self) -> Tensor:
        """The indices (s,) of the clean rows: one for each of s samples."""
        return torch.cat([shard.augmentation for shard in self._shards]).eq(0).nonzero().squeeze(1)

    @cached_property
    def versions(self) -> Tensor:
        """The rows (s, v) of each sample's versions, the clean one first; a sample with fewer than v repeats them."""
        if len(self.clean_rows) == len(self):
            return self.clean_rows[:, None]
        rows_of: dict[str, list[int]] = {self.sample_ids[row]: [row] for row in self.clean_rows.tolist()}
        for row, sample in enumerate(self.sample_ids):
            if row != rows_of[sample][0]:
                rows_of[sample].append(row)
        most_versions = max(map(len, rows_of.values()))
        return torch.tensor([(rows * most_versions)[:most_versions] for rows in rows_of.values()])

    def size(self, modality: str) -> int:
        """Return the bytes of a modality's stored features."""
        return sum(shard.features[modality].nbytes for shard in self._shards)

    def gather(self, modality: str, rows: Tensor) -> Tensor:
        """Return the features (b, d_m) of ``rows`` (b,), each in 0..n-1, in their stored dtype.

        Each row is copied twice, because NumPy cannot copy rows to scattered places in one pass. A single copy needs
        raw pointers across the mappings. It was rejected: a wrong row ends the process, and no trial was measurably
        faster.

        Raises:
            IndexError: a row is outside 0..n-1.
        """
        index = rows.numpy().astype(np.int64, copy=False)
        outside = index[(index < 0) | (index >= len(self))]
        if len(outside):
            raise IndexError(f"row {outside[0]} does not exist: rows must be in 0..{len(self) - 1}.")
        parts = [shard.features[modality].numpy() for shard in self._shards]
        # NumPy allocates in huge pages; with torch.empty, half of the time goes to page faults.
        batch = np.empty((len(index), parts[0].shape[1]), parts[0].dtype)
        order = np.argsort(index, kind="stable")
        lasts = np.searchsorted(index[order], self._ends)  # order[first:last] are the places that one shard fills
        first = 0
        for part, end, last in zip(parts, self._ends, lasts, strict=True):
            if first < last:
                places = order[first:last]
                batch[places] = part.take(index[places] - (end - len(part)), axis=0)
            first = last
        return torch.from_numpy(batch)
