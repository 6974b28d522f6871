import pandas as pd

from reports.figures import style
from reports.figures.search import expected_best, search_history
from tests.reports.figures.frames import curve, flat, history


def long_history(trials: int = 2000) -> pd.DataFrame:
    values = [0.5 + (number % 7) / 100 + 0.1 * (number == 1234) for number in range(trials)]
    frame = pd.DataFrame({"sweep": "s", "method": "Con", "search": 1, "number": range(trials), "value": values})
    return frame.assign(state="complete")


def test_every_trial_of_a_short_search_has_a_point() -> None:
    drawing = search_history(history())
    assert len(flat(drawing.static)) == len(history())
    svg = style.svg(drawing)
    assert "on the lower edge: ended without a value" in svg
    assert "others of up to" not in svg
    for text in ("Con", "Gen", "complete", "pruned", "failed"):
        assert f">{text}</text>" in svg, text


def test_a_long_search_keeps_its_improvements_and_says_how_many_others_are_drawn() -> None:
    drawing = search_history(long_history())
    rows = flat(drawing.static)
    numbers = [row["number"] for row in rows]
    assert {0, 1, 2, 3, 4, 5, 6, 1234, 1999} <= set(numbers)
    assert len(rows) < 140
    svg = style.svg(drawing)
    assert "points: every improvement, and 120 others of up to 2000 trials" in svg


def test_searches_of_several_sweeps_are_named_by_sweep() -> None:
    frame = pd.concat([history(["Con"]), history(["Con"]).assign(sweep="t")])
    assert [panel["title"] for panel in search_history(frame).static["concat"]] == ["s: Con", "t: Con"]


def test_each_of_several_searches_of_a_method_has_its_own_trials_and_curve() -> None:
    frame = pd.concat([history(["Con"]), history(["Con"]).assign(search=2)])
    assert [panel["title"] for panel in search_history(frame).static["concat"]] == ["Con", "Con~2"]
    curves = pd.concat([curve(), curve().assign(search=2)])
    assert len(flat(expected_best(curves).static)) == 2 * len(flat(expected_best(curve()).static))


def test_the_reader_chooses_whose_trials_have_points() -> None:
    interactive = search_history(history()).interactive
    assert interactive is not None
    (choice,) = [each for each in interactive["params"] if each["name"] == "search"]
    assert choice["bind"]["options"] == ["Con", "Gen"]


def test_the_expected_best_has_a_panel_per_sweep_and_names_methods_without_result() -> None:
    drawing = expected_best(curve())
    assert [panel["title"] for panel in drawing.static["concat"]] == ["s", "t"]
    assert "no result of Gen (s)" in style.svg(drawing)


def test_a_long_curve_keeps_its_ends_and_some_fifty_points() -> None:
    frame = pd.DataFrame({"sweep": "s", "method": "Con", "search": 1, "n_trials": range(1, 5001)})
    rows = flat(expected_best(frame.assign(expected=frame["n_trials"] / 5000)).static)
    numbers = [row["n_trials"] for row in rows]
    assert (numbers[0], numbers[-1]) == (1, 5000)
    assert 30 <= len(numbers) <= 60
