import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score

from conclugen.metrics import classification_metrics


@st.composite
def _predictions(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, list[str]]:
    classes = draw(st.integers(1, 6))
    pairs = draw(st.lists(st.tuples(*[st.integers(0, classes - 1)] * 2), min_size=1, max_size=40))
    truth, predicted = np.array(pairs).T
    return truth, predicted, [f"class {index}" for index in range(classes)]


@settings(deadline=None)
@given(_predictions())
def test_equals_scikit_learn(case: tuple[np.ndarray, np.ndarray, list[str]]) -> None:
    truth, predicted, classes = case
    options = {"labels": range(len(classes)), "zero_division": 0.0}
    per_class = f1_score(truth, predicted, average=None, **options)
    assert classification_metrics(truth, predicted, classes) == pytest.approx(
        {
            "weighted_f1": f1_score(truth, predicted, average="weighted", **options),
            "macro_f1": f1_score(truth, predicted, average="macro", **options),
            "accuracy": accuracy_score(truth, predicted),
            **{f"f1/{name}": value for name, value in zip(classes, per_class, strict=True)},
        }
    )


def test_by_hand() -> None:
    """Truth a a a b, predictions a a b b, class c unseen.

    a: precision 1, recall 2/3, F1 4/5. b: precision 1/2, recall 1, F1 2/3. c: F1 0 without support.
    Weighted (3 * 4/5 + 1 * 2/3) / 4 = 23/30; macro (4/5 + 2/3 + 0) / 3 = 22/45; accuracy 3/4.
    """
    metrics = classification_metrics(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1]), ["a", "b", "c"])
    assert metrics == pytest.approx(
        {"weighted_f1": 23 / 30, "macro_f1": 22 / 45, "accuracy": 3 / 4, "f1/a": 4 / 5, "f1/b": 2 / 3, "f1/c": 0}
    )


def test_values_are_plain_floats() -> None:
    metrics = classification_metrics(np.array([0, 1]), np.array([0, 1]), ["a", "b"])
    assert {type(value) for value in metrics.values()} == {float}
