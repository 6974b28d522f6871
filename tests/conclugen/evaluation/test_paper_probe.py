import copy
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import recall_score
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts, LinearLR, SequentialLR

from conclugen.evaluation.classification import Answers, ClassWeights, class_weights_of, label_loss
from conclugen.evaluation.draws import LabelledDraws, draw_labels
from conclugen.evaluation.paper_probe import Batches, DropoutMasks, PaperProbes, PaperSettings, fit_paper_probes
from conclugen.labels import LabelBudget

_PLAIN = PaperSettings(dropout=0.0, epochs=60)
_Labelled = tuple[Tensor, Tensor]


def _blobs(n: int, *, classes: int = 3, width: int = 6, distance: float = 6.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return unit Gaussians around points on the axes, ``distance`` from the origin."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % classes
    return distance * torch.eye(classes, width)[labels] + torch.randn(n, width, generator=generator), labels


def _per_class(number: int) -> LabelBudget:
    return LabelBudget(per_class=number)


def _every(n: int) -> Tensor:
    return torch.arange(n)[None]


def _data(
    train: _Labelled,
    validation: _Labelled,
    classes: Sequence[str] = "",
    *,
    draws: Tensor | None = None,
    **changes: object,
) -> LabelledDraws:
    """By default, one draw has all training samples, and the classes are those of the labels."""
    labels = train[1]
    count = labels.shape[1] if labels.dim() == 2 else int(labels.max()) + 1
    return LabelledDraws(
        x=train[0],
        labels=labels,
        draws=_every(len(labels)) if draws is None else draws,
        validation_x=validation[0],
        validation_labels=validation[1],
        classes=classes or [str(index) for index in range(count)],
        **changes,
    )


def _probes(
    train: _Labelled, validation: _Labelled, options: PaperSettings = _PLAIN, seed: int = 0, **changes: object
) -> PaperProbes:
    return fit_paper_probes(_data(train, validation, **changes), options, seed)


def _fit(
    train: _Labelled,
    validation: _Labelled,
    at: Tensor,
    options: PaperSettings = _PLAIN,
    *,
    seed: int = 0,
    **changes: object,
) -> Tensor:
    """Return predictions for the points ``at``: classes (D, n), or 0 and 1 (D, n, C)."""
    return _probes(train, validation, options, seed, **changes).answer(at).predicted


def _answers(
    train: _Labelled,
    validation: _Labelled,
    at: Tensor,
    options: PaperSettings = _PLAIN,
    *,
    seed: int = 0,
    **changes: object,
) -> Answers:
    return _probes(train, validation, options, seed, **changes).answer(at)


def test_separable_classes_are_separated() -> None:
    train, validation, test = (_blobs(120, seed=seed, distance=12.0) for seed in (0, 1, 2))
    for options, weights in ((PaperSettings(), "none"), (_PLAIN, "none"), (PaperSettings(), "balanced")):
        assert torch.equal(_fit(train, validation, test[0], options, class_weights=weights)[0], test[1])


def test_the_probe_is_as_accurate_as_logistic_regression() -> None:
    train, validation, test = (_blobs(n, seed=seed, distance=2.0) for seed, n in ((0, 600), (1, 300), (2, 3000)))
    ours = float((_fit(train, validation, test[0], replace(_PLAIN, epochs=140))[0] == test[1]).float().mean())
    reference = LogisticRegression().fit(*(part.numpy() for part in train)).score(*(part.numpy() for part in test))
    assert 0.8 < reference < 0.95
    assert ours == pytest.approx(reference, abs=0.01)


@pytest.mark.parametrize("weights", ["none", "balanced"])
@pytest.mark.parametrize("patience", [1, 7, 1000])
def test_the_probe_equals_a_plain_training_loop(weights: ClassWeights, patience: int) -> None:
    """The loop trains a zero linear layer with torch's AdamW, warm-up and restarts, and keeps the best epoch.

    Labels are noisy and validation is small, so its loss has several minima, and the patience decides between them.
    """
    train, validation = (
        _blobs(40, classes=4, width=30, distance=1.5),
        _blobs(24, classes=4, width=30, distance=0.5, seed=1),
    )
    train = (train[0], train[1].clone())
    train[1][:6] = 1
    options = PaperSettings(dropout=0.0, epochs=70, patience=patience, lr=0.05)
    counts = torch.bincount(train[1], minlength=4)
    class_weights = len(train[1]) / (4 * counts) if weights == "balanced" else None

    layer = nn.Linear(30, 4)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=options.lr, weight_decay=options.weight_decay)
    cosine = CosineAnnealingWarmRestarts(optimizer, T_0=20, T_mult=2, eta_min=1e-6)
    schedule = SequentialLR(optimizer, [LinearLR(optimizer, 0.1, total_iters=5), cosine], milestones=[5])
    best, best_loss, best_epoch, waited = copy.deepcopy(layer), float("inf"), 0, 0
    for epoch in range(options.epochs):
        optimizer.zero_grad()
        nn.functional.cross_entropy(layer(train[0]), train[1], class_weights).backward()
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            loss = nn.functional.cross_entropy(layer(validation[0]), validation[1], class_weights).item()
        if loss < best_loss:
            best, best_loss, best_epoch, waited = copy.deepcopy(layer), loss, epoch + 1, 0
        else:
            waited += 1
        if waited >= patience:
            break

    at = torch.randn(4000, 30, generator=torch.Generator().manual_seed(5))
    probes = _probes(train, validation, options, class_weights=weights)
    agreement = (probes.answer(at).predicted[0] == best(at).argmax(dim=1)).float().mean()
    # Balanced classes give a bias of zero a gradient of zero, and AdamW turns its rounding error into full steps.
    assert agreement > (0.999 if weights == "none" else 0.98)
    assert probes.chosen == [f"epoch {best_epoch}"]
    assert best_epoch < options.epochs


