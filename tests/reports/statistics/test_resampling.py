from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from conclugen.evaluation.metrics import classification_metrics
from reports.statistics import resampling
from reports.statistics.ablation import ReportError
from reports.statistics.resampling import Column, Fold, Run, bootstrap, columns
from sweeps.ledger import SUMMARY_METRICS, Predictions, Record
from tests.reports.statistics.test_ablation import CONFIG

CLASSES = ("joy", "fear", "calm")


def predicted(truth: Sequence[int], said: Sequence[int], **changes: Any) -> Predictions:
    fields = {"dataset": "digits", "labels": "", "fold": 0, "draw": 0, "classes": CLASSES, "multi_label": False}
    return Predictions(**{**fields, "truth": truth, "predicted": said, **changes})


def confirmed(method: str, number: int, *predictions: Predictions, config: dict[str, Any] | None = None) -> Record:
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


def column_of(truth: np.ndarray, said: np.ndarray, n_classes: int, n_folds: int = 1) -> Column:
    """One method with a run per row of ``said``; every fold alike."""
    runs = tuple(Run("Con", seed, 0) for seed in range(len(said)))
    folds = tuple(Fold(truth == np.arange(n_classes)[:, np.newaxis], said) for _ in range(n_folds))
    return Column("digits", runs, folds, said.tobytes() + bytes([n_folds]))


def test_scores_worked_by_hand() -> None:
    """Truth joy, joy, fear; said joy, fear, fear. F1 is 2/3, 2/3 and, for calm, which is never there, 0."""
    (column,) = columns([confirmed("Con", 0, predicted([0, 0, 1], [0, 1, 1]))])
    assert column.scores()[:, 0] == pytest.approx([2 / 3, 4 / 9, 2 / 3])


def test_scores_of_several_labels_worked_by_hand() -> None:
    """Joy in the first sample, fear in the second: the first is seen, the second is not: F1 1 and 0, 3 of 4 right."""
    several = predicted([1, 0, 0, 1], [1, 0, 0, 0], classes=("joy", "fear"), multi_label=True)
    (column,) = columns([confirmed("Con", 0, several)])
    assert column.scores()[:, 0] == pytest.approx([0.5, 0.5, 0.75])


WEIGHTED = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 3)), min_size=1, max_size=12).filter(
    lambda samples: any(weight for *_, weight in samples)
)


@settings(max_examples=40, deadline=None)
@given(WEIGHTED)
def test_a_weight_is_how_often_a_sample_is_there(samples: list[tuple[int, int, int]]) -> None:
    truth, said, weights = np.array(samples).T
    fold = Fold(truth == np.arange(3)[:, np.newaxis], said[np.newaxis])
    weighted, macro, accuracy = fold.scores(weights[:, np.newaxis].astype(np.float32))[:, 0, 0]
    truth, said = np.repeat(truth, weights), np.repeat(said, weights)
    options = {"labels": range(3), "zero_division": 0}
    assert weighted == pytest.approx(f1_score(truth, said, average="weighted", **options), abs=1e-6)
    assert macro == pytest.approx(f1_score(truth, said, average="macro", **options), abs=1e-6)
    assert accuracy == pytest.approx((truth == said).mean(), abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 1)] * 4, st.integers(1, 3)), min_size=1, max_size=10))
def test_so_it_is_with_several_labels(samples: list[tuple[int, ...]]) -> None:
    table = np.array(samples)
    truth, said, weights = table[:, :2], table[:, 2:4], table[:, 4]
    fold = Fold(truth.T == 1, said.T[:, np.newaxis])
    found = fold.scores(weights[:, np.newaxis].astype(np.float32))[:, 0, 0]
    repeated = (np.repeat(x, weights, axis=0) for x in (truth, said))
    expected = classification_metrics(*repeated, classes=("joy", "fear"))
    assert found == pytest.approx([expected[name] for name in SUMMARY_METRICS], abs=1e-6)


def test_a_score_is_the_mean_over_folds_and_a_column_is_a_label_budget() -> None:
    """All labels: 1 in fold 0 and 1/2 in fold 1. Five labels: one draw with 1, one with 0."""
    truth = [0, 1]
    record = confirmed(
        "Con", 2, predicted(truth, [0, 1]), predicted(truth, [0, 0], fold=1),
        predicted(truth, [0, 1], labels="5"), predicted(truth, [1, 0], labels="5", draw=1),
    )  # fmt: skip
    whole, five = columns([record])
    assert (whole.dataset, whole.runs, whole.n_samples) == ("digits", (Run("Con", 2, 0),), 4)
    assert whole.scores()[2] == pytest.approx([0.75])
    assert (five.dataset, five.runs, five.n_samples) == ("digits@5", (Run("Con", 2, 0), Run("Con", 2, 1)), 2)
    assert five.scores()[2] == pytest.approx([1, 0])
    assert five.over_runs(five.scores())[:, 2] == pytest.approx([0.5])


def test_methods_have_the_names_and_the_order_of_the_table() -> None:
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
def test_runs_on_other_samples_are_not_compared(other: list[Predictions]) -> None:
    records = [confirmed("Con", 0, predicted([0, 1], [0, 1])), confirmed("Gen", 4, *other)]
    with pytest.raises(ReportError, match=r"digits: Gen \(seed 4, draw 0\) and Con \(seed 0, draw 0\)"):
        list(columns(records))


@pytest.mark.parametrize("n_folds", [1, 4])
def test_the_bootstrap_has_the_spread_of_a_share_and_folds_are_drawn_apart(n_folds: int) -> None:
    """80 of 100 right: the variance of the share is 0.8 x 0.2 / 100, and a mean of k such has that over k."""
    truth = np.zeros(100, int)
    said = np.repeat([0, 1], [80, 20])[np.newaxis]
    accuracy = bootstrap(column_of(truth, said, 2, n_folds))[0, 2]
    assert accuracy.mean() == pytest.approx(0.8, abs=0.005)
    assert accuracy.std() == pytest.approx((0.8 * 0.2 / 100 / n_folds) ** 0.5, rel=0.08)


def test_resamples_do_not_depend_on_the_blocks_that_they_are_made_in(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    column = column_of(generator.integers(0, 3, 40), generator.integers(0, 3, (6, 40)), 3)
    whole = bootstrap(column, 50)
    monkeypatch.setattr(resampling, "_BLOCK", 40 * 7)
    assert [block.stop - block.start for block in column.blocks(50)][:2] == [7, 7]
    assert np.array_equal(bootstrap(column, 50), whole)
