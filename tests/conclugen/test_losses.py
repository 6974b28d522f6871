"""The three losses against explicit loops over the formulas of docs/method.md, section 3, in float64."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from conclugen.losses import clustering_loss, contrastive_loss, mean_over_present, reconstruction_loss

_NAMES = ("video", "audio", "text")


def _tensors(modalities: int, *shape: int, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()
        for name in _NAMES[:modalities]
    }


def _log_sum_exp(values: Sequence[float]) -> float:
    return math.log(sum(math.exp(value) for value in values))


def _slow_contrastive(projections: dict[str, Tensor], margin: float, temperature: float) -> float:
    rows = [p.tolist() for p in projections.values()]
    batch = len(rows[0])
    pairs = [(0, 1)] if len(rows) == 2 else [(0, 1), (1, 2), (2, 0)]
    total = 0.0
    for i, j in pairs:
        s = [[0.0] * batch for _ in range(batch)]
        for a, x in enumerate(rows[i]):
            for b, y in enumerate(rows[j]):
                dot = sum(u * v for u, v in zip(x, y, strict=True))
                s[a][b] = dot / math.hypot(*x) / math.hypot(*y) / temperature - (margin if a == b else 0)
        total += sum(_log_sum_exp(s[a]) - s[a][a] for a in range(batch)) / batch
        total += sum(_log_sum_exp([s[b][a] for b in range(batch)]) - s[a][a] for a in range(batch)) / batch
    return total


def _slow_cluster_term(logits: list[list[float]], mu: list[list[float]], labels: list[int], margin: float) -> float:
    total = 0.0
    for c, label in zip(logits, labels, strict=True):
        scores = [sum(u * v for u, v in zip(c, centroid, strict=True)) for centroid in mu]
        scores[label] -= margin
        total += _log_sum_exp(scores) - scores[label]
    return total / len(logits)


@pytest.mark.parametrize("modalities", [2, 3])
@pytest.mark.parametrize(("margin", "temperature"), [(0.001, 1.0), (0.0, 1.0), (0.3, 1.0), (0.001, 0.1), (0.3, 2.0)])
def test_contrastive_equals_explicit_loops(modalities: int, margin: float, temperature: float) -> None:
    projections = _tensors(modalities, 7, 5)
    ours = contrastive_loss(projections, margin=margin, temperature=temperature)
    assert ours.item() == pytest.approx(_slow_contrastive(projections, margin, temperature), rel=1e-12)


def test_contrastive_defaults_are_the_released_ones() -> None:
    projections = _tensors(3, 6, 4)
    assert contrastive_loss(projections).item() == pytest.approx(_slow_contrastive(projections, 0.001, 1.0), rel=1e-12)


@pytest.mark.parametrize(("modalities", "pairs"), [(2, 1), (3, 3)])
def test_contrastive_closed_form(modalities: int, pairs: int) -> None:
    """For equal orthonormal projections S is the identity.

    Every row and column then has one logit 1/T - m and b-1 zeros. Each of the two cross-entropies of a pair is
    log(exp(1/T - m) + b - 1) - (1/T - m).
    """
    batch, margin, temperature = 6, 0.2, 0.5
    positive = 1 / temperature - margin
    projections = dict.fromkeys(_NAMES[:modalities], 3.0 * torch.eye(batch, dtype=torch.float64))
    loss = contrastive_loss(projections, margin=margin, temperature=temperature)
    assert loss.item() == pytest.approx(2 * pairs * (math.log(math.exp(positive) + batch - 1) - positive))


def test_contrastive_is_bounded_below_for_nonnegative_projections_without_temperature() -> None:
    """As S is in [0, 1], each cross-entropy is at least log(exp(1) + b - 1) - 1, which orthonormal rows reach."""
    projections = {name: p.detach().abs() for name, p in _tensors(2, 16, 8).items()}
    assert contrastive_loss(projections, margin=0.0).item() > 2 * (math.log(math.e + 15) - 1)


def test_contrastive_ignores_row_norms_and_sample_order() -> None:
    projections = _tensors(3, 8, 5)
    loss = contrastive_loss(projections).item()
    scaled = {name: p * torch.arange(1, 9, dtype=torch.float64)[:, None] for name, p in projections.items()}
    order = torch.tensor([3, 0, 7, 1, 6, 2, 5, 4])
    assert contrastive_loss(scaled).item() == pytest.approx(loss)
    assert contrastive_loss({name: p[order] for name, p in projections.items()}).item() == pytest.approx(loss)


def test_contrastive_loss_is_higher_for_mismatched_samples() -> None:
    matched = torch.eye(6, dtype=torch.float64)
    together = contrastive_loss({"video": matched, "audio": matched})
    apart = contrastive_loss({"video": matched, "audio": matched.roll(1, 0)})
    assert apart > together


def test_contrastive_gradient_reaches_every_modality() -> None:
    projections = _tensors(3, 4, 3)
    torch.autograd.gradcheck(
        lambda *p: contrastive_loss(dict(zip(_NAMES, p, strict=True)), 0.1, 0.5), tuple(projections.values())
    )
    contrastive_loss(projections).backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in projections.values())


@pytest.mark.parametrize("modalities", [0, 1])
def test_contrastive_needs_two_modalities(modalities: int) -> None:
    with pytest.raises(ValueError, match="at least 2"):
        contrastive_loss(_tensors(modalities, 4, 3))


@pytest.mark.parametrize("modalities", [2, 3])
@pytest.mark.parametrize("margin", [0.001, 0.0, 0.5])
def test_individual_clustering_equals_explicit_loops(modalities: int, margin: float) -> None:
    logits, centroids = _tensors(modalities, 9, 4), _tensors(1, 4, 4, seed=1)["video"].detach()
    labels = torch.tensor([0, 3, 1, 1, 2, 0, 3, 3, 2])
    expected = sum(_slow_cluster_term(c.tolist(), centroids.tolist(), labels.tolist(), margin) for c in logits.values())
    ours = clustering_loss(logits, centroids, labels, mode="individual", margin=margin)
    assert ours.item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("modalities", [2, 3])
@pytest.mark.parametrize("margin", [0.001, 0.0, 0.5])
def test_joint_clustering_equals_explicit_loops(modalities: int, margin: float) -> None:
    logits, centroids = _tensors(modalities, 9, 4), _tensors(1, 4, 4, seed=1)["video"].detach()
    labels = torch.tensor([0, 3, 1, 1, 2, 0, 3, 3, 2])
    mean = np.mean([c.detach().numpy() for c in logits.values()], axis=0)
    expected = _slow_cluster_term(mean.tolist(), centroids.tolist(), labels.tolist(), margin)
    ours = clustering_loss(logits, centroids, labels, mode="joint", margin=margin)
    assert ours.item() == pytest.approx(expected, rel=1e-12)


def test_clustering_defaults_are_individual_with_the_released_margin() -> None:
    logits, centroids, labels = _tensors(3, 5, 3), _tensors(1, 3, 3, seed=1)["video"].detach(), torch.arange(5) % 3
    expected = sum(_slow_cluster_term(c.tolist(), centroids.tolist(), labels.tolist(), 0.001) for c in logits.values())
    assert clustering_loss(logits, centroids, labels).item() == pytest.approx(expected, rel=1e-12)


def test_clustering_closed_form() -> None:
    """With zero logits every score is 0 except the label's, -m, so each term is log(K - 1 + exp(-m)) + m."""
    zeros = {name: torch.zeros(5, 4, dtype=torch.float64) for name in _NAMES}
    centroids, labels = torch.eye(4, dtype=torch.float64), torch.tensor([0, 1, 2, 3, 0])
    term = math.log(3 + math.exp(-0.25)) + 0.25
    assert clustering_loss(zeros, centroids, labels, "individual", 0.25).item() == pytest.approx(3 * term)
    assert clustering_loss(zeros, centroids, labels, "joint", 0.25).item() == pytest.approx(term)


