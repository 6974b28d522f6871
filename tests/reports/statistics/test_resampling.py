from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from conclugen.evaluation.metrics import classification_metrics
from reports.errors import ReportError
from reports.statistics.resampling import Column, Fold, Run, bootstrap, columns
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


def column_of(truth: np.ndarray, outputs: np.ndarray, n_classes: int, n_folds: int = 1) -> Column:
    """Return a column with one method, a run per row of ``outputs``, and equal folds."""
    runs = tuple(Run("Con", seed, 0) for seed in range(len(outputs)))
    folds = tuple(Fold(truth == np.arange(n_classes)[:, np.newaxis], outputs) for _ in range(n_folds))
    return Column("digits", runs, folds, outputs.tobytes() + bytes([n_folds]))


def test_scores_equal_those_computed_by_hand() -> None:
    """The truth is joy, joy, fear; the output joy, fear, fear. F1 is 2/3, 2/3, and 0 for calm, which never occurs."""
    (column,) = columns([confirmed("Con", 0, predicted([0, 0, 1], [0, 1, 1]))])
    assert column.scores()[:, 0] == pytest.approx([2 / 3, 4 / 9, 2 / 3])


def test_scores_of_several_labels_equal_those_computed_by_hand() -> None:
    """The first sample is joy and predicted so; the second is fear and not predicted: F1 1 and 0, 3 of 4 correct."""
    several = predicted([1, 0, 0, 1], [1, 0, 0, 0], classes=("joy", "fear"), multi_label=True)
    (column,) = columns([confirmed("Con", 0, several)])
    assert column.scores()[:, 0] == pytest.approx([0.5, 0.5, 0.75])


WEIGHTED = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 3)), min_size=1, max_size=12).filter(
    lambda samples: any(weight for *_, weight in samples)
)


@settings(max_examples=40, deadline=None)
@given(WEIGHTED)
def test_a_weight_counts_as_that_many_copies_of_the_sample(samples: list[tuple[int, int, int]]) -> None:
    truth, output, weights = np.array(samples).T
    fold = Fold(truth == np.arange(3)[:, np.newaxis], output[np.newaxis])
    weighted, macro, accuracy = fold.scores(weights[:, np.newaxis].astype(np.float32))[:, 0, 0]
    truth, output = np.repeat(truth, weights), np.repeat(output, weights)
    options = {"labels": range(3), "zero_division": 0}
    assert weighted == pytest.approx(f1_score(truth, output, average="weighted", **options), abs=1e-6)
    assert macro == pytest.approx(f1_score(truth, output, average="macro", **options), abs=1e-6)
    assert accuracy == pytest.approx((truth == output).mean(), abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 1)] * 4, st.integers(1, 3)), min_size=1, max_size=10))
def test_a_weight_counts_as_copies_if_samples_have_several_labels(samples: list[tuple[int, ...]]) -> None:
    table = np.array(samples)
    truth, output, weights = table[:, :2], table[:, 2:4], table[:, 4]
    fold = Fold(truth.T == 1, output.T[:, np.newaxis])
    scores = fold.scores(weights[:, np.newaxis].astype(np.float32))[:, 0, 0]
    copies = (np.repeat(x, weights, axis=0) for x in (truth, output))
    expected = classification_metrics(*copies, classes=("joy", "fear"))
    assert scores == pytest.approx([expected[name] for name in SUMMARY_METRICS], abs=1e-6)


def test_a_score_is_the_mean_over_folds_and_each_label_budget_has_a_column() -> None:
    """With all labels, accuracy is 1 in fold 0 and 1/2 in fold 1. With five, one draw has 1 and the other 0."""
    truth = [0, 1]
    record = confirmed(
        "Con", 2, predicted(truth, [0, 1]), predicted(truth, [0, 0], fold=1),
        predicted(truth, [0, 1], labels="5"), predicted(truth, [1, 0], labels="5", draw=1),
    )  # fmt: skip
    all_labels, five = columns([record])
    assert (all_labels.dataset, all_labels.runs, all_labels.n_samples) == ("digits", (Run("Con", 2, 0),), 4)
    assert all_labels.scores()[2] == pytest.approx([0.75])
    assert (five.dataset, five.runs, five.n_samples) == ("digits@5", (Run("Con", 2, 0), Run("Con", 2, 1)), 2)
    assert five.scores()[2] == pytest.approx([1, 0])
    assert five.over_runs(five.scores())[:, 2] == pytest.approx([0.5])


def test_methods_have_the_names_and_order_of_the_table() -> None:
    nested = {"search": {"nested": ["labels"]}}
    records = [
        confirmed(name, 0, predicted([0], [0], labels="5"), config=nested)
        for name in ("Con@5", "Gen@all", "raw_features")
    ]
    (column,) = columns(records)
    assert column.methods == ["raw_features", "Con"]
    assert column.only(["Con"]).runs == (Run("Con", 0, 0),)
    assert column.only(["Con"]).scores().shape == (3, 1)


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


@pytest.mark.parametrize("n_folds", [1, 4])
def test_the_bootstrap_has_the_variance_of_a_proportion_and_resamples_folds_separately(n_folds: int) -> None:
    """80 of 100 are correct: the proportion has variance 0.8 x 0.2 / 100, and the mean of k of them that over k."""
    truth = np.zeros(100, int)
    outputs = np.repeat([0, 1], [80, 20])[np.newaxis]
    accuracy = bootstrap(column_of(truth, outputs, 2, n_folds))[0, 2]
    assert accuracy.mean() == pytest.approx(0.8, abs=0.005)
    assert accuracy.std() == pytest.approx((0.8 * 0.2 / 100 / n_folds) ** 0.5, rel=0.08)


def test_resamples_do_not_depend_on_the_size_of_blocks() -> None:
    generator = np.random.default_rng(0)
    column = column_of(generator.integers(0, 3, 40), generator.integers(0, 3, (6, 40)), 3)
    assert [block.stop - block.start for block in column.blocks(50, 40 * 7)][:2] == [7, 7]
    assert np.array_equal(bootstrap(column, 50, 40 * 7), bootstrap(column, 50))
