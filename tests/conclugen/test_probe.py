import copy
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import recall_score
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts, LinearLR, SequentialLR

from conclugen.probe import ProbeSettings, draw_labels, fit_probes

_PLAIN = ProbeSettings(dropout=0.0, epochs=60)


def _blobs(n: int, *, classes: int = 3, width: int = 6, distance: float = 6.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Unit Gaussians around points on the axes, ``distance`` from the origin."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % classes
    return distance * torch.eye(classes, width)[labels] + torch.randn(n, width, generator=generator), labels


def _every(n: int) -> Tensor:
    return torch.arange(n)[None]


def _fit(
    train: tuple[Tensor, Tensor],
    validation: tuple[Tensor, Tensor],
    at: Tensor,
    options: ProbeSettings = _PLAIN,
    *,
    draws: Tensor | None = None,
    seed: int = 0,
) -> Tensor:
    """Predicted classes (D, n) of the points ``at``."""
    classes = [str(index) for index in range(int(train[1].max()) + 1)]
    draws = _every(len(train[1])) if draws is None else draws
    return fit_probes(*train, draws, validation, classes, options, seed).predict(at)


class TestDrawLabels:
    @settings(deadline=None)
    @given(
        labels=st.lists(st.integers(0, 4), min_size=1, max_size=40),
        per_class=st.integers(1, 12),
        draws=st.integers(1, 4),
        seed=st.integers(0, 2**31 - 1),
    )
    def test_counts_per_class(self, labels: list[int], per_class: int, draws: int, seed: int) -> None:
        chosen = draw_labels(torch.tensor(labels), per_class, draws, seed)
        expected = {label: min(per_class, count) for label, count in Counter(labels).items()}
        assert chosen.shape == (draws, sum(expected.values()))
        for rows in chosen.tolist():
            assert len(set(rows)) == len(rows)
            assert Counter(labels[row] for row in rows) == expected

    def test_none_takes_every_sample_once(self) -> None:
        chosen = draw_labels(torch.tensor([2, 0, 1, 1]), None, 5, seed=0)
        assert chosen.tolist() == [[0, 1, 2, 3]]

    def test_draws_follow_the_seed(self) -> None:
        labels = torch.arange(300) % 3
        chosen = draw_labels(labels, 5, 3, seed=1)
        assert torch.equal(chosen, draw_labels(labels, 5, 3, seed=1))
        assert not torch.equal(chosen, draw_labels(labels, 5, 3, seed=2))

    def test_draws_differ_from_each_other_and_do_not_depend_on_their_number(self) -> None:
        labels = torch.arange(300) % 3
        chosen = draw_labels(labels, 5, 4, seed=1)
        assert len({tuple(sorted(rows)) for rows in chosen.tolist()}) == 4
        assert torch.equal(draw_labels(labels, 5, 2, seed=1), chosen[:2])

    def test_every_sample_can_be_drawn(self) -> None:
        """One of two per class: after 40 draws, a sample is missing with probability 2^-40."""
        chosen = draw_labels(torch.tensor([0, 0, 1, 1]), 1, 40, seed=0)
        assert set(chosen.flatten().tolist()) == {0, 1, 2, 3}

    def test_global_generator_is_left_alone(self) -> None:
        before = torch.get_rng_state()
        draw_labels(torch.arange(30) % 3, 2, 3, seed=1)
        assert torch.equal(torch.get_rng_state(), before)


def test_separable_classes_are_separated() -> None:
    train, validation, test = (_blobs(120, seed=seed, distance=12.0) for seed in (0, 1, 2))
    for options in (ProbeSettings(), _PLAIN, ProbeSettings(class_weights="balanced")):
        assert torch.equal(_fit(train, validation, test[0], options)[0], test[1])


def test_as_accurate_as_logistic_regression() -> None:
    train, validation, test = (_blobs(n, seed=seed, distance=2.0) for seed, n in ((0, 600), (1, 300), (2, 3000)))
    ours = float((_fit(train, validation, test[0], replace(_PLAIN, epochs=140))[0] == test[1]).float().mean())
    theirs = LogisticRegression().fit(*(part.numpy() for part in train)).score(*(part.numpy() for part in test))
    assert 0.8 < theirs < 0.95
    assert ours == pytest.approx(theirs, abs=0.01)


@pytest.mark.parametrize("weights", ["none", "balanced"])
@pytest.mark.parametrize("patience", [1, 7, 1000])
def test_equals_a_plain_training_loop(weights: str, patience: int) -> None:
    """One linear layer from zero, AdamW, warm-up and restarts by torch, the best epoch on validation kept.

    Labels are noisy and validation is small, so its loss has several minima and the patience decides between them.
    """
    train, validation = (
        _blobs(40, classes=4, width=30, distance=1.5),
        _blobs(24, classes=4, width=30, distance=0.5, seed=1),
    )
    train = (train[0], train[1].clone())
    train[1][:6] = 1
    options = ProbeSettings(dropout=0.0, epochs=70, patience=patience, lr=0.05, class_weights=weights)
    counts = torch.bincount(train[1], minlength=4)
    class_weights = len(train[1]) / (4 * counts) if weights == "balanced" else None

    layer = nn.Linear(30, 4)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=options.lr, weight_decay=options.weight_decay)
    cosine = CosineAnnealingWarmRestarts(optimizer, T_0=20, T_mult=2, eta_min=1e-6)
    schedule = SequentialLR(optimizer, [LinearLR(optimizer, 0.1, total_iters=5), cosine], milestones=[5])
    best, best_loss, waited = copy.deepcopy(layer), float("inf"), 0
    for _ in range(options.epochs):
        optimizer.zero_grad()
        nn.functional.cross_entropy(layer(train[0]), train[1], class_weights).backward()
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            loss = nn.functional.cross_entropy(layer(validation[0]), validation[1], class_weights).item()
        if loss < best_loss:
            best, best_loss, waited = copy.deepcopy(layer), loss, 0
        else:
            waited += 1
        if waited >= patience:
            break

    at = torch.randn(4000, 30, generator=torch.Generator().manual_seed(5))
    agreement = (_fit(train, validation, at, options)[0] == best(at).argmax(dim=1)).float().mean()
    # Balanced classes give a bias of zero a gradient of zero, and AdamW turns its rounding error into full steps.
    assert agreement > (0.999 if weights == "none" else 0.98)


