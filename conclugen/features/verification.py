"""Verification of a feature set: a check of every byte and every row.

Shards are read in one pass, block by block. Each row is remembered by 10 bytes: a hash of its identifier, its split,
and whether it is clean. So a million samples take megabytes. A second pass over the identifiers tells rows with
colliding hashes apart. A set of the identifiers themselves was rejected: it takes ten times the memory, and VoxCeleb2
has a million.

*Problems* make results false or make a later step fail. *Notes* are harmless facts about real sets: standardisation
turns a feature that is constant over the training rows into 0.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from itertools import repeat
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from conclugen.features.classes import Findings, class_findings, label_counts
from conclugen.features.manifest import SPEAKER, FeatureSetError, Location, Manifest, Shard, shard_damage
from conclugen.features.mapped import MappedShard
from conclugen.features.shards import FeatureSet
from conclugen.names import class_problems, name_problem, single_key, tidy

__all__ = ["identifier_hashes", "verify"]

_BLOCK_ROWS = 4096
_EXAMPLES = 3  # samples or groups that a message names


def verify(
    location: Location, *, shared: Collection[str] = (), tick: Callable[[Shard], object] = lambda _: None
) -> Findings:
    """Check everything in a set; of a remote one, everything in this machine's copy.

    Args:
        location: the set.
        shared: names of the groups, such as speaker, that may be in several splits: then a note and not a problem.
        tick: called with each shard after its check.

    Raises:
        FeatureSetError: there is no feature set that this version can read, or it cannot be fetched.
    """
    features = FeatureSet(location)
    folder = features.folder
    findings = Findings()
    manifest = features.manifest
    try:
        _ = features.standardisation
    except FeatureSetError as error:
        findings.problems.append(str(error))
    constants = {modality.name: _ConstantFeatures() for modality in manifest.modalities}
    keys = _RowKeys()
    members: dict[str, dict[str, set[str]]] = {name: {} for name in manifest.groupings}  # by split
    sound_labels = 0  # shards
    for shard in manifest.shards:
        if (damage := shard_damage(folder, shard)) is not None:
            findings.problems.append(damage)
        else:
            try:
                mapped = features.shard(shard)
            except FeatureSetError as error:
                findings.problems.append(str(error))
            else:
                training = shard.split not in ("val", "test")
                findings.problems += _values(folder, shard, mapped, constants if training else {})
                wrong_labels = list(_labels(folder, shard, mapped.labels, manifest))
                findings.problems += wrong_labels
                sound_labels += not wrong_labels
                keys.add(shard.split, mapped.sample_ids, mapped.augmentation)
                if int((mapped.augmentation == 0).sum()) != shard.samples:
                    findings.problems.append(f"shard {folder / shard.file} lacks the {shard.samples} clean rows that "
                                          "the manifest names; make the set again.")  # fmt: skip
                for name, groups in mapped.groups.items():
                    members[name].setdefault(shard.split, set()).update(groups)
        tick(shard)
    if manifest.labels is not None:
        findings.problems += [
            f"{problem} Import the set again, with --merge-labels if labels look alike."
            for problem in class_problems(manifest.labels.classes, "classes")
        ]
    findings.problems += _identities(features, keys)
    if manifest.labels is not None and len(manifest.labels.classes) > 1 and sound_labels == len(manifest.shards):
        classes = class_findings(manifest, label_counts(folder))
        findings.problems += classes.problems
        findings.notes += classes.notes
    for name, by_split in members.items():
        findings.problems += _nameless(name, set().union(*by_split.values()))
        (findings.notes if name in shared else findings.problems).extend(_group_leaks(name, by_split))
    if manifest.has_gaps:
        findings.notes.append(f"rows with gaps: {manifest.gaps_in_words}.")
    if not manifest.speakers:
        findings.notes.append(
            "the set does not say who speaks: leakage by speaker cannot be seen; import with --speakers."
        )
    for name, constant in constants.items():
        findings.problems += constant.problems(name)
        findings.notes += constant.notes(name)
    return findings


def _values(
    folder: Path, shard: Shard, mapped: MappedShard, constants: dict[str, "_ConstantFeatures"]
) -> Iterator[str]:
    """Yield the problems of a shard's features, and add the rows that have them to ``constants``."""
    for name, stored in mapped.features.items():
        bad = filled = 0
        masks = mapped.present[name].split(_BLOCK_ROWS) if name in mapped.present else repeat(None)
        for block, mask in zip(stored.split(_BLOCK_ROWS), masks, strict=False):
            bad += int((~torch.isfinite(block)).any(dim=1).sum())
            filled += 0 if mask is None else int(block[~mask].any(dim=1).sum())
            if name in constants:
                constants[name].add(block if mask is None else block[mask])
        if filled:
            yield (
                f"shard {folder / shard.file}: {filled} of {shard.rows} rows lack {name}, but hold values of it; make "
                "the set again."
            )
        if bad:
            yield (
                f"shard {folder / shard.file}: {bad} of {shard.rows} rows of {name} hold NaN or infinite values; "
                "make the set again without them."
            )


