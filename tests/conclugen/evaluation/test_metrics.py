import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    brier_score_loss,
    log_loss,
    precision_recall_fscore_support,
)

from conclugen.evaluation.metrics import classification_metrics, probability_metrics


@st.composite
def _predictions(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, list[str]]:
    classes = draw(st.integers(1, 6))
    pairs = draw(st.lists(st.tuples(*[st.integers(0, classes - 1)] * 2), min_size=1, max_size=40))
    truth, predicted = np.array(pairs).T
    return truth, predicted, [f"class {index}" for index in range(classes)]


@st.composite
def _multi_label_predictions(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, list[str]]:
    samples, classes = draw(st.integers(1, 20)), draw(st.integers(2, 4))
    bits = st.lists(st.integers(0, 1), min_size=samples * classes, max_size=samples * classes)
    truth, predicted = (np.array(draw(bits)).reshape(samples, classes) for _ in range(2))
    return truth, predicted, [f"class {index}" for index in range(classes)]


def _by_scikit_learn(truth: np.ndarray, predicted: np.ndarray, classes: list[str]) -> dict[str, float]:
    expected = {}
    for average in ("weighted", "macro", None):
        values = precision_recall_fscore_support(
            truth, predicted, average=average, labels=range(len(classes)), zero_division=0.0
        )
        for name, value in zip(("precision", "recall", "f1"), values[:3], strict=True):
            if average is None:
                expected |= {f"{name}/{label}": number for label, number in zip(classes, value, strict=True)}
            else:
                expected[f"{average}_{name}"] = value
    return expected


def _mean_recall(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Return scikit-learn's balanced accuracy, which warns of predicted classes without samples."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return balanced_accuracy_score(truth, predicted)


@settings(deadline=None, max_examples=50)
@given(_predictions())
def test_metrics_equal_scikit_learn(case: tuple[np.ndarray, np.ndarray, list[str]]) -> None:
    expected = {"accuracy": accuracy_score(*case[:2]), "balanced_accuracy": _mean_recall(*case[:2])}
    assert classification_metrics(*case) == pytest.approx({**expected, **_by_scikit_learn(*case)})


@settings(deadline=None, max_examples=50)
@given(_multi_label_predictions())
def test_multi_label_metrics_equal_scikit_learn(case: tuple[np.ndarray, np.ndarray, list[str]]) -> None:
    columns = list(zip(case[0].T, case[1].T, strict=True))
    expected = {
        "accuracy": np.mean([accuracy_score(*column) for column in columns]),
        "balanced_accuracy": np.mean([_mean_recall(*column) for column in columns]),
    }
    assert classification_metrics(*case) == pytest.approx({**expected, **_by_scikit_learn(*case)})


def test_metrics_by_hand() -> None:
    """The truth is a a a b, predictions are a a b b, and class c does not occur.

    a: precision 1, recall 2/3, F1 4/5. b: precision 1/2, recall 1, F1 2/3. c: all 0, without support.
    Weighted (3 a + b) / 4: precision 7/8, recall 3/4, F1 23/30. Macro (a + b + c) / 3: 1/2, 5/9, 22/45. Accuracy 3/4.
    Balanced accuracy: the mean recall of a and b, which occur, (2/3 + 1) / 2.
    """
    metrics = classification_metrics(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1]), ["a", "b", "c"])
    assert metrics == pytest.approx(
        {
            "accuracy": 3 / 4,
            "balanced_accuracy": 5 / 6,
            **{"weighted_precision": 7 / 8, "weighted_recall": 3 / 4, "weighted_f1": 23 / 30},
            **{"macro_precision": 1 / 2, "macro_recall": 5 / 9, "macro_f1": 22 / 45},
            **{"precision/a": 1, "precision/b": 1 / 2, "precision/c": 0},
            **{"recall/a": 2 / 3, "recall/b": 1, "recall/c": 0},
            **{"f1/a": 4 / 5, "f1/b": 2 / 3, "f1/c": 0},
        }
    )


def test_multi_label_metrics_by_hand() -> None:
    """Label a of four samples is 1 1 1 0, predicted as 1 0 1 1. Label b is 0 0 1 0, predicted as 0 0 0 0.

    a: precision 2/3, recall 2/3, F1 2/3, accuracy 1/2. b: precision, recall and F1 0, accuracy 3/4.
    Support is 3 and 1, so weighted F1 is (3 * 2/3) / 4 = 1/2 and macro F1 1/3. Mean accuracy is 5/8, though one sample
    of four is right in both labels. The recall of samples without the label is 0 of 1 for a, and 3 of 3 for b. So the
    balanced accuracy is the mean of (2/3 + 0) / 2 and (0 + 1) / 2, 5/12.
    """
    truth, predicted = np.array([[1, 0], [1, 0], [1, 1], [0, 0]]), np.array([[1, 0], [0, 0], [1, 0], [1, 0]])
    metrics = classification_metrics(truth, predicted, ["a", "b"])
    assert (metrics["f1/a"], metrics["precision/a"], metrics["recall/a"]) == pytest.approx((2 / 3, 2 / 3, 2 / 3))
    assert (metrics["f1/b"], metrics["precision/b"], metrics["recall/b"]) == (0, 0, 0)
    assert (metrics["weighted_f1"], metrics["macro_f1"], metrics["accuracy"]) == pytest.approx((1 / 2, 1 / 3, 5 / 8))
    assert metrics["balanced_accuracy"] == pytest.approx(5 / 12)


