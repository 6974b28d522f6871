"""Are the report's intervals and tests right? A simulation with planted truths.

Two methods classify the samples of made-up test sets. A sample's difficulty is the same for both. Each method has its
own strength for a group of samples (a speaker, say), for a sample, for a search of its hyperparameters, and for a
training seed. Both methods have the same distribution, so every difference is chance: a test at 5 % should find one in
5 % of the worlds, and 95 % of intervals should cover 0. The benchmark counts how many do not, for

* ``report``: what the report does, with groups;
* ``single``: the report's interval of one method's score, which should cover the score's mean over all test sets;
* ``no groups``: the same, but samples count as independent;
* ``one way``: the same, but only the first of two crossing ways to group samples counts;
* ``samples``: the percentile bootstrap over samples, with the heads as given;
* ``seeds``: Student's t over the runs of all searches, with the samples as given;
* ``both``: the percentile bootstrap over runs and groups of samples.

At the end, it counts in how many worlds the report finds any difference among seven equal methods, after Holm's
correction over their 21 pairs.

    python -m benchmarks.inference [--quick] [--json FILE] [--worlds 2000] [--brief]
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from statistics import fmean
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from benchmarks.measuring import parser, write
from reports.statistics.estimates import Estimate
from reports.statistics.inference import Scores, column_scores
from reports.statistics.outputs import Column, Fold, Run
from reports.statistics.pairs import pairs
from sweeps.ledger import SUMMARY_METRICS

__all__ = ["WORLDS", "World", "family_errors", "made_up_column", "misses"]

LEVEL = 0.05
METHODS = ("Con", "Clu", "Gen", "ConClu", "ConGen", "CluGen", "ConCluGen")
RESAMPLES = 300
SHARES = {3: (0.5, 0.3, 0.2), 7: (0.46, 0.23, 0.16, 0.07, 0.03, 0.03, 0.02)}  # of the classes; 7 like those of MELD


@dataclass(frozen=True)
class World:
    """How made-up test sets come about."""

    seeds: int
    """Confirmation seeds of each search."""
    groups: int
    """Independent groups of samples."""
    size: int = 1
    """Samples of a group, on average if they are skewed."""
    crossed: int = 0
    """Groups of a second way that crosses the first, such as dialogues beside speakers; 0 for one way only."""
    skewed: bool = False
    """Whether six of the groups have 84 % of the samples, like the speakers of MELD."""
    classes: int = 3
    group_spread: float = 0.0
    """Standard deviation, in logits, of a method's strength between groups of either way."""
    seed_spread: float = 0.1
    """Standard deviation, in logits, of a method's strength between seeds."""
    sample_spread: float = 0.5
    """Standard deviation, in logits, of a method's strength between samples."""
    searches: int = 1
    search_spread: float = 0.0
    """Standard deviation, in logits, of a method's strength between searches."""
    search_sample_spread: float = 0.3
    """The same between samples for one of several searches: their winners are wrong on different samples."""
    methods: int = 2

    @property
    def name(self) -> str:
        """The world in words."""
        searches = f"{self.searches} searches that vary by {self.search_spread}, with " if self.searches > 1 else ""
        groups = f"{self.groups} groups of {self.size}" if self.size > 1 else f"{self.groups} samples"
        skewed = ", most samples in 6" if self.skewed else ""
        crossed = f" crossed with {self.crossed} (both vary by {self.group_spread})" if self.crossed else ""
        samples = f"{groups}{skewed}{crossed}, {self.classes} classes"
        return f"{searches}{self.seeds} seeds, {samples}, seeds vary by {self.seed_spread}"


WORLDS = (
    World(3, 300, seed_spread=0.0),
    World(3, 300),
    World(3, 300, seed_spread=0.4),
    World(5, 100),
    World(5, 1000, classes=7),
    World(10, 300),
    World(3, 12, 25, group_spread=0.5),
    World(5, 8, 50, group_spread=0.7, seed_spread=0.2),
    World(5, 30, 20, group_spread=0.5),
    World(10, 100, 10, classes=7, group_spread=0.5),
    World(5, 10, 60, crossed=40, group_spread=0.5),
    World(5, 10, 60, crossed=40),
    World(5, 30, 20, crossed=30, group_spread=0.5),
    World(3, 46, 22, crossed=100, skewed=True, group_spread=0.4),
    *(
        World(seeds, 300, searches=searches, search_spread=spread)
        for searches, seeds in ((2, 5), (3, 3), (5, 3))
        for spread in (0.0, 0.1, 0.3)
    ),
    World(5, 30, 20, group_spread=0.5, searches=2, search_spread=0.1),
    World(3, 30, 20, group_spread=0.5, searches=3, search_spread=0.3),
    World(3, 12, 25, group_spread=0.5, searches=5, search_spread=0.1),
)
FAMILIES = (World(3, 300, methods=7), World(3, 300, searches=3, search_spread=0.1, methods=7))


