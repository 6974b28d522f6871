"""Feature sets with planted classes, of any size: what `conclugen features synth` writes.

The structure is one whose answer is known. Every class lights up features of its own in every modality, so the classes
are shared across modalities while the noise, standard normal, is not. The means of two classes of a modality differ by
sqrt(2) times its signal; the best classifier there is gets :func:`best_accuracy` right, a number that grows with the
signal and is chance without one. Means along random directions, which a QR decomposition gives, were rejected: their
last bits differ between machines, and the same seed is to give the same checksums everywhere.

Rows are drawn in blocks, each from a stream of its own (seed, kind of set, split, block, modality). So memory does not
grow with the set, a larger set begins with the rows of a smaller one, and sets that are labelled and not share the
planted classes but no row.

Shapes: n rows of a block, d_m width of modality m, C classes.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from conclugen.features.manifest import MODALITY_NAME, Labels, Manifest, Modality, SplitName
from conclugen.features.shards import FeatureWriter

__all__ = ["PAPER_WIDTHS", "SyntheticSet", "best_accuracy", "write_synthetic"]

PAPER_WIDTHS: Mapping[str, int] = {"video": 4096, "audio": 1024, "text": 768}
_BLOCK_BYTES = 128 * 2**20  # of a block's clean rows in float32, whatever the stored precision
_BLOCK_ROWS = 65_536  # at most, for narrow features
_OF_TWENTY: Mapping[SplitName, tuple[int, ...]] = {"val": (5, 12, 18), "test": (6, 13, 19)}
"""Which of every 20 labelled samples are held out: a larger set has no fewer of any split."""
_VERSION_NOISE = 0.5  # standard deviation of what an augmented version adds to its clean row
Block = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class SyntheticSet:
    """What is to be written."""

    samples: int
    """Of all splits together, augmented versions not counted."""
    widths: Mapping[str, int] = field(default_factory=lambda: dict(PAPER_WIDTHS))
    classes: int = 8
    labelled: bool = False
    """Labelled sets have train, val and test (70, 15 and 15 %); unlabelled ones are all train."""
    signal: Mapping[str, float] = field(default_factory=dict)
    """Modality -> length of each class mean, in standard deviations of the noise; 3 where it is not given."""
    augmented: int = 0
    """Augmented versions of each training sample beside the clean one."""
    dtype: Literal["float16", "float32"] = "float32"
    seed: int = 0

    def signal_of(self, modality: str) -> float:
        """The modality's signal."""
        return self.signal.get(modality, 3.0)

    @property
    def problems(self) -> list[str]:
        """What cannot be written, one line each with the option's name."""
        least = 20 if self.labelled else 1
        found = [
            f"--dims {name}={width}: must be at least the {self.classes} classes, which have a feature each."
            for name, width in self.widths.items()
            if width < self.classes
        ]
        found += [
            f"--dims {name}={width}: is no name of a modality; see `features import`."
            for name, width in self.widths.items()
            if re.fullmatch(MODALITY_NAME, name) is None
        ]
        found += [
            f"--signal {name}={value}: must be a number from 0 to 100."
            for name, value in self.signal.items()
            if not 0 <= value <= 100  # NaN, too
        ]
        found += [
            f"--signal {name}: is no modality of --dims, which has {', '.join(self.widths)}."
            for name in self.signal
            if name not in self.widths
        ]
        if self.samples < least:
            found.append(f"--samples {self.samples}: must be at least {least}{' with --labelled' * self.labelled}.")
        if self.classes < 2:
            found.append(f"--classes {self.classes}: must be at least 2.")
        if not 0 <= self.augmented < 2**15:
            found.append(f"--augmented {self.augmented}: must be in 0..{2**15 - 1}.")
        if self.seed < 0:
            found.append(f"--seed {self.seed}: must not be negative.")
        return found

    @property
    def sizes(self) -> dict[SplitName, int]:
        """Split -> samples."""
        if not self.labelled:
            return {"train": self.samples}
        twenties, rest = divmod(self.samples, 20)
        held_out = {
            split: twenties * len(places) + sum(place < rest for place in places)
            for split, places in _OF_TWENTY.items()
        }
        return {"train": self.samples - sum(held_out.values()), **held_out}


