"""Representations of test samples by the best heads that a sweep kept, for its report to draw.

Among the commands, because nobody else may know both heads, which need torch, and reports, which do not. Methods that
are restricted to some modalities are left alone: they would double the panels and say little.
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
from reports.figures.embedding import Represented
from sweeps.config import load_config
from sweeps.folder.kept_heads import best_heads
from sweeps.folder.layout import SweepFolder
from sweeps.ledger import Record
from sweeps.trial import load_head

__all__ = ["MOST_SAMPLES", "representations"]

MOST_SAMPLES = 1000
"""Of a test split that are drawn: more cost minutes, and hide each other."""


def representations(folder: Path, records: Sequence[Record], say: list[str]) -> Iterator[Represented]:
    """Yield what the best head of each method that is pretrained makes of test samples of each labelled set.

    The samples of a set are the same for every method.

    Args:
        folder: the sweep's.
        records: its ledger.
        say: gets a message for whatever is left out, with the reason.
    """
    layout = SweepFolder(folder)
    config = load_config(layout.config, alone=True, written=True)
    best = best_heads(layout, records)
    planned = [arm.name for arm in config.arms.values() if not arm.modalities and arm.method != "supervised_head"]
    say += [f"{config.name}: {method} has no head yet." for method in planned if method not in best]
    for dataset, place in config.features.downstream.items():
        try:
            split, labels = _test_samples(place, records[-1].features.get(f"downstream.{dataset}", ""))
        except (FeatureSetError, OSError) as error:
            say.append(f"{config.name}: {dataset}: {error}")
            continue
        chosen = _in_proportion(labels, config.seed)
        for method in planned:
            if (run := best.get(method)) is None:
                continue
            try:
                vectors = _represent(layout.head(run.key), run, split, split.clean_rows[chosen])
            except (DamagedError, OSError) as error:
                say.append(f"{config.name}: {method} on {dataset}: {error}")
                continue
            drawn = [labels[sample] for sample in chosen.tolist()]
            yield Represented(config.name, dataset, method, vectors, drawn, len(labels))


def _test_samples(place: Location, fingerprint: str) -> tuple[Split, list[str]]:
    """The test split, or all folds, since each of them is tested on; and the class of each sample.

    Raises:
        FeatureSetError: it is not the set of this fingerprint, or has nothing to test on.
    """
    manifest = Manifest.read(place)
    if manifest.fingerprint != fingerprint:
        raise FeatureSetError(f"{place} is not the set that the sweep was scored on: {manifest.fingerprint}.")
    parts = manifest.folds or SPLITS[2:]
    split = FeatureSet(place, parts).split(*parts)
    labels = split.labels[split.clean_rows]
    if not len(labels) or manifest.labels is None:
        raise FeatureSetError(f"{place} has no labelled test samples.")
    classes = manifest.labels.classes
    if not manifest.multi_label:
        return split, [classes[label] for label in labels.tolist()]
    present = [[name for name, has in zip(classes, row, strict=True) if has] for row in labels.tolist()]
    return split, [names[0] if len(names) == 1 else "several" if names else "none" for names in present]


def _in_proportion(labels: Sequence[str], seed: int) -> torch.Tensor:
    """Numbers of at most MOST_SAMPLES samples (n,), in their order: of each class its share, up to one sample."""
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    by_class = shuffled[np.argsort(np.asarray(labels)[shuffled], kind="stable")]
    number = min(MOST_SAMPLES, len(labels))
    return torch.from_numpy(np.sort(by_class[np.arange(number) * len(labels) // number]))


def _represent(head_file: Path, run: Record, split: Split, rows: torch.Tensor) -> npt.NDArray[np.float32]:
    head, standardisation = load_head(head_file, Hyperparameters(**run.hyperparameters))
    modalities = list(head.heads)
    fusion = run.config["probe"]["fusion"] if len(modalities) > 1 else "concat"
    data = StandardisedSplit(split, standardisation, modalities, torch.device("cpu"))
    vectors: npt.NDArray[np.float32] = represent(head, data, rows, fusion).numpy()
    return vectors
