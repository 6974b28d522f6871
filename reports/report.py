"""The whole report: its tables, figures and sections, and their order.

Parts that the sweeps did not plan, such as a modality ablation, are left out. Planned results that do not exist yet are
shown as missing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain, count
from pathlib import Path
from typing import TypeVar

import pandas as pd

from reports import EQUIVALENT
from reports.contents import Part, PlannedFigure, Report
from reports.figures import results as figures
from reports.figures import search as search_figures
from reports.figures.embedding import embedding, embedding_caption
from reports.figures.methods import method_scores
from reports.output.cells import Sources
from reports.output.leaderboard import leaderboard
from reports.output.probe_tables import (
    calibration_table,
    class_tables,
    instrument_table,
    precision_tables,
    sign_differences,
)
from reports.output.provenance import provenance
from reports.output.table import Table
from reports.output.tables import (
    ablation_tables,
    cell_sources,
    comparison_table,
    effect_table,
    file_name,
    interval_table,
    label_table,
    modality_table,
    pair_table,
    plain_table,
    published_table,
    selection_sentence,
    usage_table,
)
from reports.processes import ALONE, Processes
from reports.statistics.ablation import Ablation, PlannedColumn, ablation, latest_config
from reports.statistics.accounting import accounting
from reports.statistics.comparison import comparison
from reports.statistics.configurations import best_configurations
from reports.statistics.confusion import confusion
from reports.statistics.embedding import Representations, embedding_coordinates
from reports.statistics.factorial import factorial
from reports.statistics.findings import findings
from reports.statistics.findings.evidence import Evidence
from reports.statistics.importance import importance
from reports.statistics.inference import confirmed_scores
from reports.statistics.instruments import instrument_effects
from reports.statistics.intervals import intervals
from reports.statistics.pairs import pairs, tied_with_best
from reports.statistics.published import published
from reports.statistics.ranking import ranking
from reports.statistics.searches import full_trials, trial_history, varying
from reports.statistics.selection import selection
from reports.statistics.shared_sets import named_apart, refuse_mixing, refuse_other_samples, settings_in_words
from reports.statistics.tuning import expected_best, tuning
from sweeps.ledger import SUMMARY_METRICS, Record

__all__ = ["comparison_report", "report"]

Named = TypeVar("Named", Table, PlannedFigure)

_METRIC = "weighted_f1"
_MIN_TRIALS = 3  # of a figure of lines across hyperparameters; fewer lines show nothing


def report(
    ledgers: Sequence[Sequence[Record]],
    folders: Sequence[Path],
    command: str,
    published_file: Path | None = None,
    encoding: str | None = None,
    representations: Sequence[Representations] = (),
    processes: Processes = ALONE,
    equivalent: float = EQUIVALENT,
) -> Report:
    """Compute the report of one or more sweeps.

    Args:
        ledgers: records of each sweep, from :func:`reports.statistics.shared_sets.named_apart`.
        folders: folder of each sweep.
        command: command line that makes this report.
        published_file: published numbers for comparison; see :func:`reports.statistics.published.published`.
        encoding: encoding of that file; None for UTF-8.
        representations: representations of test samples to draw.
        processes: processes that share the long computations.
        equivalent: the largest difference between two methods that does not matter.

    Raises:
        ReportError: the ledgers, or the published numbers, cannot be made into a report.
    """
    refuse_mixing(ledgers)
    table = ablation(ledgers)
    published_numbers = None if published_file is None else published(published_file, table.frame, encoding)
    sources = cell_sources(ledgers)
    scores = confirmed_scores(ledgers, processes)
    paired = pairs(scores, equivalent)
    effects = factorial(scores)
    by_instrument = instrument_effects(ledgers, effects)
    chosen, ranked = selection(ledgers), ranking(ledgers)
    tied = tied_with_best(paired, table.frame[~table.frame["method"].str.contains("[", regex=False)])
    confusions = confusion(ledgers)
    curve = expected_best(ledgers)
    coordinates = None
    if representations:
        coordinates = embedding_coordinates(representations, latest_config(ledgers[0])["seed"])
    precision = intervals(scores)
    parts = [
        _method_part(table, precision, paired, sources),
        Part("Ablation of the losses", "", list(ablation_tables(table, tied, sources, selection_sentence(ledgers)))),
        _instrument_part(by_instrument),
        _protocol_part(table, tied, sources, usage_table(ledgers)),
        _calibration_part(table, sources),
        _confusion_part(confusions),
        Part(
            "Uncertainty",
            "Chance has two sources: the seed of the training, and the choice of test samples. Intervals and tests "
            "cover both.",
            [interval_table(precision, _METRIC, sources), pair_table(paired, _METRIC, equivalent)],
        ),
        _effects_part(effects),
        _published_part(table, published_numbers, sources),
        _embedding_part(representations, coordinates),
        _search_part(ledgers, curve, chosen, ranked, importance(ledgers, processes)),
        _accounting_part(accounting(ledgers)),
    ]
    parts = _files_apart([part for part in parts if part.tables or part.figures])
    title = "ConCluGen sweep: " + ", ".join(latest_config(records)["name"] for records in ledgers)
    frames = {"confusion": confusions, "expected-best": curve}
    if coordinates is not None:
        frames["embeddings"] = coordinates
    main = [shown for part in parts for shown in part.tables if shown.name in ("ablation", "modalities")]
    found = findings(
        Evidence(ledgers, table, sources, precision, paired, effects, by_instrument, curve, chosen, ranked, equivalent)
    )
    origin = provenance(ledgers, folders, command)
    return Report(title, parts, origin, main, table.complete, frames, found.first, found.further)


def comparison_report(ledgers: Sequence[Sequence[Record]], folders: Sequence[Path], command: str) -> Report:
    """Compute the comparison of two sweeps; arguments as for :func:`report`.

    Raises:
        ReportError: a sweep has no record, or the sweeps have no score in common, or other test samples.
    """
    first, second = named_apart(ledgers, folders)
    names = [folder.resolve().name for folder in folders]
    if names[0] == names[1]:
        names = [str(folder) for folder in folders]
    refuse_other_samples(first, second, names)
    table = comparison_table(comparison(first, second), _METRIC, *names)
    sentences = [
        f"{name}: {selection_sentence([records])}" for name, records in zip(names, (first, second), strict=True)
    ]
    text = " ".join([*sentences, settings_in_words(first, second)])
    parts = [Part("Two sweeps", text, [table])]
    return Report(" and ".join(names), parts, provenance((first, second), folders, command), [table])


def _files_apart(parts: Sequence[Part]) -> list[Part]:
    """Return the parts with a number behind the name of every table or figure that has the files of an earlier one.

    Names of sets and sweeps may differ in letters that file names lack, or only in case.
    """
    names = set[str]()

    def apart(item: Named) -> Named:
        choices = chain([item.name], (f"{item.name}-{number}" for number in count(2)))
        name = next(choice for choice in choices if f"{type(item).__name__} {choice}".casefold() not in names)
        names.add(f"{type(item).__name__} {name}".casefold())
        return replace(item, name=name)

    return [replace(part, tables=[*map(apart, part.tables)], figures=[*map(apart, part.figures)]) for part in parts]


# -- parts -----------------------------------------------------------------------------------------------------------


def _method_part(table: Ablation, precision: pd.DataFrame, paired: pd.DataFrame, sources: Sources) -> Part:
    figure = PlannedFigure(
        "methods",
        "Test scores of every method with 95 % intervals over training runs and test samples, the best on top. The "
        "dashed line is the best method without pretraining.",
        partial(method_scores, _with_intervals(table, precision), _METRIC),
    )
    return Part("Methods", "", [leaderboard(table.frame, precision, paired, _METRIC, sources)], [figure])


def _with_intervals(table: Ablation, precision: pd.DataFrame) -> pd.DataFrame:
    """Return every planned cell of the ablation table with its summary metrics and, if it has one, its interval."""
    keys = ["dataset", "method", "metric"]
    planned = table.frame.loc[table.frame["metric"].isin(SUMMARY_METRICS), [*keys, "mean"]]
    return planned.merge(precision.drop(columns="mean"), how="left", on=keys)


def _instrument_part(frame: pd.DataFrame) -> Part:
    title = "Effects by instrument"
    if frame.empty:
        return Part(title)
    sentences = sign_differences(frame, _METRIC)
    text = f"No effect of a loss on {_METRIC} changes its sign between the instruments."
    if sentences:
        text = f"Effects on {_METRIC} whose sign differs between instruments: {' '.join(sentences)}"
    return Part(title, text, [instrument_table(frame, _METRIC)])


def _calibration_part(table: Ablation, sources: Sources) -> Part:
    tables = [calibration_table(table, sources), *precision_tables(table, sources)]
    return Part("Probabilities", "", [shown for shown in tables if shown is not None])


def _protocol_part(table: Ablation, tied: set[tuple[str, str, str]], sources: Sources, usage: Table | None) -> Part:
    labels = label_table(table, _METRIC, tied, sources)
    tables = [modality_table(table, _METRIC, tied, sources), labels, usage, *class_tables(table, sources)]
    drawings = []
    if labels is not None:
        caption = f"Test {_METRIC} over the number of labels per class, with a line for each method."
        drawings.append(PlannedFigure("labels", caption, partial(figures.label_efficiency, labels.numbers, _METRIC)))
    return Part("Modalities, labels, classes", "", [shown for shown in tables if shown is not None], drawings)


def _confusion_part(frame: pd.DataFrame) -> Part:
    drawings = [
        PlannedFigure(
            f"confusion-{file_name(dataset)}",
            f"Confusion matrices of every method on {dataset}: true classes in rows, predicted classes in columns.",
            partial(figures.confusion_matrices, frame[frame["dataset"] == dataset], dataset),
        )
        for dataset in dict.fromkeys(frame["dataset"])
        if PlannedColumn.named(dataset) == PlannedColumn(dataset, "", "")
    ]
    text = (
        "Rows are true classes, columns predicted classes. The matrices are for probes with all labels, summed over "
        "confirmation seeds and folds. Matrices for fewer labels are in confusion.csv."
    )
    return Part("Confusion matrices", text, (), drawings)


def _effects_part(frame: pd.DataFrame) -> Part:
    title = "Contribution of each loss"
    if frame.empty:
        return Part(title)
    caption = "Shapley values of the three losses, and the total that they sum to."
    figure = PlannedFigure("shapley", caption, partial(figures.shapley_bars, frame, _METRIC))
    return Part(title, "", [effect_table(frame, _METRIC)], [figure])


def _published_part(table: Ablation, published_numbers: pd.DataFrame | None, sources: Sources) -> Part:
    tables = [] if published_numbers is None else [published_table(table, published_numbers, sources)]
    return Part("Comparison with published numbers", "", tables)


def _embedding_part(representations: Sequence[Representations], frame: pd.DataFrame | None) -> Part:
    by_dataset: dict[tuple[str, str], list[Representations]] = {}
    for group in representations:
        by_dataset.setdefault((group.sweep, group.dataset), []).append(group)
    drawings = [
        PlannedFigure(
            f"embedding-{file_name(sweep)}-{file_name(dataset)}",
            embedding_caption(groups),
            partial(embedding, frame[(frame["sweep"] == sweep) & (frame["dataset"] == dataset)]),
        )
        for (sweep, dataset), groups in by_dataset.items()
        if frame is not None
    ]
    return Part("Representations", "", (), drawings)


def _search_part(
    ledgers: Sequence[Sequence[Record]],
    curve: pd.DataFrame,
    chosen: pd.DataFrame,
    ranked: pd.DataFrame,
    importances: pd.DataFrame,
) -> Part:
    tables = [
        plain_table(
            "configurations",
            "Best configurations",
            "The best full trial of each search, with its objective on validation data and the hyperparameters that "
            "were searched. A full trial ran its whole budget.",
            best_configurations(ledgers),
        ),
        plain_table(
            "tuning",
            "Gain from tuning",
            "Validation objective of the default configuration, and of the best of all full trials. A method that "
            "gained much may gain more from more trials. If the search has hardly tuned a method, a low score does not "
            "yet speak against its losses.",
            tuning(ledgers),
        ),
        plain_table(
            "selection",
            "Winner's curse",
            "objective: validation objective of the best trial. confirmed: the same quantity after its configuration "
            "was trained again with other seeds. search optimism: objective minus confirmed. val and test: scores of "
            "these confirmation runs. shift: val minus test.",
            chosen,
        ),
        plain_table(
            "ranking",
            "Ranking by the objective",
            "Rank correlation, over the searched methods, between the validation objective of the best trial and the "
            "test score of the same configuration; and the means of both.",
            ranked,
        ),
    ]
    if len(importances):
        tables.append(
            plain_table(
                "importance",
                "Importance of hyperparameters",
                "Share of each hyperparameter in the objective's variance within a search, by fANOVA and PED-ANOVA "
                "over full trials. With tens of trials, both are rough estimates.",
                importances,
            )
        )
    drawings = [
        PlannedFigure(
            "history",
            "Objective of each trial, and the best so far, by method. A pruned trial has the objective of its last "
            "brief probe.",
            partial(search_figures.search_history, trial_history(ledgers)),
        )
    ]
    if len(curve):
        caption = (
            "Expected best objective over the number of trials, with a line for each method: the best of so many full "
            "trials, averaged over all choices of them (Dodge et al. 2019; unbiased as in Tang et al. 2020). If a line "
            "still rises at its end, more trials would help."
        )
        drawings.append(PlannedFigure("expected-best", caption, partial(search_figures.expected_best, curve)))
    drawings += _parallel_coordinates(ledgers)
    return Part("The search", "", [table for table in tables if len(table.numbers)], drawings)


def _parallel_coordinates(ledgers: Sequence[Sequence[Record]]) -> Iterator[PlannedFigure]:
    for records in ledgers:
        for method, trials in full_trials(records).items():
            names = varying(trials)
            if len(trials) < _MIN_TRIALS or not names:
                continue
            sweep = trials[0].sweep
            rows = [
                {name: trial.hyperparameters.get(name) for name in names} | {"value": trial.value} for trial in trials
            ]
            caption = f"Trials of {method} in {sweep} as lines across its hyperparameters, coloured by objective."
            draw = partial(search_figures.parallel_coordinates, pd.DataFrame(rows), method)
            yield PlannedFigure(f"parallel-{file_name(sweep)}-{file_name(method)}", caption, draw)


def _accounting_part(frame: pd.DataFrame) -> Part:
    table = plain_table(
        "accounting",
        "Jobs and hours",
        "Jobs by their end, and failures by reason. hours: wall time of the finished jobs. CPU and GPU hours count "
        "every CPU thread and every GPU of their workers.",
        frame,
    )
    return Part("Accounting", "Every planned job, how it ended, and what it cost.", [table])