def made_up_column(world: World, generator: np.random.Generator) -> Column:
    """Return a column with methods whose strengths have the same distribution."""
    n = world.groups * world.size
    groups = _groups(world, generator)
    truth = generator.choice(world.classes, n, p=SHARES[world.classes])

    def normal(deviation: float, size: int = n) -> npt.NDArray[np.float64]:
        return generator.normal(0, deviation, size)

    def of_groups() -> npt.NDArray[np.float64]:
        """Draw a number for each group, and return each sample's sum over its groups."""
        total = np.zeros(n)
        for of_way in groups:
            total += normal(world.group_spread, int(of_way.max()) + 1)[of_way]
        return total

    difficulty = 1 + np.linspace(0.5, -0.5, world.classes)[truth] + normal(1) + of_groups()
    runs, predicted = [], []
    for method in METHODS[: world.methods]:
        strength = difficulty + of_groups() + normal(world.sample_spread)
        for search in range(1, world.searches + 1):
            searched = strength
            if world.searches > 1:
                searched = strength + normal(world.search_spread, 1) + normal(world.search_sample_spread)
            for seed in range(world.seeds):
                logits = searched + normal(world.seed_spread, 1) + normal(1)
                wrong = (truth + generator.integers(1, world.classes, n)) % world.classes
                predicted.append(np.where(generator.random(n) < 1 / (1 + np.exp(-logits)), truth, wrong))
                runs.append(Run(method, seed, 0, search))
    fold = Fold(truth == np.arange(world.classes)[:, np.newaxis], np.array(predicted), groups)
    return Column("made-up", tuple(runs), (fold,))


def _groups(world: World, generator: np.random.Generator) -> npt.NDArray[np.int64]:
    """Return the groups of the samples: (W, n)."""
    n = world.groups * world.size
    first = np.repeat(np.arange(world.groups), world.size)
    if world.skewed:
        shares = np.r_[np.full(6, 0.84 / 6), np.full(world.groups - 6, 0.16 / (world.groups - 6))]
        first = generator.choice(world.groups, n, p=shares)
    second = [generator.integers(world.crossed, size=n)] if world.crossed else []
    return np.stack([first, *second])


def misses(world: World, worlds: int, seed: int = 0, others: bool = True) -> dict[str, dict[str, float]]:
    """Map each kind of interval, and each metric, to the share of made-up test sets in which it leaves out the truth.

    Args:
        world: how the test sets come about; it has two methods.
        worlds: number of test sets.
        seed: seed of the test sets.
        others: whether to try the kinds that take long, too: those that resample, or leave out groups.
    """
    generator = np.random.default_rng(seed)
    found: dict[str, list[Bounds]] = {}
    values = []
    for _ in range(worlds):
        column = made_up_column(world, generator)
        scores = column_scores(column)
        single = scores.contrast({METHODS[0]: 1})
        values.append([estimate.value for estimate in single.values()])
        intervals = {"report": _difference(scores), "single": _bounds(single), "seeds": _over_runs(scores)}
        if others:
            intervals |= dict(_others(column, generator))
        for kind, bounds in intervals.items():
            found.setdefault(kind, []).append(bounds)
    truths = {"single": np.mean(values, axis=0)}
    missed = {}
    for kind, intervals_found in found.items():
        low, high = np.moveaxis(np.array(intervals_found), 1, 0)  # [worlds, 3]
        truth = truths.get(kind, 0.0)
        missed[kind] = ((low > truth) | (high < truth)).mean(axis=0).tolist()
    return {kind: dict(zip(SUMMARY_METRICS, shares, strict=True)) for kind, shares in missed.items()}


def family_errors(world: World, worlds: int, seed: int = 0) -> dict[str, float]:
    """Map each metric to the share of made-up test sets in which any difference is settled after Holm's correction."""
    generator = np.random.default_rng(seed)
    settled = []
    for _ in range(worlds):
        frame = pairs([column_scores(made_up_column(world, generator))])
        settled.append((frame.groupby("metric")["p_holm"].min() < LEVEL)[list(SUMMARY_METRICS)].tolist())
    return dict(zip(SUMMARY_METRICS, np.mean(settled, axis=0).tolist(), strict=True))


Bounds = tuple[npt.NDArray[np.floating[Any]], npt.NDArray[np.floating[Any]]]


def _difference(scores: Scores) -> Bounds:
    return _bounds(scores.contrast({METHODS[0]: 1, METHODS[1]: -1}))


