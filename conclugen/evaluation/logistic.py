"""The linear probe: L2 logistic regression, solved to its optimum at several strengths (docs/method.md, section 4).

The regression is multinomial, or one-vs-rest if a sample may have several labels. Representations are standardised by
the draw's training rows. For weights W (F, C), biases b (C,) and the k-th strength C_k, the probe minimises

    C_k * sum over samples of the cross-entropy of (W^T x + b)  +  1/2 * ||W||^2.

This is scikit-learn's ``LogisticRegression``, the oracle of the tests. As there, two classes make the binary problem.
The problem is convex, so the result depends on no seed, learning rate or number of epochs.

Three things make it cheap. All draws are solved together. Each strength starts from the solution of the strength
before, which regularises more. The weights use the cheaper one of two parametrisations. With many samples, they are
coordinates along the principal components, where the curvature is nearly diagonal. With few samples, they are sums of
the samples, as the solution is (the representer theorem: Schölkopf, Herbrich and Smola 2001). A step then needs only
the samples' products with each other, and never the features.

A sample counts once, with equal shares for its versions. That is the average of training on a random version.

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
"""The grid: C = strength / F. The mean squared norm of standardised rows is F, so the grid suits any width."""
_ROUNDING = 4  # units in the last place of a row; a smaller gradient is only rounding error
_LEAST_CURVATURE = 1e-6  # of the loss by a logit; keeps the scale finite if a fit is certain of every sample


@dataclass(frozen=True)
class Precision:
    """Strengths to solve, and the precision of the solutions.

    Attributes:
        strengths: strengths of the path, ascending, in units of 1 / F.
        excess: allowed excess over the optimum, as a share of the gain of fitting over the best constant answer.
    """

    strengths: Sequence[float]
    excess: float


WHOLE = Precision(STRENGTHS, 1e-7)
"""Precision at which predictions are those of the optimum (docs/decisions/instrument.md)."""
BRIEF = Precision(STRENGTHS[:4], 1e-4)
"""Precision that suffices to compare representations; it leaves out the weakest penalties and the last digits, which
cost most."""


class LogisticProbes:
    """D linear classifiers, each with its chosen strength.

    Args:
        weight: (D, F, C), for raw representations; it includes the standardisation.
        bias: (D, 1, C).
        strengths: (D,) chosen strengths, in units of the grid.
        multi_label: whether samples may have several labels.
    """

    def __init__(self, weight: Tensor, bias: Tensor, strengths: Sequence[float], *, multi_label: bool) -> None:
        self._weight = weight
        self._bias = bias
        self._multi_label = multi_label
        self.chosen = [f"C={strength / weight.shape[1]:.3g}" for strength in strengths]

    def answer(self, x: Tensor) -> Answers:
        """Return the answers for representations (n, F)."""
        logits = x @ self._weight + self._bias  # [D, n, C]
        return Answers.of(logits.mT, multi_label=self._multi_label)


def fit_logistic_probes(data: LabelledDraws, precision: Precision = WHOLE) -> LogisticProbes:
    """Fit every draw at every strength, and choose for each draw the strength that is best on its validation samples.

    Args:
        data: the draws.
        precision: see :class:`Precision`.

    Raises:
        ValueError: a representation is not finite.
    """
    weight, bias = fit_path(data, precision)  # [K, D, F, C], [K, D, 1, C]
    k, d, width, classes = weight.shape
    flat = weight.permute(2, 0, 1, 3).reshape(width, -1)  # one product for all classifiers, without copies of the rows
    logits = (data.validation_x @ flat).view(-1, k, d, classes).permute(1, 2, 3, 0) + bias.mT  # [K, D, C, v]
    predicted = torch.stack([Answers.of(one, multi_label=data.multi_label).predicted for one in logits])
    best = k - 1 - choose(predicted.flip(0), data)  # the weakest penalty, which smooths least, first
    strengths = [precision.strengths[place] for place in best.tolist()]
    places = best.to(weight.device), torch.arange(d, device=weight.device)
    return LogisticProbes(weight[places], bias[places], strengths, multi_label=data.multi_label)


def fit_path(data: LabelledDraws, precision: Precision = WHOLE) -> tuple[Tensor, Tensor]:
    """Return weights (K, D, F, C) and biases (K, D, 1, C) at every strength.

    The excess over the optimum is bounded, because the penalty makes the objective strongly convex in the weights. The
    biases are not penalised; the curvature of the loss estimates their part.

    Args:
        data: the draws.
        precision: see :class:`Precision`.

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
    solutions = torch.stack(points)[:, :, 0].view(len(points), len(point), len(data.classes), -1).mT  # [K, D, p + 1, C]
    weight = space.weights(solutions[:, :, :-1]) / deviation.mT  # [K, D, F, C]
    return weight, solutions[:, :, -1:] - mean @ weight