def test_a_batched_fit_equals_each_draw_alone() -> None:
    train, validation = _blobs(200, classes=4, distance=2.0), _blobs(60, classes=4, distance=2.0, seed=1)
    at = 3 * torch.randn(2000, 6, generator=torch.Generator().manual_seed(2))
    draws = draw_labels(train[1], _per_class(5), 6, seed=3)
    together = _fit(train, validation, at, draws=draws)
    alone = torch.cat([_fit(train, validation, at, draws=draw[None]) for draw in draws])
    assert together.shape == (6, 2000)
    assert (together == alone).float().mean() > 0.999
    assert len({tuple(row) for row in together.tolist()}) == 6


def test_only_the_drawn_samples_are_used() -> None:
    train, validation = _blobs(60), _blobs(30, seed=1)
    at = 3 * torch.randn(500, 6, generator=torch.Generator().manual_seed(2))
    draws = draw_labels(train[1], _per_class(4), 2, seed=0)
    spoiled = train[0].clone()
    spoiled[~torch.isin(torch.arange(60), draws)] = torch.nan
    assert torch.equal(_fit((spoiled, train[1]), validation, at, draws=draws), _fit(train, validation, at, draws=draws))


def _imbalanced(majority: int, minority: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return two overlapping Gaussians, two standard deviations apart."""
    labels = torch.cat([torch.zeros(majority, dtype=torch.int64), torch.ones(minority, dtype=torch.int64)])
    noise = torch.randn(len(labels), 4, generator=torch.Generator().manual_seed(seed))
    return 2.0 * torch.eye(2, 4)[1] * labels[:, None] + noise, labels


def test_balanced_weights_raise_the_recall_of_a_minority() -> None:
    train, validation, test = (_imbalanced(360, 40, seed) for seed in (0, 1, 2))
    plain, balanced = (
        recall_score(test[1], _fit(train, validation, test[0], class_weights=weights)[0])
        for weights in ("none", "balanced")
    )
    assert balanced > plain + 0.15


def test_balanced_weights_equal_replicated_samples() -> None:
    """For classes of 60 and 20, the balanced loss equals the plain loss with each minority sample three times."""
    train, validation = _imbalanced(60, 20, 0), _imbalanced(30, 10, 1)
    at = torch.randn(4000, 4, generator=torch.Generator().manual_seed(2)) + 0.5
    thrice = [
        (torch.cat([x, x[y == 1], x[y == 1]]), torch.cat([y, y[y == 1], y[y == 1]])) for x, y in (train, validation)
    ]
    balanced = _fit(train, validation, at, class_weights="balanced")
    replicated = _fit(*thrice, at)
    assert (balanced == replicated).float().mean() > 0.999
    assert (balanced != _fit(train, validation, at)).float().mean() > 0.05


def test_a_class_without_samples_is_never_predicted() -> None:
    x, labels = _blobs(60, classes=2)
    classes = ["a", "b", "missing"]
    predicted = _fit((x, labels), (x, labels), x, classes=classes, class_weights="balanced")
    assert torch.equal(predicted[0], labels)


@pytest.mark.parametrize("batch_size", [1, 7, 50, 119])
def test_small_batches_learn(batch_size: int) -> None:
    train, validation, test = (_blobs(120, seed=seed, distance=12.0) for seed in (0, 1, 2))
    options = PaperSettings(batch_size=batch_size, epochs=15)
    draws = torch.stack([torch.arange(120), torch.arange(120).flip(0)])
    predicted = _fit(train, validation, test[0], options, draws=draws)
    assert torch.equal(predicted, test[1].expand(2, -1))


def test_batches_larger_than_the_draw_equal_the_whole_draw() -> None:
    train, validation = _blobs(40, distance=1.0), _blobs(40, distance=1.0, seed=1)
    at = torch.randn(1000, 6, generator=torch.Generator().manual_seed(2))
    exact, larger, smaller = (
        _fit(train, validation, at, PaperSettings(batch_size=size, epochs=12)) for size in (40, 4096, 20)
    )
    assert torch.equal(exact, larger)
    assert not torch.equal(exact, smaller)


@pytest.mark.parametrize("batch_size", [16, 4096])
def test_the_same_seed_gives_the_same_probes(batch_size: int) -> None:
    train, validation = _blobs(60, distance=1.0), _blobs(60, distance=1.0, seed=1)
    at = torch.randn(2000, 6, generator=torch.Generator().manual_seed(2))
    options = PaperSettings(batch_size=batch_size, epochs=30)
    state = torch.get_rng_state()
    first, again, other = (_fit(train, validation, at, options, seed=seed) for seed in (4, 4, 5))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("rate", [0.25, 0.5, 0.75])
def test_dropout_has_its_rate(rate: float) -> None:
    """Feature i is 1 in sample i alone, so one step changes its weight only if dropout kept it.

    The classes are balanced, so the bias has no gradient. A sample of class 1 is predicted correctly if its feature was
    kept, and as class 0, by a tie, if it was dropped. For 1,200 features, five standard deviations are 0.0722.
    """
    n = 1200
    x, labels = torch.eye(n), torch.arange(n) % 2
    draws = torch.stack([torch.arange(n), torch.arange(n)])
    options = PaperSettings(dropout=rate, epochs=1)
    predicted = _fit((x, labels), (x, labels), x, options, draws=draws)
    survivors = (predicted[:, labels == 1] == 1).float()  # [2, 600]
    assert survivors.numel() == 1200
    assert survivors.mean().item() == pytest.approx(1 - rate, abs=5 * np.sqrt(rate * (1 - rate) / 1200))
    assert not torch.equal(survivors[0], survivors[1])
    assert (predicted[:, labels == 0] == 0).all()


@pytest.mark.parametrize("rate", [0.0, 0.25, 0.5, 0.75, 77 / 256])
def test_dropout_masks_have_their_rate_and_are_independent(rate: float) -> None:
    """There are more masks than a random byte has, and of different sizes; counts are within five deviations."""
    n, masks = 4001, DropoutMasks(4001, rate, torch.Generator().manual_seed(3))
    assert masks.scale == pytest.approx(1 / (1 - rate))
    keep_masks = list[torch.Tensor]()
    for i in range(20):
        keep_masks.append(masks.next(n).bool())
        if i % 3 == 0:
            assert set(masks.next(3).tolist()) <= {0, 1}
    both = (1 - rate) ** 2
    for i, mask in enumerate(keep_masks):
        assert mask.sum().item() == pytest.approx(n * (1 - rate), abs=5 * np.sqrt(n * rate * (1 - rate)))
        for other in keep_masks[:i]:
            assert (mask & other).sum().item() == pytest.approx(n * both, abs=5 * np.sqrt(n * both * (1 - both)))


def test_inputs_are_left_alone() -> None:
    train, validation = _blobs(40), _blobs(40, seed=1)
    copies = [tensor.clone() for tensor in (*train, *validation)]
    _fit(train, validation, train[0], PaperSettings(epochs=5))
    assert all(torch.equal(now, then) for now, then in zip((*train, *validation), copies, strict=True))


def _tags(n: int, *, classes: int = 3, width: int = 6, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return multi-label samples; feature c is a unit Gaussian around 3 if class c is present, else around -3."""
    generator = torch.Generator().manual_seed(seed)
    labels = (torch.rand(n, classes, generator=generator) < 0.4).long()
    x = torch.randn(n, width, generator=generator)
    x[:, :classes] += 6.0 * labels - 3.0
    return x, labels


class TestMultiLabel:
    @pytest.mark.parametrize(
        ("options", "weights"), [(PaperSettings(), "none"), (PaperSettings(), "balanced"), (_PLAIN, "none")]
    )
    @pytest.mark.parametrize("layers", [1, 2])
    def test_labels_are_found_independently(self, options: PaperSettings, weights: ClassWeights, layers: int) -> None:
        train, validation, test = (_tags(200, seed=seed) for seed in (0, 1, 2))
        options = replace(options, layers=layers, hidden_dim=32)
        predicted = _fit(train, validation, test[0], options, class_weights=weights)
        assert predicted.shape == (1, 200, 3)
        assert predicted.dtype == torch.int64
        assert (predicted[0] == test[1]).float().mean() > 0.98

    def test_multi_label_is_as_accurate_as_one_regression_per_label(self) -> None:
        train, validation, test = (_tags(400, seed=seed) for seed in (0, 1, 2))
        for _, labels in (train, validation, test):  # a tenth of the labels are wrong
            flips = torch.rand(labels.shape, generator=torch.Generator().manual_seed(len(labels))) < 0.1
            labels[flips] = 1 - labels[flips]
        ours = _fit(train, validation, test[0], replace(_PLAIN, epochs=140))[0]
        reference = np.stack([LogisticRegression().fit(train[0], column).predict(test[0]) for column in train[1].T], 1)
        agreement = (ours.numpy() == reference).mean()
        assert agreement > 0.98

    def test_predictions_are_probabilities_above_one_half(self) -> None:
        train, validation = _tags(100), _tags(100, seed=1)
        answers = _answers(train, validation, validation[0])
        assert answers.probabilities.shape == (1, 100, 3)
        assert torch.equal(answers.predicted, (answers.probabilities > 0.5).long())

    def test_a_probe_that_never_learned_predicts_no_label(self) -> None:
        train = _tags(20)
        answers = _answers(train, train, train[0], PaperSettings(epochs=0))
        assert answers.predicted.sum() == 0
        assert (answers.probabilities == 0.5).all()

    def test_labels_may_be_stored_as_any_number(self) -> None:
        train, validation = _tags(60), _tags(60, seed=1)
        small = _answers((train[0], train[1].to(torch.uint8)), (validation[0], validation[1].bool()), train[0])
        assert torch.equal(small.probabilities, _answers(train, validation, train[0]).probabilities)

    @pytest.mark.parametrize("weights", ["none", "balanced"])
    @pytest.mark.parametrize("layers", [1, 2])
    def test_draws_of_different_sizes_equal_each_alone(self, weights: ClassWeights, layers: int) -> None:
        """Padding does not count, not even in the class weights."""
        train, validation = _tags(120), _tags(60, seed=1)
        at = 3 * torch.randn(500, 6, generator=torch.Generator().manual_seed(2))
        options = replace(_PLAIN, layers=layers, hidden_dim=16)
        draws = torch.nn.utils.rnn.pad_sequence(
            [torch.arange(20), torch.arange(50, 57), torch.arange(30, 43)], batch_first=True, padding_value=-1
        )
        spoiled = train[0].clone()
        spoiled[~torch.isin(torch.arange(120), draws)] = torch.nan
        together = _answers((spoiled, train[1]), validation, at, options, draws=draws, class_weights=weights)
        alone = [
            _answers(train, validation, at, options, draws=draw[draw >= 0][None], class_weights=weights).probabilities
            for draw in draws
        ]
        torch.testing.assert_close(together.probabilities, torch.cat(alone), atol=2e-3, rtol=0)

    def test_batches_of_padding_alone_change_nothing(self) -> None:
        train, validation = _tags(60), _tags(60, seed=1)
        draws = torch.stack([torch.arange(60), torch.arange(60).where(torch.arange(60) < 12, -1)])
        answers = _answers(train, validation, validation[0], replace(_PLAIN, batch_size=4), draws=draws)
        assert (answers.predicted == validation[1]).float().mean() > 0.9
        assert answers.probabilities.isfinite().all()


class TestLoss:
    def test_binary_cross_entropy_by_hand(self) -> None:
        """The probabilities of labels 1 and 0 are 1/2 and 3/4, and the positive counts twice.

        Class a: 2 log 2. Class b: -log(1/4) = 2 log 2. Their mean is 2 log 2.
        """
        logits = torch.tensor([0.0, np.log(3.0)], dtype=torch.float64).reshape(1, 2, 1)
        loss = label_loss(logits, torch.tensor([[[1, 0]]]), torch.tensor([[2.0, 5.0]], dtype=torch.float64))
        assert loss.item() == pytest.approx(2 * np.log(2))

    def test_padding_has_no_loss(self) -> None:
        logits = torch.randn(1, 3, 4, generator=torch.Generator().manual_seed(0))
        for targets in (torch.tensor([[0, 2, 1, 1]]), torch.tensor([[[1, 0, 1], [0, 0, 1], [1, 1, 1], [0, 0, 0]]])):
            weights = torch.tensor([[1.0, 2.0, 3.0]])
            padded = label_loss(logits, targets, weights, torch.tensor([[1.0, 1.0, 0.0, 0.0]]))
            torch.testing.assert_close(padded, label_loss(logits[..., :2], targets[:, :2], weights))

    def test_balanced_weights_by_hand(self) -> None:
        """Samples a a a b give 4 / (2 * 3) and 4 / (2 * 1); labels of 3, 1 and 0 samples of 4 give 1/3, 3/1, 4/1."""
        assert class_weights_of(torch.tensor([[0, 0, 0, 1]]), 2, "balanced").tolist() == [pytest.approx([2 / 3, 2])]
        tags = torch.tensor([[[1, 1, 0], [1, 0, 0], [1, 0, 0], [0, 0, 0]]])
        assert class_weights_of(tags, 3, "balanced").tolist() == [pytest.approx([1 / 3, 3, 4])]
        padded, counted = torch.cat([tags, tags[:, :1]], dim=1), torch.tensor([[1.0, 1.0, 1.0, 1.0, 0.0]])
        assert class_weights_of(padded, 3, "balanced", counted).tolist() == [pytest.approx([1 / 3, 3, 4])]
        assert class_weights_of(tags, 3, "none").tolist() == [[1, 1, 1]]


def _rings(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return points inside and outside a circle, which no line separates."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 2
    angle = 2 * torch.pi * torch.rand(n, generator=generator)
    radius = 1.0 + labels + 0.2 * torch.randn(n, generator=generator)
    return torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1), labels


class TestLayers:
    @pytest.mark.parametrize("layers", [2, 3])
    def test_hidden_layers_learn_what_a_line_cannot(self, layers: int) -> None:
        train, validation, test = (_rings(400, seed) for seed in (0, 1, 2))
        options = replace(_PLAIN, epochs=140, hidden_dim=64)
        line = (_fit(train, validation, test[0], options)[0] == test[1]).float().mean()
        deep = (_fit(train, validation, test[0], replace(options, layers=layers))[0] == test[1]).float().mean()
        assert line < 0.7
        assert deep > 0.95

    @pytest.mark.parametrize("layers", [2, 3])
    def test_hidden_layers_equal_a_plain_network(self, layers: int) -> None:
        """torch trains a network with the same start, without dropout, for the warm-up epochs, which all improve.

        Classes are not balanced, because AdamW makes full steps of a gradient that is only rounding error
        (docs/decisions/instrument.md).
        """
        train, validation = _blobs(42, classes=4, width=10), _blobs(24, classes=4, width=10, seed=1)
        options = PaperSettings(dropout=0.0, lr=0.05, epochs=5, layers=layers, hidden_dim=7)
        start = _probes(train, validation, replace(options, epochs=0), 3)
        modules: list[nn.Module] = []
        for weight, bias in start.layers:
            layer = nn.Linear(weight.shape[2], weight.shape[1])
            layer.load_state_dict({"weight": weight[0], "bias": bias[0, :, 0]})
            modules += [layer, nn.ReLU()]
        network = nn.Sequential(*modules[:-1])
        assert not network[-1].weight.any()
        assert all(layer.weight.abs().max() <= layer.in_features**-0.5 for layer in network if hasattr(layer, "weight"))
        assert all(layer.weight.std() > 0 for layer in network[:-1] if hasattr(layer, "weight"))
        optimizer = torch.optim.AdamW(network.parameters(), lr=options.lr, weight_decay=options.weight_decay)
        for epoch in range(5):
            optimizer.param_groups[0]["lr"] = options.lr * (0.1 + 0.9 * epoch / 5)
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(train[0]), train[1]).backward()
            optimizer.step()
        at = torch.randn(100, 10, generator=torch.Generator().manual_seed(5))
        ours = _answers(train, validation, at, options, seed=3).probabilities[0]
        reference = network(at).softmax(dim=1)
        assert (reference - 1 / 4).abs().max() > 0.05  # the network has learned
        torch.testing.assert_close(ours, reference, atol=1e-4, rtol=0)

    def test_a_batched_fit_with_hidden_layers_equals_each_draw_alone(self) -> None:
        train, validation = _blobs(200, classes=4, distance=2.0), _blobs(60, classes=4, distance=2.0, seed=1)
        options = replace(_PLAIN, layers=3, hidden_dim=16, epochs=20)
        draws = draw_labels(train[1], _per_class(5), 4, seed=3)
        together, *alone = (
            _answers(train, validation, train[0], options, draws=chosen).probabilities
            for chosen in (draws, *draws[:, None])
        )
        torch.testing.assert_close(together, torch.cat(alone), atol=1e-3, rtol=0)

    @pytest.mark.parametrize("layers", [2, 3])
    def test_hidden_dropout_and_start_follow_the_seed(self, layers: int) -> None:
        train, validation = _blobs(60, distance=1.0), _blobs(60, distance=1.0, seed=1)
        options = PaperSettings(layers=layers, hidden_dim=16, epochs=10)
        state = torch.get_rng_state()
        first, again, other, dry = (
            _answers(train, validation, train[0], chosen, seed=seed).probabilities
            for chosen, seed in [(options, 4), (options, 4), (options, 5), (replace(options, dropout=0.0), 4)]
        )
        assert torch.equal(first, again)
        assert not torch.equal(first, other)
        assert not torch.equal(first, dry)
        assert torch.equal(torch.get_rng_state(), state)

    @pytest.mark.parametrize("n", [1, 8192, 8193, 20000])
    def test_answers_for_many_rows_are_computed_in_parts(self, n: int) -> None:
        train = _blobs(30)
        probes = _probes(train, train, replace(_PLAIN, layers=2, hidden_dim=4, epochs=5))
        at = torch.randn(n, 6, generator=torch.Generator().manual_seed(0))
        answers, last = probes.answer(at).probabilities, probes.answer(at[-1:]).probabilities
        assert answers.shape == (1, n, 3)
        torch.testing.assert_close(answers[:, -1], last[:, 0])

    @pytest.mark.parametrize("wrong", [{"layers": 0}, {"layers": 4}, {"hidden_dim": 0}])
    def test_settings_out_of_range_are_refused(self, wrong: dict[str, int]) -> None:
        with pytest.raises(ValueError, match=str(next(iter(wrong.values())))):
            PaperSettings(**wrong)


