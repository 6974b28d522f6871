import pandas as pd

from reports.statistics.findings.sweeps import comparison_findings

SOURCES = [{("digits", "Con"): ("a: confirm-Con-00000",)}, {("digits", "Con"): ("b: confirm-Con-00000",)}]
NO_SETTING = "No setting differs that changes what a result means."


def texts(*rows: tuple[str, str, float, float, float, str], settings: str = "") -> list[str]:
    """Return the sentences about rows of (column, method, difference, half the interval, p, why not paired)."""
    frame = pd.DataFrame(
        [
            {
                "dataset": dataset, "method": method, "metric": "weighted_f1", "difference": value,
                "low": value - half, "high": value + half, "p_holm": p, "unpaired_by": unpaired,
            }
            for dataset, method, value, half, p, unpaired in rows
        ]
    )  # fmt: skip
    return [finding.text for finding in comparison_findings(frame, ["a", "b"], settings, SOURCES)]


def test_each_verdict_on_two_sweeps_has_its_words() -> None:
    assert texts(
        ("digits", "Con", 0.05, 0.01, 0.01, ""),
        ("digits", "Gen", -0.04, 0.01, 0.01, ""),
        ("digits", "Clu", 0.001, 0.002, 0.9, ""),
        ("digits@5", "Con", 0.02, 0.05, 0.4, ""),
        ("digits@5", "Gen", 0.03, float("nan"), float("nan"), ""),
    ) == [
        "Of 5 scores in both a and b, 1 is settled higher in b (Con +0.050, 95 % interval +0.040 to +0.060 on digits "
        "with all labels), 1 is settled lower in b (Gen −0.040, 95 % interval −0.050 to −0.030 on digits with all "
        "labels), 1 is equal within 0.01 and 2 are open.",
        NO_SETTING,
    ]


def test_the_largest_of_many_differences_are_named() -> None:
    names = ("Con", "Gen", "Clu", "ConClu")
    [text, _] = texts(*(("digits", name, 0.01 * n, 0.001, 0.001, "") for n, name in enumerate(names, 2)))
    assert text == (
        "Of 4 scores in both a and b, 4 are settled higher in b (ConClu +0.050, 95 % interval +0.049 to +0.051 on "
        "digits; Clu +0.040, 95 % interval +0.039 to +0.041 on digits; Gen +0.030, 95 % interval +0.029 to +0.031 on "
        "digits; ...)."
    )


def test_sweeps_without_a_difference_claim_none() -> None:
    [text, _] = texts(("digits", "Con", 0.02, 0.05, 0.4, ""), ("digits", "Gen", 0.01, 0.05, 0.4, ""))
    assert text == "Of 2 scores in both a and b, 2 are open."


def test_settings_and_unpaired_runs_are_told() -> None:
    row = ("digits", "Con", 0.05, 0.01, 0.01)
    assert texts((*row, "other seeds"), (*row, "other features"), settings="What differs: seed is 1 in a, and 2 in b.")[
        1:
    ] == [
        "What differs: seed is 1 in a, and 2 in b.",
        "2 of 2 differences are not between paired runs, because of other seeds and other features.",
    ]


def test_the_sentence_cites_the_runs_of_both_sweeps() -> None:
    frame = pd.DataFrame(
        [("digits", "Con", "weighted_f1", 0.1, 0.0, 0.2, 0.04, "")],
        columns=["dataset", "method", "metric", "difference", "low", "high", "p_holm", "unpaired_by"],
    )
    first, _ = comparison_findings(frame, ["a", "b"], "", SOURCES)
    assert first.records == ("a: confirm-Con-00000", "b: confirm-Con-00000")
    assert first.numbers["digits Con value"] == 0.1
