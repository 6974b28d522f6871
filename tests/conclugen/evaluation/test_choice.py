"""The choice of a setting, against scikit-learn's weighted F1."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from conclugen.evaluation.choice import choose, weighted_f1
from conclugen.evaluation.draws import LabelledDraws


def _data(labels: torch.Tensor, draws: int, classes: int, selection: torch.Tensor | None = None) -> LabelledDraws:
    """Return draws of which only the validation samples matter."""
    return LabelledDraws(
        x=torch.zeros(1, 1),
        labels=labels[:1],
        draws=torch.zeros(draws, 1, dtype=torch.int64),
        validation_x=torch.zeros(len(labels), 1),
        validation_labels=labels,
        classes=[str(index) for index in range(classes)],
        selection=selection,
    )


@settings(deadline=None, max_examples=50)
@given(data=st.data(), classes=st.integers(1, 5), n=st.integers(1, 25), rows=st.integers(1, 3))
def test_weighted_f1_equals_scikit_learn(data: st.DataObject, classes: int, n: int, rows: int) -> None:
    numbers = st.lists(st.integers(0, classes - 1), min_size=n, max_size=n)
    truth, *predicted = (np.array(data.draw(numbers)) for _ in range(1 + rows))
    expected = [f1_score(truth, row, average="weighted", zero_division=0.0, labels=range(classes)) for row in predicted]
    assert weighted_f1(truth, np.stack(predicted), classes) == pytest.approx(np.array(expected))


@settings(deadline=None, max_examples=50)
@given(data=st.data(), classes=st.integers(1, 4), n=st.integers(1, 15), rows=st.integers(1, 3))
def test_weighted_f1_of_many_labels_equals_scikit_learn(data: st.DataObject, classes: int, n: int, rows: int) -> None:
    """It is the mean of the labels' F1, weighted by their samples, and 0 if no sample has a label."""
    bits = st.lists(st.integers(0, 1), min_size=n * classes, max_size=n * classes)
    truth, *predicted = (np.array(data.draw(bits)).reshape(n, classes) for _ in range(1 + rows))
    expected, support = [], truth.sum(axis=0)
    for row in predicted:
        each = [f1_score(truth[:, c], row[:, c], zero_division=0.0) for c in range(classes)]
        expected.append(np.average(each, weights=support) if support.any() else 0.0)
    assert weighted_f1(truth, np.stack(predicted), classes) == pytest.approx(np.array(expected))


def test_each_draw_has_its_own_best_setting() -> None:
    labels = torch.tensor([0, 1, 2, 0])
    wrong = torch.tensor([1, 1, 1, 1])
    predicted = torch.stack([torch.stack([labels, wrong]), torch.stack([wrong, labels])])  # [K, D, v]
    assert choose(predicted, _data(labels, 2, 3)).tolist() == [0, 1]


def test_only_the_selected_samples_choose() -> None:
    """The first setting is right for samples 0 and 1, the second for 2 and 3."""
    labels = torch.tensor([0, 1, 0, 1])
    first, second = torch.tensor([0, 1, 1, 0]), torch.tensor([1, 0, 0, 1])
    predicted = torch.stack([first, second])[:, None].expand(-1, 3, -1)
    selection = torch.tensor([[0, 1, -1], [2, 3, -1], [3, 2, 1]])
    assert choose(predicted, _data(labels, 3, 2, selection)).tolist() == [0, 1, 1]
    assert choose(predicted.flip(0), _data(labels, 3, 2, selection)).tolist() == [1, 0, 0]


def test_padding_of_a_selection_does_not_count() -> None:
    """If -1 meant the last sample, the second setting would win."""
    labels = torch.tensor([0, 1, 1, 1])
    first, second = torch.tensor([0, 1, 0, 0]), torch.tensor([0, 1, 0, 1])
    predicted = torch.stack([first, second])[:, None]
    assert choose(predicted, _data(labels, 1, 2, torch.tensor([[0, 1, -1, -1]]))).tolist() == [0]
    assert choose(predicted, _data(labels, 1, 2, torch.tensor([[0, 1, 3]]))).tolist() == [1]


@pytest.mark.parametrize("best", [0, 2, 3])
def test_the_first_of_tied_settings_is_chosen(best: int) -> None:
    labels = torch.tensor([0, 1, 2, 0])
    predicted = torch.zeros(5, 1, 4, dtype=torch.int64)
    predicted[best:] = labels
    assert choose(predicted, _data(labels, 1, 3)).tolist() == [best]


def test_multi_label_settings_are_chosen_by_their_labels() -> None:
    labels = torch.tensor([[1, 0], [0, 1], [1, 1]])
    predicted = torch.stack([1 - labels, labels, labels])[:, None]
    assert choose(predicted, _data(labels, 1, 2)).tolist() == [1]
    assert choose(predicted, _data(labels.bool(), 1, 2)).tolist() == [1]
