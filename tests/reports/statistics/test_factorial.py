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
from sweeps.ledger import SUMMARY_METRICS, Metric, Record, variant
from tests.reports.records import scores_of
from tests.reports.statistics.test_ablation import CONFIG

TWICE = CONFIG | {
    "subsets": ["Con", "Clu", "Gen", "ConClu", "ConGen", "CluGen", "ConCluGen"],
    "baselines": ["random_head"],
    "budget": {"seeds": 2, "searches": 2},
}
CELLS = [cell for size in range(4) for cell in combinations(LOSSES, size)]
SCORES = st.fixed_dictionaries({cell: st.floats(0, 1) for cell in CELLS})


def confirmed(cell: tuple[str, ...], number: int, value: float, **changes: Any) -> Record:
    """Return a confirmation run of a cell with this test score in all summary metrics."""
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
    """Return the only value of a quantity in weighted F1."""
    (number,) = frame[
        (frame["metric"] == "weighted_f1") & (frame["kind"] == kind) & (frame["quantity"] == quantity)
    ][column]  # fmt: skip
    return float(number)


@given(SCORES)
def test_shapley_values_sum_to_the_whole_gain(cells: dict[tuple[str, ...], float]) -> None:
    values = effects(cells)
    assert sum(values["shapley", loss] for loss in LOSSES) == pytest.approx(cells[LOSSES] - cells[()], abs=1e-14)
    assert values["total", TOTAL] == cells[LOSSES] - cells[()]


@given(st.tuples(*[st.floats(-1, 1)] * 4))
def test_additive_gains_have_no_interactions(planted: tuple[float, ...]) -> None:
    base, *gains = planted
    gain = dict(zip(LOSSES, gains, strict=True))
    values = effects({cell: base + sum(gain[loss] for loss in cell) for cell in CELLS})
    for (kind, quantity), effect in values.items():
        expected = {"interaction": 0.0, "total": sum(gains)}.get(kind, gain.get(quantity, 0.0))
        assert effect == pytest.approx(expected, abs=1e-14)


def test_effects_of_two_losses_that_work_only_together_equal_those_computed_by_hand() -> None:
    """Cells with Con and Clu score 1, others 0: each loss adds 1 with the other and 0 without it."""
    assert effects({cell: float({"Con", "Clu"} <= set(cell)) for cell in CELLS}) == {
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
    terms = [cell for cell in CELLS if cell]
    signs = {cell: {loss: 1 if loss in cell else -1 for loss in LOSSES} for cell in CELLS}
    design = [[1, *(math.prod(signs[cell][loss] for loss in term) for term in terms)] for cell in CELLS]
    coefficients = np.linalg.solve(np.array(design, float), [cells[cell] for cell in CELLS])
    values = effects(cells)
    for term, coefficient in zip(terms, coefficients[1:], strict=True):
        kind = "main" if len(term) == 1 else "interaction"
        assert values[kind, " x ".join(term)] == pytest.approx(2 * coefficient, abs=1e-12)


def test_effects_are_paired_by_seed() -> None:
    """A seed's noise is the same in all cells and cancels. Con adds 0.1, 0.2 and 0.3 in the three common seeds."""
    noise = [0.0, 0.3, 0.1]
    records = [
        confirmed(cell, n, noise[n] + 0.1 * (n + 1) * ("Con" in cell)) for cell, n in product(CELLS, range(3))
    ]  # fmt: skip
    extra = [confirmed(("Con",), 3, 0.9), confirmed(("Con",), 0, 0.9, stage="search")]
    failed = confirmed((), 3, 0, state="failed", metrics=())
    frame = factorial(scores_of([*records, *extra, failed]))
    assert list(frame.columns) == list(COLUMNS)
    assert len(frame) == len(SUMMARY_METRICS) * 11
    assert set(frame["n_seeds"]) == {3}
    half = stats.t.ppf(0.975, 2) * 0.1 / 3**0.5
    for kind, quantity in (("main", "Con"), ("shapley", "Con"), ("total", TOTAL)):
        assert value(frame, kind, quantity) == pytest.approx(0.2)
        assert value(frame, kind, quantity, "low") == pytest.approx(0.2 - half)
        assert value(frame, kind, quantity, "high") == pytest.approx(0.2 + half)
    for kind, quantity in (("main", "Clu"), ("interaction", "Con x Gen"), ("shapley", "Gen")):
        assert value(frame, kind, quantity, "high") == pytest.approx(0, abs=1e-12)


def test_effects_over_several_searches_are_paired_by_search_and_name_its_part() -> None:
    """Con adds 0.1 and 0.12 with the seeds of the first search, 0.3 and 0.32 with those of the second."""
    gains = {1: (0.1, 0.12), 2: (0.3, 0.32)}
    records = [
        confirmed(
            cell,
            n,
            0.1 * n + gain * ("Con" in cell),
            config=TWICE,
            method=variant("".join(cell) or "random_head", (), None, search),
        )
        for cell in CELLS
        for search, of_search in gains.items()
        for n, gain in enumerate(of_search)
    ]
    frame = factorial(scores_of(records))
    assert value(frame, "shapley", "Con") == pytest.approx(0.21)
    assert (value(frame, "shapley", "Con", "n_searches"), value(frame, "shapley", "Con", "n_seeds")) == (2, 4)
    of_seeds = 0.02**2 / 2 / 2
    assert value(frame, "shapley", "Con", "seed_error") ** 2 == pytest.approx(of_seeds / 2)
    assert value(frame, "shapley", "Con", "search_error") ** 2 == pytest.approx((0.2**2 / 2 - of_seeds) / 2)


def test_a_single_seed_has_values_without_intervals() -> None:
    frame = factorial(scores_of([confirmed(cell, 0, 0.1 * len(cell)) for cell in CELLS]))
    assert value(frame, "total", TOTAL) == pytest.approx(0.3)
    assert math.isnan(value(frame, "total", TOTAL, "low"))


def test_a_missing_cell_or_seed_leaves_no_rows() -> None:
    records = [confirmed(cell, 0, 0.5) for cell in CELLS]
    assert len(factorial(scores_of(records[1:]))) == 0
    assert len(factorial(scores_of([*records[1:], confirmed((), 1, 0.5)]))) == 0
    few = CONFIG | {"subsets": ["Con"], "baselines": ["random_head"]}
    assert len(factorial(scores_of([confirmed(cell, 0, 0.5, config=few) for cell in CELLS[:2]]))) == 0


def test_nested_searches_over_labels_give_each_column_the_cells_of_its_own_searches() -> None:
    nested = CONFIG | {
        "subsets": ["".join(cell) for cell in CELLS[1:]],
        "baselines": ["random_head"],
        "search": {"nested": ["labels"], "finalists": 1},
    }
    records = [confirmed((), 0, 0.5, config=nested)]
    records += [
        confirmed(cell, 0, 0.5 + 0.1 * len(cell), config=nested, method=f"{''.join(cell)}@{labels}")
        for cell in CELLS[1:]
        for labels in ("all", "5")
    ]
    frame = factorial(scores_of(records))
    assert set(frame["dataset"]) == {"digits"}
    assert value(frame, "shapley", "Gen") == pytest.approx(0.1)
