"""The Gaussian process of the joint model, by scikit-learn.

The kernel is Matern 5/2 with a length scale for each dimension, plus noise. Length scales have log-normal priors
instead of free bounds: with the few trials that a search has, the likelihood alone finds length scales at the ends of
any bounds. The dimensions that tell arms apart have longer ones, which says that arms are more alike than not.
"""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.linalg import solve_triangular
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from sweeps.search.joint.encoding import Floats

__all__ = ["Surrogate", "fit_scales"]

_NOISE = 0.1  # prior median of the noise's variance, as a part of the scores' variance
_SPREAD_OF_NOISE = 1.0  # standard deviation of its logarithm
_SPREAD_OF_AMPLITUDE = 0.5
_SPREAD_OF_LENGTH = 0.75
_ITERATIONS = 25


def fit_scales(points: Floats, scores: Floats, variances: Floats, lengths: Floats) -> Floats:
    """Return the logarithms of amplitude, length scales and noise of the highest posterior density.

    Args:
        points: ``[trials, dimensions]``.
        scores: standardised scores ``[trials]``.
        variances: extra noise of each trial ``[trials]``.
        lengths: prior medians of the length scales ``[dimensions]``.
    """
    centre = np.log(np.concatenate([[1.0], lengths, [_NOISE]]))
    spread = np.concatenate([[_SPREAD_OF_AMPLITUDE], np.full(len(lengths), _SPREAD_OF_LENGTH), [_SPREAD_OF_NOISE]])

    def search(objective: Callable[..., Any], start: Floats, bounds: Floats) -> tuple[Floats, float]:
        """Minimise the negative log posterior; scikit-learn gives the negative log likelihood."""

        def posterior(theta: Floats) -> tuple[float, Floats]:
            value, gradient = objective(theta, eval_gradient=True)
            distance = (theta - centre) / spread
            return value + 0.5 * float(distance @ distance), gradient + distance / spread

        found = minimize(
            posterior, centre, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": _ITERATIONS}
        )
        return found.x, float(found.fun)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a scale at a bound is no fault
        process = GaussianProcessRegressor(_kernel(centre), alpha=variances + 1e-8, optimizer=search)
        process.fit(points, scores)
    theta: Floats = process.kernel_.theta
    return theta


def _kernel(theta: Floats) -> Any:
    amplitude, lengths, noise = np.exp(theta[0]), np.exp(theta[1:-1]), np.exp(theta[-1])
    bounds = (1e-3, 1e3)
    return ConstantKernel(amplitude, (0.05, 20.0)) * Matern(lengths, bounds, nu=2.5) + WhiteKernel(noise, (1e-4, 2.0))


class Surrogate:
    """Predicts standardised scores.

    Args:
        theta: logarithms of amplitude, length scales and noise.
        points: ``[trials, dimensions]``.
        scores: ``[trials]``.
        variances: extra noise of each trial ``[trials]``.
    """

    def __init__(self, theta: Floats, points: Floats, scores: Floats, variances: Floats) -> None:
        kernel = _kernel(theta)
        self.noise = float(np.exp(theta[-1]))
        self._amplitude = float(np.exp(theta[0]))
        self._process = GaussianProcessRegressor(kernel, alpha=variances + 1e-8, optimizer=None)
        self._process.fit(points, scores)

    def predict(self, points: Floats) -> tuple[Floats, Floats]:
        """Return mean and standard deviation ``[points]`` of the scores without noise."""
        process = self._process
        covariance = process.kernel_.k1(points, process.X_train_)
        mean: Floats = covariance @ process.alpha_
        explained = solve_triangular(process.L_, covariance.T, lower=True, check_finite=False)
        variance = np.maximum(self._amplitude - np.einsum("ij,ij->j", explained, explained), 1e-10)
        return mean, np.sqrt(variance)
