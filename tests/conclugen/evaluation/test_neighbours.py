"""Nearest neighbours, against scikit-learn's."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch
from sklearn.metrics import f1_score
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

from conclugen.evaluation.classification import ClassWeights
from conclugen.evaluation.draws import LabelledDraws, draw_labels
from conclugen.evaluation.neighbours import NEIGHBOURS, NearestNeighbours, fit_nearest_neighbours
from conclugen.labels import LabelBudget

Array = npt.NDArray[np.float64]


def _blobs(n: int, *, classes: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (n,), generator=generator)
    labels[:classes] = torch.arange(classes)
    scale = 0.1 + 5 * torch.rand(n, 1, generator=generator)  # cosines do not depend on it
    return (torch.eye(classes, 5)[labels] + torch.randn(n, 5, generator=generator)) * scale, labels


def _tags(n: int, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = (torch.rand(n, 3, generator=generator) < 0.4).long()
    labels[0], labels[1] = 0, 1
    return labels.float() @ torch.eye(3, 5) + torch.randn(n, 5, generator=generator), labels


def _data(train: tuple[Tensor, Tensor], validation: tuple[Tensor, Tensor], **changes: object) -> LabelledDraws:
    options: dict[str, object] = {"draws": torch.arange(len(train[1]))[None], "classes": "abc"}
    return LabelledDraws(
        x=train[0],
        labels=train[1],
        validation_x=validation[0],
        validation_labels=validation[1],
        **{**options, **changes},
    )


def _votes(distances: Array) -> Array:
    return np.exp(-distances / 0.07)


def _by_scikit_learn(train: tuple[Tensor, Tensor], k: int, at: Tensor) -> Array:
    model = KNeighborsClassifier(k, metric="cosine", weights=_votes).fit(train[0].double().numpy(), train[1].numpy())
    return model.predict_proba(at.double().numpy())


@pytest.mark.parametrize("k", [1, 2, 5, 17, 60])
class TestEqualsScikitLearn:
    def test_multi_class_votes_equal_scikit_learn(self, k: int) -> None:
        train, (at, _) = _blobs(60), _blobs(1500, seed=1)  # more rows than one chunk
        answers = NearestNeighbours(_data(train, train), [k]).answer(at)
        reference = _by_scikit_learn(train, k, at)
        assert answers.probabilities.shape == (1, 1500, 3)
        assert answers.probabilities[0].numpy() == pytest.approx(reference, abs=1e-3)
        assert (answers.predicted[0].numpy() == reference.argmax(axis=1)).mean() > 0.999

    def test_multi_label_votes_equal_scikit_learn(self, k: int) -> None:
        train, (at, _) = _tags(60), _tags(100, seed=1)
        answers = NearestNeighbours(_data(train, train), [k]).answer(at)
        reference = np.stack([label[:, 1] for label in _by_scikit_learn(train, k, at)], axis=1)
        assert answers.probabilities[0].numpy() == pytest.approx(reference, abs=1e-3)
        assert torch.equal(answers.predicted, (answers.probabilities > 0.5).long())
        assert answers.predicted.any()

    @pytest.mark.parametrize("multi_label", [False, True])
    def test_balanced_votes_equal_a_slow_loop(self, multi_label: bool, k: int) -> None:
        """Votes for a class weigh n / (C times its samples); votes for a label weigh negatives over positives."""
        make = _tags if multi_label else _blobs
        (x, labels), (at, _) = make(60), make(30, seed=1)
        data = _data((x, labels), (x, labels), class_weights="balanced")
        ours = NearestNeighbours(data, [k]).answer(at).probabilities[0]
        known, points = (each / each.norm(dim=1, keepdim=True) for each in (x.double(), at.double()))
        for row, point in zip(ours, points, strict=True):
            near = sorted(range(60), key=lambda sample: -float(known[sample] @ point))[:k]
            for c in range(3):
                yes = no = 0.0
                for sample in near:
                    vote = np.exp(float(known[sample] @ point) / 0.07)
                    if multi_label:
                        has, count = bool(labels[sample, c]), int(labels[:, c].sum())
                        yes, no = yes + has * vote * (60 - count) / count, no + (not has) * vote
                    else:
                        has, count = int(labels[sample]) == c, int((labels == labels[sample]).sum())
                        yes, no = yes + has * vote * 20 / count, no + (not has) * vote * 20 / count
                assert row[c].item() == pytest.approx(yes / (yes + no), abs=1e-3)


def test_one_neighbour_gives_its_class() -> None:
    train, (at, _) = _blobs(60), _blobs(200, seed=1)
    answers = NearestNeighbours(_data(train, train), [1]).answer(at)
    model = KNeighborsClassifier(1, metric="cosine").fit(*(part.numpy() for part in train))
    assert (answers.predicted[0].numpy() == model.predict(at.numpy())).all()
    assert answers.predicted.dtype == torch.int64


def test_the_clean_version_alone_represents_a_sample() -> None:
    (x, labels), (at, _) = _blobs(40), _blobs(50, seed=1)
    rows = torch.cat([torch.full((40, 5), torch.nan), x])  # the clean versions follow the augmented ones
    versions = torch.stack([torch.arange(40, 80), torch.arange(40)], dim=1)
    plain = fit_nearest_neighbours(_data((x, labels), (x, labels)))
    ours = fit_nearest_neighbours(_data((rows, labels), (x, labels), versions=versions))
    assert ours.chosen == plain.chosen
    assert torch.equal(ours.answer(at).probabilities, plain.answer(at).probabilities)


class TestChoice:
    def test_each_draw_chooses_the_number_with_the_best_weighted_f1(self) -> None:
        train, validation = _blobs(200), _blobs(80, seed=1)
        draws = draw_labels(train[1], LabelBudget(per_class=8), 6, seed=0)
        selection = torch.arange(78).reshape(6, 13)
        selection[:, -1] = -1
        fits = fit_nearest_neighbours(_data(train, validation, draws=draws, selection=selection))
        for index, chosen in enumerate(fits.chosen):
            part = selection[index, :-1]
            sample = train[0][draws[index]], train[1][draws[index]]
            scores = {
                f"k={k}": f1_score(
                    validation[1][part],
                    _by_scikit_learn(sample, k, validation[0][part]).argmax(axis=1),
                    average="weighted",
                )
                for k in NEIGHBOURS
                if k <= 24
            }
            assert chosen == max(scores, key=lambda name: scores[name])  # the first, and fewest, of ties
        assert len(set(fits.chosen)) > 1

    def test_a_draw_has_no_more_neighbours_than_samples(self) -> None:
        train, validation = _blobs(12), _blobs(40, seed=1)
        assert fit_nearest_neighbours(_data(train, validation), [12, 13]).chosen == ["k=12"]
        assert fit_nearest_neighbours(_data(train, validation), [13, 50]).chosen == ["k=12"]
        answers = fit_nearest_neighbours(_data(train, validation), [50]).answer(validation[0])
        assert answers.probabilities[0].numpy() == pytest.approx(_by_scikit_learn(train, 12, validation[0]), abs=1e-3)

    def test_every_sample_of_a_draw_may_be_a_neighbour(self) -> None:
        """The nearest sample has the wrong class, but all five samples together are right."""
        x = torch.tensor([[1.0, 0.0], [1.0, 0.1], [1.0, 0.1], [1.0, 0.1], [1.0, 0.1]])
        train, validation = (x, torch.tensor([0, 1, 1, 1, 1])), (x[:1], torch.tensor([1]))
        assert fit_nearest_neighbours(_data(train, validation, classes="ab"), [1, 5]).chosen == ["k=5"]


class TestDraws:
    @pytest.mark.parametrize("weights", ["none", "balanced"])
    def test_draws_of_different_sizes_equal_each_alone(self, weights: ClassWeights) -> None:
        train, validation, (at, _) = _tags(60), _tags(40, seed=1), _tags(50, seed=2)
        parts = [torch.arange(20), torch.arange(30, 42), torch.arange(25, 40)]
        draws = torch.nn.utils.rnn.pad_sequence(parts, batch_first=True, padding_value=-1)
        spoiled = train[0].clone()
        spoiled[~torch.isin(torch.arange(60), draws)] = torch.nan
        data = _data((spoiled, train[1]), validation, draws=draws, class_weights=weights)
        ours = NearestNeighbours(data, [3, 12, 5]).answer(at)
        for index, (part, k) in enumerate(zip(parts, [3, 12, 5], strict=True)):
            alone = _data((train[0][part], train[1][part]), validation, class_weights=weights)
            expected = NearestNeighbours(alone, [k]).answer(at)
            torch.testing.assert_close(ours.probabilities[index], expected.probabilities[0])
        assert len(fit_nearest_neighbours(data).chosen) == 3

    def test_two_fits_are_equal_and_leave_the_global_generator_alone(self) -> None:
        train, validation = _blobs(60), _blobs(40, seed=1)
        state = torch.get_rng_state()
        first, second = (fit_nearest_neighbours(_data(train, validation)).answer(validation[0]) for _ in range(2))
        assert torch.equal(first.probabilities, second.probabilities)
        assert torch.equal(torch.get_rng_state(), state)

    def test_labels_may_be_stored_as_any_integer(self) -> None:
        train, validation = _tags(40), _tags(30, seed=1)
        data = _data(train, validation)
        small = replace(data, labels=train[1].to(torch.uint8), validation_labels=validation[1].to(torch.uint8))
        ours, reference = (fit_nearest_neighbours(each).answer(validation[0]) for each in (small, data))
        assert torch.equal(ours.probabilities, reference.probabilities)
