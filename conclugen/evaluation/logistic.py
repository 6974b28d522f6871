"""The linear probe: logistic regression with L2, solved to its optimum for a path of strengths (METHOD section 4).

Multinomial, or one-vs-rest where a sample may have several labels, on representations that are standardised by the
probe's own training rows. For weights W (F, C) and biases b (C,), with C_k the k-th strength, it minimises

    C_k * sum over samples of the cross-entropy of (W^T x + b)  +  1/2 * ||W||^2,

which is scikit-learn's ``LogisticRegression``, the oracle of the tests; for two classes it is the binary problem, as
there. The problem is convex, so nothing is left to a seed, a learning rate or a number of epochs.

Three things make it cheap. All draws are solved together. Each strength starts from the solution of the one before,
which is more strongly regularised. And weights are looked for where it costs least. With many samples that is in the
coordinates of their principal components, where the curvature is nearly diagonal. With few, it is among the sums of the
samples themselves, to which the solution belongs (the representer theorem: Schölkopf, Herbrich and Smola 2001): then
only the samples' products with each other are needed, once a step, and features are not looked at again.

A sample with several versions counts once, its versions equally: what training on one at random does on average.

Legend: n samples, F width, C classes, D label draws, s labelled samples per draw, V versions of a sample, r rows of a
draw (s times V), p unknowns of a class beside its bias, K strengths, v validation samples.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from conclugen.evaluation.choice import choose
from conclugen.evaluation.classification import Answers, class_weights_of
from conclugen.evaluation.draws import LabelledDraws
from conclugen.evaluation.minimise import inner, minimise

__all__ = ["BRIEF", "STRENGTHS", "WHOLE", "LogisticProbes", "Precision", "fit_logistic_probes"]

STRENGTHS = (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)
"""The grid: C = strength / F. The mean squared norm of standardised rows is F, so that the grid suits any width."""
_ROUNDING = 4  # a gradient is nothing but rounding error below so many units in the last place of a row
_LEAST_CURVATURE = 1e-6  # of a logit; keeps the scale finite where a fit is certain of every sample


@dataclass(frozen=True)
class Precision:
    """How much of the path is solved, and how well.

    Attributes:
        strengths: ascending, in units of 1 / F.
        excess: over the optimum that is left, as a share of all that fitting gains over the best constant answer.
    """

    strengths: Sequence[float]
    excess: float


WHOLE = Precision(STRENGTHS, 1e-7)
"""Predictions are those of the optimum (LOG.md)."""
BRIEF = Precision(STRENGTHS[:4], 1e-4)
"""Enough to tell representations apart: the weakest penalties, and the last digits, cost most of the path."""


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


def fit_logistic_probes(data: LabelledDraws, precision: Precision = WHOLE) -> LogisticProbes:
    """Fit every draw at every strength, and keep of each draw the strength that is best on its validation samples.

    Args:
        data: what to learn from, and what chooses.
        precision: see there.

    Raises:
        ValueError: a representation is not finite.
    """
    weight, bias = fit_path(data, precision)  # [K, D, F, C], [K, D, 1, C]
    k, d, width, classes = weight.shape
    flat = weight.permute(2, 0, 1, 3).reshape(width, -1)  # one product for all, without copies of the rows
    logits = (data.validation_x @ flat).view(-1, k, d, classes).permute(1, 2, 3, 0) + bias.mT  # [K, D, C, v]
    predicted = torch.stack([Answers.of(one, multi_label=data.multi_label).predicted for one in logits])
    best = k - 1 - choose(predicted.flip(0), data)  # the weakest penalty, the least smoothing, first
    chosen = [precision.strengths[place] for place in best.tolist()]
    at = best.to(weight.device), torch.arange(d, device=weight.device)
    return LogisticProbes(weight[at], bias[at], chosen, multi_label=data.multi_label)


def fit_path(data: LabelledDraws, precision: Precision = WHOLE) -> tuple[Tensor, Tensor]:
    """Return weights (K, D, F, C) and biases (K, D, 1, C) at every strength.

    What is left of the excess over the optimum is bounded, not guessed: the penalty makes the objective strongly convex
    in the weights. The biases, which are not penalised, are judged by the curvature of the loss.

    Args:
        data: what to learn from.
        precision: see there.

    Raises:
        ValueError: a representation is not finite.
    """
    rows, mean, deviation = _standardised(data)
    problem = _Problem.of(data)
    space = _Sums.of(rows, problem) if rows.shape[1] < 2 * rows.shape[2] else _Components.of(rows, problem)
    start = space.vector(problem.best_constant())
    point, points = start, []
    for strength in precision.strengths:
        point = _solve(space, problem.penalty(strength / rows.shape[2]), point, start, precision.excess)
        points.append(point)
    solved = torch.stack(points)[:, :, 0].view(len(points), len(point), len(data.classes), -1).mT  # [K, D, p + 1, C]
    weight = space.weights(solved[:, :, :-1]) / deviation.mT  # [K, D, F, C]
    return weight, solved[:, :, -1:] - mean @ weight


def _solve(space: "_Sums | _Components", penalty: Tensor, near: Tensor, constant: Tensor, allowed: float) -> Tensor:
    """Return the minimum, looked for from ``near`` on; ``constant`` is what its gain is measured from."""
    before, _ = space.objective(constant, penalty)
    scale, classes = space.scale(near, penalty), space.problem.targets.shape[1]
    of_bias = scale.view(len(scale), classes, -1)[:, 0, -1]  # [D] about the inverse curvature
    rounding = (_ROUNDING * torch.finfo(near.dtype).eps) ** 2 * (1 + space.size)  # of a squared gradient

    def done(value: Tensor, gradient: Tensor) -> Tensor:
        # A strongly convex function is above its minimum by ||gradient||^2 / (2 * convexity) at most.
        whole = inner(gradient, gradient)
        bias = gradient[:, 0].view(len(gradient), classes, -1)[..., -1].square().sum(dim=1)
        excess = (whole - bias) / (2 * penalty[:, 0]) + bias * torch.maximum(of_bias, 1 / penalty[:, 0]) / 2
        return (excess <= allowed * (before - value)) | (whole <= rounding)

    return minimise(lambda point: space.objective(point, penalty), near, scale, done).point


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
        raise ValueError("a representation is not finite, or too large to be standardised.")
    constant = deviation <= 10 * torch.finfo(x.dtype).eps * mean.abs()
    deviation = torch.where(constant, 1, deviation)
    return torch.where(constant, 0, rows) / deviation, mean, deviation


def _repeated(of_samples: Tensor, data: LabelledDraws) -> Tensor:
    """(D, s, ...) -> (D, r, ...): what holds of a sample holds of each of its versions."""
    return of_samples.repeat_interleave(data.rows.shape[2], dim=1)


@dataclass(frozen=True)
class _Problem:
    """What is learned, whatever the weights are written in.

    Attributes:
        targets: (D, C, r) of 0 and 1.
        shares: (D, C, r) of each row's loss: means over the samples of a draw are sums with these.
        samples: (D, 1) of each draw.
        multi_label: classes do not exclude each other.
    """

    targets: Tensor
    shares: Tensor
    samples: Tensor
    multi_label: bool

    @classmethod
    def of(cls, data: LabelledDraws) -> "_Problem":
        """Pose the problem of ``data``, on the device of its representations."""
        device, dtype, classes = data.x.device, data.x.dtype, len(data.classes)
        labels = data.labels[data.samples]  # [D, s] or [D, s, C]
        present = data.present.to(dtype)
        class_weights = class_weights_of(labels, classes, data.class_weights, present)  # [D, C]
        targets = (labels if data.multi_label else functional.one_hot(labels, classes)).to(dtype)  # [D, s, C]
        if data.multi_label:
            weights = torch.where(targets > 0, class_weights[:, None], 1)
        else:
            weights = class_weights.gather(1, labels)[..., None].expand_as(targets)
        samples = present.sum(dim=1, keepdim=True)  # [D, 1]
        shares = weights * present[..., None] / (samples[..., None] * data.rows.shape[2])  # [D, s, C]
        targets, shares = (_repeated(each, data).mT.contiguous().to(device) for each in (targets, shares))
        return cls(targets, shares, samples.to(device), data.multi_label)

    def penalty(self, strength: float) -> Tensor:
        """(D, 1): what the mean loss is weighed against, for scikit-learn's C.

        With two exclusive classes, scikit-learn has one vector of weights w, and here are two, w / 2 and -w / 2: half
        the squares, so the penalty doubles.
        """
        twice = 2 if not self.multi_label and self.targets.shape[1] == 2 else 1
        return twice / (strength * self.samples)

    def best_constant(self) -> Tensor:
        """(D, C): the biases that fit best without weights."""
        shares = (self.shares * self.targets).sum(dim=2) / self.shares.sum(dim=2)
        shares = shares.clamp(torch.finfo(shares.dtype).tiny, 1 - torch.finfo(shares.dtype).eps)
        return shares.logit() if self.multi_label else shares.log()

    def loss(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Mean losses (D,) of logits (D, C, r), and their derivatives by the logits."""
        if self.multi_label:
            losses = functional.softplus(logits * (1 - 2 * self.targets))
            errors = logits.sigmoid() - self.targets
        else:
            logs = logits.log_softmax(dim=1)
            losses = -logs * self.targets
            errors = logs.exp() - self.targets
        return (losses * self.shares).sum(dim=(1, 2)), errors * self.shares

    def curvature(self, logits: Tensor) -> Tensor:
        """(D, 1): mean second derivative of the loss by a logit (D, C, r)."""
        likely = logits.sigmoid() if self.multi_label else logits.softmax(dim=1)
        mean = (likely * (1 - likely) * self.shares).sum(dim=(1, 2)) / self.shares.sum(dim=(1, 2))
        return mean.clamp(min=_LEAST_CURVATURE)[:, None]


