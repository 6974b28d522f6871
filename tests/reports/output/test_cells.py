import pytest

from reports.output.cells import excludes_zero


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0.1, 0.2, True), (-0.2, -0.1, True), (-0.1, 0.1, False), (float("nan"), float("nan"), False)],
)
def test_an_interval_excludes_zero_if_both_ends_have_the_same_sign(low: float, high: float, expected: bool) -> None:
    assert excludes_zero(low, high) is expected
