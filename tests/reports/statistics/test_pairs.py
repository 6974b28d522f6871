import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from reports.statistics.pairs import COLUMNS, pairs, tied_with_best
from reports.statistics.resampling import Fold, columns
from sweeps.ledger import SUMMARY_METRICS, Record
from tests.reports.statistics.test_resampling import confirmed, predicted

SUBSETS = {"subsets": ["Con", "Clu", "Gen"]}


def only_row(records: list[Record], metric: str = "accuracy", resamples: int = 2000) -> dict[str, Any]:
    """Return the row of the only pair."""
    frame = pairs([records], resamples)
    assert list(frame.columns) == list(COLUMNS)
    (row,) = frame[frame["metric"] == metric].to_dict("records")
    return row


def noisy(generator: np.random.Generator, truth: np.ndarray, accuracy: float) -> np.ndarray:
    """Return predictions that are correct with this probability, each by itself."""
    return np.where(generator.random(len(truth)) < accuracy, truth, (truth + 1) % 3)


@pytest.mark.parametrize("n", [2, 4])
def test_p_equals_that_computed_by_hand(n: int) -> None:
    """Con is always correct, Gen never. Only exchanges of no or all samples keep the difference: 2 x 2^-n of them."""
    runs = {"Con": predicted([0] * n, [0] * n), "Gen": predicted([0] * n, [1] * n)}
    row = only_row([confirmed(method, 0, run) for method, run in runs.items()])
    exact = 2 * 0.5**n
    assert row["p"] == pytest.approx(exact, abs=4 * (exact * (1 - exact) / 2000) ** 0.5)
    assert (row["first"], row["second"], row["difference"]) == ("Con", "Gen", 1)
    assert (row["low"], row["high"]) == (1, 1)


def test_the_interval_has_the_quantiles_of_a_binomial() -> None:
    """Con is always correct, Gen in 8 of 16 samples: on a resample, they differ in Binomial(16, 1/2) samples."""
    outputs = {"Con": [0] * 16, "Gen": [0, 1] * 8}
    row = only_row([confirmed(method, 0, predicted([0] * 16, output)) for method, output in outputs.items()])
    assert [row["low"] * 16, row["high"] * 16] == list(stats.binom.ppf([0.025, 0.975], 16, 0.5))


def test_equal_outputs_have_no_difference() -> None:
    records = [confirmed(method, 0, predicted([0, 1, 2, 1], [0, 1, 1, 1])) for method in ("Con", "Gen")]
    for metric in SUMMARY_METRICS:
        row = only_row(records, metric)
        assert [row[key] for key in ("difference", "low", "high", "p", "p_holm")] == [0, 0, 0, 1, 1]


def test_swapping_the_two_methods_only_changes_the_sign() -> None:
    generator = np.random.default_rng(1)
    truth = generator.integers(0, 3, 60)
    runs = [predicted(truth, noisy(generator, truth, accuracy)) for accuracy in (0.9, 0.6)]
    row = only_row([confirmed(method, 0, run) for method, run in zip(("Con", "Gen"), runs, strict=True)])
    swapped = only_row([confirmed(method, 0, run) for method, run in zip(("Gen", "Con"), runs, strict=True)])
    assert row["difference"] == -swapped["difference"]
    assert (row["low"], row["high"]) == pytest.approx((-swapped["high"], -swapped["low"]))
    assert row["p"] == swapped["p"]


def test_the_same_outputs_in_more_seeds_are_no_more_evidence() -> None:
    generator = np.random.default_rng(2)
    truth = generator.integers(0, 3, 50)
    runs = {method: predicted(truth, noisy(generator, truth, right)) for method, right in (("Con", 0.8), ("Gen", 0.7))}
    one, three = (
        only_row([confirmed(method, seed, run) for method, run in runs.items() for seed in range(seeds)])
        for seeds in (1, 3)
    )
    assert (one["n_seeds"], three["n_seeds"]) == (1, 3)
    assert one["p"] == three["p"]


def test_the_test_uses_only_common_seeds() -> None:
    def row_of(con_seeds: range, gen_seeds: range) -> dict[str, Any]:
        runs = [("Con", seed) for seed in con_seeds] + [("Gen", seed) for seed in gen_seeds]
        return only_row(
            [confirmed(method, seed, predicted([0] * 8, [int(method == "Gen")] * 8)) for method, seed in runs]
        )

    one_common = row_of(range(2), range(1, 3))
    assert (one_common["n_seeds"], one_common["difference"]) == (1, 1)
    assert one_common["p"] < 0.05
    none_common = row_of(range(2), range(2, 4))
    assert (none_common["n_seeds"], none_common["difference"]) == (0, 1)
    assert math.isnan(none_common["p"])
    assert math.isnan(none_common["p_holm"])