def test_a_single_column_is_one_label() -> None:
    """A column of 0 and 1 is not two classes; the truth is 1 1 0, and predictions are 1 0 0."""
    truth, predicted = np.array([[1], [1], [0]]), np.array([[1], [0], [0]])
    metrics = classification_metrics(truth, predicted, ["a"])
    assert (metrics["precision/a"], metrics["recall/a"], metrics["accuracy"]) == pytest.approx((1, 1 / 2, 2 / 3))


def test_a_set_without_true_labels_has_no_f1() -> None:
    """Predictions are right for two thirds of the samples without a label."""
    metrics = classification_metrics(np.zeros((3, 2), dtype=int), np.eye(3, 2, dtype=int), ["a", "b"])
    accuracies = {name: metrics.pop(name) for name in ("accuracy", "balanced_accuracy")}
    assert accuracies == pytest.approx({"accuracy": 2 / 3, "balanced_accuracy": 2 / 3})
    assert set(metrics.values()) == {0.0}


@pytest.mark.parametrize("shapes", [((3,), (4,)), ((3, 2), (3,)), ((3, 3), (3, 3)), ((3, 2, 1), (3, 2, 1))])
def test_shapes_that_do_not_fit_are_refused(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    truth, predicted = (np.zeros(shape, dtype=int) for shape in shapes)
    with pytest.raises(ValueError, match=r"one shape, \(n,\) or \(n, 2\)"):
        classification_metrics(truth, predicted, ["a", "b"])


def test_values_are_plain_floats() -> None:
    labels = np.array([0, 1])
    values = [
        *classification_metrics(labels, labels, ["a", "b"]).values(),
        *classification_metrics(np.eye(2, dtype=int), np.eye(2, dtype=int), ["a", "b"]).values(),
        *probability_metrics(labels, np.eye(2, dtype=np.float32), ["a", "b"]).values(),
        *probability_metrics(np.eye(2, dtype=int), np.eye(2, dtype=np.float32), ["a", "b"]).values(),
    ]
    assert {type(value) for value in values} == {float}


def _softmax(n: int, classes: int, seed: int, spread: float) -> np.ndarray:
    scores = np.exp(spread * np.random.default_rng(seed).normal(size=(n, classes)))
    return scores / scores.sum(axis=1, keepdims=True)


def _slow_calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """Return the gaps of 15 bins, weighted by their samples, computed sample by sample."""
    total = 0.0
    for index in range(15):
        low, high = index / 15, (index + 1) / 15
        inside = [i for i, value in enumerate(confidence) if low <= value < high or (index == 14 and value == 1)]
        if inside:
            mean = sum(float(confidence[i]) for i in inside) / len(inside)
            share = sum(bool(right[i]) for i in inside) / len(inside)
            total += len(inside) / len(confidence) * abs(mean - share)
    return total


_cases = given(  # no probability is below 2^-24, the least that the log loss accepts
    n=st.integers(1, 40), classes=st.integers(2, 5), seed=st.integers(0, 2**31 - 1), spread=st.floats(0.1, 1.5)
)


class TestProbabilities:
    @settings(deadline=None, max_examples=50)
    @_cases
    def test_scores_of_probabilities_equal_scikit_learn(self, n: int, classes: int, seed: int, spread: float) -> None:
        p = _softmax(n, classes, seed, spread)
        truth = np.random.default_rng(seed + 1).integers(classes, size=n)
        names = [str(index) for index in range(classes)]
        labels, two = list(range(classes)), {"pos_label": 1} if classes == 2 else {}
        chances = p[:, 1] if classes == 2 else p
        expected = {
            "nll": log_loss(truth, p, labels=labels),
            "brier": brier_score_loss(truth, chances, labels=labels, scale_by_half=False, **two),
            "ece": _slow_calibration_error(p.max(axis=1), p.argmax(axis=1) == truth),
        }
        assert probability_metrics(truth, p, names) == pytest.approx(expected)

    @settings(deadline=None, max_examples=50)
    @_cases
    def test_multi_label_means_are_over_labels(self, n: int, classes: int, seed: int, spread: float) -> None:
        rng = np.random.default_rng(seed)
        p = 1 / (1 + np.exp(-spread * rng.normal(size=(n, classes))))
        truth = (rng.random((n, classes)) < 0.3).astype(int)
        names = [f"label {index}" for index in range(classes)]
        columns = list(zip(truth.T, p.T, strict=True))
        precision = [average_precision_score(y, chance) if y.any() else 0.0 for y, chance in columns]
        expected = {
            "nll": np.mean([log_loss(y, chance, labels=[0, 1]) for y, chance in columns]),
            "brier": np.mean([np.mean((chance - y) ** 2) for y, chance in columns]),
            "ece": np.mean([_slow_calibration_error(chance, y == 1) for y, chance in columns]),
            "average_precision": np.mean(precision),
            **{f"average_precision/{name}": value for name, value in zip(names, precision, strict=True)},
        }
        assert probability_metrics(truth, p, names) == pytest.approx(expected)

    def test_multi_label_brier_score_equals_scikit_learn(self) -> None:
        rng = np.random.default_rng(0)
        truth, p = rng.integers(2, size=(50, 2)), rng.random((50, 2))
        expected = np.mean([brier_score_loss(truth[:, c], p[:, c]) for c in range(2)])
        assert probability_metrics(truth, p, "ab")["brier"] == pytest.approx(expected)

    def test_scores_of_probabilities_by_hand(self) -> None:
        """The probabilities of the true class are 1/2, 3/4 and 1/4, so nll is (log 2 + log 4/3 + log 4) / 3.

        Brier is 2 (1/4 + 1/16 + 9/16) / 3 = 7/12. Confidences are 1/2 (a tie goes to the first class, which is right),
        3/4 (right) and 3/4 (wrong). The bin of 1/2 has a gap of 1/2, and that of 3/4, with two samples, a gap of 1/4.
        So the calibration error is (1/2 + 2 * 1/4) / 3 = 1/3.
        """
        p = np.array([[1 / 2, 1 / 2], [1 / 4, 3 / 4], [3 / 4, 1 / 4]])
        metrics = probability_metrics(np.array([0, 1, 1]), p, ["a", "b"])
        nll = (np.log(2) + np.log(4 / 3) + np.log(4)) / 3
        assert metrics == pytest.approx({"nll": nll, "brier": 7 / 12, "ece": 1 / 3})

    def test_multi_label_scores_of_probabilities_by_hand(self) -> None:
        """Label a of two samples is 1 0, with probabilities 3/4 1/2. Label b is 0 0, with probabilities 0 1.

        Squared errors are 1/16, 1/4, 0, 1, so Brier is 21/64. Gaps are 1/4 and 1/2 for a, and 0 and 1 for b, so the
        calibration error is 7/16. The average precision of a is 1. No sample has b, so its average precision is 0.
        Label b costs log 1 and log 2^24, as 0 counts as 2^-24.
        """
        metrics = probability_metrics(np.array([[1, 0], [0, 0]]), np.array([[3 / 4, 0], [1 / 2, 1]]), ["a", "b"])
        nll = (np.log(4 / 3) + np.log(2) + 24 * np.log(2)) / 4
        expected = {"nll": nll, "brier": 21 / 64, "ece": 7 / 16, "average_precision": 1 / 2}
        each = {"average_precision/a": 1.0, "average_precision/b": 0.0}
        assert metrics == pytest.approx({**expected, **each})

    def test_wrong_certainty_costs_no_more_than_half_precision_can_tell(self) -> None:
        metrics = probability_metrics(np.array([0, 1]), np.array([[0.0, 1.0], [0.0, 1.0]]), ["a", "b"])
        assert metrics == pytest.approx({"nll": 12 * np.log(2), "brier": 1.0, "ece": 1 / 2})

    def test_right_certainty_costs_nothing(self) -> None:
        for truth in (np.array([0, 1, 2]), np.eye(3, dtype=int)):
            metrics = probability_metrics(truth, np.eye(3, dtype=np.float32), ["a", "b", "c"])
            assert [metrics[name] for name in ("nll", "brier", "ece")] == [0.0, 0.0, 0.0]

    @pytest.mark.parametrize(
        ("truth", "probabilities"), [((3,), (4, 2)), ((3,), (3,)), ((3,), (3, 3)), ((3, 3), (3, 2)), ((3, 1), (3, 2))]
    )
    def test_shapes_of_probabilities_that_do_not_fit_are_refused(
        self, truth: tuple[int, ...], probabilities: tuple[int, ...]
    ) -> None:
        with pytest.raises(ValueError, match=r"expected probabilities \(n, 2\)"):
            probability_metrics(np.zeros(truth, dtype=int), np.zeros(probabilities), ["a", "b"])
