"""Minimisation of many convex problems at once, against closed forms and SciPy."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize
from threadpoolctl import threadpool_limits
from torch import Tensor

from conclugen.evaluation.minimise import Minimum, Objective, inner, minimise

_WIDE = torch.float64


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Use one thread, as threads wait for each other on a busy machine."""
    with threadpool_limits(1):
        yield


def _below(least: float) -> Callable[[Tensor, Tensor], Tensor]:
    """Return a criterion: a problem is solved if its gradient is no longer than ``least``."""
    return lambda _, gradient: inner(gradient, gradient) <= least**2


def _quadratics(curvatures: Tensor, minima: Tensor, least: float = 0.0) -> Objective:
    """Return (x - m)^T A (x - m) / 2 + ``least``, with curvatures A (D, N, N) and minima m (D, N)."""

    def objective(point: Tensor) -> tuple[Tensor, Tensor]:
        offset = point[:, 0] - minima
        gradient = (curvatures @ offset[..., None])[..., 0]
        return (offset * gradient).sum(dim=1) / 2 + least, gradient[:, None]

    return objective


def _curvatures(conditions: Sequence[float], n: int, seed: int = 0) -> Tensor:
    """Return symmetric matrices (D, N, N) with random eigenvectors and eigenvalues from 1 to a condition number."""
    generator = torch.Generator().manual_seed(seed)
    basis, _ = torch.linalg.qr(torch.randn(len(conditions), n, n, generator=generator, dtype=_WIDE))
    sizes = torch.stack([torch.logspace(0, np.log10(condition), n, dtype=_WIDE) for condition in conditions])
    return basis @ (sizes[..., None] * basis.mT)


def _plain(d: int, n: int, dtype: torch.dtype = _WIDE) -> tuple[Tensor, Tensor]:
    """Return a start at zero and a scale of one."""
    return torch.zeros(d, 1, n, dtype=dtype), torch.ones(d, 1, n, dtype=dtype)


def _softplus(slopes: Tensor, targets: Tensor) -> Objective:
    """Return the sum of log(1 + exp(z)), with -z for z if the target is 1, plus half the squares."""

    def objective(point: Tensor) -> tuple[Tensor, Tensor]:
        z = (slopes @ point.mT)[..., 0]  # [D, n]
        value = torch.nn.functional.softplus((1 - 2 * targets) * z).sum(dim=1) + point.square().sum(dim=(1, 2)) / 2
        return value, (z.sigmoid() - targets)[:, None] @ slopes + point

    return objective


