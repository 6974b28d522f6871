"""The linear probe: logistic regression with L2, solved to its optimum for a path of strengths (METHOD section 4).

Multinomial, or one-vs-rest where a sample may have several labels, on representations that are standardised by the
probe's own training rows. For weights W (F, C) and biases b (C,), with C_k the k-th strength, it minimises

    C_k * sum over samples of the cross-entropy of (W^T x + b)  +  1/2 * ||W||^2,

which is scikit-learn's ``LogisticRegression``, the oracle of the tests; for two classes it is the binary problem, as
there. The problem is convex, so nothing is left to a seed, a learning rate or a number of epochs.

Three things make it cheap. All draws are solved together. Each strength starts from the solution of the one before,
which is more strongly regularised. And the problem is turned into the coordinates of the principal components of a
draw's rows, where its curvature is nearly diagonal; where there are fewer samples than features, these span all that
the solution can lie in (the representer theorem: Schölkopf, Herbrich and Smola 2001), so that nothing is lost.

A sample with several versions counts once, its versions equally: what training on one at random does on average.

Legend: n samples, F width, C classes, D label draws, s labelled samples per draw, V versions of a sample, r rows of a
draw (s times V), p principal components, K strengths, v validation samples.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from conclugen.evaluation.choice import choose
from conclugen.evaluation.classification import Answers, class_weights_of
from conclugen.evaluation.draws import LabelledDraws
from conclugen.evaluation.minimise import minimise

__all__ = ["STRENGTHS", "LogisticProbes", "fit_logistic_probes"]

STRENGTHS = (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)
"""The grid: C = strength / F. The mean squared norm of standardised rows is F, so that the grid suits any width."""
_EXCESS = 1e-6  # of all that fitting gains; then predictions are those of scikit-learn's optimum (LOG.md)
_NEGLIGIBLE = 1e-9  # of the largest principal component's variance: rounding error of single precision
_LEAST_CURVATURE = 1e-6  # of a logit; keeps the scale finite where a fit is certain of every sample


class LogisticProbes:
    """D linear classifiers, with one strength chosen for each.

    Args:
        weight: (D, F, C), of representations as they are: standardisation is part of it.
        bias: (D, 1, C).
        strengths: that were chosen, in units of the grid, (D,).
        multi_label: classes do not exclude each other.
    """

    def __init__(self, weight: Tensor, bias: Tensor, strengths: Sequence[float], *, multi_label: bool) -> None:
        self._weight, self._bias, self._multi_label = weight, bias, multi_label
        self.chosen = [f"C={strength / weight.shape[1]:.3g}" for strength in strengths]

    def answer(self, x: Tensor) -> Answers:
        """Answer about representations (n, F)."""
        logits = x @ self._weight + self._bias  # [D, n, C]
        return Answers.of(logits.mT, multi_label=self._multi_label)


def fit_logistic_probes(data: LabelledDraws, strengths: Sequence[float] = STRENGTHS) -> LogisticProbes:
    """Fit every draw at every strength, and keep of each draw the strength that is best on its validation samples.

    Args:
        data: what to learn from, and what chooses.
        strengths: ascending, in units of 1 / F.

    Raises:
        ValueError: a representation is not finite.
    """
    weight, bias = fit_path(data, strengths)  # [K, D, F, C], [K, D, 1, C]
    k, d, width, classes = weight.shape
    flat = weight.permute(2, 0, 1, 3).reshape(width, -1)  # one product for all, without copies of the rows
    logits = (data.validation_x @ flat).view(-1, k, d, classes).permute(1, 2, 3, 0) + bias.mT  # [K, D, C, v]
    predicted = torch.stack([Answers.of(one, multi_label=data.multi_label).predicted for one in logits])
    best = k - 1 - choose(predicted.flip(0), data)  # the weakest penalty, the least smoothing, first
    chosen = [strengths[place] for place in best.tolist()]
    at = best.to(weight.device), torch.arange(d, device=weight.device)
    return LogisticProbes(weight[at], bias[at], chosen, multi_label=data.multi_label)


def fit_path(data: LabelledDraws, strengths: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Return weights (K, D, F, C) and biases (K, D, 1, C) at every strength.

    Each is within a millionth of its optimum: of all by which fitting lowers the objective from that of the best
    constant answer. That is certain, not estimated, as the penalty makes the objective strongly convex in the weights.

    Args:
        data: what to learn from.
        strengths: ascending, in units of 1 / F.

    Raises:
        ValueError: a representation is not finite.
    """
    rows, mean, deviation = _standardised(data)
    components = _Components.of(rows)
    problem = _Problem.of(data, components.coordinates)
    point = start = problem.best_constant()
    points = []
    for strength in strengths:
        penalty = problem.penalty(strength / rows.shape[2])
        point = problem.solve(penalty, point, start)
        points.append(point)
    solved = torch.stack(points).view(len(points), len(point), len(data.classes), -1).mT  # [K, D, p + 1, C]
    weight = components.weights(solved[:, :, :-1]) / deviation.mT  # [K, D, F, C]
    return weight, solved[:, :, -1:] - mean @ weight


