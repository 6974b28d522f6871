"""The Gaussian process of the joint model.

A score is the sum of a level of its group (an arm of one sweep), a function of the point, and noise. The levels have a
wide prior, so that nothing is learnt from the mean of a few trials that all happened to be bad. The function has a
Matern kernel (5/2) with a length scale for each dimension.

Amplitude, length scales and noise have log-normal priors. With the few trials that a search has, the likelihood alone
finds length scales at the ends of any bounds.

scikit-learn's process has neither levels of groups nor priors, and its gradient keeps an array of trials times trials
times dimensions. BoTorch and GPyTorch have all that, but load torch into the driver.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize
from scipy.spatial.distance import cdist

from sweeps.search.joint.encoding import Floats

__all__ = ["Data", "Surrogate", "fit_scales"]

_LEVEL = 9.0  # prior variance of a group's level, in squared scales of the scores
_NOISE = 0.1  # prior median of the noise's variance
_SPREAD_OF_NOISE = 1.0  # standard deviation of its logarithm
_SPREAD_OF_AMPLITUDE = 0.5
_SPREAD_OF_LENGTH = 0.75
_FARTHEST = 3.0  # of these standard deviations, the search for the highest density goes
_ITERATIONS = 30
_ROOT = 5**0.5


class Data:
    """What the process is given.

    Args:
        points: ``[trials, dimensions]``.
        scores: standardised scores ``[trials]``.
        variances: of the noise that a trial has beside that of all ``[trials]``.
        groups: number of each trial's group ``[trials]``.
    """

    def __init__(self, points: Floats, scores: Floats, variances: Floats, groups: NDArray[np.int64]) -> None:
        self.points, self.scores, self.variances, self.groups = points, scores, variances, groups

    def __len__(self) -> int:
        return len(self.scores)

    def take(self, indices: NDArray[np.int64]) -> "Data":
        """Return some of the trials."""
        return Data(self.points[indices], self.scores[indices], self.variances[indices], self.groups[indices])

    def and_more(self, other: "Data") -> "Data":
        """Return these trials and others."""
        return Data(
            np.vstack([self.points, other.points]),
            np.concatenate([self.scores, other.scores]),
            np.concatenate([self.variances, other.variances]),
            np.concatenate([self.groups, other.groups]),
        )


def fit_scales(data: Data, lengths: Floats) -> Floats:
    """Return the logarithms of amplitude, length scales and noise with the highest posterior density.

    Args:
        data: the trials.
        lengths: prior medians of the length scales ``[dimensions]``.
    """
    centre = np.log(np.concatenate([[1.0], lengths, [_NOISE]]))
    spread = np.concatenate([[_SPREAD_OF_AMPLITUDE], np.full(len(lengths), _SPREAD_OF_LENGTH), [_SPREAD_OF_NOISE]])
    same_group = _LEVEL * (data.groups[:, None] == data.groups[None])

    def loss(theta: Floats) -> tuple[float, Floats]:
        """Return the negative logarithm of the density, and its gradient (Rasmussen and Williams, equation 5.9)."""
        amplitude, scales, noise = np.exp(theta[0]), np.exp(theta[1:-1]), np.exp(theta[-1])
        scaled = data.points / scales
        distance = cdist(scaled, scaled)
        decay = np.exp(-_ROOT * distance)
        matern = (1 + _ROOT * distance + 5 / 3 * distance**2) * decay
        covariance = amplitude * matern + same_group
        covariance[np.diag_indices(len(data))] += noise + data.variances
        lower = cholesky(covariance, lower=True)
        weights = cho_solve((lower, True), data.scores)
        value = 0.5 * float(data.scores @ weights) + float(np.log(np.diag(lower)).sum())
        outer = 0.5 * (cho_solve((lower, True), np.eye(len(data))) - np.outer(weights, weights))
        slope = outer * amplitude * (5 / 3) * (1 + _ROOT * distance) * decay
        squares = slope.sum(axis=0) @ scaled**2
        products = np.einsum("ij,ij->j", scaled, slope @ scaled)
        gradient = np.concatenate(
            [[float((outer * matern).sum()) * amplitude], 2 * (squares - products), [float(np.trace(outer)) * noise]]
        )
        from_prior = (theta - centre) / spread
        return value + 0.5 * float(from_prior @ from_prior), gradient + from_prior / spread

    bounds = list(zip(centre - _FARTHEST * spread, centre + _FARTHEST * spread, strict=True))
    found = minimize(loss, centre, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": _ITERATIONS})
    theta: Floats = found.x
    return theta


class Surrogate:
    """Predicts scores without noise.

    Args:
        theta: logarithms of amplitude, length scales and noise.
        data: the trials.
    """

    def __init__(self, theta: Floats, data: Data) -> None:
        self._amplitude, self._scales = float(np.exp(theta[0])), np.exp(theta[1:-1])
        self.noise = float(np.exp(theta[-1]))
        """The variance of the noise that all trials have."""
        self._points = data.points / self._scales
        covariance = self._matern(self._points, self._points) + _LEVEL * (data.groups[:, None] == data.groups[None])
        covariance[np.diag_indices(len(data))] += self.noise + data.variances
        self._lower = cholesky(covariance, lower=True)
        self._weights = cho_solve((self._lower, True), data.scores)
        self._groups = data.groups

    def predict(self, points: Floats, groups: NDArray[np.int64]) -> tuple[Floats, Floats]:
        """Return mean and standard deviation ``[points]`` of scores without noise.

        Args:
            points: ``[points, dimensions]``.
            groups: number of each point's group ``[points]``.
        """
        covariance = self._matern(points / self._scales, self._points)
        covariance += _LEVEL * (groups[:, None] == self._groups[None])
        mean: Floats = covariance @ self._weights
        explained = solve_triangular(self._lower, covariance.T, lower=True, check_finite=False)
        variance = self._amplitude + _LEVEL - np.einsum("ij,ij->j", explained, explained)
        return mean, np.sqrt(np.maximum(variance, 1e-12))

    def _matern(self, first: Floats, second: Floats) -> Floats:
        distance = cdist(first, second)
        matern: Floats = (1 + _ROOT * distance + 5 / 3 * distance**2) * np.exp(-_ROOT * distance)
        return self._amplitude * matern