def _solve(space: "_Sums | _Components", penalty: Tensor, guess: Tensor, constant: Tensor, share: float) -> Tensor:
    """Return the minimum, searched from ``guess``, up to a ``share`` of the gain over the point ``constant``."""
    before, _ = space.objective(constant, penalty)
    scale = space.scale(guess, penalty)
    classes = space.problem.targets.shape[1]
    bias_scale = scale.view(len(scale), classes, -1)[:, 0, -1]  # [D] about the inverse curvature
    rounding = (_ROUNDING * torch.finfo(guess.dtype).eps) ** 2 * (1 + space.size)  # of a squared gradient

    def done(value: Tensor, gradient: Tensor) -> Tensor:
        # A strongly convex function exceeds its minimum by at most ||gradient||^2 / (2 * convexity).
        squared_norm = inner(gradient, gradient)
        bias = gradient[:, 0].view(len(gradient), classes, -1)[..., -1].square().sum(dim=1)
        excess = (squared_norm - bias) / (2 * penalty[:, 0]) + bias * torch.maximum(bias_scale, 1 / penalty[:, 0]) / 2
        return (excess <= share * (before - value)) | (squared_norm <= rounding)

    return minimise(lambda point: space.objective(point, penalty), guess, scale, done).point


def _standardised(data: LabelledDraws) -> tuple[Tensor, Tensor, Tensor]:
    """Return each draw's standardised rows (D, r, F), 0 at padding, and its mean and standard deviation (D, 1, F)."""
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


def _repeated(values: Tensor, data: LabelledDraws) -> Tensor:
    """Repeat values of samples (D, s, ...) for their versions, (D, r, ...)."""
    return values.repeat_interleave(data.rows.shape[2], dim=1)