def _standardised(data: LabelledDraws) -> tuple[Tensor, Tensor, Tensor]:
    """Each draw's rows (D, r, F), standardised and 0 at padding; mean and standard deviation (D, 1, F) of each draw."""
    x = data.x
    rows = x[data.rows.flatten(1).to(x.device)]
    counted = _repeated(data.present, data).to(x.device, x.dtype)[..., None]  # [D, r, 1]
    number = counted.sum(dim=1, keepdim=True)
    mean = (rows * counted).sum(dim=1, keepdim=True) / number
    rows = (rows - mean) * counted
    deviation = (rows.square().sum(dim=1, keepdim=True) / number).sqrt()
    if not bool(deviation.isfinite().all()):
        raise ValueError("a representation is not finite; the head, or the features, hold NaN or infinity.")
    constant = deviation <= 10 * torch.finfo(x.dtype).eps * mean.abs()
    deviation = torch.where(constant, 1, deviation)
    return torch.where(constant, 0, rows) / deviation, mean, deviation


def _repeated(of_samples: Tensor, data: LabelledDraws) -> Tensor:
    """(D, s, ...) -> (D, r, ...): what holds of a sample holds of each of its versions."""
    return of_samples.repeat_interleave(data.rows.shape[2], dim=1)


@dataclass(frozen=True)
class _Components:
    """The principal components of each draw's rows.

    Attributes:
        coordinates: (D, r, p) of the rows.
    """

    coordinates: Tensor
    _rows: Tensor
    _basis: Tensor

    @classmethod
    def of(cls, rows: Tensor) -> "_Components":
        """Find those of ``rows`` (D, r, F), by the smaller of the two matrices of their products."""
        if rows.shape[1] >= rows.shape[2]:
            _, basis = torch.linalg.eigh(rows.mT @ rows)  # [D, F, F]
            return cls(rows @ basis, rows, basis)
        # The weights are combinations of rows: rows^T @ basis @ solution.
        squares, vectors = torch.linalg.eigh((rows @ rows.mT).double())  # [D, r], [D, r, r]
        real = (squares > _NEGLIGIBLE * squares[:, -1:])[:, None]
        sizes = torch.where(real, squares.clamp(min=0)[:, None].sqrt(), 1)
        coordinates = torch.where(real, vectors * sizes, 0)
        return cls(coordinates.to(rows.dtype), rows, torch.where(real, vectors / sizes, 0).to(rows.dtype))

    def weights(self, solutions: Tensor) -> Tensor:
        """Turn solutions (K, D, p, C) into weights (K, D, F, C) of standardised features."""
        weights = self._basis @ solutions
        return weights if self._basis.shape[1] == self._rows.shape[2] else self._rows.mT @ weights