def test_planted_differences_are_significant_and_families_are_corrected_separately() -> None:
    """Con is correct for 90 % of 400 samples, Clu and Gen for 75 %, a baseline for 74 %; each has three seeds."""
    generator = np.random.default_rng(3)
    truth = generator.integers(0, 3, 400)
    planted = {"raw_features": 0.74, "Con": 0.9, "Clu": 0.75, "Gen": 0.75}
    records = [
        confirmed(method, seed, predicted(truth, noisy(generator, truth, accuracy)), config=SUBSETS)
        for method, accuracy in planted.items()
        for seed in range(3)
    ]
    frame = pairs([records])
    frame = frame[frame["metric"] == "weighted_f1"].set_index(["first", "second"])
    assert frame["family"].to_dict() == {
        ("raw_features", "Con"): "baselines",
        ("raw_features", "Clu"): "baselines",
        ("raw_features", "Gen"): "baselines",
        ("Con", "Clu"): "subsets",
        ("Con", "Gen"): "subsets",
        ("Clu", "Gen"): "subsets",
    }
    significant = {pair for pair, p in frame["p_holm"].items() if p < 0.05}
    assert significant == {("raw_features", "Con"), ("Con", "Clu"), ("Con", "Gen")}
    assert frame.loc[("Con", "Clu"), "low"] > 0
    for _, family in frame.groupby("family"):
        ordered = family.sort_values("p")  # Holm: the i-th smallest of m p values times m - i + 1, never decreasing
        expected = np.minimum(np.maximum.accumulate(ordered["p"] * [3, 2, 1]), 1)
        assert ordered["p_holm"].to_numpy() == pytest.approx(expected.to_numpy())


@pytest.mark.parametrize("several", [False, True], ids=["one label", "several labels"])
def test_p_equals_that_of_scoring_every_exchange(several: bool) -> None:
    """The oracle exchanges the outputs and scores each exchange in double precision, without sums over halves."""
    generator = np.random.default_rng(5)
    n, seeds, resamples, classes = 30, 3, 300, ("joy", "fear", "calm", "never")
    if several:
        truth = generator.integers(0, 2, (n, len(classes)))
        outputs = generator.integers(0, 2, (2, seeds, n, len(classes)))
    else:
        truth = generator.integers(0, 3, n)
        outputs = np.where(generator.random((2, seeds, n)) < 0.6, truth, generator.integers(0, 3, (2, seeds, n)))
    records = [
        confirmed(method, seed, predicted(truth.ravel(), output.ravel(), classes=classes, multi_label=several))
        for method, by_seed in zip(("Con", "Gen"), outputs, strict=True)
        for seed, output in enumerate(by_seed)
    ]
    (column,) = columns(records)
    exchanged = column.generators("randomisation")[0].random((1 + resamples, n), np.float32) < 0.5
    exchanged[0] = False
    swap = exchanged[..., np.newaxis] if several else exchanged  # [1 + B, n, or n x 1]
    sizes = np.zeros((len(SUMMARY_METRICS), 1 + resamples))
    for con, gen in zip(*outputs, strict=True):
        for sign, output in ((1, np.where(swap, gen, con)), (-1, np.where(swap, con, gen))):
            fold = Fold(column.folds[0].truth, np.moveaxis(output, -1, 0) if several else output)
            sizes += sign * fold.scores(np.ones((n, 1)))[..., 0] / seeds
    sizes = np.abs(sizes)
    expected = (1 + (sizes[:, 1:] >= sizes[:, :1] - 2e-6).sum(axis=1)) / (1 + resamples)
    assert pairs([records], resamples)["p"].tolist() == pytest.approx(expected)


def test_5_percent_of_null_differences_are_significant_at_5_percent() -> None:
    """There are 200 test sets of 120 samples, and two methods with two seeds and an accuracy of 0.7 each."""
    generator = np.random.default_rng(4)
    sets = {f"set{number}": "/somewhere" for number in range(200)}
    truths = {name: generator.integers(0, 3, 120) for name in sets}
    records = [
        confirmed(
            method,
            seed,
            *(predicted(truth, noisy(generator, truth, 0.7), dataset=name) for name, truth in truths.items()),
            config={"features": {"downstream": sets}},
        )
        for method in ("Con", "Gen")
        for seed in range(2)
    ]
    frame = pairs([records], resamples=199)
    for metric in SUMMARY_METRICS:
        significant = (frame[frame["metric"] == metric]["p"] <= 0.05).sum()
        low, high = stats.binom.interval(0.999, 200, 0.05)
        assert low <= significant <= high


def test_variants_on_fewer_modalities_are_not_compared() -> None:
    config = {"modality_subsets": [["video"]]}
    names = ("Con", "Gen", "Con[video]")
    frame = pairs([[confirmed(name, 0, predicted([0, 1], [0, 1]), config=config) for name in names]])
    assert set(frame["first"]) | set(frame["second"]) == {"Con", "Gen"}


def test_a_single_method_has_no_pairs() -> None:
    frame = pairs([[confirmed("Con", 0, predicted([0], [0]))]])
    assert list(frame.columns) == list(COLUMNS)
    assert len(frame) == 0


def test_ties_are_not_significantly_worse_than_the_best_method_of_the_table() -> None:
    table = pd.DataFrame(
        [("digits", method, "accuracy", mean) for method, mean in
         {"Con": 0.8, "Clu": 0.9, "Gen": 0.7, "ConClu": 0.85, "none": math.nan, "Gen[video]": 0.1}.items()],
        columns=["dataset", "method", "metric", "mean"],
    )  # fmt: skip
    p_values = {
        ("Con", "Clu"): 0.06,
        ("Clu", "Gen"): 0.01,
        ("Con", "Gen"): 0.5,
        ("Clu", "ConClu"): math.nan,
        ("Clu", "hidden"): 0.9,
    }
    frame = pd.DataFrame(
        [("digits", "accuracy", *pair, p) for pair, p in p_values.items()],
        columns=["dataset", "metric", "first", "second", "p_holm"],
    )
    assert tied_with_best(frame, table) == {("digits", "accuracy", "Con")}
    assert tied_with_best(frame, table[table["method"] != "Clu"]) == set()
