"""The linear probe, against scikit-learn's logistic regression."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy import optimize
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits
from torch import Tensor

from conclugen.evaluation import logistic
from conclugen.evaluation.classification import ClassWeights
from conclugen.evaluation.draws import LabelledDraws, draw_labels, draw_selection
from conclugen.evaluation.logistic import STRENGTHS, WHOLE, fit_logistic_probes, fit_path
from conclugen.evaluation.minimise import Minimum, minimise
from conclugen.labels import LabelBudget

_TOLERANCE = {0.01: 1e-3, 0.1: 1e-3, 1.0: 2e-3, 10.0: 5e-3, 100.0: 1e-2, 1000.0: 3e-2}
"""Tolerance of a probability at each strength; weaker penalties have flatter minima."""
Array = npt.NDArray[np.float64]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Use one thread, as scikit-learn's threads wait for each other on a busy machine."""
    with threadpool_limits(1):
        yield


def _blobs(n: int, *, classes: int = 3, width: int = 6, distance: float = 2.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return overlapping Gaussians of unequal sizes, with features of unequal scales and means."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % classes
    relabelled = torch.rand(n, generator=generator) < 0.3
    labels = torch.where(relabelled & (torch.arange(n) >= classes), 0, labels)
    x = distance * torch.eye(classes, width)[labels] + torch.randn(n, width, generator=generator)
    return x * torch.logspace(-1, 1, width) + torch.linspace(-3, 5, width), labels


def _tags(n: int, *, classes: int = 3, width: int = 6, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return multi-label samples; feature c is a unit Gaussian, higher by 1.5 if label c is present."""
    generator = torch.Generator().manual_seed(seed)
    labels = (torch.rand(n, classes, generator=generator) < 0.4).long()
    labels[0], labels[1] = 0, 1  # every label is present in one sample and absent in another
    return torch.randn(n, width, generator=generator) + 1.5 * labels.float() @ torch.eye(classes, width), labels


def _data(
    train: tuple[Tensor, Tensor], validation: tuple[Tensor, Tensor] | None = None, **changes: object
) -> LabelledDraws:
    """By default, one draw has all training samples, and the training samples choose."""
    x, labels = train
    count = labels.shape[1] if labels.dim() == 2 else int(labels.max()) + 1
    options: dict[str, object] = {
        "draws": torch.arange(len(labels))[None],
        "validation_x": x if validation is None else validation[0],
        "validation_labels": labels if validation is None else validation[1],
        "classes": [str(index) for index in range(count)],
    }
    return LabelledDraws(x=x, labels=labels, **{**options, **changes})


def _probabilities(data: LabelledDraws, strength: float, at: Tensor) -> Array:
    """Return the probabilities of each draw's probe of one strength, (D, n, C)."""
    return fit_logistic_probes(data, replace(WHOLE, strengths=[strength])).answer(at).probabilities.double().numpy()


def _regression(
    x: Array, y: npt.NDArray[np.integer], strength: float, at: Array, *, tol: float = 1e-8, **options: object
) -> Array:
    """Return scikit-learn's probabilities (n, C) for rows standardised by the training rows."""
    scaler = StandardScaler().fit(x)
    weights = options.pop("sample_weight", None)
    solver = "newton-cholesky" if x.shape[1] < 20 else "lbfgs"
    model = LogisticRegression(C=strength / x.shape[1], tol=tol, max_iter=50_000, solver=solver, **options)
    return model.fit(scaler.transform(x), y, weights).predict_proba(scaler.transform(at))


def _wide(*tensors: Tensor) -> list[npt.NDArray[np.generic]]:
    return [tensor.double().numpy() if tensor.is_floating_point() else tensor.numpy() for tensor in tensors]


@pytest.mark.parametrize("strength", STRENGTHS)
class TestEqualsScikitLearn:
    @pytest.mark.parametrize("weights", ["none", "balanced"])
    @pytest.mark.parametrize("classes", [2, 3, 8])
    @pytest.mark.parametrize(("n", "width"), [(120, 10), (40, 90)])
    def test_multi_class_equals_scikit_learn(
        self, n: int, width: int, classes: int, weights: ClassWeights, strength: float
    ) -> None:
        """There are more samples than features, or fewer; two classes are the binary problem."""
        train = _blobs(n, classes=classes, width=width)
        at, _ = _blobs(100, classes=classes, width=width, seed=1)
        ours = _probabilities(_data(train, class_weights=weights), strength, at)[0]
        x, y, points = _wide(*train, at)
        reference = _regression(x, y, strength, points, class_weight=None if weights == "none" else "balanced")
        assert ours == pytest.approx(reference, abs=_TOLERANCE[strength])
        if strength == 1.0:
            assert reference.max(axis=1).std() > 0.01  # probabilities vary

    @pytest.mark.parametrize("weights", ["none", "balanced"])
    @pytest.mark.parametrize(("n", "width"), [(120, 10), (40, 90)])
    def test_multi_label_is_one_regression_per_label(
        self, n: int, width: int, weights: ClassWeights, strength: float
    ) -> None:
        train, (at, _) = _tags(n, width=width), _tags(100, width=width, seed=1)
        ours = _probabilities(_data(train, class_weights=weights), strength, at)[0]
        x, labels, points = _wide(*train, at)
        for c, y in enumerate(labels.T):
            ratio = (n - y.sum()) / y.sum() if weights == "balanced" else 1.0
            reference = _regression(x, y, strength, points, sample_weight=np.where(y == 1, ratio, 1.0))
            assert ours[:, c] == pytest.approx(reference[:, 1], abs=_TOLERANCE[strength])

    @pytest.mark.parametrize(("n", "width"), [(60, 10), (20, 90)])
    def test_versions_share_the_weight_of_their_sample(self, n: int, width: int, strength: float) -> None:
        x, labels = _blobs(n, width=width)
        noise = torch.randn(2, *x.shape, generator=torch.Generator().manual_seed(3))
        at, _ = _blobs(100, width=width, seed=1)
        rows = torch.cat([x, x + 0.5 * noise[0], x - noise[1]])
        data = _data((rows, labels), (x, labels), versions=torch.arange(3 * n).reshape(3, n).T)
        points, each = _wide(rows, at)
        options = {"sample_weight": np.full(3 * n, 1 / 3), "tol": 1e-9}
        reference = _regression(points, labels.repeat(3).numpy(), strength, each, **options)
        assert _probabilities(data, strength, at)[0] == pytest.approx(reference, abs=_TOLERANCE[strength])


class TestDraws:
    @pytest.mark.parametrize("weights", ["none", "balanced"])
    @pytest.mark.parametrize("width", [6, 60])
    def test_draws_of_different_sizes_equal_each_alone(self, width: int, weights: ClassWeights) -> None:
        """Padding does not count, and rows outside a draw may have any values."""
        train, (at, _) = _tags(120, width=width), _tags(200, width=width, seed=1)
        parts = [torch.arange(30), torch.arange(50, 62), torch.arange(40, 61)]
        draws = torch.nn.utils.rnn.pad_sequence(parts, batch_first=True, padding_value=-1)
        spoiled = train[0].clone()
        spoiled[~torch.isin(torch.arange(120), draws)] = torch.nan
        validation = _tags(50, width=width, seed=2)
        together = _data((spoiled, train[1]), validation, draws=draws, class_weights=weights)
        for strength in STRENGTHS:
            ours = _probabilities(together, strength, at)
            for index, part in enumerate(parts):
                alone = _data((train[0][part], train[1][part]), validation, class_weights=weights)
                expected = _probabilities(alone, strength, at)[0]
                assert ours[index] == pytest.approx(expected, abs=_TOLERANCE[strength])

    @pytest.mark.parametrize("width", [6, 60])
    def test_all_draws_together_equal_each_alone(self, width: int) -> None:
        train, validation = (_blobs(n, classes=4, width=width, seed=seed) for seed, n in enumerate((300, 80)))
        at, _ = _blobs(300, classes=4, width=width, seed=2)
        draws = draw_labels(train[1], LabelBudget(per_class=8), 5, seed=3)
        data = _data(train, validation, draws=draws)
        together = fit_logistic_probes(data)
        answers = together.answer(at).probabilities
        assert answers.shape == (5, 300, 4)
        for index, draw in enumerate(draws):
            alone = fit_logistic_probes(replace(data, draws=draw[None]))
            assert alone.chosen == [together.chosen[index]]
            torch.testing.assert_close(alone.answer(at).probabilities[0], answers[index], atol=5e-3, rtol=0)
        assert (answers[0] - answers[1]).abs().max() > 0.01

    def test_padding_and_versions_together(self) -> None:
        """A padded draw with three versions of each sample equals the same rows without padding."""
        x, labels = _tags(40)
        rows = torch.cat([x, x + 0.3, x - 0.2])
        versions = torch.arange(120).reshape(3, 40).T
        draws = torch.stack([torch.arange(40), torch.arange(40).where(torch.arange(40) < 25, -1)])
        validation, (at, _) = _tags(30, seed=1), _tags(100, seed=2)
        ours = _probabilities(_data((rows, labels), validation, draws=draws, versions=versions), 10.0, at)[1]
        alone = _data((rows, labels), validation, draws=draws[1:, :25], versions=versions)
        assert ours == pytest.approx(_probabilities(alone, 10.0, at)[0], abs=1e-3)


class TestHardInputs:
    @pytest.mark.parametrize(("n", "width"), [(60, 10), (20, 40)])
    def test_constant_features_have_no_effect(self, n: int, width: int) -> None:
        """Their values in other rows have no effect, either."""
        (x, labels), (at, _) = _blobs(n, width=width), _blobs(100, width=width, seed=1)
        wide_x = torch.cat([x, torch.full((n, 1), 1e4), torch.zeros(n, 1), torch.full((n, 1), 0.1)], dim=1)
        wide_at = torch.cat([at, torch.tensor([[1e4, 0.0, 0.1]]).expand(100, -1)], dim=1)
        for strength in STRENGTHS:
            plain = _probabilities(_data((x, labels)), strength, at)
            scaled = strength * wide_x.shape[1] / width  # the same C
            ours = _probabilities(_data((wide_x, labels)), scaled, wide_at)
            assert ours == pytest.approx(plain, abs=_TOLERANCE[strength])

    @pytest.mark.parametrize(("n", "width"), [(60, 10), (20, 90)])
    def test_repeated_rows_and_features_equal_scikit_learn(self, n: int, width: int) -> None:
        x, labels = _blobs(n, width=width)
        x, labels = torch.cat([x, x[: n // 2]]), torch.cat([labels, labels[: n // 2]])
        at, _ = _blobs(100, width=width, seed=1)
        x, at = (torch.cat([each, each[:, :3]], dim=1) for each in (x, at))
        for strength in STRENGTHS:
            reference = _regression(*_wide(x, labels), strength, *_wide(at))
            assert _probabilities(_data((x, labels)), strength, at)[0] == pytest.approx(
                reference, abs=_TOLERANCE[strength]
            )

    @pytest.mark.parametrize("weights", ["none", "balanced"])
    @pytest.mark.parametrize(("n", "width"), [(60, 10), (20, 90)])
    def test_a_class_that_the_draw_lacks_is_never_predicted(self, n: int, width: int, weights: ClassWeights) -> None:
        train, (at, _) = _blobs(n, width=width), _blobs(100, width=width, seed=1)
        data = _data(train, classes=[*"abc", "missing"], class_weights=weights)
        for strength in STRENGTHS:
            ours = _probabilities(data, strength, at)[0]
            assert ours[:, 3].max() < 1e-6
            if weights == "none":
                reference = _regression(*_wide(*train), strength, *_wide(at))
                assert ours[:, :3] == pytest.approx(reference, abs=_TOLERANCE[strength])

    def test_a_label_of_no_sample_or_every_sample_has_no_effect(self) -> None:
        (x, labels), (at, _) = _tags(60), _tags(100, seed=1)
        more_labels = torch.cat([labels, torch.zeros(60, 1).long(), torch.ones(60, 1).long()], dim=1)
        for strength in STRENGTHS:
            ours = _probabilities(_data((x, more_labels)), strength, at)[0]
            assert ours[:, 3].max() < 1e-4
            assert ours[:, 4].min() > 1 - 1e-4
            plain = _probabilities(_data((x, labels)), strength, at)[0]
            assert ours[:, :3] == pytest.approx(plain, abs=_TOLERANCE[strength])

    def test_a_draw_may_have_one_sample(self) -> None:
        x, labels = _blobs(12)
        answers = fit_logistic_probes(_data((x, labels), draws=torch.tensor([[4], [5]]))).answer(x)
        assert answers.probabilities.isfinite().all()
        assert answers.predicted.tolist() == [[int(labels[4])] * 12, [int(labels[5])] * 12]

    def test_equal_representations_give_the_shares_of_the_classes(self) -> None:
        labels = torch.tensor([0, 0, 0, 1])
        probes = fit_logistic_probes(_data((torch.full((4, 3), 0.7), labels)), replace(WHOLE, strengths=[1.0]))
        answers = probes.answer(torch.full((1, 3), 0.7))
        assert answers.probabilities.flatten().tolist() == pytest.approx([0.75, 0.25], abs=1e-4)

    @pytest.mark.parametrize("wrong", [torch.nan, torch.inf, -torch.inf])
    def test_representations_that_are_not_finite_are_refused(self, wrong: float) -> None:
        x, labels = _blobs(20)
        x[7, 2] = wrong
        with pytest.raises(ValueError, match="not finite"):
            fit_logistic_probes(_data((x, labels)))

    def test_labels_may_be_stored_as_any_number(self) -> None:
        x, labels = _tags(40)
        small = replace(_data((x, labels)), labels=labels.to(torch.uint8), validation_labels=labels.to(torch.uint8))
        ours, reference = (fit_logistic_probes(data) for data in (small, _data((x, labels))))
        assert torch.equal(ours.answer(x).probabilities, reference.answer(x).probabilities)


class TestInvariance:
    @pytest.mark.parametrize("width", [6, 60])
    def test_the_scale_and_origin_of_a_feature_do_not_matter(self, width: int) -> None:
        (x, labels), (at, _) = _blobs(50, width=width), _blobs(100, width=width, seed=1)
        scale, origin = torch.logspace(3, -3, width), torch.linspace(-2, 2, width)
        for strength in STRENGTHS:
            plain = _probabilities(_data((x, labels)), strength, at)
            changed = _probabilities(_data((x * scale + origin, labels)), strength, at * scale + origin)
            assert changed == pytest.approx(plain, abs=5 * _TOLERANCE[strength])

    def test_the_order_of_classes_and_samples_does_not_matter(self) -> None:
        (x, labels), (at, _) = _blobs(50), _blobs(100, seed=1)
        order = torch.randperm(50, generator=torch.Generator().manual_seed(0))
        renamed = torch.tensor([2, 0, 1])
        for strength in STRENGTHS:
            plain = _probabilities(_data((x, labels)), strength, at)
            changed = _probabilities(_data((x[order], renamed[labels[order]])), strength, at)
            assert changed[..., renamed] == pytest.approx(plain, abs=_TOLERANCE[strength])


def _objective(point: Array, x: Array, targets: Array, weights: Array, c: float, half: float) -> tuple[float, Array]:
    """Return C times the summed cross-entropy plus ``half`` times the squared weights, and the gradient."""
    solution = point.reshape(targets.shape[1], -1)
    logits = x @ solution[:, :-1].T + solution[:, -1]
    logits = logits - logits.max(axis=1, keepdims=True)
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    errors = (np.exp(logs) - targets) * weights[:, None]
    value = -c * (weights * (logs * targets).sum(axis=1)).sum() + half * (solution[:, :-1] ** 2).sum()
    gradient = np.concatenate([c * errors.T @ x + 2 * half * solution[:, :-1], c * errors.sum(axis=0)[:, None]], axis=1)
    return float(value), gradient.ravel()


def _excess(train: tuple[Tensor, Tensor], strengths: Sequence[float]) -> list[float]:
    """Return each strength's excess over the optimum, as a share of the gain of fitting."""
    weight, bias = fit_path(_data(train), replace(WHOLE, strengths=strengths))
    n, width = train[0].shape
    classes = int(train[1].max()) + 1
    scaler = StandardScaler().fit(train[0].double().numpy())
    x, targets = scaler.transform(train[0].double().numpy()), np.eye(classes)[train[1].numpy()]
    shares = targets.mean(axis=0)
    excesses = []
    for index, strength in enumerate(strengths):
        ours = weight[index, 0].double().numpy()
        origin = bias[index, 0, 0].double().numpy() + scaler.mean_ @ ours
        point = np.concatenate([ours * scaler.scale_[:, None], origin[None]]).T
        half = 1.0 if classes == 2 else 0.5
        arguments = (x, targets, np.ones(n), strength / width, half)
        constant = np.concatenate([np.zeros((classes, width)), np.log(shares)[:, None]], axis=1)
        options = {"maxiter": 50_000, "maxfun": 100_000, "ftol": 1e-15, "gtol": 1e-9}
        best = optimize.minimize(_objective, point.ravel(), arguments, jac=True, method="L-BFGS-B", options=options).fun
        before, after = _objective(constant.ravel(), *arguments)[0], _objective(point.ravel(), *arguments)[0]
        assert before > best
        excesses.append((after - best) / (before - best))
    return excesses


class TestCertificate:
    """The excess over the optimum is at most a ten-millionth of the gain, and single precision may add four more.

    SciPy starts from the solution, so the decrease that it finds is the excess.
    """

    @pytest.mark.parametrize(
        ("n", "width", "classes"),
        [
            (200, 20, 3),
            (200, 20, 2),
            (60, 60, 5),
            (30, 300, 3),
            (20, 400, 5),
        ],
    )
    def test_solutions_are_within_a_ten_millionth_of_the_optimum(self, n: int, width: int, classes: int) -> None:
        train = _blobs(n, width=width, classes=classes)
        assert max(_excess(train, STRENGTHS)) < 5e-7

    @pytest.mark.parametrize("n", [60, 200])
    def test_solutions_are_near_the_optimum_at_every_strength(self, n: int) -> None:
        assert max(_excess(_blobs(n, width=40, classes=4), STRENGTHS)) < 1e-6

    def test_a_collapsed_representation_needs_few_steps(self, monkeypatch: pytest.MonkeyPatch) -> None:
        steps = []

        def counted(*arguments: Any) -> Minimum:
            minimum = minimise(*arguments)
            steps.append(minimum.steps)
            return minimum

        monkeypatch.setattr(logistic, "minimise", counted)
        fit_path(_data((torch.full((40, 8), 0.7), torch.arange(40) % 4)), replace(WHOLE, strengths=[0.1, 10.0]))
        assert len(steps) == 2
        assert max(steps) < 50


class TestReproducibility:
    @pytest.mark.parametrize("width", [6, 60])
    def test_two_fits_are_equal_to_the_last_bit(self, width: int) -> None:
        train, validation = (_blobs(n, width=width, seed=seed) for seed, n in enumerate((50, 30)))
        draws = draw_labels(train[1], LabelBudget(per_class=5), 3, seed=0)
        state = torch.get_rng_state(), np.random.get_state()[1].tolist()
        first, second = (fit_logistic_probes(_data(train, validation, draws=draws)) for _ in range(2))
        assert torch.equal(torch.get_rng_state(), state[0])
        assert np.random.get_state()[1].tolist() == state[1]
        assert first.chosen == second.chosen
        at, _ = _blobs(100, width=width, seed=2)
        assert torch.equal(first.answer(at).probabilities, second.answer(at).probabilities)

    def test_inputs_are_left_alone(self) -> None:
        data = _data(_blobs(50), _blobs(30, seed=1), selection=torch.tensor([[0, 1, -1]]))
        copies = {name: value.clone() for name, value in vars(data).items() if isinstance(value, Tensor)}
        fit_logistic_probes(data)
        assert len(copies) == 6
        assert all(torch.equal(getattr(data, name), value) for name, value in copies.items())


class TestChoice:
    """The chosen strength has the best weighted F1 on a draw's selection; ties go to the weakest penalty."""

    @pytest.mark.parametrize("multi_label", [False, True])
    @pytest.mark.parametrize("selected", [False, True])
    def test_the_best_strength_is_chosen_for_each_draw(self, selected: bool, multi_label: bool) -> None:
        make = _tags if multi_label else _blobs
        train, validation = (make(n, width=20, seed=seed) for seed, n in enumerate((200, 45)))
        draws = draw_labels(train[1], LabelBudget(per_class=6), 12, seed=0)
        selection = draw_selection(validation[1], LabelBudget(per_class=6), 12, 0, "budget") if selected else None
        data = _data(train, validation, draws=draws, selection=selection)
        weight, bias = fit_path(data)
        logits = (validation[0] @ weight + bias).numpy()  # [K, D, v, C]
        predicted = (logits > 0).astype(int) if multi_label else logits.argmax(axis=3)
        probes, ties = fit_logistic_probes(data), 0
        for draw, chosen in enumerate(probes.chosen):
            samples = torch.arange(45) if selection is None else selection[draw][selection[draw] >= 0]
            truth = validation[1][samples].numpy()
            scores = [
                f1_score(truth, row[draw][samples], average="weighted", labels=range(3), zero_division=0.0)
                for row in predicted
            ]
            best = [strength for strength, score in zip(STRENGTHS, scores, strict=True) if score > max(scores) - 1e-12]
            ties += len(best) > 1
            assert chosen == f"C={best[-1] / 20:.3g}"
        assert len(set(probes.chosen)) > 1
        if not multi_label:
            assert ties

    def test_the_answers_are_those_of_the_chosen_strength(self) -> None:
        train, validation = (_blobs(n, width=20, seed=seed) for seed, n in enumerate((200, 150)))
        draws = draw_labels(train[1], LabelBudget(per_class=6), 4, seed=0)
        data = _data(train, validation, draws=draws)
        probes = fit_logistic_probes(data)
        at, _ = _blobs(100, width=20, seed=2)
        answers = probes.answer(at).probabilities.numpy()
        names = {f"C={strength / 20:.3g}": strength for strength in STRENGTHS}
        for draw, chosen in enumerate(probes.chosen):
            alone = _probabilities(replace(data, draws=draws[draw][None]), names[chosen], at)[0]
            assert answers[draw] == pytest.approx(alone, abs=_TOLERANCE[names[chosen]])

    def test_ties_go_to_the_weakest_penalty(self) -> None:
        train, validation = (_blobs(90, distance=60.0, seed=seed) for seed in (0, 1))
        probes = fit_logistic_probes(_data(train, validation), replace(WHOLE, strengths=[1.0, 10.0, 100.0]))
        assert torch.equal(probes.answer(validation[0]).predicted[0], validation[1])
        assert probes.chosen == ["C=16.7"]

    def test_only_the_selected_samples_choose(self) -> None:
        train, validation = (_blobs(n, width=20, seed=seed) for seed, n in enumerate((60, 90)))
        selection = torch.arange(30)[None]
        data = _data(train, validation, selection=selection)
        spoiled = validation[1].clone()
        spoiled[30:] = 0
        alone = _data(train, (validation[0][:30], validation[1][:30]))
        chosen = fit_logistic_probes(data).chosen
        assert chosen == fit_logistic_probes(replace(data, validation_labels=spoiled)).chosen
        assert chosen == fit_logistic_probes(alone).chosen
        everyone = fit_logistic_probes(replace(data, validation_labels=spoiled, selection=None)).chosen
        assert everyone != chosen

    def test_predictions_are_the_most_probable_classes(self) -> None:
        train = _blobs(60)
        answers = fit_logistic_probes(_data(train)).answer(train[0])
        assert torch.equal(answers.predicted, answers.probabilities.argmax(dim=2))
        torch.testing.assert_close(answers.probabilities.sum(dim=2), torch.ones(1, 60))
        tags = _tags(60)
        answers = fit_logistic_probes(_data(tags)).answer(tags[0])
        assert torch.equal(answers.predicted, (answers.probabilities > 0.5).long())
