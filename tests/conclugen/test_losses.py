"""The three losses against explicit loops over the formulas of docs/method.md, section 3, in float64."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from conclugen.losses import clustering_loss, contrastive_loss, reconstruction_loss

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