class TestVersions:
    @pytest.mark.parametrize("options", [PaperSettings(epochs=20), PaperSettings(epochs=20, batch_size=16)])
    def test_one_version_each_changes_nothing(self, options: PaperSettings) -> None:
        train, validation = _blobs(60, distance=1.0), _blobs(60, distance=1.0, seed=1)
        shuffled = torch.randperm(60, generator=torch.Generator().manual_seed(0))
        rows = torch.empty_like(train[0])
        rows[shuffled] = train[0]  # sample i lies in row shuffled[i]
        draws = draw_labels(train[1], _per_class(10), 3, seed=0)
        plain = _answers(train, validation, train[0], options, draws=draws)
        moved = _answers((rows, train[1]), validation, train[0], options, draws=draws, versions=shuffled[:, None])
        assert torch.equal(plain.probabilities, moved.probabilities)

    @pytest.mark.parametrize("batch_size", [7, 4096])
    def test_every_version_and_no_other_row_is_used(self, batch_size: int) -> None:
        """Each row has its own feature, whose weight changes only if the row is trained on."""
        samples, versions = 8, 3
        rows = samples * versions + 2
        x, labels = torch.eye(rows), torch.arange(samples) % 2
        table = torch.arange(samples * versions).reshape(samples, versions)
        draws = torch.stack([torch.arange(6), torch.arange(1, 7)])
        options = replace(_PLAIN, epochs=60, patience=1000, weight_decay=0.0, batch_size=batch_size)

        def used_rows(epochs: int) -> Tensor:
            # Validation has every row, so each step lowers its loss, and the last epoch is kept.
            truth = torch.cat([labels.repeat_interleave(versions), torch.zeros(2, dtype=torch.int64)])
            probes = _probes((x, labels), (x, truth), replace(options, epochs=epochs), draws=draws, versions=table)
            return probes.layers[0][0].abs().sum(dim=1) > 0  # [D, rows]

        after_one = used_rows(1)
        assert [int(row.sum()) for row in after_one] == [6, 6]
        assert not torch.equal(after_one[0, 3:18], after_one[1, 3:18])  # each draw chooses for itself
        after_all = used_rows(60)
        expected = torch.zeros(2, rows, dtype=torch.bool)
        expected[0, :18] = expected[1, 3:21] = True
        assert torch.equal(after_all, expected)

    def test_every_epoch_draws_versions_evenly(self) -> None:
        """For 1,000 samples with three versions, five standard deviations around a third are 0.075.

        A row holds its version and its sample, so the batches can be read.
        """
        n = 1000
        x = torch.cat([torch.eye(3).repeat(n, 1), torch.arange(n).repeat_interleave(3)[:, None].float()], dim=1)
        labels, table = torch.arange(n) % 2, torch.arange(3 * n).reshape(n, 3)
        data = _data((x, labels), (x, labels), versions=table)
        batches = Batches(data, _PLAIN, torch.Generator().manual_seed(0))
        epochs = []
        for _ in range(2):
            ((inputs, targets, counted),) = batches.epoch()
            assert counted is None
            assert torch.equal(targets[0], inputs[0, :, 3].long() % 2)
            order = inputs[0, :, 3].argsort()
            assert torch.equal(inputs[0, order, 3], torch.arange(n).float())
            epochs.append(inputs[0, order, :3])
        for versions in epochs:
            assert (versions.mean(dim=0) - 1 / 3).abs().max() < 0.075
        assert (epochs[0] == epochs[1]).all(dim=1).float().mean().item() == pytest.approx(1 / 3, abs=0.075)

    def test_multi_label_padding_and_versions_together(self) -> None:
        train, validation = _tags(60), _tags(60, seed=1)
        x = torch.cat([train[0], train[0] + 0.1, train[0] - 0.1])
        table = torch.arange(180).reshape(3, 60).T
        draws = torch.stack([torch.arange(40), torch.arange(40).where(torch.arange(40) < 30, -1)])
        predicted = _fit((x, train[1]), validation, validation[0], PaperSettings(), draws=draws, versions=table)
        assert (predicted == validation[1]).float().mean() > 0.95