@pytest.mark.parametrize("mode", ["individual", "joint"])
def test_clustering_gradient_reaches_every_modality(mode: str) -> None:
    logits, centroids, labels = _tensors(3, 4, 3), _tensors(1, 3, 3, seed=1)["video"].detach(), torch.arange(4) % 3
    torch.autograd.gradcheck(
        lambda *c: clustering_loss(dict(zip(_NAMES, c, strict=True)), centroids, labels, mode, 0.1),
        tuple(logits.values()),
    )
    clustering_loss(logits, centroids, labels, mode).backward()
    assert all(c.grad is not None and c.grad.abs().max() > 0 for c in logits.values())


def test_clustering_refuses_an_unknown_mode() -> None:
    with pytest.raises(ValueError, match=r"'individual' or 'joint'.*'both'"):
        clustering_loss(_tensors(2, 4, 3), torch.eye(3), torch.arange(4) % 3, mode="both")


@pytest.mark.parametrize("modalities", [1, 2, 3])
def test_reconstruction_equals_explicit_loops(modalities: int) -> None:
    names = _NAMES[:modalities]
    widths = dict(zip(names, (5, 3, 2), strict=False))
    generator = np.random.default_rng(0)
    target = {name: generator.normal(size=(4, width)) for name, width in widths.items()}
    guess = {name: generator.normal(size=(4, width)) for name, width in widths.items()}
    expected = 0.0
    for name, width in widths.items():
        squares = [(guess[name][b][d] - target[name][b][d]) ** 2 for b in range(4) for d in range(width)]
        expected += sum(squares) / len(squares)
    ours = reconstruction_loss(
        {name: torch.from_numpy(guess[name]) for name in names},
        {name: torch.from_numpy(target[name]) for name in reversed(names)},  # matched by name, not by position
    )
    assert ours.item() == pytest.approx(expected, rel=1e-12)


