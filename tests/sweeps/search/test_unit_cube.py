"""The unit cube against Optuna's public behaviour: a random sampler draws a uniform point of the same cube."""

import math

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.samplers import RandomSampler

from sweeps.search.unit_cube import NumericDistribution, UnitCube

DISTRIBUTIONS = {
    "float": FloatDistribution(-0.3, 0.7),
    "log float": FloatDistribution(1e-5, 3e-1, log=True),
    "stepped float": FloatDistribution(0.1, 0.9, step=0.1),
    "int": IntDistribution(-4, 12),
    "stepped int": IntDistribution(2, 32, step=3),
    "log int": IntDistribution(1, 1024, log=True),
}


@pytest.mark.parametrize("distribution", DISTRIBUTIONS.values(), ids=DISTRIBUTIONS)
def test_a_point_of_the_cube_has_the_value_that_optuna_draws_there(distribution: NumericDistribution) -> None:
    study = optuna.create_study()
    study.ask()
    (trial,) = study.get_trials()
    for seed in range(200):
        drawn = RandomSampler(seed=seed).sample_independent(study, trial, "x", distribution)
        point = np.random.RandomState(seed).uniform(size=1)
        assert UnitCube({"x": distribution}).values(point) == {"x": drawn}


@settings(deadline=None)
@given(coordinates=st.lists(st.floats(0, 1), min_size=len(DISTRIBUTIONS), max_size=len(DISTRIBUTIONS)))
def test_a_value_comes_back_from_its_point(coordinates: list[float]) -> None:
    cube = UnitCube(DISTRIBUTIONS)
    values = cube.values(np.array(coordinates))
    assert cube.values(cube.point(values)) == pytest.approx(values, rel=1e-12)
    assert all(distribution.low <= values[name] <= distribution.high for name, distribution in DISTRIBUTIONS.items())


@pytest.mark.parametrize("name", ["stepped float", "int", "stepped int"])
def test_every_step_has_an_equal_share_of_the_cube(name: str) -> None:
    distribution = DISTRIBUTIONS[name]
    count = round((distribution.high - distribution.low) / (distribution.step or 1)) + 1
    cube = UnitCube({"x": distribution})
    centres = [(index + 0.5) / count for index in range(count)]
    values = [cube.values(np.array([centre]))["x"] for centre in centres]
    assert values == pytest.approx([distribution.low + index * (distribution.step or 1) for index in range(count)])
    assert [float(cube.point({"x": value})[0]) for value in values] == pytest.approx(centres)


def test_the_middle_of_a_logarithmic_range_is_its_geometric_mean() -> None:
    cube = UnitCube({"x": FloatDistribution(1e-4, 1e-2, log=True)})
    assert cube.values(np.array([0.5]))["x"] == pytest.approx(1e-3)
    assert cube.point({"x": 1e-3}) == pytest.approx([0.5])
    assert cube.values(np.array([1.0]))["x"] == math.nextafter(1e-2, 0)  # as in Optuna: below the end
