import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from benchmarks.inference import World, family_errors, misses
from reports.statistics.estimates import Spread, estimate
from reports.statistics.inference import Scores, column_scores, confirmed_scores
from reports.statistics.outputs import Column, Fold, Run
from sweeps.ledger import Record
from tests.reports.statistics.test_outputs import confirmed, predicted

NAN = math.nan


def scores_of(records: list[Record]) -> Scores:
    """Return the scores of the only column."""
    (scores,) = confirmed_scores([records])
    return scores


def test_the_error_of_an_accuracy_is_that_of_a_proportion() -> None:
    """80 of 100 are right in both seeds: nothing but the samples varies, with variance 0.8 x 0.2 / 99."""
    records = [confirmed("Con", seed, predicted([0] * 100, [0] * 80 + [1] * 20)) for seed in range(2)]
    accuracy = scores_of(records).contrast({"Con": 1})["accuracy"]
    assert (accuracy.value, accuracy.seed_error, accuracy.n_groups) == (pytest.approx(0.8), 0, 100)
    assert accuracy.error == accuracy.sample_error == pytest.approx((0.8 * 0.2 / 99) ** 0.5)
    assert accuracy.degrees == pytest.approx(99)


def test_variances_and_degrees_equal_those_computed_by_hand() -> None:
    """Values 0, 1 and 2 have B = 1; covariances of 0.3 and variances of 0.5 give K = 0.3 and W = 0.2."""
    covariance = np.full((3, 3), 0.3) + np.eye(3) * 0.2
    found = estimate(np.array([0.0, 1, 2]), covariance, 11)
    assert (found.value, found.n_seeds, found.n_searches) == (1, 3, 1)
    assert found.shared == pytest.approx(0.3)
    assert found.spreads == (Spread(1, 3, between=1, own=pytest.approx(0.2), within=NAN),)
    assert found.error == pytest.approx((1 / 3 + 0.3) ** 0.5)
    assert (found.seed_error, found.search_error) == (pytest.approx((1 / 3) ** 0.5), 0)
    degrees = (1 / 3 + 0.3) ** 2 / ((1 / 3) ** 2 / 2 + 0.3**2 / 10)
    assert found.degrees == pytest.approx(degrees)
    half = stats.t.ppf(0.975, degrees) * found.error
    assert found.interval() == pytest.approx((1 - half, 1 + half))
    assert found.p == pytest.approx(2 * stats.t.sf(1 / found.error, degrees))


def test_seeds_that_agree_by_chance_do_not_make_degrees_many() -> None:
    """Values that happen to be equal have B = 0. The samples alone imply W = 0.2, so K is not all that varies."""
    found = estimate(np.ones(3), np.full((3, 3), 0.3) + np.eye(3) * 0.2, 1001)
    assert found.error == pytest.approx(0.3**0.5)
    assert found.degrees == pytest.approx((0.2 / 3 + 0.3) ** 2 / ((0.2 / 3) ** 2 / 2 + 0.3**2 / 1000))


def test_a_negative_covariance_counts_as_none() -> None:
    found = estimate(np.array([0.0, 1]), np.array([[0.5, -0.1], [-0.1, 0.5]]), 11)
    assert found.shared == 0
    assert found.spreads[0].own == pytest.approx(0.5)


SEARCHES = (1, 1, 2, 2)
VALUES = np.array([0.0, 2, 5, 9])


def test_searches_are_the_units_where_there_are_several() -> None:
    """Searches with means of 1 and 7 have B = 18. Seeds have variances of 2 and 8, so a mean of two has 5 / 2."""
    found = estimate(VALUES, np.zeros((4, 4)), 11, SEARCHES)
    assert (found.value, found.n_seeds, found.n_searches) == (4, 4, 2)
    assert found.error == pytest.approx((18 / 2) ** 0.5)
    assert found.seed_error == pytest.approx((2.5 / 2) ** 0.5)
    assert found.search_error == pytest.approx((18 / 2 - 2.5 / 2) ** 0.5)
    half = stats.t.ppf(0.975, 1) * found.error
    assert found.interval() == pytest.approx((4 - half, 4 + half))
    assert found.p == pytest.approx(2 * stats.t.sf(4 / found.error, 1))


def test_samples_are_shared_by_searches() -> None:
    """Runs of one search have a covariance of 0.4, of two searches 0.1: only the latter is K."""
    covariance = np.kron(np.eye(2), np.full((2, 2), 0.3)) + 0.1
    found = estimate(VALUES, covariance, 11, SEARCHES)
    assert found.sample_error**2 == pytest.approx(0.1)
    assert found.error**2 == pytest.approx(18 / 2 + 0.1)
    for confidence in (0.8, 0.95):
        tail = (1 + confidence) / 2
        half = math.sqrt(9 * stats.t.ppf(tail, 1) ** 2 + 0.1 * stats.t.ppf(tail, 10) ** 2)
        assert found.interval(confidence) == pytest.approx((4 - half, 4 + half))
    assert found.interval(1 - found.p)[0] == pytest.approx(0)


