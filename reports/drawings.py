"""The figures of a report: their names, their captions, and the functions that draw them.

A figure is drawn when its files are written. So each is a partial of a function of `reports.figures`, which another
process can run.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import pandas as pd

from reports.contents import PlannedFigure
from reports.figures.confusion import REFERENCE, confusion_matrices
from reports.figures.effects import effect_forest, instrument_forest
from reports.figures.embedding import embedding, embedding_caption
from reports.figures.hyperparameters import parallel_coordinates
from reports.figures.labels import label_efficiency
from reports.figures.methods import method_scores
from reports.figures.pairs import pair_matrix
from reports.figures.search import expected_best, search_history
from reports.figures.style import unique
from reports.figures.variance import variance_parts
from reports.output.tables import file_name
from reports.statistics.ablation import PlannedColumn
from reports.statistics.embedding import Representations
from reports.statistics.searches import varying
from sweeps.ledger import Record

__all__ = [
    "confusion_figures",
    "effect_figure",
    "embedding_figures",
    "instrument_figure",
    "label_figure",
    "method_figure",
    "pair_figure",
    "search_figures",
    "variance_figure",
]

_MIN_TRIALS = 3  # of a figure of lines across hyperparameters; fewer lines show nothing


def method_figure(planned: pd.DataFrame, metric: str) -> PlannedFigure:
    """Plan the figure of all scores; arguments as for :func:`reports.figures.methods.method_scores`."""
    caption = (
        "Test scores of every method with 95 % intervals over training runs and test samples, the best on top. The "
        "dashed line is the highest score without pretraining."
    )
    return PlannedFigure("methods", caption, partial(method_scores, planned, metric))


def pair_figure(pairs: pd.DataFrame, planned: pd.DataFrame, metric: str) -> PlannedFigure:
    """Plan the matrix of all pairs; arguments as for :func:`reports.figures.pairs.pair_matrix`."""
    caption = (
        "Differences of all pairs of methods on all modalities, the best method first. A cell is the score of its row "
        "minus that of its column. Full colours and discs mark settled differences. Equal means that the whole "
        "interval lies within the difference that does not matter. Open pairs need more seeds or test samples."
    )
    return PlannedFigure("pairs", caption, partial(pair_matrix, pairs, planned, metric))


def variance_figure(planned: pd.DataFrame, metric: str) -> PlannedFigure:
    """Plan the figure of the parts of all errors; arguments as for :func:`reports.figures.variance.variance_parts`."""
    caption = (
        "Squared standard error of each method's score, divided into what causes it. More confirmation seeds make the "
        "first part smaller, more searches the second, and only more test samples the third."
    )
    return PlannedFigure("variance", caption, partial(variance_parts, planned, metric))


def effect_figure(effects: pd.DataFrame, columns: Sequence[str], metric: str, equivalent: float) -> PlannedFigure:
    """Plan the forest of effects; arguments as for :func:`reports.figures.effects.effect_forest`."""
    caption = (
        "What each loss adds, with 95 % intervals. The Shapley values sum to the total. The grey band holds "
        f"differences within {equivalent:g}, which do not matter."
    )
    return PlannedFigure("effects", caption, partial(effect_forest, effects, columns, metric, equivalent))


def instrument_figure(effects: pd.DataFrame, metric: str, equivalent: float) -> PlannedFigure:
    """Plan the forest by instrument; arguments as for :func:`reports.figures.effects.instrument_forest`."""
    caption = (
        "What each loss adds by each instrument, with 95 % intervals. The grey band holds differences within "
        f"{equivalent:g}, which do not matter."
    )
    return PlannedFigure("instruments", caption, partial(instrument_forest, effects, metric, equivalent))


def label_figure(planned: pd.DataFrame, per_class: Mapping[str, float], metric: str) -> PlannedFigure:
    """Plan the figure of label efficiency; arguments as for :func:`reports.figures.labels.label_efficiency`."""
    caption = (
        "Test scores over the number of labels per class, on a logarithmic axis, with a line and 95 % intervals for "
        "each method on all modalities. Points of a budget stand side by side, so that no interval hides another."
    )
    return PlannedFigure("labels", caption, partial(label_efficiency, planned, per_class, metric))


def confusion_figures(frame: pd.DataFrame, planned: pd.DataFrame) -> Iterator[PlannedFigure]:
    """Plan two figures of matrices for each data set; the page has one chart for all of them.

    Args:
        frame: columns as in `reports.statistics.confusion.COLUMNS`.
        planned: every planned cell of the ablation table: columns dataset and method.
    """
    plain = [name for name in unique(frame["dataset"]) if PlannedColumn.named(name) == PlannedColumn(name, "", "")]
    rows = frame[frame["dataset"].isin(plain)]
    for number, dataset in enumerate(plain):
        methods = unique(planned.loc[planned["dataset"] == dataset, "method"])
        own = rows[rows["dataset"] == dataset]
        yield PlannedFigure(
            f"confusion-{file_name(dataset)}",
            "Confusion matrices: the share of each true class (row) that was predicted as each class (column). Files "
            f"show every method on {dataset}.",
            partial(confusion_matrices, own if number else rows, dataset, methods, False, not number),
        )
        if REFERENCE in unique(own["method"]):
            yield PlannedFigure(
                f"confusion-{file_name(dataset)}-differences",
                f"Differences of the confusion matrices of every method on {dataset} to that of {REFERENCE}.",
                partial(confusion_matrices, own, dataset, methods, True, False),
            )


def embedding_figures(representations: Sequence[Representations], frame: pd.DataFrame) -> Iterator[PlannedFigure]:
    """Plan a figure of representations for each sweep and data set.

    Args:
        representations: what was embedded.
        frame: columns as in `reports.statistics.embedding.COLUMNS`.
    """
    by_dataset: dict[tuple[str, str], list[Representations]] = {}
    for group in representations:
        by_dataset.setdefault((group.sweep, group.dataset), []).append(group)
    for (sweep, dataset), groups in by_dataset.items():
        rows = frame[(frame["sweep"] == sweep) & (frame["dataset"] == dataset)]
        name = f"embedding-{file_name(sweep)}-{file_name(dataset)}"
        yield PlannedFigure(name, embedding_caption(groups), partial(embedding, rows))


def search_figures(
    history: pd.DataFrame, curve: pd.DataFrame, searches: Sequence[Mapping[str, Sequence[Record]]]
) -> Iterator[PlannedFigure]:
    """Plan the figures of the search.

    Args:
        history: from :func:`reports.statistics.searches.trial_history`.
        curve: from :func:`reports.statistics.tuning.expected_best`.
        searches: full trials of each method, for each sweep.
    """
    caption = (
        "Objective of each trial, and the best so far, by method. A pruned trial has the objective of its last brief "
        "probe. Of a long search, every improvement and some of the other trials have points."
    )
    yield PlannedFigure("history", caption, partial(search_history, history))
    if len(curve):
        caption = (
            "Expected best objective over the number of trials, with a line for each method: the best of so many full "
            "trials, averaged over all choices of them (Dodge et al. 2019; unbiased as in Tang et al. 2020). If a line "
            "still rises at its end, more trials would help."
        )
        yield PlannedFigure("expected-best", caption, partial(expected_best, curve))
    several = len(searches) > 1
    frames: dict[str, pd.DataFrame] = {}
    files: dict[str, tuple[str, str]] = {}
    for of_sweep in searches:
        for method, trials in of_sweep.items():
            names = varying(trials)
            if len(trials) >= _MIN_TRIALS and names:
                search = f"{trials[0].sweep}: {method}" if several else method
                rows = [
                    {name: trial.hyperparameters.get(name) for name in names} | {"value": trial.value}
                    for trial in trials
                ]
                frames[search] = pd.DataFrame(rows)
                files[search] = (trials[0].sweep, method)
    for number, (search, frame) in enumerate(frames.items()):
        sweep, method = files[search]
        others = {} if number else frames
        yield PlannedFigure(
            f"parallel-{file_name(sweep)}-{file_name(method)}",
            f"Trials across hyperparameters, coloured by objective: good trials are red. Files show {method} in "
            f"{sweep}.",
            partial(parallel_coordinates, {search: frame, **others}, not number),
        )