def test_a_batched_fit_equals_each_draw_alone() -> None:
    train, validation = _blobs(200, classes=4, distance=2.0), _blobs(60, classes=4, distance=2.0, seed=1)
    at = 3 * torch.randn(2000, 6, generator=torch.Generator().manual_seed(2))
    draws = draw_labels(train[1], 5, 6, seed=3)
    together = _fit(train, validation, at, draws=draws)
    alone = torch.cat([_fit(train, validation, at, draws=draw[None]) for draw in draws])
    assert together.shape == (6, 2000)
    assert (together == alone).float().mean() > 0.999
    assert len({tuple(row) for row in together.tolist()}) == 6


def test_only_the_drawn_samples_are_used() -> None:
    train, validation = _blobs(60), _blobs(30, seed=1)
    at = 3 * torch.randn(500, 6, generator=torch.Generator().manual_seed(2))
    draws = draw_labels(train[1], 4, 2, seed=0)
    spoiled = train[0].clone()
    spoiled[~torch.isin(torch.arange(60), draws)] = torch.nan
    assert torch.equal(_fit((spoiled, train[1]), validation, at, draws=draws), _fit(train, validation, at, draws=draws))


def _imbalanced(majority: int, minority: int, seed: int) -> tuple[Tensor, Tensor]:
    """Two overlapping Gaussians, two standard deviations apart."""
    labels = torch.cat([torch.zeros(majority, dtype=torch.int64), torch.ones(minority, dtype=torch.int64)])
    noise = torch.randn(len(labels), 4, generator=torch.Generator().manual_seed(seed))
    return 2.0 * torch.eye(2, 4)[1] * labels[:, None] + noise, labels


def test_balanced_weights_raise_the_recall_of_a_minority() -> None:
    train, validation, test = (_imbalanced(360, 40, seed) for seed in (0, 1, 2))
    plain, balanced = (
        recall_score(test[1], _fit(train, validation, test[0], replace(_PLAIN, class_weights=weights))[0])
        for weights in ("none", "balanced")
    )
    assert balanced > plain + 0.15