@dataclass(frozen=True)
class _Components:
    """Weights in the coordinates of the principal components of each draw's rows.

    A vector (D, 1, C * (p + 1)) holds for each class the weights, then the bias.

    Attributes:
        rows: (D, r, p + 1) in these coordinates, and a 1 for the bias.
        squares: (D, p) mean square of each coordinate.
        basis: (D, F, p) the components.
        problem: what is learned.
    """

    rows: Tensor
    squares: Tensor
    basis: Tensor
    problem: _Problem

    @classmethod
    def of(cls, rows: Tensor, problem: _Problem) -> "_Components":
        """Find the components of ``rows`` (D, r, F)."""
        squares, basis = torch.linalg.eigh(rows.mT @ rows)  # [D, F], [D, F, F]
        turned = torch.cat([rows @ basis, rows.new_ones(*rows.shape[:2], 1)], dim=2)
        return cls(turned, squares.clamp(min=0) / rows.shape[1], basis, problem)

    @property
    def size(self) -> Tensor:
        """(D,): mean square norm of a row."""
        return self.squares.sum(dim=1)

    def vector(self, bias: Tensor) -> Tensor:
        """The vector of these biases (D, C), and no weights."""
        return _with_bias(bias.new_zeros(*bias.shape, self.basis.shape[2]), bias)[:, None]

    def objective(self, point: Tensor, penalty: Tensor) -> tuple[Tensor, Tensor]:
        """Values (D,) and gradients: the mean loss and half the penalty times the squares of the weights."""
        solution = self._of_class(point)
        loss, errors = self.problem.loss(solution @ self.rows.mT)
        penalised = penalty[..., None] * solution
        penalised[..., -1] = 0
        gradient = errors @ self.rows + penalised
        return loss + (penalised * solution).sum(dim=(1, 2)) / 2, gradient.flatten(1)[:, None]

    def scale(self, point: Tensor, penalty: Tensor) -> Tensor:
        """About the inverse curvature (D, 1, C * (p + 1)) near a point."""
        curvature = self.problem.curvature(self._of_class(point) @ self.rows.mT)
        inverse = 1 / torch.cat([curvature * self.squares + penalty, curvature], dim=1)  # [D, p + 1]
        return inverse.repeat(1, self.problem.targets.shape[1])[:, None]

    def weights(self, solutions: Tensor) -> Tensor:
        """Turn solutions (K, D, p, C) into weights (K, D, F, C) of standardised features."""
        return self.basis @ solutions

    def _of_class(self, point: Tensor) -> Tensor:
        return point.view(len(point), self.problem.targets.shape[1], -1)  # [D, C, p + 1]


