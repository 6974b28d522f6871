from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reports.statistics.findings.doubts import doubts
from sweeps.ledger import Predictions, Record
from tests.reports.records import failed, record, trial
from tests.reports.statistics.findings.planted import cells, evidence, runs

HIGH = [0.80, 0.81, 0.82]
LOW = [0.50, 0.51, 0.52]
NOT_COVERED = (
    "The intervals do not cover another search (each method was searched once; see budget.searches), and take all test "
    "samples as independent (digits names no speakers or groups)."
)


def texts(*records: Record) -> list[str]:
    return [finding.text for finding in doubts(evidence(records))]


def searches(planned: Sequence[Record], values: dict[str, Sequence[float]], **fields: Any) -> list[Record]:
    """Return search trials with these objectives, whose best trial has the confirmed hyperparameters (none)."""
    return [
        trial(method, number, value, config=planned[0].config, **fields)
        for method, of_method in values.items()
        for number, value in enumerate(of_method)
    ]


def test_a_sweep_without_flaws_has_no_doubt_but_what_intervals_leave_out() -> None:
    ledger = runs({"digits": {"Con": HIGH, "Gen": LOW}})
    flat = searches(ledger, {"Con": [0.81, 0.81, 0.81, 0.81], "Gen": [0.5, 0.51, 0.51, 0.51]})
    assert texts(*ledger, *flat) == [NOT_COVERED]


def test_intervals_leave_out_the_search_only_if_there_was_one() -> None:
    baselines = runs({"digits": {"raw_pca": HIGH, "raw_features": LOW}})
    assert texts(*baselines) == [
        "The intervals take all test samples as independent (digits names no speakers or groups)."
    ]


@pytest.mark.parametrize(
    ("scores", "text"),
    [
        (
            {"Con": [0.8], "Gen": [0.7]},
            "Every method has only 1 confirmation run, so there is no interval and no test of differences.",
        ),
        (
            {"Con": [0.8, 0.81], "Gen": [0.7, 0.69]},
            "Every method has only 2 confirmation runs, so two runs tell how far runs vary, and intervals are rough.",
        ),
        (
            {"Con": HIGH, "Gen": [0.7]},
            "Gen has only 1 confirmation run, so it has no interval, and no difference to it is tested.",
        ),
    ],
)
def test_few_runs_are_said_first(scores: dict[str, list[float]], text: str) -> None:
    assert texts(*runs({"digits": scores}))[0] == text


def test_missing_results_are_counted() -> None:
    ledger = runs(
        {"digits": {"Con": HIGH, "Gen": [0.7, 0.71, 0.72]}, "digits@5": {"Con": HIGH}},
        subsets=["Con", "Gen", "ConGen"],
        budget={"seeds": 3},
    )
    assert texts(*ledger)[0] == "3 of 6 planned scores lack runs, 3 of them all runs: ConGen and Gen."
    part = runs({"digits": {"Con": HIGH}}, budget={"seeds": 4})
    assert texts(*part)[0] == "1 of 1 planned score lacks runs, 0 of them all runs: Con."


def test_failed_jobs_are_counted_with_their_reasons() -> None:
    ledger = runs({"digits": {"Con": HIGH, "Gen": LOW}})
    config = ledger[0].config
    crashes = [failed("Gen", n, "OutOfMemory: 3 GB", config=config) for n in range(3)]
    lost = failed("Con", 0, "LostProcess: killed", config=config)
    assert texts(*ledger, *crashes)[0] == "3 of 9 jobs failed, all of Gen; reasons: OutOfMemory (3)."
    first, *_ = doubts(evidence([*ledger, *crashes, lost]))
    assert first.text == "4 of 10 jobs failed, most often of Gen (3); reasons: OutOfMemory (3) and LostProcess (1)."
    assert first.records == ("s: search-Gen-00000", "s: search-Gen-00001", "s: search-Gen-00002", "s: search-Con-00000")
    assert first.table == "accounting"


def test_runs_that_predict_the_same_for_every_sample_have_collapsed() -> None:
    ledger = runs({"digits": {"Con": HIGH, "Gen": LOW, "Clu": LOW}})
    varied, constant = [0, 1, 0, 0], [1, 1, 1, 1]

    def predicting(run: Record, *predicted: list[int], multi_label: bool = False) -> Record:
        predictions = [
            Predictions("digits", "", 0, draw, ("a", "b"), multi_label, [0, 1, 0, 1], labels)
            for draw, labels in enumerate(predicted)
        ]
        return record(
            "confirm", run.method, run.number, config=run.config, metrics=run.metrics, predictions=predictions
        )

    kept = [predicting(run, varied, constant) for run in ledger[:3]]
    collapsed = [predicting(run, constant, constant) for run in ledger[3:6]]
    several = [predicting(run, [1, 0, 1, 0], multi_label=True) for run in ledger[6:]]
    [finding, _] = doubts(evidence([*kept, *collapsed, *several]))
    assert finding.text == (
        "6 of 9 confirmation runs collapsed: the probe predicts the same for every test sample (Gen: 3 and Clu: 3)."
    )
    assert finding.records[0] == "s: confirm-Gen-00000"
    assert not any("collapsed" in text for text in texts(*kept))