class TestSelection:
    """Only the validation samples of a draw's selection stop it."""

    def test_a_draw_equals_one_that_has_its_selection_alone(self) -> None:
        """Validation samples are noise, so each one matters; the second draw selects fewer samples than the first."""
        train, validation = _blobs(60, distance=1.0), _blobs(40, distance=0.3, seed=1)
        draws = draw_labels(train[1], _per_class(10), 2, seed=0)
        parts = [torch.arange(3, 12), torch.arange(30, 36)]
        selection = torch.nn.utils.rnn.pad_sequence(parts, batch_first=True, padding_value=-1)
        together = _answers(train, validation, train[0], draws=draws, selection=selection)
        for index, part in enumerate(parts):
            few = validation[0][part], validation[1][part]
            alone = _answers(train, few, train[0], draws=draws[index][None])
            torch.testing.assert_close(together.probabilities[index], alone.probabilities[0], atol=1e-4, rtol=0)
        everyone = _answers(train, validation, train[0], draws=draws)
        assert (everyone.probabilities - together.probabilities).abs().max() > 1e-3

    def test_samples_outside_the_selection_may_be_anything(self) -> None:
        train, validation = _tags(60), _tags(20, seed=1)
        selection = torch.tensor([[0, 3, 5, -1]])
        spoiled = 1 - validation[1]
        spoiled[[0, 3, 5]] = validation[1][[0, 3, 5]]
        first, second = (
            _answers(train, (validation[0], labels), train[0], selection=selection)
            for labels in (validation[1], spoiled)
        )
        assert torch.equal(first.probabilities, second.probabilities)
