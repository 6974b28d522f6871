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


def row(records: list[Record], metric: str = "accuracy", resamples: int = 2000) -> pd.Series:
    frame = pairs([records], resamples)
    assert list(frame.columns) == list(COLUMNS)
    (found,) = frame[frame["metric"] == metric].to_dict("records")
    return found


def noisy(generator: np.random.Generator, truth: np.ndarray, right: float) -> np.ndarray:
    """Each sample right with the given probability."""
    return np.where(generator.random(len(truth)) < right, truth, (truth + 1) % 3)


@pytest.mark.parametrize("n", [2, 4])
def test_p_worked_by_hand(n: int) -> None:
    """All right against all wrong: the difference is as large again only if none or all are exchanged: 2 x 2^-n."""
    found = row([confirmed("Con", 0, predicted([0] * n, [0] * n)), confirmed("Gen", 0, predicted([0] * n, [1] * n))])
    exact = 2 * 0.5**n
    assert found["p"] == pytest.approx(exact, abs=4 * (exact * (1 - exact) / 2000) ** 0.5)
    assert (found["first"], found["second"], found["difference"]) == ("Con", "Gen", 1)
    assert (found["low"], found["high"]) == (1, 1)


def test_the_interval_is_that_of_a_binomial() -> None:
    """All right against 8 of 16: on a resample, they differ in Binomial(16, 1/2) samples: 95 % between 4 and 12."""
    said = {"Con": [0] * 16, "Gen": [0, 1] * 8}
    found = row([confirmed(name, 0, predicted([0] * 16, of)) for name, of in said.items()])
    assert [found["low"] * 16, found["high"] * 16] == list(stats.binom.ppf([0.025, 0.975], 16, 0.5))


def test_equal_outputs_differ_by_nothing() -> None:
    for metric in SUMMARY_METRICS:
        found = row([confirmed(name, 0, predicted([0, 1, 2, 1], [0, 1, 1, 1])) for name in ("Con", "Gen")], metric)
        assert [found[key] for key in ("difference", "low", "high", "p", "p_holm")] == [0, 0, 0, 1, 1]


def test_the_order_of_samples_and_who_comes_first_do_not_matter_to_the_statistic() -> None:
    generator = np.random.default_rng(1)
    truth = generator.integers(0, 3, 60)
    outputs = [noisy(generator, truth, right) for right in (0.9, 0.6)]
    there = row([confirmed(name, 0, predicted(truth, x)) for name, x in zip(("Con", "Gen"), outputs, strict=True)])
    back = row([confirmed(name, 0, predicted(truth, x)) for name, x in zip(("Gen", "Con"), outputs, strict=True)])
    assert there["difference"] == -back["difference"]
    assert (there["low"], there["high"]) == pytest.approx((-back["high"], -back["low"]))
    assert there["p"] == back["p"]


def test_the_same_outputs_in_another_seed_are_no_more_evidence() -> None:
    generator = np.random.default_rng(2)
    truth = generator.integers(0, 3, 50)
    outputs = {"Con": noisy(generator, truth, 0.8), "Gen": noisy(generator, truth, 0.7)}
    one, three = (
        row([confirmed(name, seed, predicted(truth, x)) for name, x in outputs.items() for seed in range(seeds)])
        for seeds in (1, 3)
    )
    assert (one["n_seeds"], three["n_seeds"]) == (1, 3)
    assert one["p"] == three["p"]


def test_only_seeds_that_both_have_are_exchanged() -> None:
    def both(first: range, second: range) -> Any:
        seeds = [("Con", n) for n in first] + [("Gen", n) for n in second]
        return row([confirmed(name, n, predicted([0] * 8, [int(name == "Gen")] * 8)) for name, n in seeds])

    some = both(range(2), range(1, 3))
    assert (some["n_seeds"], some["difference"]) == (1, 1)
    assert some["p"] < 0.05
    none = both(range(2), range(2, 4))
    assert (none["n_seeds"], none["difference"]) == (0, 1)
    assert math.isnan(none["p"])
    assert math.isnan(none["p_holm"])