def _bounds(estimates: Mapping[str, Estimate]) -> Bounds:
    low, high = np.array([estimate.interval() for estimate in estimates.values()]).T
    return low, high


def _over_runs(scores: Scores) -> Bounds:
    """Return Student's t interval of the difference over the runs of all searches."""
    halves = scores.scores.reshape(3, 2, -1)
    differences = halves[:, 0] - halves[:, 1]
    n = differences.shape[1]
    half = stats.t.ppf(1 - LEVEL / 2, n - 1) * differences.std(axis=1, ddof=1) / n**0.5
    return differences.mean(axis=1) - half, differences.mean(axis=1) + half


def _others(column: Column, generator: np.random.Generator) -> Iterator[tuple[str, Bounds]]:
    (fold,) = column.folds
    samples = np.arange(column.n_samples)
    yield "no groups", _difference(column_scores(replace(column, folds=(replace(fold, groups=samples[np.newaxis]),))))
    if len(fold.groups) > 1:
        yield "one way", _difference(column_scores(replace(column, folds=(replace(fold, groups=fold.groups[:1]),))))
    seeds = len(column.runs) // 2
    for kind, groups, drawn in (("samples", samples, False), ("both", fold.groups[0], True)):
        scores = _resampled(fold, groups, generator).reshape(3, 2, seeds, RESAMPLES)
        weights = generator.multinomial(seeds, np.full(seeds, 1 / seeds), RESAMPLES) / seeds if drawn else 1 / seeds
        resampled = ((scores[:, 0] - scores[:, 1]) * np.transpose(weights)).sum(axis=1)  # [3, B]
        low, high = np.percentile(resampled, [100 * LEVEL / 2, 100 - 100 * LEVEL / 2], axis=-1)
        yield kind, (low, high)


def _resampled(
    fold: Fold, groups: npt.NDArray[np.integer[Any]], generator: np.random.Generator
) -> npt.NDArray[np.floating[Any]]:
    """Return each run's metrics on B resamples of the groups (n,): (3, R, B)."""
    order = np.argsort(groups, kind="stable")
    present, starts, sizes = np.unique(groups[order], return_index=True, return_counts=True)
    n_groups = len(present)
    weights = generator.multinomial(n_groups, np.full(n_groups, 1 / n_groups), RESAMPLES).T  # [G, B]

    def counts(which: npt.NDArray[np.bool_]) -> npt.NDArray[np.floating[Any]]:
        """Count the samples (..., n) of each resample: (..., B)."""
        by_group = np.add.reduceat(which[..., order], starts, axis=-1, dtype=np.int64)
        counted: npt.NDArray[np.floating[Any]] = by_group @ weights
        return counted

    total = sizes @ weights
    correct, f1_sum, weighted = np.zeros((3, *fold.predicted.shape[:1], RESAMPLES))
    for label, is_true in enumerate(fold.truth):
        predicted = fold.predicted == label
        true, hits = counts(is_true), counts(predicted & is_true)
        f1 = 2 * hits / np.maximum(counts(predicted) + true, 1)
        correct, f1_sum, weighted = correct + hits, f1_sum + f1, weighted + f1 * true
    by_name = {"accuracy": correct / total, "macro_f1": f1_sum / len(fold.truth), "weighted_f1": weighted / total}
    return np.stack([by_name[metric] for metric in SUMMARY_METRICS])


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--worlds", type=int, default=2000, help="made-up test sets of each kind")
    options.add_argument("--brief", action="store_true", help="leave out the kinds that take long")
    arguments = options.parse_args()
    n_worlds = 40 if arguments.quick else arguments.worlds
    results, families = [], []
    print(f"Share of {n_worlds} made-up test sets whose interval leaves out the truth; 5 % are right.")
    print(f"Monte-Carlo error: {100 * (LEVEL * (1 - LEVEL) / n_worlds) ** 0.5:.1f} %.")
    for number, world in enumerate(WORLDS):
        missed = misses(world, n_worlds, number, others=not arguments.brief)
        results.append({"world": asdict(world), "misses": missed})
        shares = ", ".join(f"{kind} {100 * fmean(by_metric.values()):.1f} %" for kind, by_metric in missed.items())
        print(f"{world.name}: {shares}", flush=True)
    for number, world in enumerate(FAMILIES):
        share = family_errors(world, n_worlds, number)
        families.append({"world": asdict(world), "found": share})
        print(f"Any of 21 pairs settled, {world.name}: {100 * fmean(share.values()):.1f} %", flush=True)
    write(arguments.json, {"worlds": n_worlds, "results": results, "families": families})


if __name__ == "__main__":
    main()