def test_an_objective_that_ranks_differing_methods_badly_is_doubted() -> None:
    ledger = runs({"digits": {"Con": HIGH, "Gen": LOW, "Clu": [0.7, 0.71, 0.72]}})
    against = searches(ledger, {"Con": [0.51], "Gen": [0.81], "Clu": [0.7]})
    assert texts(*ledger, *against)[0] == (
        "The search's objective ranks methods badly on digits: the rank correlation with test scores is −1.000, below "
        "0.5."
    )
    assert texts(*ledger, *searches(ledger, {"Con": [0.81], "Gen": [0.51], "Clu": [0.7]})) == [NOT_COVERED]


def test_an_objective_that_ranks_equal_methods_badly_is_not_doubted() -> None:
    ledger = runs({"digits": {"Con": [0.8, 0.9, 0.7], "Gen": [0.9, 0.71, 0.8], "Clu": [0.7, 0.83, 0.9]}})
    means = {"Con": [0.7], "Gen": [0.6], "Clu": [0.5]}
    assert texts(*ledger, *searches(ledger, means)) == [NOT_COVERED]


def test_a_winners_curse_beyond_the_differences_is_said() -> None:
    """Con and Gen are 0.1 apart on test data; their best trials had 0.2 more than their configurations have anew."""
    ledger = runs({"digits": {"Con": [0.6, 0.61, 0.62], "Gen": LOW}})
    lucky = searches(ledger, {"Con": [0.81], "Gen": [0.71]})
    assert texts(*ledger, *lucky)[0] == (
        "The chosen configurations lost 0.200 on average when trained anew (winner's curse), more than two searched "
        "methods differ on average on digits (0.100)."
    )
    assert texts(*ledger, *searches(ledger, {"Con": [0.65], "Gen": [0.55]})) == [NOT_COVERED]


def test_few_runs_under_many_tests_are_said_to_hide_differences() -> None:
    scores = {"Con": [0.80, 0.84, 0.84], "raw_pca": [0.78, 0.8, 0.8], "Gen": LOW, "raw_features": [0.83, 0.72, 0.79]}
    first, *_ = texts(*runs({"digits": scores}))
    assert first.startswith(
        "3 confirmation runs are few for 5 comparisons: Holm's correction leaves 2 differences of up to 0.270 open "
        "that would be settled alone. Two more seeds (budget.seeds) would settle 2 of them"
    )


def test_a_search_that_had_not_levelled_off_is_named_with_its_rise() -> None:
    """The best of four trials has 0.6; that of two trials is averaged over all six choices of two."""
    ledger = runs({"digits": {"Con": [0.6, 0.6, 0.6], "Gen": LOW}})
    rising = searches(ledger, {"Con": [0.5, 0.53, 0.57, 0.6], "Gen": [0.5, 0.51, 0.51, 0.51]})
    expected = (0.53 + 2 * 0.57 + 3 * 0.6) / 6
    assert texts(*ledger, *rising)[0] == (
        "1 of 2 searches had not levelled off (Con): the second half of the trials raised the expected best by more "
        f"than 0.01, at most +{0.6 - expected:.3f}."
    )


def test_searches_that_were_repeated_are_covered_and_told_apart() -> None:
    scores = {"Con": HIGH, "Con~2": [0.81, 0.82, 0.8], "Gen": LOW, "Gen~2": LOW}
    ledger = runs({"digits": scores}, budget={"seeds": 3, "searches": 2})
    second = searches(ledger, {"Con": [0.8], "Con~2": [0.4, 0.9], "Gen": LOW, "Gen~2": LOW})
    assert texts(*ledger, *second) == [
        "1 of 3 searches had not levelled off (Con~2): the second half of the trials raised the expected best by more "
        "than 0.01, at most +0.250.",
        "Two searches say little about a third, so intervals are wide (s); three (budget.searches) are better.",
        "The intervals take all test samples as independent (digits names no speakers or groups).",
    ]


def test_speakers_make_samples_dependent_and_need_no_doubt() -> None:
    frames = evidence(runs({"digits": {"Con": HIGH, "Gen": LOW}}))
    frames.intervals["grouped_by"] = "speaker"
    assert [finding.text for finding in doubts(frames)] == [
        "The intervals do not cover another search (each method was searched once; see budget.searches)."
    ]


def test_all_eight_cells_with_one_seed_have_one_doubt() -> None:
    assert len(texts(*runs({"digits": cells({"Con": [0.1]})}))) == 1


def test_a_prior_of_the_user_is_named(tmp_path: Path) -> None:
    space = tmp_path / "space.yaml"
    space.write_text(
        "description: d\nprior: {lr: [0.001, 0.7]}\nparameters: {lr: {low: 1.0e-4, high: 1.0e-2, log: true, "
        "default: 1.0e-3}}\n",
        encoding="utf-8",
    )
    ledger = [
        replace(one, config={**one.config, "space": str(space)}) for one in runs({"digits": {"Con": HIGH, "Gen": LOW}})
    ]
    assert texts(*ledger) == [
        "The search had a prior of the user: lr about 0.001, within a factor of 2.01.",
        NOT_COVERED,
    ]