def test_searches_that_vary_less_than_their_seeds_imply_have_no_part() -> None:
    """Means of 1 and 1.2 have B = 0.02, less than 0.125 from seeds that differ by 1: all of the error is by seeds."""
    found = estimate(np.array([0.5, 1.5, 0.7, 1.7]), np.zeros((4, 4)), 11, SEARCHES)
    assert found.search_error == 0
    assert found.seed_error == found.error == pytest.approx(0.01**0.5)


def test_a_search_with_fewer_seeds_counts_as_much_as_another() -> None:
    """A mean of 1 over two seeds with a variance of 2, and 7 from one: the variance of a mean is 2 x (1/2 + 1) / 2."""
    found = estimate(np.array([0.0, 2, 7]), np.zeros((3, 3)), 11, (1, 1, 2))
    assert (found.value, found.n_seeds) == (4, 3)
    assert found.seed_error == pytest.approx((2 * 0.75 / 2) ** 0.5)


def test_one_seed_for_each_search_does_not_tell_seeds_from_searches() -> None:
    found = estimate(np.array([0.0, 2]), np.zeros((2, 2)), 11, (1, 2))
    assert math.isnan(found.seed_error)
    assert found.search_error == found.error == 1


def test_runs_in_one_common_search_vary_by_seeds_alone() -> None:
    found = estimate(np.array([0.0, 2]), np.zeros((2, 2)), 11, (2, 2))
    assert (found.n_searches, found.search_error, found.seed_error) == (1, 0, 1)


def test_more_seeds_and_more_searches_make_their_own_part_smaller() -> None:
    found = estimate(VALUES, np.full((4, 4), 0.1), 11, SEARCHES)
    seeds, searches = found.more_seeds(2), found.more_searches(2)
    assert (seeds.n_seeds, searches.n_searches) == (8, 4)
    assert seeds.seed_error**2 == pytest.approx(found.seed_error**2 / 2)
    assert seeds.search_error == pytest.approx(found.search_error)
    assert searches.search_error**2 == pytest.approx(found.search_error**2 / 2)
    assert searches.seed_error**2 == pytest.approx(found.seed_error**2 / 2)
    assert seeds.sample_error == searches.sample_error == found.sample_error


def test_differences_of_independent_runs_share_only_the_samples() -> None:
    """Runs share a covariance of 0.2 within a method and 0.15 between: K of the difference is 0.2 + 0.2 - 0.3."""
    runs = (("Con", 1, 0), ("Con", 1, 1), ("Gen", 1, 7), ("Gen", 1, 8), ("Gen", 1, 9))
    covariance = np.full((5, 5), 0.15)
    covariance[:2, :2] = covariance[2:, 2:] = 0.2
    scores = Scores("digits", runs, np.tile([0.0, 2, 1, 2, 6], (3, 1)), np.tile(covariance, (3, 1, 1)), 11, 11, 11, ())
    found = scores.independent_difference("Con", "Gen")["accuracy"]
    of_runs = (2 / 2, 7 / 3)
    assert (found.value, found.n_seeds) == (2, 2)
    assert found.sample_error**2 == pytest.approx(0.1)
    assert found.error**2 == pytest.approx(sum(of_runs) + 0.1)
    squares = of_runs[0] ** 2 / 1 + of_runs[1] ** 2 / 2 + 0.1**2 / 10
    assert found.degrees == pytest.approx((sum(of_runs) + 0.1) ** 2 / squares)


@pytest.mark.parametrize("seeds", [0, 1])
def test_fewer_than_two_seeds_have_no_error(seeds: int) -> None:
    found = estimate(np.ones(seeds), np.ones((seeds, seeds)), 10)
    assert math.isnan(found.error)
    assert math.isnan(found.p)
    assert all(map(math.isnan, found.interval()))


def test_equal_outputs_have_no_difference_and_no_error() -> None:
    records = [confirmed(m, seed, predicted([0, 1, 2, 1], [0, 1, 1, 1])) for m in ("Con", "Gen") for seed in range(2)]
    for difference in scores_of(records).contrast({"Con": 1, "Gen": -1}).values():
        assert (difference.value, difference.error, difference.p, difference.interval()) == (0, 0, 1, (0, 0))


