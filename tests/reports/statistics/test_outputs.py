from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from conclugen.evaluation.metrics import classification_metrics
from reports.errors import ReportError
from reports.statistics.outputs import Column, Fold, Run, columns
from sweeps.ledger import SUMMARY_METRICS, Predictions, Record
from tests.reports.statistics.test_ablation import CONFIG

CLASSES = ("joy", "fear", "calm")


def predicted(truth: Sequence[int], output: Sequence[int], **changes: Any) -> Predictions:
    """Return a run's predictions on the set digits."""
    fields = {"dataset": "digits", "labels": "", "fold": 0, "draw": 0, "classes": CLASSES, "multi_label": False}
    return Predictions(**{**fields, "truth": truth, "predicted": output, **changes})


def confirmed(method: str, number: int, *predictions: Predictions, config: dict[str, Any] | None = None) -> Record:
    """Return a confirmation run with these predictions; ``config`` changes sections of the configuration."""
    return Record(
        sweep="s",
        stage="confirm",
        method=method,
        number=number,
        seed=number,
        state="complete",
        config=CONFIG | (config or {}),
        predictions=predictions,
        started="2026-01-01T00:00:00+00:00",
    )


def scores_of(column: Column) -> np.ndarray:
    """Return each run's metrics (3, R), means over the folds."""
    return np.mean([fold.scores() for fold in column.folds], axis=0)


def test_scores_equal_those_computed_by_hand() -> None:
    """The truth is joy, joy, fear; the output joy, fear, fear. F1 is 2/3, 2/3, and 0 for calm, which never occurs."""
    (column,) = columns([confirmed("Con", 0, predicted([0, 0, 1], [0, 1, 1]))])
    assert scores_of(column)[:, 0] == pytest.approx([2 / 3, 4 / 9, 2 / 3])


def test_scores_of_several_labels_equal_those_computed_by_hand() -> None:
    """The first sample is joy and predicted so; the second is fear and not predicted: F1 1 and 0, 3 of 4 correct."""
    several = predicted([1, 0, 0, 1], [1, 0, 0, 0], classes=("joy", "fear"), multi_label=True)
    (column,) = columns([confirmed("Con", 0, several)])
    assert scores_of(column)[:, 0] == pytest.approx([0.5, 0.5, 0.75])


SAMPLES = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=12)
SEVERAL = st.lists(st.tuples(*[st.integers(0, 1)] * 4), min_size=1, max_size=10)


def fold_of(truth: np.ndarray, output: np.ndarray) -> Fold:
    """Return a fold with one run; truth and output are (n,) of three classes, or (n, 2) of 0 and 1."""
    if truth.ndim == 2:
        return Fold(truth.T == 1, output.T[:, np.newaxis], np.arange(len(truth))[np.newaxis])
    return Fold(truth == np.arange(3)[:, np.newaxis], output[np.newaxis], np.arange(len(truth))[np.newaxis])


@settings(max_examples=40, deadline=None)
@given(SAMPLES)
def test_scores_equal_those_of_scikit_learn(samples: list[tuple[int, int]]) -> None:
    truth, output = np.array(samples).T
    weighted, macro, accuracy = fold_of(truth, output).scores()[:, 0]
    options = {"labels": range(3), "zero_division": 0}
    assert weighted == pytest.approx(f1_score(truth, output, average="weighted", **options))
    assert macro == pytest.approx(f1_score(truth, output, average="macro", **options))
    assert accuracy == pytest.approx((truth == output).mean())


@settings(max_examples=40, deadline=None)
@given(SEVERAL)
def test_scores_of_several_labels_equal_those_of_the_probe(samples: list[tuple[int, ...]]) -> None:
    truth, output = np.hsplit(np.array(samples), 2)
    expected = classification_metrics(truth, output, classes=("joy", "fear"))
    assert fold_of(truth, output).scores()[:, 0] == pytest.approx([expected[name] for name in SUMMARY_METRICS])


@settings(max_examples=40, deadline=None)
@given(SAMPLES | SEVERAL)
def test_an_influence_is_the_slope_of_the_score_by_the_number_of_copies_of_a_sample(
    samples: list[tuple[int, ...]],
) -> None:
    """With k copies of every sample and one more of sample i, a score changes by influence(i) / k + O(1 / k^2)."""
    table = np.array(samples)
    truth, output = np.hsplit(table, 2)
    if table.shape[1] == 2:
        truth, output = truth[:, 0], output[:, 0]
    fold = fold_of(truth, output)
    influences = fold.influences()[:, 0]  # [3, n]
    assert influences.sum(axis=1) == pytest.approx([0, 0, 0], abs=1e-12)
    copies = 20_000
    repeated = [np.repeat(x, copies, axis=0) for x in (truth, output)]
    more = fold_of(*(np.concatenate([many, x[:1]]) for many, x in zip(repeated, (truth, output), strict=True)))
    slope = (more.scores() - fold.scores())[:, 0] * copies
    assert influences[:, 0] == pytest.approx(slope, abs=1e-3)


