import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from reports.statistics.estimates import Estimate, Spread
from reports.statistics.inference import Scores, confirmed_scores
from reports.statistics.pairs import COLUMNS, pairs, tied_with_best
from sweeps.ledger import SUMMARY_METRICS, Record
from tests.reports.statistics.test_outputs import confirmed, predicted

SUBSETS = {"subsets": ["Con", "Clu", "Gen"]}


def pairs_of(records: list[Record], equivalent: float = 0.01) -> pd.DataFrame:
    """Return the pairs of one sweep."""
    frame = pairs(confirmed_scores([records]), equivalent)
    assert list(frame.columns) == list(COLUMNS)
    return frame


def only_row(records: list[Record], metric: str = "accuracy", equivalent: float = 0.01) -> dict[str, Any]:
    """Return the row of the only pair."""
    frame = pairs_of(records, equivalent)
    (row,) = frame[frame["metric"] == metric].to_dict("records")
    return row


class FixedScores(Scores):
    """Scores of two methods whose difference is estimated as given."""

    def __init__(self, difference: Estimate) -> None:
        runs = tuple((method, 1, seed) for method in ("Con", "Gen") for seed in range(difference.n_seeds))
        scores = np.zeros((3, len(runs)))
        none = np.zeros((3, len(runs), len(runs)))
        super().__init__("digits", runs, scores, none, 400, int(difference.n_groups), difference.n_groups, ())
        object.__setattr__(self, "_difference", difference)

    def contrast(self, weights: Mapping[str, float]) -> dict[str, Estimate]:
        assert dict(weights) == {"Con": 1, "Gen": -1}
        return dict.fromkeys(SUMMARY_METRICS, self._difference)


def noisy(generator: np.random.Generator, truth: np.ndarray, accuracy: float) -> np.ndarray:
    """Return predictions that are correct with this probability, each by itself."""
    return np.where(generator.random(len(truth)) < accuracy, truth, (truth + 1) % 3)


def test_a_row_equals_that_computed_by_hand() -> None:
    """Con is right in 4, 5 of 6 samples, Gen in 3, 2: differences of 1/6 and 1/2, B = 1/18; each over Gen's seeds."""
    truth, outputs = [0] * 6, {("Con", 0): 4, ("Con", 1): 5, ("Gen", 0): 3, ("Gen", 1): 2}
    records = [
        confirmed(method, seed, predicted(truth, [0] * right + [1] * (6 - right)))
        for (method, seed), right in outputs.items()
    ]
    row = only_row(records)
    # Differences by sample: seed 0 has 1 for sample 3, seed 1 has 1 for samples 2, 3 and 4. Their covariance is
    # (1 - 6 (1/6)(1/2)) / 36 x 6/5.
    shared = 0.5 / 36 * 6 / 5
    assert (row["first"], row["second"], row["n_seeds"]) == ("Con", "Gen", 2)
    assert row["difference"] == pytest.approx(1 / 3)
    assert row["seed_error"] ** 2 == pytest.approx(1 / 36)
    assert row["sample_error"] ** 2 == pytest.approx(shared)
    assert row["improvement"] == 1
    half = stats.t.ppf(0.975, (1 / 36 + shared) ** 2 / ((1 / 36) ** 2 / 1 + shared**2 / 5)) * (1 / 36 + shared) ** 0.5
    assert (row["low"], row["high"]) == pytest.approx((1 / 3 - half, 1 / 3 + half))


def test_swapping_the_two_methods_only_changes_the_sign() -> None:
    generator = np.random.default_rng(1)
    truth = generator.integers(0, 3, 60)
    runs = [[predicted(truth, noisy(generator, truth, right)) for _ in range(3)] for right in (0.9, 0.6)]
    row, swapped = (
        only_row(
            [
                confirmed(method, seed, run)
                for method, by_seed in zip(methods, runs, strict=True)
                for seed, run in enumerate(by_seed)
            ]
        )
        for methods in (("Con", "Gen"), ("Gen", "Con"))
    )
    assert row["difference"] == pytest.approx(-swapped["difference"])
    assert (row["low"], row["high"]) == pytest.approx((-swapped["high"], -swapped["low"]))
    assert row["p"] == pytest.approx(swapped["p"])
    assert row["improvement"] == 1 - swapped["improvement"]


