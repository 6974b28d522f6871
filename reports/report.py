"""The whole report: its tables, figures and sections, and their order.

Parts that the sweeps did not plan, such as a modality ablation, are left out. Planned results that do not exist yet are
shown as missing.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain, count
from pathlib import Path
from typing import TypeVar

import pandas as pd

from conclugen.labels import LabelBudget
from reports import EQUIVALENT
from reports.contents import Part, PlannedFigure, Report
from reports.drawings import (
    confusion_figures,
    effect_figure,
    embedding_figures,
    instrument_figure,
    label_figure,
    method_figure,
    pair_figure,
    search_figures,
    variance_figure,
)
from reports.figures.style import unique
from reports.output.cells import Sources
from reports.output.choice import ALL
from reports.output.leaderboard import leaderboard
from reports.output.probe_tables import (
    calibration_table,
    class_tables,
    gap_table,
    instrument_table,
    precision_tables,
    sign_differences,
)
from reports.output.provenance import provenance
from reports.output.published_table import published_table
from reports.output.table import Table
from reports.output.tables import (
    ablation_tables,
    cell_sources,
    comparison_table,
    effect_table,
    interval_table,
    label_table,
    modality_table,
    pair_table,
    plain_table,
    selection_sentence,
    usage_table,
)
from reports.processes import ALONE, Processes
from reports.statistics.ablation import Ablation, ablation, latest_config
from reports.statistics.accounting import accounting
from reports.statistics.comparison import comparison
from reports.statistics.configurations import best_configurations
from reports.statistics.confusion import confusion
from reports.statistics.embedding import Representations, embedding_coordinates
from reports.statistics.factorial import factorial
from reports.statistics.findings import findings
from reports.statistics.findings.evidence import Evidence
from reports.statistics.findings.sweeps import comparison_findings
from reports.statistics.gaps import row_counts
from reports.statistics.importance import importance
from reports.statistics.inference import confirmed_scores
from reports.statistics.instruments import instrument_effects
from reports.statistics.intervals import intervals
from reports.statistics.label_usage import labels_per_class
from reports.statistics.pairs import pairs, tied_with_best
from reports.statistics.published import published
from reports.statistics.ranking import ranking
from reports.statistics.searches import early_ends_in_words, full_trials, trial_history
from reports.statistics.selection import selection
from reports.statistics.shared_sets import named_apart, refuse_mixing, refuse_other_samples, settings_in_words
from reports.statistics.tuning import expected_best, tuning
from sweeps.ledger import SUMMARY_METRICS, Record

__all__ = ["comparison_names", "comparison_report", "report"]

Named = TypeVar("Named", Table, PlannedFigure)

_METRIC = "weighted_f1"


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
    planned = _with_intervals(table, precision)
    parts = [
        _method_part(table, precision, paired, planned, sources),
        Part(
            "Ablation of the losses",
            "",
            list(ablation_tables(table, tied, sources, selection_sentence(ledgers, budgets=False))),
        ),
        _instrument_part(by_instrument, equivalent),
        _protocol_part(ledgers, table, planned, precision, tied, sources),
        _calibration_part(table, sources),
        _confusion_part(confusions, planned),
        Part(
            "Uncertainty",
            "Chance has three sources: the seed of the training, the search of hyperparameters, and the choice of test "
            "samples. Intervals and tests cover them together; the search only if it was repeated.",
            [interval_table(precision, _METRIC, sources), pair_table(paired, _METRIC, equivalent)],
            [pair_figure(paired, planned, _METRIC), variance_figure(planned, _METRIC)],
        ),
        _effects_part(effects, table, equivalent),
        _published_part(table, published_numbers, sources),
        _embedding_part(representations, coordinates),
        _search_part(ledgers, curve, chosen, ranked, importance(ledgers, processes)),
        _accounting_part(accounting(ledgers), ledgers),
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
    searched_on = _objective_labels(ledgers[0])
    return Report(
        title, parts, origin, main, table.complete, frames, found.first, found.further, searched_on, row_counts(ledgers)
    )


def _objective_labels(records: Sequence[Record]) -> str:
    """Return the label budget that the sweep was searched on."""
    objective = latest_config(records)["objective"]
    return str(LabelBudget(objective["labels_per_class"], objective["label_fraction"])) or ALL


def comparison_names(folders: Sequence[Path]) -> list[str]:
    """Return what a comparison calls two sweeps: the names of their folders, or the whole paths if those are equal."""
    names = [folder.resolve().name for folder in folders]
    return names if len(set(names)) > 1 else [str(folder) for folder in folders]


def comparison_report(
    ledgers: Sequence[Sequence[Record]], folders: Sequence[Path], command: str, names: Sequence[str] = ()
) -> Report:
    """Compute the comparison of two sweeps; other arguments as for :func:`report`.

    Args:
        ledgers: records of each sweep.
        folders: folder of each sweep.
        command: command line that makes this report.
        names: what the sweeps are called; by default, :func:`comparison_names`.

    Raises:
        ReportError: a sweep has no record, or the sweeps have no score in common, or other test samples.
    """
    first, second = named_apart(ledgers, folders)
    names = names or comparison_names(folders)
    refuse_other_samples(first, second, names)
    frame = comparison(first, second)
    table = comparison_table(frame, _METRIC, *names)
    sentences = [
        f"{name}: {selection_sentence([records])}" for name, records in zip(names, (first, second), strict=True)
    ]
    settings = settings_in_words(first, second)
    text = " ".join([*sentences, settings])
    parts = [Part("Two sweeps", text, [table])]
    sources = [cell_sources([records]) for records in (first, second)]
    found = comparison_findings(frame, names, settings, sources)
    origin = provenance((first, second), folders, command)
    return Report(" and ".join(names), parts, origin, [table], findings=found)


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


def _method_part(
    table: Ablation, precision: pd.DataFrame, paired: pd.DataFrame, planned: pd.DataFrame, sources: Sources
) -> Part:
    tables = [leaderboard(table.frame, precision, paired, _METRIC, sources)]
    return Part("Methods", "", tables, [method_figure(planned, _METRIC)])


def _with_intervals(table: Ablation, precision: pd.DataFrame) -> pd.DataFrame:
    """Return every planned cell of the ablation table with its summary metrics and, if it has one, its interval."""
    keys = ["dataset", "method", "metric"]
    planned = table.frame.loc[table.frame["metric"].isin(SUMMARY_METRICS), [*keys, "mean"]]
    return planned.merge(precision.drop(columns="mean"), how="left", on=keys)


def _instrument_part(frame: pd.DataFrame, equivalent: float) -> Part:
    title = "Effects by instrument"
    if frame.empty:
        return Part(title)
    sentences = sign_differences(frame, _METRIC, equivalent)
    text = f"No effect of a loss on {_METRIC} beyond {equivalent:g} changes its sign between the instruments."
    if sentences:
        text = f"Effects on {_METRIC} whose sign differs between instruments: {' '.join(sentences)}"
    drawing = instrument_figure(frame, _METRIC, equivalent)
    return Part(title, text, [instrument_table(frame, _METRIC)], [drawing])


def _calibration_part(table: Ablation, sources: Sources) -> Part:
    tables = [calibration_table(table, sources), *precision_tables(table, sources)]
    return Part("Probabilities", "", [shown for shown in tables if shown is not None])


def _protocol_part(
    ledgers: Sequence[Sequence[Record]],
    table: Ablation,
    planned: pd.DataFrame,
    precision: pd.DataFrame,
    tied: set[tuple[str, str, str]],
    sources: Sources,
) -> Part:
    labels = label_table(table, _METRIC, tied, sources, precision)
    tables = [
        modality_table(table, _METRIC, tied, sources),
        labels,
        usage_table(ledgers),
        gap_table(row_counts(ledgers)),
        *class_tables(table, sources),
    ]
    drawings = [] if labels is None else [label_figure(planned, labels_per_class(ledgers), _METRIC)]
    return Part("Modalities, labels, classes", "", [shown for shown in tables if shown is not None], drawings)


def _confusion_part(frame: pd.DataFrame, planned: pd.DataFrame) -> Part:
    text = (
        "Rows are true classes, columns predicted classes. The matrices are for probes with all labels, summed over "
        "confirmation seeds and folds. Matrices for fewer labels are in confusion.csv."
    )
    return Part("Confusion matrices", text, (), list(confusion_figures(frame, planned)))


def _effects_part(frame: pd.DataFrame, table: Ablation, equivalent: float) -> Part:
    title = "Contribution of each loss"
    if frame.empty:
        return Part(title)
    drawing = effect_figure(frame, unique(table.frame["dataset"]), _METRIC, equivalent)
    return Part(title, "", [effect_table(frame, _METRIC)], [drawing])


def _published_part(table: Ablation, published_numbers: pd.DataFrame | None, sources: Sources) -> Part:
    tables = [] if published_numbers is None else [published_table(table, published_numbers, sources)]
    return Part("Comparison with published numbers", "", tables)


def _embedding_part(representations: Sequence[Representations], frame: pd.DataFrame | None) -> Part:
    drawings = [] if frame is None else list(embedding_figures(representations, frame))
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
            "The trial that won each search, with its objective on validation data and the hyperparameters that were "
            "searched: the best full trial, or the best of the finalists after they were trained anew. A full trial "
            "ran its whole budget.",
            best_configurations(ledgers),
        ),
        plain_table(
            "tuning",
            "Gain from tuning",
            "Validation objective of the default configuration, and of the best of all full trials. A method that "
            "gained much may gain more from more trials. If the search has hardly tuned a method, a low score does not "
            "yet speak against its losses.",
            tuning(ledgers),
            scores=True,
        ),
        plain_table(
            "selection",
            "Winner's curse",
            "objective: validation objective of the best trial of a search. retrained: the same configuration's mean "
            "after it was trained again as a finalist. winner: the mean of the finalist that won. gain: winner minus "
            "retrained. confirmed: the same quantity for the winner's confirmation runs. search optimism: objective "
            "minus retrained, or minus confirmed if no finalist was trained again. val and test: scores of the "
            "confirmation runs. shift: val minus test.",
            chosen,
            scores=True,
        ),
        plain_table(
            "ranking",
            "Ranking by the objective",
            "Rank correlation, over the searched methods, between the validation objective of the trial that won and "
            "the test score of the same configuration; and the means of both.",
            ranked,
            scores=True,
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
    drawings = list(search_figures(trial_history(ledgers), curve, [full_trials(records) for records in ledgers]))
    return Part("The search", "", [table for table in tables if len(table.numbers)], drawings)


def _accounting_part(frame: pd.DataFrame, ledgers: Sequence[Sequence[Record]]) -> Part:
    table = plain_table(
        "accounting",
        "Jobs and hours",
        "Jobs of each search by their end, and failures by reason. hours: wall time of the finished jobs. CPU and GPU "
        "hours count every CPU thread and every GPU of their workers.",
        frame,
    )
    sentences = ["Every planned job, how it ended, and what it cost."]
    for records in ledgers:
        name = f"{records[0].sweep}: " if len(ledgers) > 1 else ""
        sentences += [f"{name}{sentence}" for sentence in early_ends_in_words(records)]
    return Part("Accounting", " ".join(sentences), [table])
