from itertools import combinations

import numpy as np
import numpy.typing as npt
import pytest

from conclugen.subsets import SUBSETS
from reports.figures.palette import COLOURS, DASHES, SHAPES, method_colour, method_shape
from sweeps.ledger import BASELINES

METHODS = (*BASELINES, *SUBSETS)
HUED = [name for name in METHODS if COLOURS[name] != COLOURS["raw_features"]]
VISION = {
    "all cones": np.eye(3),
    "no red cones": np.array([[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]]),
    "no green cones": np.array([[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]]),
}
"""How people see colours, as matrices of linear light (Machado, Oliveira and Fernandes 2009)."""


def linear(colour: str) -> npt.NDArray[np.float64]:
    """The colour in linear light, (3,)."""
    shares = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    return np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)


def oklab(light: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The colour in Oklab, in which distances are those that people see (Ottosson 2020)."""
    cones = np.array([[0.4122, 0.5363, 0.0514], [0.2119, 0.6807, 0.1074], [0.0883, 0.2817, 0.6300]])
    opponents = np.array([[0.2105, 0.7936, -0.0041], [1.9780, -2.4286, 0.4506], [0.0259, 0.7828, -0.8087]])
    return opponents @ np.cbrt(cones @ light.clip(0, 1))


def contrast(colour: str, ground: str) -> float:
    """The contrast ratio of WCAG 2.2."""
    lights = [0.05 + float(linear(each) @ [0.2126, 0.7152, 0.0722]) for each in (colour, ground)]
    return max(lights) / min(lights)


def test_every_method_has_a_colour_a_shape_and_dashes() -> None:
    assert set(COLOURS) == set(SHAPES) == set(DASHES) == set(METHODS)


def test_no_two_methods_share_their_shape_or_their_dashes() -> None:
    assert len(set(SHAPES.values())) == len(METHODS)
    assert len({tuple(dashes) for dashes in DASHES.values()}) == len(METHODS)


@pytest.mark.parametrize("ground", ["#ffffff", "#14171c"])
def test_colours_have_a_contrast_of_3_on_paper_and_on_the_dark_page(ground: str) -> None:
    assert {name: contrast(colour, ground) for name, colour in COLOURS.items() if contrast(colour, ground) < 3} == {}


@pytest.mark.parametrize("vision", VISION)
def test_people_with_any_usual_vision_tell_the_colours_apart(vision: str) -> None:
    seen = {name: oklab(VISION[vision] @ linear(COLOURS[name])) for name in [*HUED, "raw_features"]}
    near = [pair for pair in combinations(seen, 2) if np.linalg.norm(seen[pair[0]] - seen[pair[1]]) < 0.08]
    assert near == []


def test_a_variant_has_the_colour_and_the_shape_of_its_method() -> None:
    names = ["Con", "Con[video]", "Con@5", "Con~2", "another"]
    for encoding, known in ((method_colour(names), COLOURS), (method_shape(names), SHAPES)):
        scale = encoding.to_dict()["scale"]
        assert scale["domain"] == names
        assert set(scale["range"][:4]) == {known["Con"]}
        assert len(scale["range"]) == len(names)