def test_a_score_is_the_mean_over_folds_and_each_label_budget_has_a_column() -> None:
    """With all labels, accuracy is 1 in fold 0 and 1/2 in fold 1. With five, one draw has 1 and the other 0."""
    truth = [0, 1]
    record = confirmed(
        "Con", 2, predicted(truth, [0, 1]), predicted(truth, [0, 0], fold=1),
        predicted(truth, [0, 1], labels="5"), predicted(truth, [1, 0], labels="5", draw=1),
    )  # fmt: skip
    all_labels, five = columns([record])
    assert (all_labels.dataset, all_labels.runs, all_labels.n_samples) == ("digits", (Run("Con", 2, 0),), 4)
    assert scores_of(all_labels)[2] == pytest.approx([0.75])
    assert (all_labels.n_groups, five.n_groups) == (4, 2)
    assert (five.dataset, five.runs, five.n_samples) == ("digits@5", (Run("Con", 2, 0), Run("Con", 2, 1)), 2)
    assert scores_of(five)[2] == pytest.approx([1, 0])


def test_methods_have_the_names_and_order_of_the_table() -> None:
    nested = {"search": {"nested": ["labels"]}}
    records = [
        confirmed(name, 0, predicted([0], [0], labels="5"), config=nested)
        for name in ("Con@5", "Gen@all", "raw_features")
    ]
    (column,) = columns(records)
    assert [run.method for run in column.runs] == ["raw_features", "Con"]


@pytest.mark.parametrize(
    "other",
    [
        [predicted([1, 0], [0, 0])],
        [predicted([0, 1], [0, 0], classes=("joy", "fear"))],
        [predicted([0, 1], [0, 0]), predicted([0, 1], [0, 0], fold=1)],
    ],
    ids=["another order", "other classes", "another fold"],
)
def test_runs_on_different_samples_are_refused(other: list[Predictions]) -> None:
    records = [confirmed("Con", 0, predicted([0, 1], [0, 1])), confirmed("Gen", 4, *other)]
    with pytest.raises(ReportError, match=r"digits: Gen \(seed 4, draw 0\) and Con \(seed 0, draw 0\)"):
        list(columns(records))


def test_samples_of_a_speaker_are_a_group_in_all_folds() -> None:
    runs = [
        predicted([0, 1, 0], [0, 1, 1], fold=fold, groups=groups, grouped_by=["speaker"])
        for fold, groups in enumerate(([0, 0, 1], [1, 2, 2]))
    ]
    (column,) = columns([confirmed("Con", 0, *runs)])
    assert [fold.groups.tolist() for fold in column.folds] == [[[0, 0, 1]], [[1, 2, 2]]]
    assert (column.n_samples, column.n_groups, column.grouped_by) == (6, 3, ("speaker",))


def test_samples_may_be_grouped_in_several_ways() -> None:
    by_both = predicted([0, 1, 0], [0, 1, 1], groups=[0, 0, 1, 0, 1, 2], grouped_by=["speaker", "dialogue"])
    (column,) = columns([confirmed("Con", 0, by_both)])
    assert column.groups.tolist() == [[0, 0, 1], [0, 1, 2]]
    assert (column.n_groups, column.grouped_by) == (2, ("speaker", "dialogue"))


def test_samples_without_groups_are_each_a_group() -> None:
    runs = [predicted([0, 1], [0, 1], fold=fold) for fold in range(2)]
    (column,) = columns([confirmed("Con", 0, *runs)])
    assert column.groups.tolist() == [[0, 1, 2, 3]]
    assert (column.n_groups, column.grouped_by) == (4, ())


def test_groups_are_those_of_the_runs_that_have_them() -> None:
    """A sweep was resumed twice, by version after version: records do not say who speaks, do, and name dialogues."""
    oldest = confirmed("Con", 0, predicted([0, 1], [0, 1]))
    older = confirmed("Con", 1, predicted([0, 1], [0, 1], groups=[0, 0]))
    new = confirmed("Con", 2, predicted([0, 1], [0, 1], groups=[0, 0, 0, 1], grouped_by=["speaker", "dialogue"]))
    found = [next(iter(columns(records))) for records in ([oldest, older], [oldest, older, new])]
    assert [column.folds[0].groups.tolist() for column in found] == [[[0, 0]], [[0, 0], [0, 1]]]
    assert [column.grouped_by for column in found] == [("speaker",), ("speaker", "dialogue")]