@dataclass(frozen=True)
class _Problem:
    """What is minimised, over points (D, C * (p + 1)): for each class the weights of the components, then the bias.

    Attributes:
        rows: (D, r, p + 1) coordinates, and a 1 for the bias.
        targets: (D, C, r) of 0 and 1.
        weights: (D, C, r) of each row's loss: means over the samples of a draw are sums with these.
        samples: (D, 1) of each draw.
        variances: (D, p + 1) mean square of each coordinate.
        multi_label: classes do not exclude each other.
    """

    rows: Tensor
    targets: Tensor
    weights: Tensor
    samples: Tensor
    variances: Tensor
    multi_label: bool

    @classmethod
    def of(cls, data: LabelledDraws, coordinates: Tensor) -> "_Problem":
        """Pose the problem of ``data`` in ``coordinates`` (D, r, p)."""
        device, dtype, classes = coordinates.device, coordinates.dtype, len(data.classes)
        labels = data.labels[data.samples]  # [D, s] or [D, s, C]
        present = data.present.to(dtype)
        class_weights = class_weights_of(labels, classes, data.class_weights, present)  # [D, C]
        targets = (labels if data.multi_label else functional.one_hot(labels, classes)).to(dtype)  # [D, s, C]
        if data.multi_label:
            weights = torch.where(targets > 0, class_weights[:, None], 1)
        else:
            weights = class_weights.gather(1, labels)[..., None].expand_as(targets)
        samples = present.sum(dim=1, keepdim=True)  # [D, 1]
        weights = weights * present[..., None] / (samples[..., None] * data.rows.shape[2])  # [D, s, C]
        rows = torch.cat([coordinates, coordinates.new_ones(*coordinates.shape[:2], 1)], dim=2)
        counted = _repeated(present, data).to(device)[..., None]
        variances = (rows.square() * counted).sum(dim=1) / counted.sum(dim=1)
        targets, weights = (_repeated(each, data).mT.contiguous().to(device) for each in (targets, weights))
        return cls(rows, targets, weights, samples.to(device), variances, data.multi_label)

    def penalty(self, strength: float) -> Tensor:
        """(D, 1): what the mean loss is weighed against, for scikit-learn's C.

        With two exclusive classes, scikit-learn has one vector of weights w, and here are two, w / 2 and -w / 2: half
        the squares, so the penalty doubles.
        """
        twice = 2 if not self.multi_label and self.targets.shape[1] == 2 else 1
        return twice / (strength * self.samples)

    def best_constant(self) -> Tensor:
        """The point (D, C * (p + 1)) without weights whose biases fit best."""
        shares = (self.weights * self.targets).sum(dim=2) / self.weights.sum(dim=2)  # [D, C]
        shares = shares.clamp(torch.finfo(shares.dtype).tiny, 1 - torch.finfo(shares.dtype).eps)
        bias = shares.logit() if self.multi_label else shares.log()
        weights = bias.new_zeros(*bias.shape, self.rows.shape[2] - 1)
        return torch.cat([weights, bias[..., None]], dim=2).flatten(1)

    def solve(self, penalty: Tensor, near: Tensor, constant: Tensor) -> Tensor:
        """Return the minimum, looked for from ``near`` on; ``constant`` is what its gain is measured from."""
        before, _ = self.objective(constant, penalty)

        def done(value: Tensor, gradient: Tensor) -> Tensor:
            # A strongly convex function is above its minimum by ||gradient||^2 / (2 * penalty) at most.
            excess = gradient.square().sum(dim=1) / (2 * penalty[:, 0])
            return excess <= _EXCESS * (before - value)

        return minimise(lambda point: self.objective(point, penalty), near, self._scale(near, penalty), done).point

    def objective(self, point: Tensor, penalty: Tensor) -> tuple[Tensor, Tensor]:
        """Values (D,) and gradients (D, C * (p + 1)): the weighted mean loss and half the penalty times the squares."""
        solution = self._unflat(point)
        logits = solution @ self.rows.mT  # [D, C, r]
        if self.multi_label:
            losses = functional.softplus(logits) - logits * self.targets
            errors = logits.sigmoid() - self.targets
        else:
            logs = logits.log_softmax(dim=1)
            losses = -logs * self.targets
            errors = logs.exp() - self.targets
        penalised = penalty[..., None] * solution
        penalised[..., -1] = 0
        value = (losses * self.weights).sum(dim=(1, 2)) + (penalised * solution).sum(dim=(1, 2)) / 2
        gradient = (errors * self.weights) @ self.rows + penalised
        return value, gradient.flatten(1)

    def _scale(self, point: Tensor, penalty: Tensor) -> Tensor:
        """About the inverse curvature (D, C * (p + 1)) near a point: that of a component is its variance's part."""
        logits = self._unflat(point) @ self.rows.mT
        shares = logits.sigmoid() if self.multi_label else logits.softmax(dim=1)
        curvature = (shares * (1 - shares) * self.weights).sum(dim=2) / self.weights.sum(dim=2)  # [D, C]
        curvature = curvature.mean(dim=1, keepdim=True).clamp(min=_LEAST_CURVATURE)  # [D, 1]
        diagonal = curvature * self.variances + penalty
        diagonal[:, -1:] = curvature
        return (1 / diagonal)[:, None].expand(-1, self.targets.shape[1], -1).flatten(1)

    def _unflat(self, point: Tensor) -> Tensor:
        return point.view(len(point), self.targets.shape[1], -1)  # [D, C, p + 1]
