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
    ("budget", "name"),
    [
        (LabelBudget(), ""),
        (LabelBudget(per_class=5), "5"),
        (LabelBudget(fraction=0.1), "10%"),
        (LabelBudget(fraction=0.07), "7%"),
        (LabelBudget(fraction=0.005), "0.5%"),
        (LabelBudget(fraction=0.333), "33.3%"),
    ],
)
def test_a_budget_has_a_short_name(budget: LabelBudget, name: str) -> None:
    assert str(budget) == name


@given(_BUDGETS, _BUDGETS)
def test_different_budgets_have_different_names(one: LabelBudget, other: LabelBudget) -> None:
    assert (str(one) == str(other)) == (one == other)


@pytest.mark.parametrize("per_class", [0, -1])
def test_numbers_out_of_range_are_refused(per_class: int) -> None:
    with pytest.raises(ValueError, match=f"{per_class} per class"):
        LabelBudget(per_class=per_class)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, 1.5, float("nan")])
def test_fractions_out_of_range_are_refused(fraction: float) -> None:
    with pytest.raises(ValueError, match=str(fraction)):
        LabelBudget(fraction=fraction)


def test_both_kinds_at_once_are_refused() -> None:
    with pytest.raises(ValueError, match="not both"):
        LabelBudget(per_class=5, fraction=0.1)


def test_label_budgets_load_no_torch() -> None:
    script = "import sys, conclugen.labels; assert not {'torch', 'numpy', 'pydantic'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)