def best_accuracy(signals: Sequence[float], classes: int) -> float:
    """Accuracy of the best possible classifier that sees modalities with these signals, all classes being as frequent.

    The means of all classes are orthogonal and of one length s, the root of the sum of squared signals. Along the C
    directions of the means a sample is s more than noise in its own: it is right where that is the largest, which has
    probability E[Phi(t + s)^(C - 1)] for standard normal t. By symmetry, weighted and macro F1 tend to the same.
    """
    length = math.hypot(*signals)
    t = np.linspace(-9, 9, 20_001)
    density = np.exp(-(t**2) / 2) / math.sqrt(2 * math.pi)
    below = np.array([(1 + math.erf((x + length) / math.sqrt(2))) / 2 for x in t])
    return float((density * below ** (classes - 1)).sum() * (t[1] - t[0]))


def write_synthetic(wanted: SyntheticSet, out: Path) -> Manifest:
    """Write the set into ``out``.

    Raises:
        ValueError: ``wanted`` has problems.
        FeatureSetError: ``out`` already holds a feature set.
    """
    if wanted.problems:
        raise ValueError("\n".join(wanted.problems))
    columns = [
        Modality(name=name, width=width, source=f"synthetic, signal {wanted.signal_of(name):g}, seed {wanted.seed}")
        for name, width in wanted.widths.items()
    ]
    labels = Labels(classes=tuple(f"class {i}" for i in range(wanted.classes))) if wanted.labelled else None
    means = {name: _means(wanted, name) for name in wanted.widths}
    with FeatureWriter(out, columns, dtype=wanted.dtype, labels=labels) as writer:
        for split, size in wanted.sizes.items():
            for start, rows in _blocks(size, wanted.widths):
                kinds = _stream(wanted, split, start, "classes").integers(wanted.classes, size=rows)
                clean = {
                    name: _stream(wanted, split, start, name).standard_normal((rows, mean.shape[1]), np.float32)
                    for name, mean in means.items()
                }
                for name, mean in means.items():
                    clean[name] += mean[kinds]
                ids = [f"{wanted.seed}-{split}-{start + row:09d}" for row in range(rows)]
                versions = wanted.augmented if split == "train" else 0
                streams = {name: _stream(wanted, split, start, f"versions of {name}") for name in means}
                step = math.ceil(rows / (1 + versions))  # so that a shard is no larger than without versions
                for first in range(0, rows, step):
                    part = slice(first, first + step)
                    few = len(ids[part])
                    writer.write(
                        split,
                        [sample for sample in ids[part] for _ in range(1 + versions)],
                        {name: _with_versions(x[part], versions, streams[name]) for name, x in clean.items()},
                        np.repeat(kinds[part], 1 + versions) if wanted.labelled else None,
                        np.tile(np.arange(1 + versions), few),
                    )
    return Manifest.read(out)


def _blocks(samples: int, widths: Mapping[str, int]) -> Iterator[tuple[int, int]]:
    """First row and number of rows of each block; their size depends on the widths only."""
    rows = max(1, min(_BLOCK_ROWS, _BLOCK_BYTES // (4 * sum(widths.values()))))
    for start in range(0, samples, rows):
        yield start, min(rows, samples - start)


def _stream(wanted: SyntheticSet, split: SplitName, start: int, what: str) -> np.random.Generator:
    key = f"{'labelled' if wanted.labelled else 'unlabelled'} {split} {what}".encode()
    return np.random.default_rng([wanted.seed, start, *key])


def _means(wanted: SyntheticSet, modality: str) -> Block:
    """The class means (C, d_m): orthogonal, as each feature belongs to one class, and of one length."""
    width, classes = wanted.widths[modality], wanted.classes
    random = np.random.default_rng([wanted.seed, *f"means of {modality}".encode()])
    owner = random.permutation(np.arange(width) % classes)
    sign = random.choice([-1.0, 1.0], size=width)
    own = owner == np.arange(classes)[:, None]
    means: Block = (own * sign).astype(np.float32)
    means *= wanted.signal_of(modality) / np.sqrt(own.sum(axis=1, keepdims=True), dtype=np.float32)
    return means


def _with_versions(clean: Block, versions: int, random: np.random.Generator) -> Block:
    """Each of the rows (n, d_m), followed by its noisy versions: (n * (1 + versions), d_m)."""
    if not versions:
        return clean
    noise = random.standard_normal((len(clean), versions, clean.shape[1]), np.float32) * np.float32(_VERSION_NOISE)
    return np.concatenate([clean[:, None], clean[:, None] + noise], axis=1).reshape(-1, clean.shape[1])
