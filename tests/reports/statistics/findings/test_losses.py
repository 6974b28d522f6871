import pytest

from reports.statistics.findings.losses import instrument_disagreements, label_disagreements, losses
from tests.reports.statistics.findings.planted import cells, evidence, runs

HELPS = [0.1, 0.11, 0.1]
HURTS = [-0.1, -0.11, -0.1]
OPEN = [0.1, -0.1, 0.05]
NONE = [0.001, -0.001, 0.0]


def adding(loss: str) -> str:
    return f"Adding {loss} to an untrained head, averaged over the other losses (Shapley value),"


def test_each_verdict_on_a_loss_has_its_words() -> None:
    ledger = runs({"digits": cells({"Con": HELPS, "Clu": HURTS, "Gen": NONE}), "A": cells({"Con": OPEN})})
    assert [finding.text for finding in losses(evidence(ledger))] == [
        f"{adding('Con')} helps on digits (+0.103, 95 % interval +0.089 to +0.118); has an open effect on A "
        "(+0.017, 95 % interval −0.242 to +0.275).",
        f"{adding('Clu')} hurts on digits (−0.103, 95 % interval −0.118 to −0.089); makes no difference "
        "beyond 0.01 on A (0.000, 95 % interval 0.000 to 0.000).",
        f"{adding('Gen')} makes no difference beyond 0.01 on digits (0.000, 95 % interval −0.002 to +0.002) "
        "and on A (0.000, 95 % interval 0.000 to 0.000).",
    ]


def test_an_effect_that_is_settled_but_too_small_to_matter_makes_no_difference() -> None:
    ledger = runs({"digits": cells({"Con": [0.004, 0.0041, 0.004], "Clu": OPEN})})
    first, *_ = losses(evidence(ledger))
    assert first.numbers["digits verdict"] == "no difference"
    first, *_ = losses(evidence(ledger, equivalent=0.001))
    assert first.numbers["digits verdict"] == "helps"


def test_an_effect_is_open_if_the_correction_over_the_three_losses_says_so() -> None:
    """Each loss has an interval of +0.050 ± 0.038, which excludes 0, and p 0.03, which Holm's method multiplies."""
    values = [0.05, 0.065, 0.035]
    texts = [
        finding.text
        for finding in losses(evidence(runs({"digits": cells(dict.fromkeys(("Con", "Clu", "Gen"), values))})))
    ]
    assert texts[0] == (
        f"{adding('Con')} has an open effect on digits (+0.050, 95 % interval +0.013 to +0.087; settled if "
        "it were the only comparison, but p is 0.086 after Holm's correction for 3)."
    )


def test_many_sets_and_label_budgets_are_counted_and_give_ranges() -> None:
    names = [f"{name}{budget}" for name in "ABCDE" for budget in ("", "@1", "@5", "@10%")]
    effects = {name: HELPS if name.endswith("5") else [value + 0.02 for value in HELPS] for name in names}
    scores = {name: cells({"Con": values, "Clu": OPEN if "@" in name else NONE}) for name, values in effects.items()}
    assert [finding.text for finding in losses(evidence(runs(scores)))] == [
        f"{adding('Con')} helps on all 5 sets with each label budget (values from +0.103 to +0.123, 95 % intervals "
        "between +0.089 and +0.138).",
        f"{adding('Clu')} makes no difference beyond 0.01 in 5 of 20 combinations of set and label budget "
        "(0.000, 95 % intervals between −0.002 and +0.002); has an open effect in 15 of 20 combinations of set and "
        "label budget (+0.017, 95 % intervals between −0.242 and +0.275).",
        f"{adding('Gen')} makes no difference beyond 0.01 on all 5 sets with each label budget (0.000, "
        "95 % intervals between 0.000 and 0.000).",
    ]


def test_one_seed_leaves_every_loss_open() -> None:
    texts = [finding.text for finding in losses(evidence(runs({"digits": cells({"Con": [0.3]})})))]
    assert texts[0] == f"{adding('Con')} has an open effect on digits (+0.300, no interval)."
    assert all("open effect" in text for text in texts)


def test_a_loss_has_no_sentence_if_a_combination_of_losses_is_missing() -> None:
    scores = cells({"Con": HELPS})
    del scores["CluGen"]
    assert list(losses(evidence(runs({"digits": scores})))) == []


def test_instruments_disagree_if_verdicts_differ_and_intervals_do_not_overlap() -> None:
    ledger = runs({"digits": cells({"Con": HELPS, "Clu": HELPS}), "digits (knn)": cells({"Con": HURTS, "Clu": OPEN})})
    [finding] = instrument_disagreements(evidence(ledger))
    assert finding.text == (
        "Instruments, which score the same heads in different ways, disagree about Con on digits (helps by logistic: "
        "+0.103, 95 % interval +0.089 to +0.118; hurts by knn: −0.103, 95 % interval −0.118 to −0.089)."
    )
    assert finding.numbers["digits Con by knn value"] == pytest.approx(-0.31 / 3)
    assert len(finding.records) == 24


def test_label_budgets_disagree_if_a_loss_helps_at_one_and_not_at_another() -> None:
    ledger = runs({"digits": cells({"Con": NONE, "Clu": OPEN}), "digits@5": cells({"Con": HELPS, "Clu": HELPS})})
    [finding] = label_disagreements(evidence(ledger))
    assert finding.text == (
        "The number of labels decides about Con on digits (no difference with all labels: 0.000, 95 % interval −0.002 "
        "to +0.002; helps with 5 labels per class: +0.103, 95 % interval +0.089 to +0.118)."
    )


@pytest.mark.parametrize("effects", [({"Con": HELPS}, {"Con": HELPS}), ({"Con": HELPS}, {"Con": OPEN})])
def test_an_open_effect_contradicts_nothing(effects: tuple[dict[str, list[float]], dict[str, list[float]]]) -> None:
    first, second = map(cells, effects)
    assert list(instrument_disagreements(evidence(runs({"digits": first, "digits (knn)": second})))) == []
    assert list(label_disagreements(evidence(runs({"digits": first, "digits@5": second})))) == []
