from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from reports.statistics.findings.evidence import Evidence
from reports.statistics.findings.finding import Finding
from reports.statistics.findings.methods import against_raw_features, best_methods, open_pairs, pretraining
from sweeps.ledger import Record
from tests.reports.statistics.findings.planted import Scores, evidence, runs

HIGH = [0.80, 0.81, 0.82]
LOW = [0.50, 0.51, 0.52]
UNSTEADY = [0.83, 0.72, 0.79]
PRETRAINING = "Pretraining, against a method without it (validation scores choose both), "


def texts(find: Callable[[Evidence], Iterator[Finding]], *ledgers: list[Record], equivalent: float = 0.01) -> list[str]:
    return [finding.text for finding in find(evidence(*ledgers, equivalent=equivalent))]


@pytest.mark.parametrize(
    ("others", "relation"),
    [
        ({"Gen": LOW}, "better than the other"),
        ({"Gen": LOW, "Clu": LOW}, "better than both others"),
        ({"Gen": LOW, "Clu": LOW, "ConClu": LOW}, "better than all 3 others"),
        ({"Gen": [0.799, 0.809, 0.819]}, "better than the other"),
        ({"Gen": [0.799, 0.811, 0.819]}, "equal within 0.01 to Gen"),
        ({"Gen": UNSTEADY}, "open against Gen"),
        (
            {"Gen": LOW, "Clu": [0.799, 0.811, 0.819], "ConClu": UNSTEADY, "raw_pca": [0.7]},
            "better than Gen; equal within 0.01 to Clu; open against ConClu; not tested against raw_pca",
        ),
        (
            dict.fromkeys(("Gen", "Clu", "ConClu", "ConGen", "CluGen"), UNSTEADY),
            "open against Gen, Clu, ConClu and 2 more",
        ),
    ],
)
def test_the_best_method_is_named_with_what_it_is_better_than(others: dict[str, list[float]], relation: str) -> None:
    """The interval is 0.81 ± 4.303 · 0.01 / √3."""
    [text] = texts(best_methods, runs({"digits": {"Con": HIGH, **others}}))
    assert text == f"On digits, Con has the highest weighted F1, 0.810 (95 % interval 0.785 to 0.835), {relation}."


def test_a_single_seed_supports_no_difference() -> None:
    ledger = runs({"digits": {"Con": [0.8], "raw_features": [0.3]}})
    assert texts(best_methods, ledger) == [
        "On digits, Con has the highest weighted F1, 0.800 (no interval), but no difference to another method is "
        "tested."
    ]
    assert texts(pretraining, ledger) == [f"{PRETRAINING}is open on digits (Con − raw_features +0.500, no interval)."]
    assert texts(open_pairs, ledger) == ["1 of 1 pair of methods is open: a test needs two confirmation seeds."]


def test_a_single_method_is_not_called_the_best() -> None:
    assert texts(best_methods, runs({"digits": {"Con": HIGH}})) == []


def test_a_method_that_is_worse_on_the_common_seeds_is_not_called_better() -> None:
    """Con has a third seed that lifts its mean above Gen, which is settled better on the two common seeds."""
    [text] = texts(best_methods, runs({"digits": {"Con": [0.5, 0.51, 0.9], "Gen": [0.6, 0.61]}}))
    assert text.endswith("open against Gen.")


def test_one_sentence_has_all_label_budgets_of_a_single_set() -> None:
    scores = {"digits": {"Con": HIGH, "Gen": LOW}, "digits@1": {"Con": LOW, "Gen": HIGH}, "digits@10%": {"Con": HIGH}}
    assert texts(best_methods, runs(scores)) == [
        "On digits, the highest weighted F1 is that of Con with all labels (0.810, 95 % interval 0.785 to 0.835, "
        "better than every other); Gen with 1 label per class (0.810, 95 % interval 0.785 to 0.835, better than every "
        "other)."
    ]


def test_sets_share_the_sentence_of_a_label_budget_and_the_sixth_is_counted() -> None:
    methods = {"Con": HIGH, "Gen": LOW}
    two = {name + budget: methods for name in ("A", "B") for budget in ("", "@5")}
    assert texts(best_methods, runs(two))[1] == (
        "With 5 labels per class, the highest weighted F1 is that of Con on A (0.810, 95 % interval 0.785 to 0.835, "
        "better than every other); Con on B (0.810, 95 % interval 0.785 to 0.835, better than every other)."
    )
    [six] = texts(best_methods, runs(dict.fromkeys("ABCDEF", methods)))
    assert six.startswith("The highest weighted F1 is that of Con on A (0.810, ")
    assert six.endswith(
        "Con on E (0.810, 95 % interval 0.785 to 0.835, better than every other); 1 more set in the table."
    )


@pytest.mark.parametrize(
    ("subset", "verdict"),
    [
        ([0.6, 0.61, 0.62], "is better on digits (Con − raw_features +0.100, 95 % interval +0.100 to +0.100)"),
        ([0.4, 0.41, 0.42], "is worse on digits (Con − raw_features −0.100, 95 % interval −0.100 to −0.100)"),
        (
            [0.501, 0.509, 0.521],
            "is equal within 0.01 on digits (Con − raw_features 0.000, 95 % interval −0.003 to +0.003)",
        ),
        (
            [0.53, 0.42, 0.49],
            "is open on digits (Con − raw_features −0.030, 95 % interval −0.179 to +0.119)",
        ),
    ],
)
def test_pretraining_is_compared_with_the_best_method_without_it(subset: list[float], verdict: str) -> None:
    ledger = runs({"digits": {"Con": subset, "raw_features": LOW, "SimCLR": HIGH}})
    assert texts(pretraining, ledger) == [f"{PRETRAINING}{verdict}."]