def test_the_test_uses_only_common_seeds() -> None:
    def row_of(con_seeds: range, gen_seeds: range) -> dict[str, Any]:
        runs = [("Con", seed) for seed in con_seeds] + [("Gen", seed) for seed in gen_seeds]
        return only_row(
            [confirmed(method, seed, predicted([0] * 8, [int(method == "Gen")] * 8)) for method, seed in runs]
        )

    two_common = row_of(range(3), range(1, 4))
    assert (two_common["n_seeds"], two_common["difference"]) == (2, 1)
    assert two_common["p"] < 0.05
    none_common = row_of(range(2), range(2, 4))
    assert (none_common["n_seeds"], none_common["difference"]) == (0, 1)
    assert math.isnan(none_common["p"])
    assert math.isnan(none_common["p_holm"])
    assert (none_common["verdict"], math.isnan(none_common["more_seeds"])) == ("open", True)


def test_improvement_is_the_share_of_pairs_of_runs_in_which_the_first_is_better() -> None:
    """Con has accuracies of 2/4 and 4/4, Gen of 2/4 and 3/4: two pairs are better, one is equal."""
    rights = {("Con", 0): 2, ("Con", 1): 4, ("Gen", 0): 2, ("Gen", 1): 3}
    records = [
        confirmed(method, seed, predicted([0] * 4, [0] * right + [1] * (4 - right)))
        for (method, seed), right in rights.items()
    ]
    assert only_row(records)["improvement"] == pytest.approx((2 + 0.5) / 4)


def test_equal_methods_are_equal_only_within_the_given_region() -> None:
    """Two methods differ in single samples of 2,000, in either direction."""
    generator = np.random.default_rng(7)
    truth = generator.integers(0, 3, 2000)
    records = []
    for method in ("Con", "Gen"):
        for seed in range(4):
            output = truth.copy()
            output[generator.integers(0, 2000, 10)] = 0
            records.append(confirmed(method, seed, predicted(truth, output)))
    assert only_row(records, equivalent=0.01)["verdict"] == "equal"
    row = only_row(records, equivalent=0.0001)
    assert row["verdict"] == "open"


def test_an_open_pair_says_how_many_seeds_would_settle_it() -> None:
    """The proposed number of seeds settles the pair in the same estimate, and one less does not."""
    estimate = Estimate(0.02, 400, 0.00002, (Spread(1, 3, between=0.0004, own=0.0001),))
    scores = FixedScores(estimate)
    row = pairs([scores], 0.001).iloc[0]
    assert row["verdict"] == "open"
    more = int(row["more_seeds"])
    assert estimate.more_seeds(more).p < 0.05 <= estimate.more_seeds(more - 1).p
    assert math.isnan(row["more_searches"])


def test_a_pair_that_only_more_test_samples_can_settle_says_so() -> None:
    estimate = Estimate(0.02, 400, 0.0004, (Spread(1, 3, between=0.0001, own=0.0001),))
    row = pairs([FixedScores(estimate)], 0.001).iloc[0]
    assert (row["verdict"], row["more_seeds"]) == ("open", math.inf)


def test_a_pair_that_only_more_searches_can_settle_says_how_many() -> None:
    """Searches vary far more than seeds."""
    estimate = Estimate(0.02, 400, 0.00002, (Spread(3, 9, between=0.0004, own=0.00001, within=0.00002),))
    row = pairs([FixedScores(estimate)], 0.001).iloc[0]
    assert (row["verdict"], row["more_seeds"]) == ("open", math.inf)
    more = int(row["more_searches"])
    assert estimate.more_searches(more).p < 0.05 <= estimate.more_searches(more - 1).p


def test_the_parts_of_the_error_of_several_searches_add_up_to_the_whole() -> None:
    generator = np.random.default_rng(2)
    truth = generator.integers(0, 3, 60)
    twice = {"budget": {"seeds": 3, "searches": 2}}
    records = [
        confirmed(name, seed, predicted(truth, noisy(generator, truth, right)), config=twice)
        for name, right in (("Con", 0.9), ("Con~2", 0.7), ("Gen", 0.6), ("Gen~2", 0.7))
        for seed in range(3)
    ]
    row = only_row(records)
    (estimate,) = [scores.contrast({"Con": 1, "Gen": -1})["accuracy"] for scores in confirmed_scores([records])]
    parts = [row[f"{part}_error"] ** 2 for part in ("seed", "search", "sample")]
    assert (row["n_searches"], row["n_seeds"]) == (2, 6)
    assert row["search_error"] > row["seed_error"] > 0
    assert sum(parts) == pytest.approx(estimate.error**2)


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
    frame = pairs_of(records)
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


def test_variants_on_fewer_modalities_are_not_compared() -> None:
    config = {"modality_subsets": [["video"]]}
    names = ("Con", "Gen", "Con[video]")
    frame = pairs_of([confirmed(name, 0, predicted([0, 1], [0, 1]), config=config) for name in names])
    assert set(frame["first"]) | set(frame["second"]) == {"Con", "Gen"}


def test_a_single_method_has_no_pairs() -> None:
    frame = pairs_of([confirmed("Con", 0, predicted([0], [0]))])
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