@dataclass(frozen=True)
class _Problem:
    """The learning problem, independent of the parametrisation of the weights.

    Attributes:
        targets: (D, C, r) of 0 and 1.
        shares: (D, C, r) weights of each row's loss, with which sums over rows are means over a draw's samples.
        samples: (D, 1) number of samples of each draw.
        multi_label: whether samples may have several labels.
    """

    targets: Tensor
    shares: Tensor
    samples: Tensor
    multi_label: bool

    @classmethod
    def of(cls, data: LabelledDraws) -> "_Problem":
        """Return the problem of ``data``, on the device of its representations."""
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
        """Return the penalty (D, 1) of the mean loss that corresponds to scikit-learn's C.

        With two exclusive classes, scikit-learn has one vector of weights w, and this problem has two, w / 2 and
        -w / 2. Their squares sum to half of that of w, so the penalty doubles.
        """
        factor = 2 if not self.multi_label and self.targets.shape[1] == 2 else 1
        return factor / (strength * self.samples)

    def best_constant(self) -> Tensor:
        """Return the biases (D, C) that fit best without weights."""
        shares = (self.shares * self.targets).sum(dim=2) / self.shares.sum(dim=2)
        shares = shares.clamp(torch.finfo(shares.dtype).tiny, 1 - torch.finfo(shares.dtype).eps)
        return shares.logit() if self.multi_label else shares.log()

    def loss(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean losses (D,) of logits (D, C, r), and their derivatives by the logits."""
        if self.multi_label:
            losses = functional.softplus(logits * (1 - 2 * self.targets))
            errors = logits.sigmoid() - self.targets
        else:
            logs = logits.log_softmax(dim=1)
            losses = -logs * self.targets
            errors = logs.exp() - self.targets
        return (losses * self.shares).sum(dim=(1, 2)), errors * self.shares

    def curvature(self, logits: Tensor) -> Tensor:
        """Return the mean second derivative (D, 1) of the loss by a logit (D, C, r)."""
        p = logits.sigmoid() if self.multi_label else logits.softmax(dim=1)
        mean = (p * (1 - p) * self.shares).sum(dim=(1, 2)) / self.shares.sum(dim=(1, 2))
        return mean.clamp(min=_LEAST_CURVATURE)[:, None]


@dataclass(frozen=True)
class _Components:
    """Weights in the coordinates of the principal components of each draw's rows.

    A vector (D, 1, C * (p + 1)) holds the weights of each class, followed by its bias.

    Attributes:
        rows: (D, r, p + 1) rows in these coordinates, and a 1 for the bias.
        squares: (D, p) mean square of each coordinate.
        basis: (D, F, p) components.
        problem: the learning problem.
    """

    rows: Tensor
    squares: Tensor
    basis: Tensor
    problem: _Problem

    @classmethod
    def of(cls, rows: Tensor, problem: _Problem) -> "_Components":
        """Compute the components of ``rows`` (D, r, F)."""
        squares, basis = torch.linalg.eigh(rows.mT @ rows)  # [D, F], [D, F, F]
        coordinates = torch.cat([rows @ basis, rows.new_ones(*rows.shape[:2], 1)], dim=2)
        return cls(coordinates, squares.clamp(min=0) / rows.shape[1], basis, problem)

    @property
    def size(self) -> Tensor:
        """The mean square norm of a row, (D,)."""
        return self.squares.sum(dim=1)

    def vector(self, bias: Tensor) -> Tensor:
        """Return the vector with these biases (D, C) and zero weights."""
        return _with_bias(bias.new_zeros(*bias.shape, self.basis.shape[2]), bias)[:, None]

    def objective(self, point: Tensor, penalty: Tensor) -> tuple[Tensor, Tensor]:
        """Return values (D,) and gradients of the mean loss plus half the penalty times the squared weights."""
        solution = self._of_class(point)
        loss, errors = self.problem.loss(solution @ self.rows.mT)
        penalised = penalty[..., None] * solution
        penalised[..., -1] = 0
        gradient = errors @ self.rows + penalised
        return loss + (penalised * solution).sum(dim=(1, 2)) / 2, gradient.flatten(1)[:, None]

    def scale(self, point: Tensor, penalty: Tensor) -> Tensor:
        """Return an estimate of the inverse curvature (D, 1, C * (p + 1)) near a point."""
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
    """Weights as sums of each draw's rows, W = rows^T A, which need only the rows' products with each other.

    A vector (D, 2, C * (r + 1)) has two copies. The first holds the shares A of each class, followed by its bias. The
    second holds the shares' image under the products instead, which equals the rows' logits without the bias.

    Attributes:
        rows: (D, r, F).
        products: (D, r, r) products of the rows with each other.
        problem: the learning problem.
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
        """The mean square norm of a row, (D,)."""
        return self.products.diagonal(dim1=1, dim2=2).mean(dim=1)

    def vector(self, bias: Tensor) -> Tensor:
        """Return the vector with these biases (D, C) and zero weights."""
        vector = _with_bias(bias.new_zeros(*bias.shape, self.rows.shape[1]), bias)
        return torch.stack([vector, vector], dim=1)

    def objective(self, point: Tensor, penalty: Tensor) -> tuple[Tensor, Tensor]:
        """Return values (D,) and gradients of the mean loss plus half the penalty times the squared weights."""
        shares, image, bias = self._parts(point)
        loss, errors = self.problem.loss(image + bias)
        value = loss + penalty[:, 0] * (shares * image).sum(dim=(1, 2)) / 2
        by_bias = errors.sum(dim=2)
        gradient = _with_bias(errors + penalty[..., None] * shares, by_bias)
        gradient_image = _with_bias(errors @ self.products + penalty[..., None] * image, by_bias)
        return value, torch.stack([gradient, gradient_image], dim=1)

    def scale(self, point: Tensor, penalty: Tensor) -> Tensor:
        """Return an estimate of the inverse curvature (D, 1, C * (r + 1)) near a point, equal for all shares."""
        _, image, bias = self._parts(point)
        curvature = self.problem.curvature(image + bias)
        shares_scale = (1 / (curvature * self.size[:, None] + penalty)).expand(-1, self.rows.shape[1])
        inverse = torch.cat([shares_scale, 1 / curvature], dim=1)
        return inverse.repeat(1, self.problem.targets.shape[1])[:, None]

    def weights(self, solutions: Tensor) -> Tensor:
        """Turn solutions (K, D, r, C) into weights (K, D, F, C) of standardised features."""
        return self.rows.mT @ solutions

    def _parts(self, point: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return shares and image (D, C, r), and bias (D, C, 1)."""
        copies = point.view(len(point), 2, self.problem.targets.shape[1], -1)
        return copies[:, 0, :, :-1], copies[:, 1, :, :-1], copies[:, 0, :, -1:]


def _with_bias(values: Tensor, bias: Tensor) -> Tensor:
    """Join values (D, C, p) and biases (D, C) to vectors (D, C * (p + 1))."""
    return torch.cat([values, bias[..., None]], dim=2).flatten(1)
