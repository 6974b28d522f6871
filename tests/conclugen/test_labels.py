import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conclugen.labels import LabelBudget

_BUDGETS = st.one_of(
    st.just(LabelBudget()),
    st.integers(1, 10**9).map(lambda n: LabelBudget(per_class=n)),
    st.floats(0, 1, exclude_min=True, exclude_max=True).map(lambda f: LabelBudget(fraction=f)),
)


@pytest.mark.parametrize(
    ("value", "budget", "text"),
    [
        (None, LabelBudget(), ""),
        ("", LabelBudget(), ""),
        (5, LabelBudget(per_class=5), "5"),
        ("5", LabelBudget(per_class=5), "5"),
        (" 20 ", LabelBudget(per_class=20), "20"),
        ("10%", LabelBudget(fraction=0.1), "10%"),
        ("10.0 %", LabelBudget(fraction=0.1), "10%"),
        ("7%", LabelBudget(fraction=0.07), "7%"),
        ("0.5%", LabelBudget(fraction=0.005), "0.5%"),
        ("33.3%", LabelBudget(fraction=0.333), "33.3%"),
        (LabelBudget(per_class=2), LabelBudget(per_class=2), "2"),
    ],
)
def test_parse_and_text(value: object, budget: LabelBudget, text: str) -> None:
    assert LabelBudget.parse(value) == budget
    assert str(budget) == text


@given(_BUDGETS)
def test_text_reads_back(budget: LabelBudget) -> None:
    assert LabelBudget.parse(str(budget)) == budget


@given(_BUDGETS, _BUDGETS)
def test_different_budgets_have_different_texts(one: LabelBudget, other: LabelBudget) -> None:
    assert (str(one) == str(other)) == (one == other)


@pytest.mark.parametrize(
    "value",
    [0, -1, True, 5.0, 0.1, "0", "-5", "5.5", "0%", "100%", "110%", "-10%", "nan%", "1e1%", "1_0", "%", "٥", "all", []],
)
def test_anything_else_is_refused_with_what_is_allowed(value: object) -> None:
    with pytest.raises(ValueError, match=r"labels per class.*'10%'.*null for all; got"):
        LabelBudget.parse(value)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, 1.5, float("nan")])
def test_fractions_out_of_range_are_refused(fraction: float) -> None:
    with pytest.raises(ValueError, match=str(fraction)):
        LabelBudget(fraction=fraction)


def test_both_kinds_at_once_are_refused() -> None:
    with pytest.raises(ValueError, match="not both"):
        LabelBudget(per_class=5, fraction=0.1)


def test_loads_no_torch() -> None:
    script = "import sys, conclugen.labels; assert not {'torch', 'numpy', 'pydantic'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)