@pytest.mark.parametrize(
    ("gen", "text"),
    [
        (HIGH, ["Every loss subset scores above raw_features on digits (every difference is settled)."]),
        ([0.9, 0.51, 0.55], ["Every loss subset scores above raw_features on digits (1 of 2 differences is settled)."]),
        ([0.1, 0.11, 0.12], []),
    ],
)
def test_it_is_said_that_every_subset_is_on_one_side_of_the_raw_features(gen: list[float], text: list[str]) -> None:
    ledger = runs({"digits": {"Con": HIGH, "Gen": gen, "raw_features": LOW}})
    assert texts(against_raw_features, ledger) == text


def test_subsets_below_the_raw_features_are_said_to_be() -> None:
    ledger = runs({"digits": {"Con": LOW, "Gen": LOW, "raw_features": HIGH}})
    [text] = texts(against_raw_features, ledger)
    assert text == "Every loss subset scores below raw_features on digits (every difference is settled)."


def test_validation_and_not_the_test_chooses_both_sides() -> None:
    test = {"digits": {"Con": HIGH, "Gen": UNSTEADY, "raw_features": LOW, "raw_pca": UNSTEADY}}
    validation = {"digits": {"Con": LOW, "Gen": HIGH, "raw_features": HIGH, "raw_pca": LOW}}
    [finding] = pretraining(evidence(runs(test, validation)))
    assert finding.numbers["digits difference"] == "Gen − raw_features"
    assert finding.numbers["digits value"] == pytest.approx(0.27)
    assert finding.records == tuple(f"s: confirm-{m}-0000{n}" for m in ("Gen", "raw_features") for n in range(3))


@pytest.mark.parametrize("methods", [{"Con": HIGH, "Gen": LOW}, {"Con": HIGH, "SimCLR": LOW}, {"raw_pca": HIGH}])
def test_pretraining_has_no_sentence_without_both_sides(methods: dict[str, list[float]]) -> None:
    assert texts(pretraining, runs({"digits": methods})) == []


def test_an_interval_that_excludes_zero_is_not_settled_if_the_correction_says_so() -> None:
    """Differences of 0.02, 0.04, 0.04 have t = 5, p = 0.0377; it is the third of five, so Holm's factor is 3."""
    scores = {"Con": [0.80, 0.84, 0.84], "raw_pca": [0.78, 0.8, 0.8], "Gen": LOW, "raw_features": UNSTEADY}
    [text] = texts(pretraining, runs({"digits": scores}, {"digits": {"Con": HIGH, "raw_pca": HIGH}}))
    assert text == (
        f"{PRETRAINING}is open on digits (Con − raw_pca +0.033, 95 % interval +0.005 to +0.062; settled if it were the "
        "only comparison, but p is 0.113 after Holm's correction for 5)."
    )


def test_open_pairs_are_counted_with_what_would_settle_them() -> None:
    """Con and Gen differ by 0.03 ± 0.02 per seed, ConGen and CluGen by 0 and much noise, raw_pca lacks a seed."""
    scores: Scores = {"digits": {"Con": [0.80, 0.84, 0.82], "Gen": [0.75, 0.83, 0.79]}}
    assert texts(open_pairs, runs(scores)) == [
        "1 of 1 pair of methods is open: 10 more confirmation seeds would settle 1 of them, and 100 more seeds 1 in "
        "all, if differences and variances stay as they are."
    ]
    noisy: Scores = {"digits": {"Con": [0.5, 0.9, 0.7], "Gen": [0.9, 0.5, 0.7], "raw_pca": [0.6]}}
    assert texts(open_pairs, runs(noisy)) == [
        "3 of 3 pairs of methods are open: a test needs two confirmation seeds, which 2 lack; 1 would stay open with "
        "100 more seeds and need more test samples."
    ]


def test_open_pairs_that_only_more_searches_settle_are_counted_so() -> None:
    """The difference is 0.02, 0.05 and 0 in three searches, and hardly varies with the seed."""
    first = runs({"digits": {"Con": [0.8, 0.801], "Gen": [0.78, 0.781]}}, budget={"seeds": 2, "searches": 3})
    further = [
        replace(
            run,
            method=f"{run.method}~{search}",
            metrics=[replace(m, value=m.value + gain * (run.method == "Con")) for m in run.metrics],
        )
        for search, gain in ((2, 0.03), (3, -0.02))
        for run in first
    ]
    assert texts(open_pairs, [*first, *further]) == [
        "1 of 1 pair of methods is open: 1 would stay open with 100 more seeds and need more searches."
    ]


def test_nothing_is_open_where_all_pairs_are_settled_or_equal() -> None:
    assert texts(open_pairs, runs({"digits": {"Con": HIGH, "Gen": LOW}})) == []