def test_methods_are_paired_by_search_and_seed() -> None:
    """Con has one seed more in its second search; Gen lacks the first search's second seed."""
    twice = {"budget": {"seeds": 2, "searches": 2}}
    names = [("Con", 0), ("Con", 1), ("Con~2", 0), ("Con~2", 1), ("Gen", 0), ("Gen~2", 0)]
    records = [confirmed(name, n, predicted([0] * 4, [0, 0, 0, n]), config=twice) for name, n in names]
    scores = scores_of(records)
    assert scores.methods == ["Con", "Gen"]
    assert list(scores.by_seed("Con")) == [(1, 0), (1, 1), (2, 0), (2, 1)]
    difference = scores.contrast({"Con": 1, "Gen": -1})["accuracy"]
    assert (difference.n_seeds, difference.n_searches) == (2, 2)


def test_a_contrast_is_over_the_seeds_that_all_methods_have() -> None:
    """Con has seeds 0 and 1 and 2, Gen 1 and 2 and 3; in 1 and 2, Con is right once more."""
    runs = [("Con", n) for n in (0, 1, 2)] + [("Gen", n) for n in (1, 2, 3)]
    outputs = {"Con": [0, 0, 0, 1], "Gen": [0, 0, 1, 1]}
    scores = scores_of([confirmed(method, n, predicted([0] * 4, outputs[method])) for method, n in runs])
    difference = scores.contrast({"Con": 1, "Gen": -1})["accuracy"]
    assert (difference.value, difference.n_seeds) == (0.25, 2)


def test_a_score_is_the_mean_over_label_draws_and_folds() -> None:
    """Accuracies of draws 1 and 1/2 in fold 0, and 0 and 1/2 in fold 1: the mean is 1/2."""
    truth, outputs = [0, 0], {(0, 0): [0, 0], (0, 1): [0, 1], (1, 0): [1, 1], (1, 1): [1, 0]}
    runs = [predicted(truth, output, labels="5", fold=f, draw=d) for (f, d), output in outputs.items()]
    scores = scores_of([confirmed("Con", seed, *runs) for seed in range(2)])
    assert scores.contrast({"Con": 1})["accuracy"].value == 0.5
    assert (scores.n_samples, scores.n_groups) == (4, 4)


def test_folds_are_independent_parts_of_the_test_samples() -> None:
    """Two equal folds with 80 of 100 right have half the variance of one."""
    output = [0] * 80 + [1] * 20
    one, two = (
        scores_of(
            [
                confirmed("Con", seed, *(predicted([0] * 100, output, fold=fold) for fold in range(folds)))
                for seed in range(2)
            ]
        ).contrast({"Con": 1})["accuracy"]
        for folds in (1, 2)
    )
    assert two.error**2 == pytest.approx(one.error**2 / 2, rel=0.01)


@pytest.mark.parametrize(
    "world",
    [
        World(3, 150, seed_spread=0.3),
        World(10, 150),
        World(5, 12, 12, group_spread=0.6),
        World(5, 12, 24, crossed=24, group_spread=0.5),
        World(2, 12, 12, group_spread=0.6, searches=5, search_spread=0.1),
    ],
    ids=["three seeds", "ten seeds", "groups", "crossed groups", "five searches and groups"],
)
def test_5_percent_of_intervals_leave_out_the_planted_truth(world: World) -> None:
    """The truth of each made-up test set is no difference, and the mean score of all test sets."""
    n = 400
    missed = misses(world, n, others=False)
    low, high = stats.binom.interval(0.9999, n, 0.05)
    for kind in ("report", "single"):
        for share in missed[kind].values():
            assert low <= share * n <= high


@pytest.mark.parametrize("searches", [2, 3])
def test_few_searches_find_no_more_than_5_percent_of_null_differences(searches: int) -> None:
    n = 300
    most = stats.binom.ppf(0.9999, n, 0.05)
    for share in misses(World(3, 100, searches=searches, search_spread=0.3), n, others=False)["report"].values():
        assert share * n <= most


def test_holm_finds_a_difference_among_seven_equal_methods_in_at_most_5_percent() -> None:
    """The tails of the p values count here: the smallest of 21 must be below 0.05 / 21."""
    n = 60
    world = World(2, 100, searches=3, search_spread=0.1, methods=7)
    for share in family_errors(world, n).values():
        assert share * n <= stats.binom.ppf(0.999, n, 0.05)


def test_seeds_of_all_searches_that_count_as_independent_find_differences_that_are_none() -> None:
    found = misses(World(5, 100, searches=2, search_spread=0.5), 60, others=False)
    assert found["seeds"]["accuracy"] > 0.2
    assert found["report"]["accuracy"] < 0.2


def test_samples_of_a_group_that_count_as_independent_find_differences_that_are_none() -> None:
    """The same made-up test sets: without the groups, far more than 5 % of chance differences seem to be more."""
    world = World(5, 8, 20, group_spread=0.8)
    found = misses(world, 60)
    assert found["no groups"]["accuracy"] > 0.2
    assert found["samples"]["accuracy"] > 0.2
    assert found["report"]["accuracy"] < 0.2