def test_a_perfect_reconstruction_has_no_loss() -> None:
    features = _tensors(3, 4, 5)
    assert reconstruction_loss(features, features).item() == 0


_MASKS = {
    "video": torch.tensor([True, True, True, False, True, True, False]),
    "audio": torch.tensor([True, False, True, True, True, False, True]),
    "text": torch.tensor([True, True, False, True, True, True, False]),
}
_ALL = dict.fromkeys(_NAMES, torch.ones(7, dtype=torch.bool))
_NONE = {
    "video": torch.tensor([True, False] * 3 + [True]),
    "audio": torch.tensor([False, True] * 3 + [False]),
}
"""No row has both."""


class TestGaps:
    """Losses of rows that lack modalities, against losses of the rows that have them."""

    @pytest.mark.parametrize("modalities", [2, 3])
    def test_contrastive_is_that_of_the_rows_with_both_modalities_of_each_pair(self, modalities: int) -> None:
        projections = _tensors(modalities, 7, 5)
        expected = 0.0
        for one, other in [("video", "audio"), ("audio", "text"), ("text", "video")][: 1 if modalities == 2 else 3]:
            both = _MASKS[one] & _MASKS[other]
            expected += _slow_contrastive({one: projections[one][both], other: projections[other][both]}, 0.1, 0.5)
        loss = contrastive_loss(projections, 0.1, 0.5, {name: _MASKS[name] for name in projections})
        assert loss.item() == pytest.approx(expected, rel=1e-12)

    @pytest.mark.parametrize("mode", ["individual", "joint"])
    def test_clustering_pulls_only_the_modalities_of_a_row(self, mode: str) -> None:
        logits, centroids = _tensors(3, 7, 4), _tensors(1, 4, 4, seed=1)["video"].detach()
        labels = torch.tensor([0, 3, 1, 1, 2, 0, 3])
        mu = centroids.tolist()
        if mode == "individual":
            expected = sum(
                _slow_cluster_term(c[_MASKS[name]].tolist(), mu, labels[_MASKS[name]].tolist(), 0.1)
                for name, c in logits.items()
            )
        else:
            rows = [
                np.mean([c[row].tolist() for name, c in logits.items() if _MASKS[name][row]], axis=0).tolist()
                for row in range(7)
            ]
            expected = _slow_cluster_term(rows, mu, labels.tolist(), 0.1)
        loss = clustering_loss(logits, centroids, labels, mode, 0.1, _MASKS)
        assert loss.item() == pytest.approx(expected, rel=1e-12)

    def test_reconstruction_is_that_of_the_rows_with_the_modality(self) -> None:
        guess, target = _tensors(3, 7, 5), _tensors(3, 7, 5, seed=1)
        expected = sum(
            reconstruction_loss({name: x[_MASKS[name]]}, {name: target[name][_MASKS[name]]}).item()
            for name, x in guess.items()
        )
        assert reconstruction_loss(guess, target, _MASKS).item() == pytest.approx(expected, rel=1e-12)

    def test_reconstruction_may_be_divided_by_another_number_of_rows(self) -> None:
        guess, target = _tensors(1, 7, 5), _tensors(1, 7, 5, seed=1)
        whole = reconstruction_loss(guess, target, _MASKS).item()
        ours = reconstruction_loss(guess, target, _MASKS, {"video": torch.tensor(2.5)}).item()
        assert ours == pytest.approx(whole * 5 / 2.5)

    def test_what_a_row_lacks_has_no_influence_and_no_gradient(self) -> None:
        x = _tensors(3, 7, 4)
        centroids, labels = torch.eye(4, dtype=torch.float64), torch.arange(7) % 4
        target = _tensors(3, 7, 4, seed=1)

        def losses(x: dict[str, Tensor]) -> Tensor:
            return (
                contrastive_loss(x, present=_MASKS)
                + clustering_loss(x, centroids, labels, present=_MASKS)
                + clustering_loss(x, centroids, labels, "joint", present=_MASKS)
                + reconstruction_loss(x, target, _MASKS)
            )

        total = losses(x)
        total.backward()
        garbage = {name: torch.where(_MASKS[name][:, None], value, 1e6) for name, value in x.items()}
        assert losses(garbage).item() == total.item()
        for name, value in x.items():
            assert value.grad is not None
            assert (value.grad.abs().sum(dim=1) > 0).tolist() == _MASKS[name].tolist()

    def test_a_batch_without_a_pair_has_loss_0_and_gradient_0(self) -> None:
        projections = _tensors(2, 7, 5)
        loss = contrastive_loss(projections, 0.1, 1e-3, _NONE)
        loss.backward()
        assert loss.item() == 0
        for p in projections.values():
            assert p.grad is not None
            assert not p.grad.any()  # NaN would be true

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_a_modality_that_no_row_of_a_batch_has_costs_nothing(self, dtype: torch.dtype) -> None:
        values = {name: x.detach().to(dtype).requires_grad_() for name, x in _tensors(2, 7, 3).items()}
        masks = {"video": _ALL["video"], "audio": ~_ALL["audio"]}
        centroids, labels = torch.eye(3, dtype=dtype), torch.arange(7) % 3
        alone = {"video": values["video"]}
        assert torch.allclose(
            clustering_loss(values, centroids, labels, present=masks), clustering_loss(alone, centroids, labels)
        )
        targets = {name: torch.zeros(7, 3, dtype=dtype) for name in values}
        loss = reconstruction_loss(values, targets, masks)
        assert torch.allclose(loss, reconstruction_loss(alone, targets))
        loss.backward()
        assert values["audio"].grad is not None
        assert not values["audio"].grad.any()

    def test_a_mask_without_gaps_changes_rounding_only(self) -> None:
        x, target = _tensors(3, 7, 4), _tensors(3, 7, 4, seed=1)
        centroids, labels = torch.eye(4, dtype=torch.float64), torch.arange(7) % 4
        pairs = [
            (contrastive_loss(x, 0.1, 0.5, _ALL), contrastive_loss(x, 0.1, 0.5)),
            (clustering_loss(x, centroids, labels, present=_ALL), clustering_loss(x, centroids, labels)),
            (reconstruction_loss(x, target, _ALL), reconstruction_loss(x, target)),
            (mean_over_present(x, _ALL), mean_over_present(x, None)),
        ]
        for masked, plain in pairs:
            torch.testing.assert_close(masked, plain, rtol=1e-14, atol=1e-14)

    def test_the_mean_is_over_the_modalities_that_a_row_has(self) -> None:
        values = {"video": torch.tensor([[1.0], [1.0]]), "audio": torch.tensor([[3.0], [9.0]])}
        masks = {"video": torch.tensor([True, True]), "audio": torch.tensor([True, False])}
        assert mean_over_present(values, masks).tolist() == [[2.0], [1.0]]