class TestMinimum:
    @pytest.mark.parametrize("n", [1, 2, 7, 30])
    def test_quadratics_end_at_their_known_minimum(self, n: int) -> None:
        minima = torch.randn(4, n, generator=torch.Generator().manual_seed(n), dtype=_WIDE)
        minimum = minimise(_quadratics(_curvatures([1, 3, 10, 30], n), minima, 5.0), *_plain(4, n), _below(1e-9))
        torch.testing.assert_close(minimum.point[:, 0], minima, atol=1e-8, rtol=0)
        torch.testing.assert_close(minimum.value, torch.full((4,), 5.0, dtype=_WIDE))
        assert minimum.gradient.shape == (4, 1, n)
        assert inner(minimum.gradient, minimum.gradient).max() <= 1e-18

    @settings(deadline=None, max_examples=25)
    @given(seed=st.integers(0, 2**31 - 1), n=st.integers(1, 6), rows=st.integers(1, 20), spread=st.floats(0.1, 5))
    def test_the_minimum_is_that_of_scipy(self, seed: int, n: int, rows: int, spread: float) -> None:
        generator = torch.Generator().manual_seed(seed)
        slopes = spread * torch.randn(3, rows, n, generator=generator, dtype=_WIDE)
        targets = torch.randint(2, (3, rows), generator=generator).to(_WIDE)
        minimum = minimise(_softplus(slopes, targets), *_plain(3, n), _below(1e-6))
        assert inner(minimum.gradient, minimum.gradient).max() <= 1e-12
        for index in range(3):
            alone = _softplus(slopes[index][None], targets[index][None])

            def one(x: np.ndarray, alone: Objective = alone) -> tuple[float, np.ndarray]:
                value, gradient = alone(torch.from_numpy(x)[None, None])
                return value.item(), gradient.numpy().ravel()

            reference = optimize.minimize(one, np.zeros(n), jac=True, method="L-BFGS-B", tol=1e-14)
            assert minimum.value[index].item() <= reference.fun + 1e-9
            assert minimum.point[index, 0].numpy() == pytest.approx(reference.x, abs=1e-4)

    @pytest.mark.parametrize("dtype", [torch.float32, _WIDE])
    def test_steep_and_flat_directions_are_both_solved(self, dtype: torch.dtype) -> None:
        """Curvatures range from 1 to 1e6, and the scale is wrong by a factor of at most 3."""
        n = 30
        sizes = torch.logspace(0, 6, n, dtype=dtype)
        minima = torch.linspace(-2, 3, n, dtype=dtype)[None]
        start, _ = _plain(1, n, dtype)
        scale = (1 / sizes * torch.linspace(1 / 3, 3, n, dtype=dtype))[None, None]
        minimum = minimise(_quadratics(torch.diag(sizes)[None], minima), start, scale, _below(1e-4))
        torch.testing.assert_close(minimum.point[:, 0], minima, atol=2e-4, rtol=0)
        assert minimum.steps < 60

    def test_ill_conditioned_problems_are_solved_without_a_good_scale(self) -> None:
        minima = torch.randn(2, 12, generator=torch.Generator().manual_seed(0), dtype=_WIDE)
        minimum = minimise(_quadratics(_curvatures([1e4, 1e5], 12), minima), *_plain(2, 12), _below(1e-6))
        torch.testing.assert_close(minimum.point[:, 0], minima, atol=1e-5, rtol=0)

    @pytest.mark.parametrize("dtype", [torch.float32, _WIDE])
    def test_a_step_that_overflows_is_shortened(self, dtype: torch.dtype) -> None:
        """The minimum of exp(x) - 2 x is at log 2, but the first step from -5 reaches infinite values."""

        def objective(point: Tensor) -> tuple[Tensor, Tensor]:
            exponential = point.exp()
            return (exponential - 2 * point).sum(dim=(1, 2)), exponential - 2

        start, scale = torch.full((2, 1, 1), -5.0, dtype=dtype), torch.full((2, 1, 1), 1000.0, dtype=dtype)
        assert objective(start + 2000)[0].isinf().all()
        minimum = minimise(objective, start, scale, _below(1e-4))
        assert minimum.point.flatten().tolist() == pytest.approx([np.log(2)] * 2, abs=1e-3)

    def test_the_value_never_rises(self) -> None:
        values = []
        objective = _quadratics(_curvatures([1e3], 8), torch.ones(1, 8, dtype=_WIDE))

        def watched(value: Tensor, gradient: Tensor) -> Tensor:
            values.append(value.item())
            return _below(1e-8)(value, gradient)

        minimum = minimise(objective, *_plain(1, 8), watched)
        assert len(values) == minimum.steps + 1 > 5
        assert values == sorted(values, reverse=True)


