"""What is wrong with a feature set: every byte and every row of it is looked at.

One pass, shard by shard, block by block. What must be remembered of a row to find it again in another shard is 9 bytes,
a hash of its identifier and its split, so that a million samples take megabytes; rows whose hashes collide are told
apart in a second pass over the identifiers alone. A set of the identifiers themselves was rejected: it takes ten times
as much, and VoxCeleb2 has a million.

*Problems* make results false or fail later. *Notes* are facts that real sets have and that are harmless:
standardisation turns a feature that is constant over the training rows into 0.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from conclugen.features.manifest import FeatureSetError, Manifest, Shard, shard_damage
from conclugen.features.shards import FeatureSet

__all__ = ["Findings", "verify"]

_BLOCK_ROWS = 4096
_NAMED = 3  # of the samples or speakers with the same problem


@dataclass
class Findings:
    """What was found, one line each."""

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def verify(
    folder: Path, *, shared_speakers: bool = False, tick: Callable[[Shard], object] = lambda _: None
) -> Findings:
    """Look at everything in the set in ``folder``.

    Args:
        folder: the set.
        shared_speakers: whether speakers may be in several splits; they are noted then.
        tick: called with each shard once it is done.

    Raises:
        FeatureSetError: ``folder`` holds no feature set that this version can read.
    """
    features, found = FeatureSet(folder), Findings()
    manifest = features.manifest
    try:
        _ = features.standardisation
    except FeatureSetError as error:
        found.problems.append(str(error))
    constants = {modality.name: _Constant() for modality in manifest.modalities}
    keys, speakers = _Keys(), dict[str, set[str]]()
    for shard in manifest.shards:
        if (damage := shard_damage(folder, shard)) is not None:
            found.problems.append(damage)
        else:
            try:
                mapped = features.shard(shard)
            except FeatureSetError as error:
                found.problems.append(str(error))
            else:
                training = shard.split not in ("val", "test")
                found.problems += _values(folder, shard, mapped.features, constants if training else {})
                found.problems += _labels(folder, shard, mapped.labels, manifest)
                keys.add(shard.split, mapped.sample_ids, mapped.augmentation)
                if int((mapped.augmentation == 0).sum()) != shard.samples:
                    found.problems.append(f"shard {folder / shard.file} has not the {shard.samples} clean rows that "
                                          "the manifest names; make the set again.")  # fmt: skip
                if manifest.speakers:
                    speakers.setdefault(shard.split, set()).update(mapped.speakers)
        tick(shard)
    found.problems += _identities(features, keys)
    leaked = _leaked(speakers)
    (found.notes if shared_speakers else found.problems).extend(leaked)
    if not manifest.speakers:
        found.notes.append("it is not known who speaks: leakage by speaker cannot be seen; import with --speakers.")
    for name, constant in constants.items():
        found.problems += constant.problems(name)
        found.notes += constant.notes(name)
    return found


def _values(
    folder: Path, shard: Shard, features: dict[str, Tensor], constants: dict[str, "_Constant"]
) -> Iterator[str]:
    for name, stored in features.items():
        bad = 0
        for block in stored.split(_BLOCK_ROWS):
            bad += int((~torch.isfinite(block)).any(dim=1).sum())
            if name in constants:
                constants[name].add(block)
        if bad:
            yield (
                f"shard {folder / shard.file}: {bad} of {shard.rows} rows of {name} hold NaN or infinite values; "
                "make the set again without them."
            )


def _labels(folder: Path, shard: Shard, labels: Tensor | None, manifest: Manifest) -> Iterator[str]:
    if labels is None or manifest.labels is None:
        return
    last = 1 if manifest.multi_label else len(manifest.labels.classes) - 1
    if bad := int(((labels < 0) | (labels > last)).sum()):
        yield f"shard {folder / shard.file}: {bad} labels are not in 0..{last}; make the set again."


class _Constant:
    """Which features of a modality have had one value only."""

    def __init__(self) -> None:
        self._first: Tensor | None = None
        self._varies: Tensor | None = None

    def add(self, block: Tensor) -> None:
        """Look at rows (n, d_m)."""
        if self._first is None or self._varies is None:
            self._first, self._varies = block[0].clone(), torch.zeros(block.shape[1], dtype=torch.bool)
        if not self._varies.all():
            self._varies |= (block != self._first).any(dim=0)

    def _counts(self) -> tuple[int, int]:
        return (0, 0) if self._varies is None else (int((~self._varies).sum()), len(self._varies))

    def problems(self, name: str) -> list[str]:
        """Whether nothing varies."""
        constant, width = self._counts()
        text = f"{name}: all of its {width} features are constant over the training rows; leave the modality out."
        return [text] if 0 < constant == width else []

    def notes(self, name: str) -> list[str]:
        """Whether something does not."""
        constant, width = self._counts()
        text = f"{name}: {constant} of its {width} features are constant over the training rows and become 0."
        return [text] if 0 < constant < width else []


class _Keys:
    """Hashes of the identifiers of all rows."""

    def __init__(self) -> None:
        self._splits: dict[str, int] = {}
        self._hashes: list[npt.NDArray[np.uint64]] = []
        self._kinds: list[npt.NDArray[np.uint16]] = []

    def add(self, split: str, sample_ids: list[str], augmentation: Tensor) -> None:
        """Take the rows of a shard."""
        number = self._splits.setdefault(split, len(self._splits))
        self._hashes.append(_hashed(sample_ids))
        self._kinds.append(np.full(len(sample_ids), 2 * number, np.uint16) + (augmentation.numpy() == 0))

    def suspicious(self) -> npt.NDArray[np.uint64]:
        """Hashes, sorted, of which there is more than one clean row, more than one split, or no clean row."""
        if not self._hashes:
            return np.zeros(0, np.uint64)
        hashes, kinds = np.concatenate(self._hashes), np.concatenate(self._kinds)
        order = np.argsort(hashes)
        hashes, kinds = hashes[order], kinds[order]
        starts = np.flatnonzero(np.r_[True, hashes[1:] != hashes[:-1]])
        clean = np.add.reduceat((kinds % 2).astype(np.int64), starts)
        first, last = (reduce.reduceat(kinds // 2, starts) for reduce in (np.minimum, np.maximum))
        found: npt.NDArray[np.uint64] = hashes[starts[(clean != 1) | (first != last)]]
        return found


def _hashed(texts: list[str]) -> npt.NDArray[np.uint64]:
    digests = b"".join(hashlib.blake2b(text.encode(), digest_size=8).digest() for text in texts)
    return np.frombuffer(digests, np.uint64)


def _identities(features: FeatureSet, keys: _Keys) -> Iterator[str]:
    """Duplicates, leaks and versions of nothing: the rows that may be, looked at again by their whole identifiers."""
    suspicious = keys.suspicious()
    if not len(suspicious):
        return
    rows: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for shard in features.manifest.shards:
        try:
            mapped = features.shard(shard)
        except FeatureSetError:
            continue  # told before
        for row in np.flatnonzero(np.isin(_hashed(ids := mapped.sample_ids), suspicious)):
            rows[ids[row]].append((shard.split, int(mapped.augmentation[row])))
    twice = sorted(sample for sample, found in rows.items() if sum(version == 0 for _, version in found) > 1)
    orphans = sorted(sample for sample, found in rows.items() if all(version for _, version in found))
    leaks: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for sample, found in rows.items():
        if len(splits := tuple(sorted({split for split, _ in found}))) > 1:
            leaks[splits].append(sample)
    for splits, samples in sorted(leaks.items()):
        yield (
            f"leakage: {_some(samples, 'samples')} in {' and '.join(splits)} alike; scores would be of what was "
            "trained on: keep each sample in one split."
        )
    if twice:
        yield f"duplicate sample_id: {_some(twice, 'samples')} more than once as clean rows; name each sample once."
    if orphans:
        yield f"augmented versions without a clean row: {_some(orphans, 'samples')} so; write the clean ones, too."


def _leaked(speakers: dict[str, set[str]]) -> Iterator[str]:
    places: dict[str, list[str]] = defaultdict(list)
    for split, of_split in speakers.items():
        for name in of_split:
            places[name].append(split)
    leaks: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for name, found in places.items():
        if len(found) > 1:
            leaks[tuple(sorted(found))].append(name)
    for splits, names in sorted(leaks.items()):
        yield (
            f"leakage by speaker: {_some(names, 'speakers')} in {' and '.join(splits)} alike; divide by speaker, or "
            "say --shared-speakers where the data set's official splits are so."
        )


def _some(names: list[str], what: str) -> str:
    named = ", ".join(map(repr, sorted(names)[:_NAMED]))
    more = ", ..." if len(names) > _NAMED else ""
    return f"{len(names)} {what} ({named}{more}) are"
