import pytest

from reports.figures import style
from reports.figures.variance import variance_parts
from tests.reports.figures.frames import METRIC, flat, some_scores


def test_the_parts_of_a_squared_error_sum_to_the_whole() -> None:
    frame = some_scores().assign(search_error=[0.02, 0.0] + [float("nan")] * 6)
    rows = flat(variance_parts(frame, METRIC).static)
    parts = {row["part"]: row["variance"] for row in rows if row["method"] == "raw_features"}
    assert parts == {"confirmation seeds": 1e-4, "searches": 4e-4, "test samples": 4e-4}
    assert [row["whole"] for row in rows if row["method"] == "raw_features"] == pytest.approx([9e-4] * 3)
    assert [row["part"] for row in rows if row["method"] == "random_head"] == ["confirmation seeds", "test samples"]


def test_a_method_without_known_parts_is_shown_as_unknown() -> None:
    svg = style.svg(variance_parts(some_scores(), METRIC))
    assert svg.count(">× unknown</text>") == 4  # Con and Gen on faces, in two panels
    assert "fewer than two seeds have a result" in svg
    assert ">share of the whole</text>" in svg
    assert ">squared standard error</text>" in svg


def test_the_reader_chooses_between_absolute_parts_and_shares() -> None:
    interactive = variance_parts(some_scores(), METRIC).interactive
    assert interactive is not None
    (bars,) = [each for each in interactive["params"] if each["name"] == "bars"]
    assert bars["bind"]["options"] == ["absolute", "share of the whole"]