@dataclass(frozen=True)
class _Sums:
    """Weights as sums of each draw's rows: W = rows^T A, for which only the rows' products with each other count.

    A vector (D, 2, C * (r + 1)) holds for each class the shares A, then the bias; and the same with the shares' image
    under the products, which is what the rows' logits are without the bias.

    Attributes:
        rows: (D, r, F).
        products: (D, r, r) of the rows with each other.
        problem: what is learned.
    """

    rows: Tensor
    products: Tensor
    problem: _Problem

    @classmethod
    def of(cls, rows: Tensor, problem: _Problem) -> "_Sums":
        """Multiply ``rows`` (D, r, F) with each other."""
        return cls(rows, rows @ rows.mT, problem)

    @property
    def size(self) -> Tensor:
        """(D,): mean square norm of a row."""
        return self.products.diagonal(dim1=1, dim2=2).mean(dim=1)

    def vector(self, bias: Tensor) -> Tensor:
        """The vector of these biases (D, C), and no weights."""
        vector = _with_bias(bias.new_zeros(*bias.shape, self.rows.shape[1]), bias)
        return torch.stack([vector, vector], dim=1)

    def objective(self, point: Tensor, penalty: Tensor) -> tuple[Tensor, Tensor]:
        """Values (D,) and gradients: the mean loss and half the penalty times the squares of the weights."""
        shares, image, bias = self._parts(point)
        loss, errors = self.problem.loss(image + bias)
        value = loss + penalty[:, 0] * (shares * image).sum(dim=(1, 2)) / 2
        by_bias = errors.sum(dim=2)
        gradient = _with_bias(errors + penalty[..., None] * shares, by_bias)
        gradient_image = _with_bias(errors @ self.products + penalty[..., None] * image, by_bias)
        return value, torch.stack([gradient, gradient_image], dim=1)

    def scale(self, point: Tensor, penalty: Tensor) -> Tensor:
        """About the inverse curvature (D, 1, C * (r + 1)) near a point, the same for all shares."""
        _, image, bias = self._parts(point)
        curvature = self.problem.curvature(image + bias)
        of_shares = (1 / (curvature * self.size[:, None] + penalty)).expand(-1, self.rows.shape[1])
        inverse = torch.cat([of_shares, 1 / curvature], dim=1)
        return inverse.repeat(1, self.problem.targets.shape[1])[:, None]

    def weights(self, solutions: Tensor) -> Tensor:
        """Turn solutions (K, D, r, C) into weights (K, D, F, C) of standardised features."""
        return self.rows.mT @ solutions

    def _parts(self, point: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Shares and image (D, C, r), and bias (D, C, 1)."""
        both = point.view(len(point), 2, self.problem.targets.shape[1], -1)
        return both[:, 0, :, :-1], both[:, 1, :, :-1], both[:, 0, :, -1:]


def _with_bias(of_class: Tensor, bias: Tensor) -> Tensor:
    """(D, C, p) and (D, C) -> (D, C * (p + 1))."""
    return torch.cat([of_class, bias[..., None]], dim=2).flatten(1)
