import math
import re
import struct
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from reports.figures import results as figures
from reports.figures import search as search_figures
from reports.figures.former_style import Labels, svg, write_figure
from reports.statistics.confusion import COLUMNS as CONFUSION

NAN = math.nan


def confusion_frame() -> pd.DataFrame:
    rows = [
        ("faces", "Con", "joy", "joy", 30, 0.75),
        ("faces", "Con", "joy", "fear", 10, 0.25),
        ("faces", "Con", "fear", "joy", 0, NAN),
        ("faces", "Con", "fear", "fear", 0, NAN),
        ("faces", "Gen", "joy", "joy", 40, 1.0),
        ("faces", "Gen", "joy", "fear", 0, 0.0),
        ("voices", "Clu", "joy", "joy", 1, 1.0),
    ]
    return pd.DataFrame(rows, columns=CONFUSION)


def history_frame() -> pd.DataFrame:
    rows = [
        ("s", "Con", 0, 0.5, "complete"),
        ("s", "Con", 1, 0.9, "pruned"),
        ("s", "Con", 2, NAN, "failed"),
        ("s", "Con", 3, 0.7, "complete"),
        ("s", "Con", 4, 0.6, "complete"),
        ("s", "Gen", 0, NAN, "failed"),
    ]
    return pd.DataFrame(rows, columns=["sweep", "method", "number", "value", "state"])


def trials_frame() -> pd.DataFrame:
    rows = [
        ("Con", 0, 0.5, 1e-5, 8, "mean", 1.0, NAN),
        ("Con", 1, 0.7, 1e-1, 16, "sum", 1.0, 2.0),
        ("Con", 2, NAN, 1e-3, 32, "mean", 1.0, 3.0),
        ("Gen", 0, 0.1, 5.0, 64, "max", 1.0, 4.0),
    ]
    return pd.DataFrame(rows, columns=["method", "number", "value", "lr", "width", "mode", "margin", "queue"])


def labels_frame() -> pd.DataFrame:
    rows = [
        ("Con", math.inf, 0.9, 0.85, 0.95),
        ("Con", 5, 0.6, 0.5, 0.7),
        ("Con", "10%", 0.8, NAN, NAN),
        ("Gen", 5, NAN, NAN, NAN),
        ("Gen", math.inf, 0.5, 0.4, 0.6),
    ]
    return pd.DataFrame(rows, columns=["method", "labels", "mean", "ci_low", "ci_high"])


def shapley_frame() -> pd.DataFrame:
    rows = [
        ("faces", "weighted_f1", "ConCluGen", "total", 0.25, 0.2, 0.3),
        ("faces", "weighted_f1", "Con", "shapley", 0.3, 0.2, 0.4),
        ("faces", "weighted_f1", "Clu", "shapley", -0.05, -0.1, 0.1),
        ("faces", "weighted_f1", "Gen", "shapley", NAN, NAN, NAN),
        ("faces", "weighted_f1", "Con:Clu", "interaction", 0.7, 0.6, 0.8),
    ]
    return pd.DataFrame(rows, columns=["dataset", "metric", "quantity", "kind", "value", "low", "high"])


def expected_frame() -> pd.DataFrame:
    rows = [("s", "Con", 1, 0.5), ("s", "Con", 2, 0.6), ("s", "Gen", 1, NAN), ("t", "Con", 1, 0.4)]
    return pd.DataFrame(rows, columns=["sweep", "method", "n_trials", "expected"])


def every_figure() -> dict[str, Figure]:
    return {
        "confusion": figures.confusion_matrices(confusion_frame(), "faces"),
        "history": search_figures.search_history(history_frame()),
        "parallel": search_figures.parallel_coordinates(trials_frame(), "Con"),
        "labels": figures.label_efficiency(labels_frame(), "weighted_f1"),
        "shapley": figures.shapley_bars(shapley_frame(), "weighted_f1"),
        "expected": search_figures.expected_best(expected_frame()),
    }


def panels(figure: Figure) -> dict[str, mpl.axes.Axes]:
    return {panel.get_title(): panel for panel in figure.axes if panel.get_title()}


def texts(panel: mpl.axes.Axes) -> list[str]:
    return [text.get_text() for text in panel.texts]


def cells(panel: mpl.axes.Axes) -> Labels:
    (labels,) = (text for text in panel.texts if isinstance(text, Labels))
    return labels


