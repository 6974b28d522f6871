from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from conclugen.baselines.supervised import LabelledRows, SupervisedTraining
from conclugen.hyperparameters import Hyperparameters
from conclugen.seeds import derive_seed
from conclugen.training.pretrain import DivergedError, build_head

_WIDTHS = {"video": 7, "audio": 5}
_CLASSES = ("a", "b", "c")
_H = Hyperparameters(representation_dim=16, batch_size=32, lr=0.01, weight_decay=0.01, warmup_epochs=2)


class _Rows:
    """Features in memory, and a list of the rows of each batch."""

    device = torch.device("cpu")

    def __init__(self, features: dict[str, Tensor]) -> None:
        self._features = features
        self.batches: list[list[int]] = []

    def batch(self, rows: Tensor) -> dict[str, Tensor]:
        self.batches.append(rows.tolist())
        return {name: x[rows] for name, x in self._features.items()}


def _planted(n: int, seed: int, *, multi_label: bool = False, distance: float = 3.0) -> LabelledRows:
    """Samples whose class means lie ``distance`` from the origin; the means of several labels add up."""
    generator = torch.Generator().manual_seed(seed)
    one_hot = nn.functional.one_hot(torch.arange(n) % 3)
    if multi_label:
        one_hot = (torch.rand(n, 3, generator=generator) < 0.4).long()
    features = {
        name: distance * (one_hot.float() @ torch.eye(3, width)) + torch.randn(n, width, generator=generator)
        for name, width in _WIDTHS.items()
    }
    return LabelledRows(_Rows(features), torch.arange(n), one_hot if multi_label else torch.arange(n) % 3)


def _training(
    train: LabelledRows,
    validation: LabelledRows,
    hyperparameters: Hyperparameters = _H,
    *,
    epochs: int = 15,
    seed: int = 0,
    **options: object,
) -> SupervisedTraining:
    return SupervisedTraining(
        train, validation, _WIDTHS, _CLASSES, hyperparameters, epochs=epochs, seed=seed, **options
    )


def _scores(run: SupervisedTraining, at: LabelledRows) -> Tensor:
    run.run()
    return _best_probabilities(run, at)


def _best_probabilities(run: SupervisedTraining, at: LabelledRows) -> Tensor:
    """Return the probabilities (n, C) of the best epoch."""
    return run.answer(at.data, at.rows).probabilities[0]


@pytest.mark.parametrize("fusion", ["concat", "mean", "video"])
@pytest.mark.parametrize("multi_label", [False, True])
def test_supervised_training_learns(multi_label: bool, fusion: str) -> None:
    train, validation, test = (_planted(150, seed, multi_label=multi_label, distance=6.0) for seed in (0, 1, 2))
    run = _training(train, validation, epochs=40, fusion=fusion, class_weights="balanced")
    run.run()
    answers = run.answer(test.data, test.rows)
    assert answers.predicted.shape == (1, *test.labels.shape)
    assert (answers.predicted[0] == test.labels).float().mean() > 0.97
    assert answers.probabilities.shape == (1, 150, 3)
    decided = (answers.probabilities > 0.5).long() if multi_label else answers.probabilities.argmax(dim=2)
    assert torch.equal(decided, answers.predicted)


@pytest.mark.parametrize("weights", ["none", "balanced"])
@pytest.mark.parametrize("lift_audio", [False, True])
def test_supervised_training_equals_a_plain_loop(lift_audio: bool, weights: str) -> None:
    """The loop has the seed's random head, a zero classifier, AdamW, warm-up, cosine to 0, and keeps the best epoch.

    Validation samples are noise, so that the best epoch is not the last.
    """
    train, validation = _planted(50, 0, distance=1.0), _planted(20, 1, distance=0.3)
    h = replace(_H, lift_audio=lift_audio, batch_size=16)
    head = build_head(_WIDTHS, h, 3)
    classifier = nn.Linear(32, 3)
    nn.init.zeros_(classifier.weight)
    nn.init.zeros_(classifier.bias)
    network = nn.ModuleList([head, classifier])
    weight = 50 / (3 * torch.bincount(train.labels)) if weights == "balanced" else None
    optimizer = torch.optim.AdamW(network.parameters(), lr=h.lr, weight_decay=h.weight_decay)
    losses, best = [], torch.empty(0)

    def logits(data: LabelledRows, rows: Tensor) -> Tensor:
        return classifier(torch.cat(list(head(data.data.batch(rows)).values()), dim=1))

    for epoch in range(12):
        cosine = (1 + torch.cos(torch.tensor(torch.pi * (epoch - 2) / 10)).item()) / 2
        optimizer.param_groups[0]["lr"] = h.lr * (0.1 + 0.45 * epoch if epoch < 2 else cosine)
        generator = torch.Generator().manual_seed(derive_seed(3, "supervised epoch", epoch))
        for rows in torch.randperm(50, generator=generator).split(16):
            optimizer.zero_grad()
            nn.functional.cross_entropy(logits(train, rows), train.labels[rows], weight).backward()
            optimizer.step()
        with torch.no_grad():
            outputs = logits(validation, validation.rows)
            losses.append(nn.functional.cross_entropy(outputs, validation.labels, weight).item())
            if losses[-1] == min(losses):
                best = logits(train, train.rows).softmax(dim=1)

    run = _training(train, validation, h, epochs=12, seed=3, dropout=0.0, class_weights=weights)
    assert [run.run_epoch()["validation"] for _ in range(12)] == pytest.approx(losses, abs=1e-3)
    assert losses.index(min(losses)) < 11
    assert run.chosen == f"epoch {losses.index(min(losses)) + 1}"
    torch.testing.assert_close(_best_probabilities(run, train), best, atol=1e-3, rtol=0)


