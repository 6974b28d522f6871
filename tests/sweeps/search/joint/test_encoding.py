"""Tests of the points of the joint model."""

import os
import subprocess
import sys
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conclugen.subsets import SUBSETS
from search_spaces import Space, load_space, named_spaces
from sweeps.config import Arm
from sweeps.search.joint.encoding import Encoding

ARMS = [*map(Arm, SUBSETS), Arm("supervised_head"), Arm("SimCLR"), Arm("Con", ("video", "audio"))]


def space(text: dict[str, object], **settings: object) -> Space:
    return Space.model_validate({"description": "d", "parameters": text, **settings})


@given(st.sampled_from(named_spaces()), st.sampled_from(ARMS), st.integers(0, 2**32 - 1))
def test_a_configuration_has_the_same_point_as_the_row_that_it_came_from(name: str, arm: Arm, seed: int) -> None:
    encoding = Encoding(load_space(name), ARMS)
    row = np.random.default_rng(seed).random(len(encoding.axes(arm)))
    values = encoding.values(arm, row)
    assert values.keys() == encoding.axes(arm).keys()
    again = encoding.row(arm, values)
    assert again is not None
    np.testing.assert_allclose(encoding.points(arm, again[None]), encoding.points(arm, row[None]), atol=1e-9)


@pytest.mark.parametrize("name", named_spaces())
def test_no_two_arms_share_a_point(name: str) -> None:
    encoding = Encoding(load_space(name), ARMS)
    points = [encoding.points(arm, np.full((1, len(encoding.axes(arm))), 0.25))[0] for arm in ARMS]
    assert len({point.tobytes() for point in points}) == len(ARMS)
    assert {point.shape for point in points} == {(encoding.dimensions,)} == {encoding.usual_lengths.shape}


def test_a_factor_that_all_weights_share_does_not_move_a_point() -> None:
    weight = {"low": 1e-3, "high": 1e3, "log": True, "default": 1.0}
    encoding = Encoding(space({f"weight_{loss}": weight for loss in ("con", "clu", "gen")}), ARMS)
    arm = Arm("ConCluGen")
    points = []
    for factor in (0.1, 1.0, 10.0):
        row = encoding.row(arm, {"weight_con": 2 * factor, "weight_clu": 0.5 * factor, "weight_gen": 7 * factor})
        assert row is not None
        points.append(encoding.points(arm, row[None])[0])
    np.testing.assert_allclose(points[0], points[1])
    np.testing.assert_allclose(points[1], points[2])
    other = encoding.row(arm, {"weight_con": 2.0, "weight_clu": 5.0, "weight_gen": 7.0})
    assert other is not None
    assert not np.allclose(encoding.points(arm, other[None])[0], points[1])


def test_absolute_and_relative_weights_give_the_same_points() -> None:
    weight = {"low": 1e-3, "high": 1e3, "log": True, "default": 1.0}
    absolute = Encoding(space({f"weight_{loss}": weight for loss in ("con", "clu")}), [Arm("ConClu")])
    relative = Encoding(space({"weight_clu": weight}, weights="relative"), [Arm("ConClu")])
    first = absolute.row(Arm("ConClu"), {"weight_con": 0.5, "weight_clu": 2.0})
    second = relative.row(Arm("ConClu"), {"weight_clu": 4.0})
    assert first is not None
    assert second is not None
    both = absolute.points(Arm("ConClu"), first[None])[0], relative.points(Arm("ConClu"), second[None])[0]
    assert both[0][1] == pytest.approx(both[1][0])


def test_values_of_another_space_have_no_row() -> None:
    encoding = Encoding(space({"kmeans_loss_mode": {"choices": ["individual", "joint"], "default": "joint"}}), ARMS)
    assert encoding.row(Arm("Clu"), {"kmeans_loss_mode": "median"}) is None
    assert encoding.row(Arm("Clu"), {"lr": 0.1}) is None


def test_an_earlier_sweep_has_a_dimension_of_its_own() -> None:
    encoding = Encoding(load_space("small"), ARMS, earlier=2)
    row = np.full((1, len(encoding.axes(ARMS[0]))), 0.5)
    ends = [encoding.points(ARMS[0], row, task)[0, -2:].tolist() for task in range(3)]
    assert ends == [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]


def test_numbers_are_ordered_and_names_are_apart() -> None:
    parameters = {
        "representation_dim": {"choices": [64, 128, 256], "default": 64},
        "kmeans_loss_mode": {"choices": ["individual", "joint"], "default": "joint"},
        "num_clusters": {"low": 2, "high": 6, "step": 2, "default": 2},
    }
    encoding = Encoding(space(parameters), [Arm("Clu")])
    points = {}
    for width, mode, clusters in product((64, 128, 256), ("individual", "joint"), (2, 4, 6)):
        row = encoding.row(
            Arm("Clu"), {"representation_dim": width, "kmeans_loss_mode": mode, "num_clusters": clusters}
        )
        assert row is not None
        points[width, mode, clusters] = encoding.points(Arm("Clu"), row[None])[0, :3].tolist()
    assert points[64, "individual", 2] == pytest.approx([0, 1, 0])
    assert points[128, "joint", 4] == pytest.approx([0.5, 0, 0.5])
    assert points[256, "joint", 6] == pytest.approx([1, 0, 1])


def test_the_order_of_dimensions_is_the_same_in_every_process() -> None:
    code = (
        "from search_spaces import load_space; from sweeps.config import Arm; import numpy as np;"
        "from sweeps.search.joint.encoding import Encoding;"
        "arms = [Arm('ConGen', ('a', 'b')), Arm('CluGen', ('c', 'd'))]; encoding = Encoding(load_space('small'), arms);"
        "print([encoding.points(arm, np.full((1, len(encoding.axes(arm))), 0.25)).tolist() for arm in arms])"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "3")
    }
    assert len(outputs) == 1


def test_all_rows_of_a_value_have_the_density_of_its_prior() -> None:
    clusters = {"low": 8, "high": 32, "step": 8, "default": 8}
    encoding = Encoding(space({"num_clusters": clusters}, prior={"num_clusters": [32, 8]}), [Arm("Clu")])
    rows = np.linspace(0, 1, 21)[:, None]
    found = {
        (encoding.values(Arm("Clu"), row)["num_clusters"], density.round(6))
        for row, density in zip(rows, encoding.density(Arm("Clu"), rows), strict=True)
    }
    assert found == {(32, 1.0), (24, 0.606531), (16, 0.135335), (8, 0.011109)}