def note(figure: Figure) -> str:
    return " ".join(figure.get_supxlabel().split())


def test_confusion_cells_show_shares_and_counts() -> None:
    figure = figures.confusion_matrices(confusion_frame(), "faces")
    by_title = panels(figure)
    assert list(by_title) == ["Con", "Gen"]
    assert [text for _, text, _ in cells(by_title["Con"]).labels] == ["0.75\n(30)", "0.25\n(10)", "–", "–"]
    assert by_title["Gen"].images[0].get_array()[0].tolist() == [1.0, 0.0]
    assert "the class has no sample" in note(figure)


def test_numbers_in_dark_confusion_cells_are_white() -> None:
    panel = panels(figures.confusion_matrices(confusion_frame(), "faces"))["Gen"]
    assert [colour for _, _, colour in cells(panel).labels] == ["white", "#000000"]


def test_only_outer_panels_have_names_of_classes() -> None:
    con = confusion_frame().query("method == 'Con'")
    frame = pd.concat([con.assign(method=f"m{number}") for number in range(6)])
    by_method = panels(figures.confusion_matrices(frame, "faces"))
    left = {name for name, panel in by_method.items() if panel.get_yticklabels()}
    lowest = {name for name, panel in by_method.items() if panel.get_xticklabels()}
    assert (left, lowest) == ({"m0", "m3"}, {"m3", "m4", "m5"})


def test_labels_look_like_single_texts() -> None:
    """The centre of the ink may be off by one pixel. Digits of labels are also centred in the line."""
    images = []
    for at_once in (True, False):
        figure = Figure(figsize=(1, 1), dpi=200)
        panel = figure.add_axes((0, 0, 1, 1))
        panel.axis("off")
        if at_once:
            Labels(panel, [((0.25, 0.5), "100", "#000000"), ((0.75, 0.5), "7", "#000000")], size=10)
        else:
            for place, text in ((0.25, "100"), (0.75, "7")):
                panel.text(place, 0.5, text, ha="center", va="center", fontsize=10, color="#000000")
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        images.append(np.asarray(canvas.buffer_rgba())[..., 0] < 128)
    for half in (slice(0, 100), slice(100, 200)):
        (row, column), (_, expected) = (
            [(axis.min() + axis.max()) / 2 for axis in np.nonzero(ink[:, half])] for ink in images
        )
        assert column == pytest.approx(expected, abs=1)
        assert row == pytest.approx(99.5, abs=1)


def test_history_marks_every_trial_and_the_best_so_far() -> None:
    figure = search_figures.search_history(history_frame())
    complete, pruned, _, failed, best = panels(figure)["Con"].lines[:5]
    assert list(complete.get_ydata()) == [0.5, 0.7, 0.6]
    assert list(pruned.get_ydata()) == [0.9]
    assert list(failed.get_xdata()) == [2]
    assert list(best.get_ydata()) == [0.5, 0.7, 0.7]
    assert "on the lower edge: ended without a value" in note(figure)
    assert "Gen" in panels(figure)


def test_parallel_coordinates_scale_each_hyperparameter() -> None:
    figure = search_figures.parallel_coordinates(trials_frame(), "Con")
    (panel,) = panels(figure).values()
    assert [label.get_text() for label in panel.get_xticklabels()] == ["lr", "width", "mode", "queue"]
    trials = [line[:, 1] for collection in panel.collections for line in collection.get_segments()]
    # Trial 2 has no value, so it comes first. lr is logarithmic, and trial 0 has no queue.
    assert [list(heights) for heights in trials] == [
        pytest.approx([0.5, 1.0, 0.0, 1.0]),
        pytest.approx([0.0, 0.0, 0.0, -0.1]),
        pytest.approx([1.0, 1 / 3, 1.0, 0.0]),
    ]
    assert texts(panel).count("log") == 1
    assert "not shown, since equal in all trials: margin" in note(figure)
    assert "trials without a value" in note(figure)
    assert "had no such hyperparameter" in note(figure)


def test_thousands_of_trials_are_pixels_and_axes_stay_text() -> None:
    generator = np.random.default_rng(0)
    trials = pd.DataFrame(generator.random((1500, 3)), columns=["value", "lr", "dropout"])
    history = trials.assign(sweep="s", method="Con", number=range(1500), state="complete")
    text = svg(search_figures.search_history(history))
    assert "<image" in text
    assert ">Con<" in text
    assert len(text) < 500_000