class TestWithoutGaps:
    """Without gaps every loss has the bits of the plain formula in torch, as before sets could have gaps."""

    def test_contrastive_has_the_same_bits(self) -> None:
        projections = {name: x.detach().float() for name, x in _tensors(3, 64, 16).items()}
        units = [functional.normalize(p, dim=1) for p in projections.values()]
        total = torch.zeros(())
        for p, q in [(units[0], units[1]), (units[1], units[2]), (units[2], units[0])]:
            logits = p @ q.T / 0.3
            logits.diagonal().sub_(0.001)
            targets = torch.arange(64)
            total = total + functional.cross_entropy(logits, targets) + functional.cross_entropy(logits.T, targets)
        assert torch.equal(contrastive_loss(projections, 0.001, 0.3), total)

    @pytest.mark.parametrize("mode", ["individual", "joint"])
    def test_clustering_has_the_same_bits(self, mode: str) -> None:
        logits = {name: x.detach().float() for name, x in _tensors(3, 64, 8).items()}
        labels = torch.arange(64) % 8
        margins = 0.001 * functional.one_hot(labels, 8).float()
        terms = list(logits.values()) if mode == "individual" else [torch.stack(list(logits.values())).mean(dim=0)]
        expected = torch.stack([functional.cross_entropy(c @ torch.eye(8).T - margins, labels) for c in terms]).sum()
        assert torch.equal(clustering_loss(logits, torch.eye(8), labels, mode), expected)

    def test_reconstruction_has_the_same_bits(self) -> None:
        guess = {name: x.detach().float() for name, x in _tensors(3, 64, 16).items()}
        target = {name: x.detach().float() for name, x in _tensors(3, 64, 16, seed=1).items()}
        expected = torch.stack([functional.mse_loss(x, target[name]) for name, x in guess.items()]).sum()
        assert torch.equal(reconstruction_loss(guess, target), expected)
