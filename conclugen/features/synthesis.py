"""Synthetic feature sets of any size with planted classes: the output of `conclugen features synth`.

The best possible score on such a set is known. Each class raises or lowers its own features in every modality, so
modalities share the classes. The noise is standard normal and independent between modalities. In a modality, the means
of two classes differ by sqrt(2) times the modality's signal. The best possible classifier has the accuracy
:func:`best_accuracy`, which grows with the signal and is chance without one. Means along random directions from a QR
decomposition were rejected: their last bits differ between machines, and one seed must give the same checksums
everywhere.

Rows are drawn in blocks, each from its own random stream (seed, kind of set, split, block, modality). So memory does
not grow with the set, and a larger set begins with the rows of a smaller one. Labelled and unlabelled sets share the
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

__all__ = ["BLOCK_ROWS", "PAPER_WIDTHS", "SyntheticSet", "best_accuracy", "class_means", "write_synthetic"]

PAPER_WIDTHS: Mapping[str, int] = {"video": 4096, "audio": 1024, "text": 768}
_BLOCK_BYTES = 128 * 2**20  # of a block's clean rows in float32, whatever the stored precision
BLOCK_ROWS = 65_536
"""Most rows of a block; wide features have fewer."""
_HELD_OUT_OF_TWENTY: Mapping[SplitName, tuple[int, ...]] = {"val": (5, 12, 18), "test": (6, 13, 19)}
"""Places of the held-out samples among every 20 labelled ones, so that no split shrinks in a larger set."""
_VERSION_NOISE = 0.5  # standard deviation of the noise that an augmented version adds to its clean row
Block = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class SyntheticSet:
    """Description of a synthetic set."""

    samples: int
    """Samples of all splits together, without augmented versions."""
    widths: Mapping[str, int] = field(default_factory=lambda: dict(PAPER_WIDTHS))
    classes: int = 8
    labelled: bool = False
    """Labelled sets have train, val and test (70, 15 and 15 %); unlabelled sets have train only."""
    signal: Mapping[str, float] = field(default_factory=dict)
    """Modality -> length of each class mean, in standard deviations of the noise; 3 by default."""
    augmented: int = 0
    """Number of augmented versions of each training sample, beside the clean one."""
    dtype: Literal["float16", "float32"] = "float32"
    seed: int = 0

    def signal_of(self, modality: str) -> float:
        """Return the modality's signal."""
        return self.signal.get(modality, 3.0)

    @property
    def problems(self) -> list[str]:
        """The reasons why the set cannot be written, one line each with the option's name."""
        least = 20 if self.labelled else 1
        problems = [
            f"--dims {name}={width}: must be at least the {self.classes} classes, which have a feature each."
            for name, width in self.widths.items()
            if width < self.classes
        ]
        problems += [
            f"--dims {name}={width}: is no name of a modality; see `features import`."
            for name, width in self.widths.items()
            if re.fullmatch(MODALITY_NAME, name) is None
        ]
        problems += [
            f"--signal {name}={value}: must be a number from 0 to 100."
            for name, value in self.signal.items()
            if not 0 <= value <= 100  # NaN, too
        ]
        problems += [
            f"--signal {name}: is no modality of --dims, which has {', '.join(self.widths)}."
            for name in self.signal
            if name not in self.widths
        ]
        if self.samples < least:
            problems.append(f"--samples {self.samples}: must be at least {least}{' with --labelled' * self.labelled}.")
        if self.classes < 2:
            problems.append(f"--classes {self.classes}: must be at least 2.")
        if not 0 <= self.augmented < 2**15:
            problems.append(f"--augmented {self.augmented}: must be in 0..{2**15 - 1}.")
        if self.seed < 0:
            problems.append(f"--seed {self.seed}: must not be negative.")
        return problems

    @property
    def sizes(self) -> dict[SplitName, int]:
        """The number of samples of each split."""
        if not self.labelled:
            return {"train": self.samples}
        twenties, rest = divmod(self.samples, 20)
        held_out = {
            split: twenties * len(places) + sum(place < rest for place in places)
            for split, places in _HELD_OUT_OF_TWENTY.items()
        }
        return {"train": self.samples - sum(held_out.values()), **held_out}


def best_accuracy(signals: Sequence[float], classes: int) -> float:
    """Return the accuracy of the best possible classifier that sees modalities with these signals.

    All classes are equally frequent. Their means are orthogonal and have one length s, the root of the sum of squared
    signals. Along the C directions of the means, a sample is standard normal noise, plus s in the direction of its
    class. The classifier is right if that coordinate is the largest. Its probability is E[Phi(t + s)^(C - 1)] for
    standard normal t. By symmetry, weighted and macro F1 tend to the same value.
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
    means = {name: class_means(wanted, name) for name in wanted.widths}
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
                    writer.write(
                        split,
                        [sample for sample in ids[part] for _ in range(1 + versions)],
                        {name: _with_versions(x[part], versions, streams[name]) for name, x in clean.items()},
                        np.repeat(kinds[part], 1 + versions) if wanted.labelled else None,
                        np.tile(np.arange(1 + versions), len(ids[part])),
                    )
    return Manifest.read(out)


def _blocks(samples: int, widths: Mapping[str, int]) -> Iterator[tuple[int, int]]:
    """Yield the first row and the number of rows of each block, whose size depends on the widths only."""
    rows = max(1, min(BLOCK_ROWS, _BLOCK_BYTES // (4 * sum(widths.values()))))
    for start in range(0, samples, rows):
        yield start, min(rows, samples - start)


def _stream(wanted: SyntheticSet, split: SplitName, start: int, what: str) -> np.random.Generator:
    key = f"{'labelled' if wanted.labelled else 'unlabelled'} {split} {what}".encode()
    return np.random.default_rng([wanted.seed, start, *key])


def class_means(wanted: SyntheticSet, modality: str) -> Block:
    """Return the class means (C, d_m) of a modality.

    Each feature belongs to one class, so the means are orthogonal. All have the length of the modality's signal.
    """
    width, classes = wanted.widths[modality], wanted.classes
    random = np.random.default_rng([wanted.seed, *f"means of {modality}".encode()])
    class_of_feature = random.permutation(np.arange(width) % classes)
    sign = random.choice([-1.0, 1.0], size=width)
    belongs = class_of_feature == np.arange(classes)[:, None]  # [C, d_m]
    means: Block = (belongs * sign).astype(np.float32)
    means *= wanted.signal_of(modality) / np.sqrt(belongs.sum(axis=1, keepdims=True), dtype=np.float32)
    return means


def _with_versions(clean: Block, versions: int, random: np.random.Generator) -> Block:
    """Return each row of (n, d_m) followed by its noisy versions, (n * (1 + versions), d_m)."""
    if not versions:
        return clean
    noise = random.standard_normal((len(clean), versions, clean.shape[1]), np.float32) * np.float32(_VERSION_NOISE)
    return np.concatenate([clean[:, None], clean[:, None] + noise], axis=1).reshape(-1, clean.shape[1])
