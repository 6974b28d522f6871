"""Represent test samples by the best heads that a sweep kept, so that its report can draw them.

This module is among the commands because only they may import both `sweeps.trial`, whose heads need torch, and
`reports`. Methods restricted to some modalities are left out: they would double the panels and say little.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from conclugen.features.batches import StandardisedSplit
from conclugen.features.manifest import SPLITS, FeatureSetError, Location, Manifest
from conclugen.features.shards import FeatureSet, Split
from conclugen.files.durable import DamagedError
from conclugen.hyperparameters import Hyperparameters
from conclugen.training.pretrain import represent
from reports.statistics.embedding import Representations
from sweeps.config import load_config
from sweeps.folder.kept_heads import best_heads
from sweeps.folder.layout import SweepFolder
from sweeps.ledger import Record
from sweeps.trial import load_head

__all__ = ["MOST_SAMPLES", "representations"]

MOST_SAMPLES = 1000
"""How many samples of a test split are drawn at most: more would take minutes and hide each other."""


def representations(folder: Path, records: Sequence[Record], omissions: list[str]) -> Iterator[Representations]:
    """Yield the test samples of each labelled set as the best head of each pretrained method represents them.

    All methods represent the same samples of a set. Of repeated searches, the first is shown.

    Args:
        folder: the sweep folder.
        records: the sweep's ledger, with a record at least.
        omissions: gets a message for each method or set that is left out, with the reason.
    """
    layout = SweepFolder(folder)
    config = load_config(layout.config, alone=True, written=True)
    sweep = records[-1].sweep  # not the configuration's name, which several sweeps may have
    best = best_heads(layout, records)
    planned = [
        arm.name
        for arm in config.arms.values()
        if not arm.modalities and arm.method != "supervised_head" and arm.search == 1
    ]
    omissions += [f"{sweep}: {method} has no head yet." for method in planned if method not in best]
    for dataset, location in config.features.downstream.items():
        try:
            split, labels = _test_samples(location, records[-1].features.get(f"downstream.{dataset}", ""))
        except (FeatureSetError, OSError) as error:
            omissions.append(f"{sweep}: {dataset}: {error}")
            continue
        samples = _in_proportion(labels, config.seed)
        sample_labels = [labels[sample] for sample in samples.tolist()]
        for method in planned:
            if (record := best.get(method)) is None:
                continue
            try:
                vectors = _represent(layout.head(record.key), record, split, split.clean_rows[samples])
            except (DamagedError, OSError) as error:
                omissions.append(f"{sweep}: {method} on {dataset}: {error}")
                continue
            yield Representations(sweep, dataset, method, vectors, sample_labels, len(labels))


def _test_samples(location: Location, fingerprint: str) -> tuple[Split, list[str]]:
    """Return the test split and the class of each sample; in a set with folds, every fold is a test split once.

    Raises:
        FeatureSetError: the set has another fingerprint, or no labelled test samples.
    """
    manifest = Manifest.read(location)
    if manifest.fingerprint != fingerprint:
        raise FeatureSetError(f"{location} is not the set that the sweep was scored on: {manifest.fingerprint}.")
    parts = manifest.folds or SPLITS[2:]
    split = FeatureSet(location, parts).split(*parts)
    labels = split.labels[split.clean_rows]
    if not len(labels) or manifest.labels is None:
        raise FeatureSetError(f"{location} has no labelled test samples.")
    classes = manifest.labels.classes
    if not manifest.multi_label:
        return split, [classes[label] for label in labels.tolist()]
    present = [[name for name, has in zip(classes, row, strict=True) if has] for row in labels.tolist()]
    return split, [names[0] if len(names) == 1 else "several" if names else "none" for names in present]


def _in_proportion(labels: Sequence[str], seed: int) -> torch.Tensor:
    """Return sorted indices (n,) of at most MOST_SAMPLES samples, with each class's share kept up to one sample."""
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    by_class = shuffled[np.argsort(np.asarray(labels)[shuffled], kind="stable")]
    number = min(MOST_SAMPLES, len(labels))
    return torch.from_numpy(np.sort(by_class[np.arange(number) * len(labels) // number]))


def _represent(head_file: Path, record: Record, split: Split, rows: torch.Tensor) -> npt.NDArray[np.float32]:
    """Return the representations (n, width) of ``rows`` by the kept head of ``record``."""
    head, standardisation = load_head(head_file, Hyperparameters(**record.hyperparameters))
    modalities = list(head.heads)
    fusion = record.config["probe"]["fusion"] if len(modalities) > 1 else "concat"
    data = StandardisedSplit(split, standardisation, modalities, torch.device("cpu"))
    vectors: npt.NDArray[np.float32] = represent(head, data, rows, fusion).numpy()
    return vectors