def test_the_heads_start_as_the_random_head_of_the_seed() -> None:
    train = _planted(20, 0)
    run = _training(train, train, seed=5)
    ours, reference = run.modules["head"].state_dict(), build_head(_WIDTHS, _H, 5).state_dict()
    assert ours.keys() == reference.keys()
    assert all(torch.equal(ours[name], reference[name]) for name in ours)


def test_the_heads_are_trained() -> None:
    train = _planted(20, 0)
    run = _training(train, train, epochs=5)
    before = {name: value.clone() for name, value in run.modules["head"].state_dict().items()}
    run.run()
    assert all(not torch.equal(value, before[name]) for name, value in run.best["head"].state_dict().items())


@pytest.mark.parametrize(
    "change",
    [
        {"feature_dropout": 0.5},
        {"lr": 0.02},
        {"weight_decay": 0.5},
        {"warmup_epochs": 0},
        {"batch_size": 7},
        {"representation_dim": 8},
        {"lift_audio": True},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_hyperparameter_has_an_effect(change: dict[str, float]) -> None:
    train = _planted(30, 0)
    plain, changed = (_scores(_training(train, train, h, epochs=4), train) for h in (_H, replace(_H, **change)))
    assert not torch.allclose(plain, changed, atol=1e-4)


def test_hyperparameters_of_the_losses_are_ignored() -> None:
    train = _planted(30, 0)
    other = replace(_H, temperature=0.1, num_clusters=3, weight_gen=7.0)
    assert torch.equal(*(_scores(_training(train, train, h, epochs=4), train) for h in (_H, other)))


@pytest.mark.parametrize("feature_dropout", [0.0, 0.5])
def test_the_same_seed_gives_the_same_run(feature_dropout: float) -> None:
    train, validation = _planted(40, 0, distance=1.0), _planted(40, 1, distance=1.0)
    h = replace(_H, feature_dropout=feature_dropout, batch_size=16)
    state = torch.get_rng_state()
    first, again, other = (_scores(_training(train, validation, h, seed=s), validation) for s in (4, 4, 5))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)


def _batches(rows: Tensor, labels: Tensor, epochs: int) -> Sequence[list[int]]:
    features = {name: torch.ones(40, width) for name, width in _WIDTHS.items()}
    data, validation = _Rows(features), _planted(10, 1)
    _training(LabelledRows(data, rows, labels), validation, replace(_H, batch_size=4), epochs=epochs).run()
    return data.batches


def test_every_epoch_reads_each_drawn_row_once() -> None:
    rows = torch.tensor([3, 17, 5, 30, 8, 21])
    batches = _batches(rows, torch.arange(6) % 3, epochs=3)
    assert [len(batch) for batch in batches] == [4, 2] * 3
    epochs = [batches[2 * epoch] + batches[2 * epoch + 1] for epoch in range(3)]
    assert all(sorted(epoch) == sorted(rows.tolist()) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_every_epoch_uses_one_version_of_each_sample() -> None:
    """Row r is a version of sample r // 3; 60 epochs miss one of 18 versions with probability 5e-10."""
    batches = _batches(torch.arange(18).reshape(6, 3), torch.arange(6) % 3, epochs=60)
    epochs = [batches[2 * epoch] + batches[2 * epoch + 1] for epoch in range(60)]
    assert all(sorted(row // 3 for row in epoch) == list(range(6)) for epoch in epochs)
    assert {row for epoch in epochs for row in epoch} == set(range(18))


def test_validation_samples_choose_the_epoch() -> None:
    """Validation labels are wrong, so the first epoch, which learns least, is the best."""
    train = _planted(60, 0, distance=6.0)
    wrong = LabelledRows(train.data, train.rows, (train.labels + 1) % 3)
    run = _training(train, wrong, epochs=20)
    losses = [run.run_epoch()["validation"] for _ in range(20)]
    assert losses.index(min(losses)) == 0
    assert run.chosen == "epoch 1"
    probabilities = _best_probabilities(run, train)
    assert torch.equal(probabilities, _scores(_training(train, wrong, epochs=20), train))
    assert (probabilities.max(dim=1).values < 0.6).all()


def test_many_rows_are_answered_in_parts() -> None:
    train = _planted(30, 0)
    run = _training(train, train, epochs=2)
    run.run()
    rows = torch.arange(30).repeat(600)
    many = run.answer(train.data, rows).probabilities
    assert many.shape == (1, 18_000, 3)
    torch.testing.assert_close(many[0, -30:], _best_probabilities(run, train))


def test_a_loss_that_is_not_finite_ends_the_run() -> None:
    train = _planted(20, 0)
    spoiled = LabelledRows(
        _Rows({name: torch.full((20, width), torch.inf) for name, width in _WIDTHS.items()}), train.rows, train.labels
    )
    with pytest.raises(DivergedError, match="epoch 0"):
        _training(spoiled, train).run()


def test_classes_that_do_not_fit_are_refused() -> None:
    train = _planted(10, 0, multi_label=True)
    wrong = LabelledRows(train.data, train.rows, train.labels[:, :2])
    with pytest.raises(ValueError, match=r"expected labels \(s, 3\), got \(10, 2\)"):
        _training(wrong, wrong)
