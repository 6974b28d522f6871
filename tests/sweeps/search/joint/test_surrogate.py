"""Tests of the Gaussian process of the joint model."""

import numpy as np
import pytest
from scipy.optimize import approx_fprime
from scipy.stats import multivariate_normal

from sweeps.search.joint.surrogate import Data, Surrogate, fit_scales


def data(count: int, seed: int = 0, levels: tuple[float, ...] = (0.0, 0.0), noise: float = 0.05) -> Data:
    """Scores that follow from the first of three dimensions, in groups of other levels."""
    random = np.random.default_rng(seed)
    points = random.random((count, 3))
    groups = np.arange(count) % len(levels)
    scores = np.sin(5 * points[:, 0]) + np.array(levels)[groups] + random.normal(0, noise, count)
    return Data(points, scores, np.zeros(count), groups)


def test_predictions_are_the_conditional_normal_distribution() -> None:
    """Beside the closed form with plain matrix algebra (Rasmussen and Williams, equations 2.25 and 2.26)."""
    train, theta = data(8), np.log([1.3, 0.4, 0.7, 2.0, 0.05])
    new = np.random.default_rng(1).random((4, 3))

    def matern(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        r = np.sqrt((((a[:, None] - b[None]) / [0.4, 0.7, 2.0]) ** 2).sum(axis=2))
        return np.asarray(1.3 * (1 + 5**0.5 * r + 5 / 3 * r**2) * np.exp(-(5**0.5) * r))

    same = train.groups[:, None] == train.groups[None]
    inverse = np.linalg.inv(matern(train.points, train.points) + 9 * same + 0.05 * np.eye(8))
    across = matern(new, train.points)
    groups = np.array([0, 1, 1, 0])
    mean, deviation = Surrogate(theta, train).predict(new, groups)
    across = across + 9 * (groups[:, None] == train.groups[None])
    np.testing.assert_allclose(mean, across @ inverse @ train.scores)
    np.testing.assert_allclose(deviation**2, 1.3 + 9 - np.diag(across @ inverse @ across.T))


def test_the_scales_are_those_of_the_highest_density() -> None:
    """Beside the density by scipy: its slope is 0 at the fitted scales, and it is lower a step away."""
    train, lengths = data(40, noise=0.3), np.full(3, 0.5)
    fitted = fit_scales(train, lengths)
    centre = np.log([1.0, 0.5, 0.5, 0.5, 0.1])
    spread = np.array([0.5, 0.75, 0.75, 0.75, 1.0])

    def density(theta: np.ndarray) -> float:
        amplitude, scales, noise = np.exp(theta[0]), np.exp(theta[1:-1]), np.exp(theta[-1])
        r = np.sqrt((((train.points[:, None] - train.points[None]) / scales) ** 2).sum(axis=2))
        covariance = amplitude * (1 + 5**0.5 * r + 5 / 3 * r**2) * np.exp(-(5**0.5) * r) + noise * np.eye(40)
        covariance += 9 * (train.groups[:, None] == train.groups[None])
        prior = -0.5 * (((theta - centre) / spread) ** 2).sum()
        return float(multivariate_normal(np.zeros(40), covariance).logpdf(train.scores) + prior)

    assert np.abs(approx_fprime(fitted, density, 1e-5)).max() < 0.2
    for index, step in np.ndindex(5, 2):
        other = fitted.copy()
        other[index] += (0.3, -0.3)[step]
        assert density(other) < density(fitted)


def test_a_dimension_without_effect_gets_a_long_scale() -> None:
    lengths = np.exp(fit_scales(data(60), np.full(3, 0.5))[1:-1])
    assert lengths[0] < 0.5 * min(lengths[1:])


@pytest.mark.parametrize("levels", [(0.0, 0.0), (-3.0, 2.0)])
def test_the_levels_of_groups_do_not_move_the_function(levels: tuple[float, float]) -> None:
    theta = np.log([1.0, 0.4, 3.0, 3.0, 0.01])
    new = np.linspace(0, 1, 9)[:, None] * np.ones(3)
    mean, _ = Surrogate(theta, data(60, levels=levels)).predict(new, np.zeros(9, dtype=np.int64))
    np.testing.assert_allclose(mean, np.sin(5 * new[:, 0]) + levels[0], atol=0.3)


def test_expected_scores_contain_the_level_of_their_group() -> None:
    model = Surrogate(np.log([1.0, 0.4, 3.0, 3.0, 0.01]), data(60, levels=(-3.0, 2.0)))
    points = np.full((2, 3), 0.5)
    (low, high), _ = model.predict(points, np.array([0, 1]))
    assert high - low == pytest.approx(5.0, abs=0.3)
    assert low == pytest.approx(np.sin(2.5) - 3, abs=0.3)


def test_a_group_of_two_bad_trials_does_not_hide_what_others_know() -> None:
    """Both trials of the second group are bad; their mean says nothing about the rest of the cube."""
    good = data(40, levels=(0.0,))
    bad = np.array([[0.95, 0.5, 0.5], [0.99, 0.5, 0.5]])
    groups = np.array([1, 1])
    both = good.and_more(Data(bad, np.array([-0.1, 0.1]), np.zeros(2), groups))
    model = Surrogate(np.log([1.0, 0.4, 3.0, 3.0, 0.01]), both)
    mean, _ = model.predict(np.array([[0.3, 0.5, 0.5], [0.95, 0.5, 0.5]]), groups)
    assert mean[0] - mean[1] > 1.5