def test_balanced_weights_equal_replicated_samples() -> None:
    """Classes of 60 and 20: the balanced loss is the plain one on data that holds each minority sample thrice."""
    train, validation = _imbalanced(60, 20, 0), _imbalanced(30, 10, 1)
    at = torch.randn(4000, 4, generator=torch.Generator().manual_seed(2)) + 0.5
    thrice = [
        (torch.cat([x, x[y == 1], x[y == 1]]), torch.cat([y, y[y == 1], y[y == 1]])) for x, y in (train, validation)
    ]
    balanced = _fit(train, validation, at, replace(_PLAIN, class_weights="balanced"))
    replicated = _fit(*thrice, at)
    assert (balanced == replicated).float().mean() > 0.999
    assert (balanced != _fit(train, validation, at)).float().mean() > 0.05


def test_a_class_without_samples_is_never_predicted_and_does_no_harm() -> None:
    x, labels = _blobs(60, classes=2)
    classes = ["a", "b", "missing"]
    options = replace(_PLAIN, class_weights="balanced")
    predicted = fit_probes(x, labels, _every(60), (x, labels), classes, options, 0).predict(x)
    assert torch.equal(predicted[0], labels)


@pytest.mark.parametrize("batch_size", [1, 7, 50, 119])
def test_small_batches_learn_too(batch_size: int) -> None:
    train, validation, test = (_blobs(120, seed=seed, distance=12.0) for seed in (0, 1, 2))
    options = ProbeSettings(batch_size=batch_size, epochs=15)
    draws = torch.stack([torch.arange(120), torch.arange(120).flip(0)])
    predicted = _fit(train, validation, test[0], options, draws=draws)
    assert torch.equal(predicted, test[1].expand(2, -1))


def test_batches_of_every_sample_or_more_are_the_same() -> None:
    train, validation = _blobs(40, distance=1.0), _blobs(40, distance=1.0, seed=1)
    at = torch.randn(1000, 6, generator=torch.Generator().manual_seed(2))
    exact, larger, smaller = (
        _fit(train, validation, at, ProbeSettings(batch_size=size, epochs=12)) for size in (40, 4096, 20)
    )
    assert torch.equal(exact, larger)
    assert not torch.equal(exact, smaller)


@pytest.mark.parametrize("batch_size", [16, 4096])
def test_same_seed_same_probes(batch_size: int) -> None:
    train, validation = _blobs(60, distance=1.0), _blobs(60, distance=1.0, seed=1)
    at = torch.randn(2000, 6, generator=torch.Generator().manual_seed(2))
    options = ProbeSettings(batch_size=batch_size, epochs=30)
    state = torch.get_rng_state()
    first, again, other = (_fit(train, validation, at, options, seed=seed) for seed in (4, 4, 5))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("rate", [0.25, 0.5, 0.75])
def test_dropout_rate(rate: float) -> None:
    """Feature i is 1 in sample i alone, so after one step its weight has moved only where it was kept.

    The classes are balanced, so the bias has no gradient: a sample of class 1 is predicted right where its feature was
    kept, and as class 0, a tie, where it was dropped. 1,200 kept or dropped: five standard deviations are 0.0722.
    """
    n = 1200
    x, labels = torch.eye(n), torch.arange(n) % 2
    draws = torch.stack([torch.arange(n), torch.arange(n)])
    options = ProbeSettings(dropout=rate, epochs=1)
    predicted = _fit((x, labels), (x, labels), x, options, draws=draws)
    kept = (predicted[:, labels == 1] == 1).float()  # [2, 600]
    assert kept.numel() == 1200
    assert kept.mean().item() == pytest.approx(1 - rate, abs=5 * np.sqrt(rate * (1 - rate) / 1200))
    assert not torch.equal(kept[0], kept[1])
    assert (predicted[:, labels == 0] == 0).all()


def test_inputs_are_left_alone() -> None:
    train, validation = _blobs(40), _blobs(40, seed=1)
    copies = [tensor.clone() for tensor in (*train, *validation)]
    _fit(train, validation, train[0], ProbeSettings(epochs=5))
    assert all(torch.equal(now, then) for now, then in zip((*train, *validation), copies, strict=True))