def test_a_planted_difference_is_found_and_one_family_does_not_weaken_the_other() -> None:
    """Con is right for 90 % of samples, Clu and Gen for 75 %, a baseline for 74 %; three seeds each, 400 samples."""
    generator = np.random.default_rng(3)
    truth = generator.integers(0, 3, 400)
    planted = {"raw_features": 0.74, "Con": 0.9, "Clu": 0.75, "Gen": 0.75}
    records = [
        confirmed(name, seed, predicted(truth, noisy(generator, truth, right)), config=SUBSETS)
        for name, right in planted.items()
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
    significant = {couple for couple, p in frame["p_holm"].items() if p < 0.05}
    assert significant == {("raw_features", "Con"), ("Con", "Clu"), ("Con", "Gen")}
    assert frame.loc[("Con", "Clu"), "low"] > 0
    for _, family in frame.groupby("family"):
        ordered = family.sort_values("p")  # Holm: the i-th smallest of m, times m - i + 1, never falling
        by_hand = np.minimum(np.maximum.accumulate(ordered["p"] * [3, 2, 1]), 1)
        assert ordered["p_holm"].to_numpy() == pytest.approx(by_hand.to_numpy())


@pytest.mark.parametrize("several", [False, True], ids=["one label", "several labels"])
def test_p_is_that_of_scores_of_exchanged_outputs(several: bool) -> None:
    """Every exchange by itself, scored in double precision: what sums over exchanged halves must come to."""
    generator = np.random.default_rng(5)
    n, seeds, resamples, classes = 30, 3, 300, ("joy", "fear", "calm", "never")
    if several:
        truth = generator.integers(0, 2, (n, len(classes)))
        said = generator.integers(0, 2, (2, seeds, n, len(classes)))
    else:
        truth = generator.integers(0, 3, n)
        said = np.where(generator.random((2, seeds, n)) < 0.6, truth, generator.integers(0, 3, (2, seeds, n)))
    records = [
        confirmed(name, seed, predicted(truth.ravel(), of[seed].ravel(), classes=classes, multi_label=several))
        for name, of in zip(("Con", "Gen"), said, strict=True)
        for seed in range(seeds)
    ]
    (column,) = columns(records)
    exchanged = column.generators("randomisation")[0].random((1 + resamples, n), np.float32) < 0.5
    exchanged[0] = False
    swap = exchanged[..., np.newaxis] if several else exchanged  # [1 + B, n, or n x 1]
    sizes = np.zeros((len(SUMMARY_METRICS), 1 + resamples))
    for one, other in zip(*said, strict=True):
        for sign, outputs in ((1, np.where(swap, other, one)), (-1, np.where(swap, one, other))):
            fold = Fold(column.folds[0].truth, np.moveaxis(outputs, -1, 0) if several else outputs)
            sizes += sign * fold.scores(np.ones((n, 1)))[..., 0] / seeds
    sizes = np.abs(sizes)
    expected = (1 + (sizes[:, 1:] >= sizes[:, :1] - 2e-6).sum(axis=1)) / (1 + resamples)
    assert pairs([records], resamples)["p"].tolist() == pytest.approx(expected)


def test_5_percent_of_null_differences_are_found_at_5_percent() -> None:
    """200 test sets of 120 samples; two methods, each with two seeds, each right with probability 0.7."""
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
        found = (frame[frame["metric"] == metric]["p"] <= 0.05).sum()
        low, high = stats.binom.interval(0.999, 200, 0.05)
        assert low <= found <= high


def test_variants_on_fewer_modalities_are_not_compared() -> None:
    config = {"modality_subsets": [["video"]]}
    names = ("Con", "Gen", "Con[video]")
    frame = pairs([[confirmed(name, 0, predicted([0, 1], [0, 1]), config=config) for name in names]])
    assert set(frame["first"]) | set(frame["second"]) == {"Con", "Gen"}


def test_no_two_methods_are_no_pair() -> None:
    frame = pairs([[confirmed("Con", 0, predicted([0], [0]))]])
    assert list(frame.columns) == list(COLUMNS)
    assert len(frame) == 0


def test_tied_are_those_that_are_not_significantly_worse_than_the_best_shown() -> None:
    table = pd.DataFrame(
        [("digits", method, "accuracy", mean) for method, mean in
         {"Con": 0.8, "Clu": 0.9, "Gen": 0.7, "ConClu": 0.85, "none": math.nan, "Gen[video]": 0.1}.items()],
        columns=["dataset", "method", "metric", "mean"],
    )  # fmt: skip
    tested = {
        ("Con", "Clu"): 0.06,
        ("Clu", "Gen"): 0.01,
        ("Con", "Gen"): 0.5,
        ("Clu", "ConClu"): math.nan,
        ("Clu", "hidden"): 0.9,
    }
    frame = pd.DataFrame(
        [("digits", "accuracy", *couple, p) for couple, p in tested.items()],
        columns=["dataset", "metric", "first", "second", "p_holm"],
    )
    assert tied_with_best(frame, table) == {("digits", "accuracy", "Con")}
    assert tied_with_best(frame, table[table["method"] != "Clu"]) == set()