def _labels(folder: Path, shard: Shard, labels: Tensor | None, manifest: Manifest) -> Iterator[str]:
    """Yield the problems of a shard's labels."""
    if labels is None or manifest.labels is None:
        return
    last = 1 if manifest.multi_label else len(manifest.labels.classes) - 1
    if bad := int(((labels < 0) | (labels > last)).sum()):
        yield f"shard {folder / shard.file}: {bad} labels are not in 0..{last}; make the set again."


class _ConstantFeatures:
    """The features of a modality that have had one value only."""

    def __init__(self) -> None:
        self._first: Tensor | None = None
        self._varies: Tensor | None = None

    def add(self, block: Tensor) -> None:
        """Add rows (n, d_m)."""
        if not len(block):  # all of them lack the modality
            return
        if self._first is None or self._varies is None:
            self._first, self._varies = block[0].clone(), torch.zeros(block.shape[1], dtype=torch.bool)
        if not self._varies.all():
            self._varies |= (block != self._first).any(dim=0)

    def _counts(self) -> tuple[int, int]:
        """Return the number of constant features and of all features."""
        return (0, 0) if self._varies is None else (int((~self._varies).sum()), len(self._varies))

    def problems(self, name: str) -> list[str]:
        """Return a problem if all features are constant."""
        constant, width = self._counts()
        text = f"{name}: all of its {width} features are constant over the training rows; leave the modality out."
        return [text] if 0 < constant == width else []

    def notes(self, name: str) -> list[str]:
        """Return a note if some features are constant."""
        constant, width = self._counts()
        text = f"{name}: {constant} of its {width} features are constant over the training rows and become 0."
        return [text] if 0 < constant < width else []


