import math
from itertools import combinations, product
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from reports.statistics.factorial import COLUMNS, LOSSES, TOTAL, effects, factorial
from sweeps.ledger import SUMMARY_METRICS, Metric, Record
from tests.reports.statistics.test_ablation import CONFIG

CELLS = [cell for size in range(4) for cell in combinations(LOSSES, size)]
SCORES = st.fixed_dictionaries({cell: st.floats(0, 1) for cell in CELLS})


def confirmed(cell: tuple[str, ...], number: int, value: float, **changes: Any) -> Record:
    config = CONFIG | {"subsets": ["".join(cell) for cell in CELLS[1:]], "baselines": ["random_head"]}
    metrics = [
        Metric("digits", split, "", metric, score)
        for split, score in (("test", value), ("val", 1 - value))
        for metric in (*SUMMARY_METRICS, "f1/one")
    ]
    fields = {"config": config, "metrics": metrics, "started": "2026-01-01T00:00:00+00:00", "state": "complete"}
    name = "".join(cell) or "random_head"
    return Record(
        **{"sweep": "s", "stage": "confirm", "method": name, "number": number, "seed": 0, **fields, **changes}
    )


def value(frame: pd.DataFrame, kind: str, quantity: str, column: str = "value") -> float:
    (found,) = frame[
        (frame["metric"] == "weighted_f1") & (frame["kind"] == kind) & (frame["quantity"] == quantity)
    ][column]  # fmt: skip
    return float(found)


@given(SCORES)
def test_shapley_values_sum_to_the_whole_gain(cells: dict[tuple[str, ...], float]) -> None:
    found = effects(cells)
    assert sum(found["shapley", loss] for loss in LOSSES) == pytest.approx(cells[LOSSES] - cells[()], abs=1e-14)
    assert found["total", TOTAL] == cells[LOSSES] - cells[()]


@given(st.tuples(*[st.floats(-1, 1)] * 4))
def test_what_adds_up_has_no_interactions(planted: tuple[float, ...]) -> None:
    base, *gains = planted
    gain = dict(zip(LOSSES, gains, strict=True))
    found = effects({cell: base + sum(gain[loss] for loss in cell) for cell in CELLS})
    for (kind, quantity), of in found.items():
        expected = {"interaction": 0.0, "total": sum(gains)}.get(kind, gain.get(quantity, 0.0))
        assert of == pytest.approx(expected, abs=1e-14)


def test_two_losses_that_work_only_together_worked_by_hand() -> None:
    """1 where Con and Clu are both there: each adds 1 with the other and 0 without, and they share the gain."""
    found = effects({cell: float({"Con", "Clu"} <= set(cell)) for cell in CELLS})
    assert found == {
        ("main", "Con"): 0.5,
        ("main", "Clu"): 0.5,
        ("main", "Gen"): 0,
        ("interaction", "Con x Clu"): 0.5,
        ("interaction", "Con x Gen"): 0,
        ("interaction", "Clu x Gen"): 0,
        ("interaction", "Con x Clu x Gen"): 0,
        ("shapley", "Con"): pytest.approx(0.5),
        ("shapley", "Clu"): pytest.approx(0.5),
        ("shapley", "Gen"): 0,
        ("total", TOTAL): 1,
    }


@given(SCORES)
def test_effects_are_twice_the_coefficients_of_the_saturated_linear_model(cells: dict[tuple[str, ...], float]) -> None:
    factors = [f for f in CELLS if f]
    signs = {cell: {loss: 1 if loss in cell else -1 for loss in LOSSES} for cell in CELLS}
    design = [[1, *(math.prod(signs[cell][loss] for loss in f) for f in factors)] for cell in CELLS]
    coefficients = np.linalg.solve(np.array(design, float), [cells[cell] for cell in CELLS])
    found = effects(cells)
    for f, coefficient in zip(factors, coefficients[1:], strict=True):
        kind = "main" if len(f) == 1 else "interaction"
        assert found[kind, " x ".join(f)] == pytest.approx(2 * coefficient, abs=1e-12)


def test_seeds_are_paired_and_their_spread_is_that_of_the_differences() -> None:
    """A seed's luck, the same in all cells, cancels; Con adds 0.1, 0.2 and 0.3 in the three seeds that all have."""
    luck = [0.0, 0.3, 0.1]
    records = [
        confirmed(cell, n, luck[n] + 0.1 * (n + 1) * ("Con" in cell)) for cell, n in product(CELLS, range(3))
    ]  # fmt: skip
    extra = [confirmed(("Con",), 3, 0.9), confirmed(("Con",), 0, 0.9, stage="search")]
    failed = confirmed((), 3, 0, state="failed", metrics=())
    frame = factorial([[*records, *extra, failed]])
    assert list(frame.columns) == list(COLUMNS)
    assert len(frame) == len(SUMMARY_METRICS) * 11
    assert set(frame["n_seeds"]) == {3}
    half = stats.t.ppf(0.975, 2) * 0.1 / 3**0.5
    for kind, quantity in (("main", "Con"), ("shapley", "Con"), ("total", TOTAL)):
        assert value(frame, kind, quantity) == pytest.approx(0.2)
        assert value(frame, kind, quantity, "std") == pytest.approx(0.1)
        assert value(frame, kind, quantity, "ci_low") == pytest.approx(0.2 - half)
        assert value(frame, kind, quantity, "ci_high") == pytest.approx(0.2 + half)
    for kind, quantity in (("main", "Clu"), ("interaction", "Con x Gen"), ("shapley", "Gen")):
        assert value(frame, kind, quantity, "ci_high") == pytest.approx(0, abs=1e-12)


def test_a_single_seed_has_values_without_intervals() -> None:
    frame = factorial([[confirmed(cell, 0, 0.1 * len(cell)) for cell in CELLS]])
    assert value(frame, "total", TOTAL) == pytest.approx(0.3)
    assert math.isnan(value(frame, "total", TOTAL, "ci_low"))


def test_a_missing_cell_or_no_common_seed_is_no_row() -> None:
    whole = [confirmed(cell, 0, 0.5) for cell in CELLS]
    assert len(factorial([whole[1:]])) == 0
    assert len(factorial([[*whole[1:], confirmed((), 1, 0.5)]])) == 0
    few = CONFIG | {"subsets": ["Con"], "baselines": ["random_head"]}
    assert len(factorial([[confirmed(cell, 0, 0.5, config=few) for cell in CELLS[:2]]])) == 0


def test_where_label_budgets_were_searched_the_cells_are_what_was_searched_for_each() -> None:
    nested = CONFIG | {
        "subsets": ["".join(cell) for cell in CELLS[1:]],
        "baselines": ["random_head"],
        "search": {"nested": ["labels"]},
    }
    records = [confirmed((), 0, 0.5, config=nested)]
    records += [
        confirmed(cell, 0, 0.5 + 0.1 * len(cell), config=nested, method=f"{''.join(cell)}@{labels}")
        for cell in CELLS[1:]
        for labels in ("all", "5")
    ]
    frame = factorial([records])
    assert set(frame["dataset"]) == {"digits"}
    assert value(frame, "shapley", "Gen") == pytest.approx(0.1)
