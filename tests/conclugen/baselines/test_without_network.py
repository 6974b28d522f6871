from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.semi_supervised import LabelSpreading
from torch import Tensor

from conclugen.baselines import without_network as baselines
from conclugen.baselines.without_network import LabelSpreadings, PCAWhitening, fit_label_spreading
from conclugen.evaluation.draws import LabelledDraws, draw_labels
from conclugen.evaluation.metrics import classification_metrics
from conclugen.labels import LabelBudget

_HANDWRITTEN = Path(__file__).parents[4] / "shared" / "data" / "handwritten.npz"


def _correlated(n: int, width: int, *, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(width, width, generator=torch.Generator().manual_seed(99))
    return torch.randn(n, width, generator=generator) @ mixing + 3


class TestPCAWhitening:
    @pytest.mark.parametrize("explained", [0.5, 0.9, 0.99, None])
    def test_whitening_equals_scikit_learn_per_modality(self, explained: float | None) -> None:
        train = {"a": _correlated(80, 6, seed=0), "b": _correlated(80, 9, seed=1)}
        other = {"a": _correlated(30, 6, seed=2), "b": _correlated(30, 9, seed=3)}
        expected = [
            PCA(explained, whiten=True).fit(train[name].double().numpy()).transform(other[name].double().numpy())
            for name in train
        ]
        ours = PCAWhitening(train, explained)(other)
        assert ours.dtype == torch.float32
        # The sign of a component depends on scikit-learn's version, but both sides use the same one.
        np.testing.assert_allclose(ours.numpy(), np.concatenate(expected, axis=1), atol=1e-3)

    def test_training_rows_become_white(self) -> None:
        train = {"a": _correlated(200, 6, seed=0), "b": _correlated(200, 4, seed=1)}
        white = PCAWhitening(train, None)(train)
        assert white.shape == (200, 10)
        for part in white.split([6, 4], dim=1):
            torch.testing.assert_close(part.T.cov(), torch.eye(part.shape[1]), atol=1e-3, rtol=0)

    def test_a_share_keeps_the_fewest_components_that_explain_it(self) -> None:
        """The components explain 8, 1 and 1 tenths of the variance: 0.85 needs two of them, 0.75 one."""
        rows = torch.tensor([[2.0, 0, 0], [0, 0.5**0.5, 0], [0, 0, 0.5**0.5]])
        train = {"a": torch.cat([rows, -rows]) * 3**0.5}
        assert PCAWhitening(train, 0.75)(train).shape[1] == 1
        assert PCAWhitening(train, 0.85)(train).shape[1] == 2
        assert PCAWhitening(train, 0.95)(train).shape[1] == 3

    @pytest.mark.parametrize("explained", [0.99, None])
    def test_directions_without_variance_are_left_out(self, explained: float | None) -> None:
        """There are constant and repeated features, fewer rows than features, and a constant modality."""
        x = _correlated(50, 3, seed=0)
        train = {"a": torch.cat([x, x, torch.ones(50, 4)], dim=1), "few": _correlated(50, 70, seed=1)}
        train["constant"] = torch.zeros(50, 5)
        white = PCAWhitening(train, explained)(train)
        assert white.isfinite().all()
        assert white.abs().max() < 50**0.5 + 1e-3
        assert white.shape[1] <= 3 + 49
        if explained is None:
            assert white.shape[1] == 3 + 49

    @pytest.mark.parametrize("explained", [0.0, 1.0, -1.0])
    def test_shares_out_of_range_are_refused(self, explained: float) -> None:
        with pytest.raises(ValueError, match="between 0 and 1"):
            PCAWhitening({"a": torch.zeros(5, 2)}, explained)

    def test_one_row_is_refused(self) -> None:
        with pytest.raises(ValueError, match="two rows"):
            PCAWhitening({"a": torch.zeros(1, 2)})


def _moons(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Two interleaved arcs, in which near neighbours have one class but class means overlap."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 2
    angle = torch.pi * torch.rand(n, generator=generator)
    x = torch.stack([angle.cos() + labels, (1 - 2 * labels) * angle.sin() + 0.4 * labels], dim=1)
    return x + 0.05 * torch.randn(n, 2, generator=generator), labels


def _data(
    train: tuple[Tensor, Tensor],
    draws: Tensor,
    validation: tuple[Tensor, Tensor],
    classes: Sequence[str] = "abc",
    **changes: object,
) -> LabelledDraws:
    return LabelledDraws(
        x=train[0],
        labels=train[1],
        draws=draws,
        validation_x=validation[0],
        validation_labels=validation[1],
        classes=classes,
        **changes,
    )


class TestLabelSpreading:
    def test_a_few_labels_reach_a_whole_cluster(self) -> None:
        train, validation, test = (_moons(n, seed) for seed, n in enumerate((300, 100, 200)))
        draws = draw_labels(train[1], LabelBudget(per_class=2), 4, seed=0)
        answers = fit_label_spreading(_data(train, draws, validation, "ab")).answer(test[0])
        assert answers.predicted.shape == (4, 200)
        assert answers.predicted.dtype == torch.int64
        assert answers.probabilities.shape == (4, 200, 2)
        assert (answers.predicted == test[1]).float().mean() > 0.97

    @pytest.mark.parametrize("alpha", [0.2, 0.9])
    @pytest.mark.parametrize("neighbours", [3, 8])
    def test_the_directed_graph_equals_scikit_learn(self, neighbours: int, alpha: float) -> None:
        train, test = _correlated(60, 4, seed=0), _correlated(40, 4, seed=1)
        labels = (train[:, 0] > 3).long() + (train[:, 1] > 3).long()
        draws = draw_labels(labels, LabelBudget(per_class=3), 3, seed=0)
        data = _data((train, labels), draws, (train, labels))
        ours = LabelSpreadings(data, [(neighbours, alpha)] * 3, symmetric=False).answer(test)
        for draw, predicted, probabilities in zip(draws, ours.predicted, ours.probabilities, strict=True):
            known = np.full(100, -1)
            known[draw] = labels[draw]
            model = LabelSpreading(kernel="knn", n_neighbors=neighbours, alpha=alpha, max_iter=100)
            model.fit(np.concatenate([train, test]), known)
            assert (predicted.numpy() == model.transduction_[60:]).all()
            reference = model.label_distributions_[60:]
            reached = reference.any(axis=1)
            assert reached.any()
            assert probabilities.numpy()[reached] == pytest.approx(reference[reached], abs=1e-6)
            assert probabilities.numpy()[~reached] == pytest.approx(1 / 3)

    def test_the_symmetric_graph_solves_the_papers_equation(self) -> None:
        """The fixed point of F = alpha S F + (1 - alpha) Y is (1 - alpha) (I - alpha S)^-1 Y (Zhou et al. 2004)."""
        train, test = _correlated(40, 3, seed=0), _correlated(20, 3, seed=1)
        labels = (train[:, 0] > 3).long()
        draw = draw_labels(labels, LabelBudget(per_class=4), 1, seed=0)
        data = _data((train, labels), draw, (train, labels), "ab")
        ours = LabelSpreadings(data, [(6, 0.5)], symmetric=True).answer(test)
        nodes = torch.cat([train, test]).double()
        nearest = torch.cdist(nodes, nodes).argsort(dim=1)[:, 1:6]  # the node itself is the sixth
        links = torch.zeros(60, 60, dtype=torch.float64).scatter_(1, nearest, 1.0)
        links = (links + links.T) / 2
        scale = links.sum(dim=1).rsqrt()
        known = torch.zeros(60, 2, dtype=torch.float64)
        known[draw[0], labels[draw[0]]] = 1
        spread = torch.linalg.solve(
            torch.eye(60, dtype=torch.float64) - 0.5 * scale[:, None] * links * scale, 0.5 * known
        )
        expected = spread[40:] / spread[40:].sum(dim=1, keepdim=True)
        assert torch.equal(ours.predicted[0], expected.argmax(dim=1))
        torch.testing.assert_close(ours.probabilities[0], expected.float(), atol=1e-3, rtol=0)

    def test_settings_are_chosen_on_validation_for_each_draw(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(baselines, "NEIGHBOURS", (3, 15))
        monkeypatch.setattr(baselines, "ALPHAS", (0.3, 0.99))
        train, validation = _correlated(80, 4, seed=0), _correlated(60, 4, seed=1)
        labels, truth = ((x[:, 0] > 3).long() + (x[:, 1] > 3).long() for x in (train, validation))
        draws = draw_labels(labels, LabelBudget(per_class=2), 8, seed=0)
        data = _data((train, labels), draws, (validation, truth))
        fits = fit_label_spreading(data)
        for index, chosen in enumerate(fits.chosen):
            scores = {}
            for setting in [(k, alpha) for k in (3, 15) for alpha in (0.3, 0.99)]:
                alone = LabelSpreadings(replace(data, draws=draws[index][None]), [setting], symmetric=True)
                predicted = alone.answer(validation).predicted[0].numpy()
                name = f"neighbours={setting[0]}, alpha={setting[1]}"
                scores[name] = classification_metrics(truth.numpy(), predicted, "abc")["weighted_f1"]
            assert chosen == max(scores, key=lambda name: scores[name])  # the first of tied settings
        assert len(set(fits.chosen)) > 1

    def test_only_the_selected_validation_samples_choose(self) -> None:
        train, validation = _correlated(80, 4, seed=0), _correlated(60, 4, seed=1)
        labels, truth = ((x[:, 0] > 3).long() + (x[:, 1] > 3).long() for x in (train, validation))
        draws = draw_labels(labels, LabelBudget(per_class=2), 4, seed=0)
        selection = torch.arange(48).reshape(4, 12)
        together = fit_label_spreading(_data((train, labels), draws, (validation, truth), selection=selection))
        spoiled = truth.clone()
        spoiled[48:] = (truth[48:] + 1) % 3
        again = fit_label_spreading(_data((train, labels), draws, (validation, spoiled), selection=selection))
        everyone = fit_label_spreading(_data((train, labels), draws, (validation, truth)))
        assert again.chosen == together.chosen != everyone.chosen

    def test_labels_outside_the_draw_are_not_used(self) -> None:
        train, validation = _moons(60, 0), _moons(40, 1)
        draws = draw_labels(train[1], LabelBudget(per_class=3), 2, seed=0)
        spoiled = train[1].clone()
        spoiled[~torch.isin(torch.arange(60), draws)] = 1
        first, second = (
            fit_label_spreading(_data((train[0], labels), draws, validation, "ab")).answer(validation[0])
            for labels in (train[1], spoiled)
        )
        assert torch.equal(first.probabilities, second.probabilities)

    def test_a_class_without_labels_is_never_predicted(self) -> None:
        x, labels = torch.tensor([[0.0], [1.0], [10.0], [11.0]]), torch.tensor([0, 0, 2, 2])
        answers = fit_label_spreading(_data((x, labels), torch.arange(4)[None], (x, labels))).answer(x)
        assert set(answers.predicted[0].tolist()) <= {0, 2}

    def test_rows_that_no_label_reaches_have_equal_probabilities(self) -> None:
        """Two clusters of 30 rows with 3 neighbours each are not linked, and only one has a label."""
        x = torch.cat([_correlated(30, 2, seed=0), _correlated(30, 2, seed=1) + 1000])
        labels = torch.zeros(60, dtype=torch.int64)
        data = _data((x, labels), torch.tensor([[0, 1, 2, 3, 4]]), (x, labels))
        answers = LabelSpreadings(data, [(3, 0.9)], symmetric=True).answer(x[[0, 30, 59]])
        assert answers.probabilities[0, 0].tolist() == pytest.approx([1, 0, 0])
        assert answers.probabilities[0, 1:].flatten().tolist() == pytest.approx([1 / 3] * 6)

    def test_multi_label_is_refused(self) -> None:
        x, labels = torch.zeros(4, 2), torch.zeros(4, 3, dtype=torch.int64)
        with pytest.raises(ValueError, match="multi-label"):
            fit_label_spreading(_data((x, labels), torch.arange(4)[None], (x, labels)))


@pytest.mark.skipif(not _HANDWRITTEN.exists(), reason=f"{_HANDWRITTEN} does not exist")
@pytest.mark.parametrize(("symmetric", "least"), [(True, 0.95), (False, 0.91)])
def test_spreading_scores_well_on_handwritten_numerals(symmetric: bool, least: float) -> None:
    """An independent implementation of label spreading had 0.943, and logistic regression 0.902."""
    data = np.load(_HANDWRITTEN)
    labels, part = torch.from_numpy(data["labels"]).long(), data["split"]
    x = np.concatenate([data[view] for view in ("fou", "fac", "kar")], axis=1).astype(np.float64)
    x = torch.from_numpy((x - x[part == "train"].mean(axis=0)) / x[part == "train"].std(axis=0)).float()
    (train, train_y), validation, (test, test_y) = (
        (x[rows], labels[rows]) for rows in (torch.from_numpy(part == name) for name in ("train", "val", "test"))
    )
    classes = [str(c) for c in range(10)]
    draws = draw_labels(train_y, LabelBudget(per_class=5), 3, seed=0)
    data = _data((train, train_y), draws, validation, classes)
    predicted = fit_label_spreading(data, symmetric=symmetric).answer(test).predicted
    scores = [classification_metrics(test_y.numpy(), row.numpy(), classes)["weighted_f1"] for row in predicted]
    assert np.mean(scores) > least
