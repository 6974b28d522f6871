import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, precision_recall_fscore_support

from conclugen.evaluation.metrics import classification_metrics


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


@settings(deadline=None)
@given(_predictions())
def test_equals_scikit_learn(case: tuple[np.ndarray, np.ndarray, list[str]]) -> None:
    accuracy = accuracy_score(*case[:2])
    assert classification_metrics(*case) == pytest.approx({"accuracy": accuracy, **_by_scikit_learn(*case)})


@settings(deadline=None)
@given(_multi_label_predictions())
def test_multi_label_equals_scikit_learn(case: tuple[np.ndarray, np.ndarray, list[str]]) -> None:
    accuracy = np.mean([accuracy_score(*columns) for columns in zip(case[0].T, case[1].T, strict=True)])
    assert classification_metrics(*case) == pytest.approx({"accuracy": accuracy, **_by_scikit_learn(*case)})


def test_by_hand() -> None:
    """Truth a a a b, predictions a a b b, class c unseen.

    a: precision 1, recall 2/3, F1 4/5. b: precision 1/2, recall 1, F1 2/3. c: all 0, without support.
    Weighted (3 a + b) / 4: precision 7/8, recall 3/4, F1 23/30. Macro (a + b + c) / 3: 1/2, 5/9, 22/45. Accuracy 3/4.
    """
    metrics = classification_metrics(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1]), ["a", "b", "c"])
    assert metrics == pytest.approx(
        {
            "accuracy": 3 / 4,
            **{"weighted_precision": 7 / 8, "weighted_recall": 3 / 4, "weighted_f1": 23 / 30},
            **{"macro_precision": 1 / 2, "macro_recall": 5 / 9, "macro_f1": 22 / 45},
            **{"precision/a": 1, "precision/b": 1 / 2, "precision/c": 0},
            **{"recall/a": 2 / 3, "recall/b": 1, "recall/c": 0},
            **{"f1/a": 4 / 5, "f1/b": 2 / 3, "f1/c": 0},
        }
    )


def test_multi_label_by_hand() -> None:
    """Label a of four samples: true 1 1 1 0, predicted 1 0 1 1. Label b: true 0 0 1 0, predicted 0 0 0 0.

    a: precision 2/3, recall 2/3, F1 2/3, accuracy 1/2. b: precision, recall and F1 0, accuracy 3/4.
    Support 3 and 1: weighted F1 (3 * 2/3) / 4 = 1/2; macro F1 1/3; mean accuracy 5/8, though one sample
    of four is right in both labels.
    """
    truth, predicted = np.array([[1, 0], [1, 0], [1, 1], [0, 0]]), np.array([[1, 0], [0, 0], [1, 0], [1, 0]])
    metrics = classification_metrics(truth, predicted, ["a", "b"])
    assert (metrics["f1/a"], metrics["precision/a"], metrics["recall/a"]) == pytest.approx((2 / 3, 2 / 3, 2 / 3))
    assert (metrics["f1/b"], metrics["precision/b"], metrics["recall/b"]) == (0, 0, 0)
    assert (metrics["weighted_f1"], metrics["macro_f1"], metrics["accuracy"]) == pytest.approx((1 / 2, 1 / 3, 5 / 8))


def test_one_label_alone() -> None:
    """A column of 0 and 1 is one label, not two classes: true 1 1 0, predicted 1 0 0."""
    truth, predicted = np.array([[1], [1], [0]]), np.array([[1], [0], [0]])
    metrics = classification_metrics(truth, predicted, ["a"])
    assert (metrics["precision/a"], metrics["recall/a"], metrics["accuracy"]) == pytest.approx((1, 1 / 2, 2 / 3))


def test_no_true_label_at_all() -> None:
    metrics = classification_metrics(np.zeros((3, 2), dtype=int), np.eye(3, 2, dtype=int), ["a", "b"])
    assert metrics["accuracy"] == pytest.approx(2 / 3)
    assert {value for name, value in metrics.items() if name != "accuracy"} == {0.0}


@pytest.mark.parametrize("shapes", [((3,), (4,)), ((3, 2), (3,)), ((3, 3), (3, 3)), ((3, 2, 1), (3, 2, 1))])
def test_shapes_that_do_not_fit_are_refused(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    truth, predicted = (np.zeros(shape, dtype=int) for shape in shapes)
    with pytest.raises(ValueError, match=r"one shape, \(n,\) or \(n, 2\)"):
        classification_metrics(truth, predicted, ["a", "b"])


def test_values_are_plain_floats() -> None:
    metrics = classification_metrics(np.array([0, 1]), np.array([0, 1]), ["a", "b"])
    assert {type(value) for value in metrics.values()} == {float}