def test_one_of_two_crossing_ways_to_group_is_not_enough() -> None:
    """The strengths of both methods vary between groups of either way; the first way has far more groups."""
    found = misses(World(5, 40, 10, crossed=10, group_spread=0.6), 60)
    assert found["one way"]["accuracy"] > 0.15
    assert found["report"]["accuracy"] < 0.15


SAMPLES = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1), st.integers(0, 3), st.integers(0, 3)), min_size=4)


def covariance_of(truth: np.ndarray, output: np.ndarray, *ways: np.ndarray) -> np.ndarray:
    """Return the covariances of a column with one run and one fold: (3, 1, 1)."""
    fold = Fold(truth == np.arange(2)[:, np.newaxis], output[np.newaxis], np.stack(ways))
    return column_scores(Column("digits", (Run("Con", 0, 0),), (fold,), ("a", "b")[: len(ways)])).covariance


@settings(max_examples=60, deadline=None)
@given(SAMPLES)
def test_covariances_equal_sums_over_pairs_of_samples_that_share_groups(samples: list[tuple[int, ...]]) -> None:
    """Cameron, Gelbach and Miller (2011): the pairs in a group of either way, less those counted twice."""
    truth, output, speaker, dialogue = np.array(samples).T
    influence = Fold(truth == np.arange(2)[:, np.newaxis], output[np.newaxis], speaker[np.newaxis]).influences()[:, 0]
    expected = np.zeros(3)
    for sign, groups in ((1, speaker), (1, dialogue), (-1, 10 * speaker + dialogue)):
        n = len(set(groups.tolist()))
        together = groups[:, np.newaxis] == groups
        expected += sign * n / max(1, n - 1) * np.einsum("ki,ij,kj->k", influence, together, influence)
    assert covariance_of(truth, output, speaker, dialogue)[:, 0, 0] == pytest.approx(expected, abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(SAMPLES)
def test_groups_within_groups_change_nothing(samples: list[tuple[int, ...]]) -> None:
    """A dialogue that lies within one video says no more than the video."""
    truth, output, video, part = np.array(samples).T
    both = covariance_of(truth, output, 4 * video + part, video)
    assert np.array_equal(both, covariance_of(truth, output, video))


def test_few_groups_with_most_samples_leave_fewer_degrees() -> None:
    """Three speakers have 30, 30 and 20 of 100 samples, and 20 have one: (2,220)^2 / 1,780,020 is 2.77."""
    groups = [0] * 30 + [1] * 30 + [2] * 20 + list(range(3, 23))
    records = [
        confirmed("Con", seed, predicted([0] * 100, [0, 1] * 50, groups=groups, grouped_by=["speaker"]))
        for seed in range(2)
    ]
    scores = scores_of(records)
    assert (scores.n_groups, scores.effective_groups) == (23, pytest.approx(2_220**2 / 1_780_020))
    assert scores.contrast({"Con": 1})["accuracy"].degrees == pytest.approx(2_220**2 / 1_780_020 - 1)


def leave_one_speaker_out(*rights: int, nested: bool = False) -> Scores:
    """Return the scores of two seeds with equal outputs; each fold has ten samples of one speaker.

    Args:
        rights: how many are right in each fold.
        nested: whether each speaker's samples also lie in five dialogues.
    """
    folds = []
    for fold, right in enumerate(rights):
        speakers, dialogues = [fold] * 10, [5 * fold + place // 2 for place in range(10)]
        ways = {"speaker": speakers, **({"dialogue": dialogues} if nested else {})}
        groups = [group for way in ways.values() for group in way]
        output = [0] * right + [1] * (10 - right)
        folds.append(predicted([0] * 10, output, fold=fold, groups=groups, grouped_by=list(ways)))
    return scores_of([confirmed("Con", seed, *folds) for seed in range(2)])


@pytest.mark.parametrize("nested", [False, True])
def test_folds_of_one_speaker_each_vary_as_their_scores_do(nested: bool) -> None:
    """Accuracies of 0.9, 0.5, 0.7 and 0.7: the variance of their mean is 0.08 / 3 / 4."""
    accuracy = leave_one_speaker_out(9, 5, 7, 7, nested=nested).contrast({"Con": 1})["accuracy"]
    assert accuracy.value == pytest.approx(0.7)
    assert accuracy.error**2 == pytest.approx(0.08 / 3 / 4)


def test_speakers_with_equal_scores_leave_no_error_by_samples() -> None:
    assert leave_one_speaker_out(7, 7, 7).contrast({"Con": 1})["accuracy"].error == pytest.approx(0)


def test_a_single_speaker_says_nothing_about_others() -> None:
    records = [confirmed("Con", seed, predicted([0, 0], [0, 1], groups=[0, 0])) for seed in range(2)]
    assert math.isnan(scores_of(records).contrast({"Con": 1})["accuracy"].error)