def test_the_best_and_some_of_every_rank_of_many_trials_have_lines() -> None:
    trials = pd.DataFrame({"value": np.arange(1000) / 1000, "lr": np.arange(1000), "dropout": 0.0})
    trials.loc[0, "dropout"] = 1.0
    figure = search_figures.parallel_coordinates(trials, "Con")
    (panel,) = panels(figure).values()
    lines = [segment for collection in panel.collections for segment in collection.get_segments()]
    ranks = np.round([line[0, 1] * 999 for line in lines]).astype(int).tolist()
    assert len(ranks) == len(set(ranks)) == 200
    assert ranks[-50:] == list(range(950, 1000))
    assert ranks[0] == 0
    assert max(np.diff(ranks)) <= 7
    assert "the best 50 of 1000 trials, and 150 others, equally spaced in rank" in note(figure)


def test_numbers_on_an_axis_do_not_overlap() -> None:
    trials = pd.DataFrame(
        {"value": [0.1, 0.2, 0.3, 0.4], "lr": [0.0, 0.05, 0.5, 1.0], "dropout": [0.0, 0.5, 0.52, 1.0]}
    )
    figure = search_figures.parallel_coordinates(trials, "Con")
    (panel,) = panels(figure).values()
    assert texts(panel) == ["0", "0.5", "1", "0", "0.5", "1"]


def test_numbers_on_an_axis_are_short_and_integers_are_exact() -> None:
    trials = pd.DataFrame({"value": [0.1, 0.2, 0.3], "dim": [256, 512, 1024], "lr": [0.00012345, 0.0005, 0.001]})
    (panel,) = panels(search_figures.parallel_coordinates(trials, "Con")).values()
    assert texts(panel) == ["256", "512", "1024", "0.000123", "0.0005", "0.001"]


def test_label_efficiency_orders_budgets_and_marks_missing_ones() -> None:
    figure = figures.label_efficiency(labels_frame(), "weighted_f1")
    (panel,) = figure.axes
    assert [label.get_text() for label in panel.get_xticklabels()] == ["5", "10%", "all"]
    assert panel.lines[0].get_ydata().tolist() == [0.6, 0.8, 0.9]
    assert "on the lower edge: no result" in note(figure)
    assert "without an interval" in note(figure)


def test_shapley_bars_show_contributions_and_their_total() -> None:
    figure = figures.shapley_bars(shapley_frame(), "weighted_f1")
    (panel,) = figure.axes
    assert [label.get_text() for label in panel.get_yticklabels()] == ["Con", "Clu", "Gen", "ConCluGen"]
    assert [bar.get_width() for bar in panel.patches] == [0.3, -0.05, 0.25]
    assert texts(panel) == ["× no result"]
    assert "a cell of the factorial is missing" in note(figure)


def test_expected_best_has_a_panel_per_sweep_and_names_missing_methods() -> None:
    figure = search_figures.expected_best(expected_frame())
    assert list(panels(figure)) == ["s", "t"]
    assert list(panels(figure)["s"].lines[0].get_ydata()) == [0.5, 0.6]
    assert "s: no result of Gen" in note(figure)


def test_the_same_frame_gives_the_same_svg_and_text_stays_text() -> None:
    settings = dict(mpl.rcParams)
    first, second = every_figure(), every_figure()
    for name, figure in first.items():
        text = svg(figure)
        assert text == svg(second[name]), name
        assert "<text" in text
        assert not re.search(r"<dc:date>|<dc:creator>", text)
    assert dict(mpl.rcParams) == settings


def test_a_figure_is_written_as_svg_and_as_png_at_200_dots_per_inch(tmp_path: Path) -> None:
    figure = search_figures.expected_best(expected_frame())
    svg_file, png_file = write_figure(figure, "expected", tmp_path / "new")
    assert (svg_file.name, png_file.name) == ("expected.svg", "expected.png")
    assert svg_file.read_text(encoding="utf-8") == svg(search_figures.expected_best(expected_frame()))
    width, height = struct.unpack(">II", png_file.read_bytes()[16:24])
    assert (width, height) == tuple(200 * figure.get_size_inches())