class _RowKeys:
    """Hash, split and kind (clean or augmented) of every row."""

    def __init__(self) -> None:
        self._splits: dict[str, int] = {}
        self._hashes: list[npt.NDArray[np.uint64]] = []
        self._kinds: list[npt.NDArray[np.uint16]] = []

    def add(self, split: str, sample_ids: list[str], augmentation: Tensor) -> None:
        """Add the rows of a shard."""
        number = self._splits.setdefault(split, len(self._splits))
        self._hashes.append(identifier_hashes(sample_ids))
        self._kinds.append(np.full(len(sample_ids), 2 * number, np.uint16) + (augmentation.numpy() == 0))

    def suspicious(self) -> npt.NDArray[np.uint64]:
        """Return the hashes, sorted, that have several clean rows, several splits, or no clean row."""
        if not self._hashes:
            return np.zeros(0, np.uint64)
        hashes, kinds = np.concatenate(self._hashes), np.concatenate(self._kinds)
        order = np.argsort(hashes)
        hashes, kinds = hashes[order], kinds[order]
        starts = np.flatnonzero(np.r_[True, hashes[1:] != hashes[:-1]])
        clean = np.add.reduceat((kinds % 2).astype(np.int64), starts)
        first, last = (reduce.reduceat(kinds // 2, starts) for reduce in (np.minimum, np.maximum))
        suspicious: npt.NDArray[np.uint64] = hashes[starts[(clean != 1) | (first != last)]]
        return suspicious


def identifier_hashes(identifiers: list[str]) -> npt.NDArray[np.uint64]:
    """Return a 64-bit hash of each identifier; white space around it does not count."""
    digests = b"".join(hashlib.blake2b(tidy(text).encode(), digest_size=8).digest() for text in identifiers)
    return np.frombuffer(digests, np.uint64)


def _identities(features: FeatureSet, keys: _RowKeys) -> Iterator[str]:
    """Yield leaks, duplicates and versions without a clean row, after a second look at the suspicious rows."""
    suspicious = keys.suspicious()
    if not len(suspicious):
        return
    rows: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for shard in features.manifest.shards:
        try:
            mapped = features.shard(shard)
        except FeatureSetError:
            continue  # already among the problems
        for row in np.flatnonzero(np.isin(identifier_hashes(ids := mapped.sample_ids), suspicious)):
            rows[tidy(ids[row])].append((shard.split, int(mapped.augmentation[row])))
    duplicates = sorted(sample for sample, places in rows.items() if sum(version == 0 for _, version in places) > 1)
    orphans = sorted(sample for sample, places in rows.items() if all(version for _, version in places))
    leaks: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for sample, places in rows.items():
        if len(splits := tuple(sorted({split for split, _ in places}))) > 1:
            leaks[splits].append(sample)
    for splits, samples in sorted(leaks.items()):
        yield (
            f"leakage: {_some(samples, 'samples')} in {' and '.join(splits)} alike; scores would be of what was "
            "trained on: keep each sample in one split."
        )
    if duplicates:
        yield (
            f"duplicate sample_id: {_some(duplicates, 'samples')} more than once as clean rows; name each sample once."
        )
    if orphans:
        yield f"augmented versions without a clean row: {_some(orphans, 'samples')} so; write the clean ones, too."


def _nameless(name: str, groups: Collection[str]) -> list[str]:
    """Return a message for each of the groups ``name`` whose own name says nothing."""
    what = "speakers" if name == SPEAKER else f"groups {name!r}"
    return sorted(f"{what}: {problem}; name every {name}, or none." for one in groups if (problem := name_problem(one)))


def _group_leaks(name: str, groups: dict[str, set[str]]) -> Iterator[str]:
    """Yield the leaks of ``groups``, split -> groups, between splits; groups that look alike are one."""
    splits_of: dict[str, dict[str, str]] = defaultdict(dict)
    for split, members in groups.items():
        for one in members:
            splits_of[single_key(one)][split] = one
    leaks: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for spellings in splits_of.values():
        if len(spellings) > 1:
            leaks[tuple(sorted(spellings))].append(min(spellings.values()))
    what, option = ("speakers", "--shared-speakers") if name == SPEAKER else ("groups", f"--shared-groups {name}")
    for splits, leaking in sorted(leaks.items()):
        yield (
            f"leakage by {name}: {_some(leaking, what)} in {' and '.join(splits)} alike; divide by {name}, or "
            f"say {option} where the data set's official splits share {what}."
            f"{' If numbers start anew in each split, import some that do not.' if _numbered(leaking) else ''}"
        )


def _numbered(names: list[str]) -> bool:
    return all(name.isdecimal() for name in names)


def _some(names: list[str], what: str) -> str:
    examples = ", ".join(map(repr, sorted(names)[:_EXAMPLES]))
    more = ", ..." if len(names) > _EXAMPLES else ""
    return f"{len(names)} {what} ({examples}{more}) are"