class TestManyProblems:
    def _solve(self, problems: Sequence[int]) -> Minimum:
        minima = torch.randn(5, 6, generator=torch.Generator().manual_seed(1), dtype=_WIDE)
        objective = _quadratics(_curvatures([1, 10, 100, 1000, 2], 6)[problems], minima[problems])
        return minimise(objective, *_plain(len(problems), 6), _below(1e-9))

    def test_problems_solved_together_equal_each_alone(self) -> None:
        together = self._solve(range(5))
        alone = [self._solve([problem]) for problem in range(5)]
        torch.testing.assert_close(together.point, torch.cat([each.point for each in alone]), atol=1e-8, rtol=0)
        steps = [each.steps for each in alone]
        assert min(steps) < max(steps) <= together.steps

    def test_a_solved_problem_does_not_move(self) -> None:
        """The first problem counts as solved at its start, though that is not its minimum."""
        objective = _quadratics(_curvatures([10, 100], 4), torch.ones(2, 4, dtype=_WIDE))
        start, scale = _plain(2, 4)

        def done(value: Tensor, gradient: Tensor) -> Tensor:
            return torch.tensor([True, False]) | _below(1e-9)(value, gradient)

        minimum = minimise(objective, start, scale, done)
        assert torch.equal(minimum.point[0], start[0])
        torch.testing.assert_close(minimum.point[1, 0], torch.ones(4, dtype=_WIDE))

    def test_no_step_is_taken_if_all_problems_are_solved(self) -> None:
        objective = _quadratics(_curvatures([10, 100], 4), torch.ones(2, 4, dtype=_WIDE))
        start, scale = _plain(2, 4)
        minimum = minimise(objective, start, scale, lambda value, _: value > 0)
        assert minimum.steps == 0
        assert torch.equal(minimum.point, start)

    def test_a_search_stopped_by_precision_ends_near_the_minimum(self) -> None:
        """No gradient in single precision is as short as the criterion requires."""
        minima = torch.tensor([[1.0, 1 / 3, -2.7]])
        curvatures = _curvatures([100], 3).float()
        start, scale = _plain(1, 3, torch.float32)
        minimum = minimise(_quadratics(curvatures, minima, 1.0), start, scale, _below(0.0))
        torch.testing.assert_close(minimum.point[:, 0], minima, atol=1e-3, rtol=0)

    def test_a_stuck_problem_does_not_stop_the_others(self) -> None:
        """The first problem's scale is wrong by 1e12, so none of its trial steps is short enough."""
        curvatures = torch.stack([1e12 * torch.eye(2, dtype=_WIDE), torch.eye(2, dtype=_WIDE)])
        minimum = minimise(_quadratics(curvatures, torch.ones(2, 2, dtype=_WIDE)), *_plain(2, 2), _below(1e-6))
        torch.testing.assert_close(minimum.point[1, 0], torch.ones(2, dtype=_WIDE), atol=1e-5, rtol=0)

    def test_minimisation_is_deterministic(self) -> None:
        state = torch.get_rng_state()
        first, second = self._solve(range(5)), self._solve(range(5))
        assert torch.equal(first.point, second.point)
        assert torch.equal(torch.get_rng_state(), state)


def test_a_problem_in_another_metric_has_the_same_minimum() -> None:
    """For w = X^T a, shares a are stored with their image X X^T a; it minimises ||w - t||^2 / 2 + ||w||^2 / 4."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(2, 5, 12, generator=generator, dtype=_WIDE)
    target = torch.randn(2, 5, generator=generator, dtype=_WIDE)  # shares of t
    products = rows @ rows.mT

    def objective(point: Tensor) -> tuple[Tensor, Tensor]:
        shares, image = point[:, 0], point[:, 1]
        target_image = (products @ target[..., None])[..., 0]
        value = ((shares - target) * (image - target_image)).sum(dim=1) / 2 + (shares * image).sum(dim=1) / 4
        return value, torch.stack([1.5 * shares - target, 1.5 * image - target_image], dim=1)

    minimum = minimise(objective, torch.zeros(2, 2, 5, dtype=_WIDE), torch.ones(2, 1, 5, dtype=_WIDE), _below(1e-9))
    torch.testing.assert_close(minimum.point[:, 0], target / 1.5)
    torch.testing.assert_close(minimum.point[:, 1], (products @ minimum.point[:, 0, :, None])[..., 0])
