"""A whole report: which tables, figures and sections there are, in which order, and the files that they become.

Every table is written as CSV, Parquet, Markdown and LaTeX under its name, every figure as SVG and PNG; `index.html` has
all of them in one page, and `tables.tex` is a document that inputs the LaTeX tables. What a sweep cannot fill is left
out (a modality ablation that nobody planned); what it planned and has not got yet is shown as missing.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from conclugen.files.durable import write_whole
from reports.figures import results as figures
from reports.figures import search as search_figures
from reports.figures import style as drawing
from reports.figures.embedding import Represented, embedding, places, seen
from reports.output.cells import Sources, by_probe
from reports.output.markup import write_table
from reports.output.page import Provenance, Section, page
from reports.output.probe_tables import calibration_table, class_tables, instrument_table, precision_tables
from reports.output.provenance import provenance
from reports.output.table import Table
from reports.output.tables import (
    ablation_tables,
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
    sources,
)
from reports.processes import ALONE, Processes
from reports.statistics.ablation import Ablation, PlannedColumn, ablation, latest_config
from reports.statistics.accounting import accounting
from reports.statistics.comparison import comparison
from reports.statistics.configurations import best_configurations
from reports.statistics.confusion import confusion
from reports.statistics.factorial import factorial
from reports.statistics.importance import importance
from reports.statistics.instruments import instrument_effects, opposed
from reports.statistics.intervals import intervals
from reports.statistics.pairs import pairs, tied_with_best
from reports.statistics.published import published
from reports.statistics.ranking import ranking
from reports.statistics.searches import full_trials, searches_of, varying
from reports.statistics.selection import selection
from reports.statistics.tuning import expected_best, tuning
from sweeps.ledger import Record

__all__ = ["Report", "comparing", "report", "write_report"]

_METRIC = "weighted_f1"
_FEWEST_TRIALS = 3  # that lines across hyperparameters say anything of
_EMBEDDED = 64_000  # bytes of a CSV file up to which the page carries it itself


@dataclass(frozen=True)
class _Figure:
    name: str
    seen: str
    """What a person who cannot see it is told."""
    draw: Callable[[], Figure]
    """A function of a module's own with its arguments, so that another process can do it."""


@dataclass(frozen=True)
class _Part:
    title: str
    text: str = ""
    tables: Sequence[Table] = ()
    figures: Sequence[_Figure] = ()


@dataclass(frozen=True)
class Report:
    """What is written, apart from where."""

    title: str
    parts: Sequence[_Part]
    provenance: Provenance
    main: Sequence[Table]
    """What a terminal shows."""
    complete: bool = True
    """True if every planned cell has a result."""
    frames: dict[str, pd.DataFrame] = field(default_factory=dict)
    """Numbers that only figures show: name -> frame."""


def report(
    ledgers: Sequence[Sequence[Record]],
    folders: Sequence[Path],
    command: str,
    published_file: Path | None = None,
    represented: Sequence[Represented] = (),
    processes: Processes = ALONE,
) -> Report:
    """Compute the report of one or more sweeps.

    Args:
        ledgers: their records.
        folders: where they lie.
        command: the command line that asks for this report.
        published_file: numbers to stand beside ours; see :func:`reports.statistics.published.published`.
        represented: test samples to draw.
        processes: which divide among them what takes long.

    Raises:
        ReportError: the ledgers, or the published numbers, cannot be made into a report.
    """
    table = ablation(ledgers)
    given = None if published_file is None else published(published_file, table.frame)
    found = sources(ledgers)
    compared, certain = pairs(ledgers, processes=processes), intervals(ledgers, processes=processes)
    tied = tied_with_best(compared, table.frame[~table.frame["method"].str.contains("[", regex=False)])
    confused, curve = confusion(ledgers), expected_best(ledgers)
    embedded = places(represented, latest_config(ledgers[0])["seed"]) if represented else None
    parts = [
        _ablation_part(table, tied, found, selection_sentence(ledgers)),
        _instrument_part(instrument_effects(ledgers)),
        _protocol_part(table, tied, found),
        _calibration_part(table, found),
        _confusion_part(confused),
        _Part(
            "How sure the numbers are",
            "Two sources of chance are kept apart: the seed of the training, and the choice of test samples. What "
            "other instruments read is in the files.",
            [interval_table(certain, _METRIC, found), pair_table(compared, _METRIC)],
        ),
        _effects_part(factorial(ledgers)),
        *([] if given is None else [_Part("Beside published numbers", "", [published_table(table, given, found)])]),
        _embedding_part(represented, embedded),
        _search_part(ledgers, curve, importance(ledgers, processes)),
        _Part(
            "Accounting",
            "Every planned attempt: what became of it, and what it cost.",
            [
                plain_table(
                    "accounting",
                    "Attempts and hours",
                    "Attempts by their end; failures by reason. Hours are wall time of finished attempts; CPU and GPU "
                    "hours count every CPU thread and every GPU of their workers.",
                    accounting(ledgers),
                )
            ],
        ),
    ]
    title = "ConCluGen sweep: " + ", ".join(latest_config(records)["name"] for records in ledgers)
    parts = [part for part in parts if part.tables or part.figures]
    frames = {"confusion": confused, "expected-best": curve} | ({} if embedded is None else {"embeddings": embedded})
    shown = [one for part in parts for one in part.tables if one.name in ("ablation", "modalities")]
    return Report(title, parts, provenance(ledgers, folders, command), shown, table.complete, frames)


def comparing(ledgers: Sequence[Sequence[Record]], folders: Sequence[Path], command: str) -> Report:
    """Compute the comparison of two sweeps; arguments as of :func:`report`.

    Raises:
        ReportError: they have nothing in common.
    """
    names = [folder.name for folder in folders]
    if names[0] == names[1]:
        names = [str(folder) for folder in folders]
    shown = comparison_table(comparison(*ledgers), _METRIC, *names)
    told = " ".join(f"{name}: {selection_sentence([records])}" for name, records in zip(names, ledgers, strict=True))
    parts = [_Part("Two sweeps", told, [shown])]
    return Report(" and ".join(names), parts, provenance(ledgers, folders, command), [shown])


def write_report(made: Report, out: Path, processes: Processes = ALONE) -> list[Path]:
    """Write all files into the folder ``out``, made where it is missing; return them, ``index.html`` first.

    Args:
        made: the report.
        out: the folder.
        processes: which divide the files among them.
    """
    out.mkdir(parents=True, exist_ok=True)
    drawings = [figure for part in made.parts for figure in part.figures]
    tables = [table for part in made.parts for table in part.tables]
    written = processes.map(partial(_write, out), [*drawings, *tables])  # a figure takes longer than any table
    files, downloads = [file for files in written for file in files], dict[str, bytes | str]()
    sections = []
    for part in made.parts:
        drawn = [(figure.name, figure.seen, (out / f"{figure.name}.svg").read_text()) for figure in part.figures]
        sections.append(Section(part.title, part.text, part.tables, drawn))
    for name, frame in made.frames.items():
        files += _write_frame(frame, name, out)
    for file in files:
        small = file.suffix == ".csv" and file.stat().st_size <= _EMBEDDED
        downloads[file.name] = file.read_bytes() if small else file.name
    document = out / "tables.tex"
    write_whole(document, _document(made).encode())
    index = out / "index.html"
    write_whole(index, page(made.title, sections, made.provenance, downloads).encode())
    return [index, document, *files]


def _write(out: Path, shown: _Figure | Table) -> list[Path]:
    if isinstance(shown, Table):
        return write_table(shown, out)
    return drawing.write_figure(shown.draw(), shown.name, out)


# -- parts -----------------------------------------------------------------------------------------------------------


def _ablation_part(table: Ablation, tied: set[tuple[str, str, str]], found: Sources, selection: str) -> _Part:
    drawn = _Figure(
        "ablation",
        f"Bars of test {_METRIC} of every method on every data set, with 95 % intervals over seeds.",
        partial(figures.ablation_bars, by_probe(table.frame), _METRIC),
    )
    return _Part("Ablation of the losses", "", list(ablation_tables(table, tied, found, selection)), [drawn])


def _instrument_part(frame: pd.DataFrame) -> _Part:
    title = "Does it depend on the instrument?"
    if frame.empty:
        return _Part(title)
    named = opposed(frame, _METRIC)
    text = f"No effect of a loss on {_METRIC} changes its sign between the instruments."
    if named:
        text = f"Effects on {_METRIC} whose sign differs between instruments: {' '.join(named)}"
    return _Part(title, text, [instrument_table(frame, _METRIC)])


def _calibration_part(table: Ablation, found: Sources) -> _Part:
    shown = [calibration_table(table, found), *precision_tables(table, found)]
    return _Part("Probabilities", "", [one for one in shown if one is not None])


def _protocol_part(table: Ablation, tied: set[tuple[str, str, str]], found: Sources) -> _Part:
    labels = label_table(table, _METRIC, tied, found)
    shown = [modality_table(table, _METRIC, tied, found), labels, *class_tables(table, found)]
    drawn = []
    if labels is not None:
        seen = f"Lines of test {_METRIC} over the number of labels per class, one for each method."
        drawn.append(_Figure("labels", seen, partial(figures.label_efficiency, labels.numbers, _METRIC)))
    return _Part("Modalities, labels, classes", "", [one for one in shown if one is not None], drawn)


def _confusion_part(confused: pd.DataFrame) -> _Part:
    drawn = [
        _Figure(
            f"confusion-{file_name(dataset)}",
            f"Confusion matrices of every method on {dataset}: true classes in rows, predicted ones in columns.",
            partial(figures.confusion_matrices, confused[confused["dataset"] == dataset], dataset),
        )
        for dataset in dict.fromkeys(confused["dataset"])
        if PlannedColumn.named(dataset) == PlannedColumn(dataset, "", "")
    ]
    text = (
        "Rows are true classes, columns predicted ones, of probes with all labels, summed over confirmation seeds and "
        "folds. Those of fewer labels are in confusion.csv."
    )
    return _Part("Which class is taken for which", text, (), drawn)


def _effects_part(frame: pd.DataFrame) -> _Part:
    if frame.empty:
        return _Part("What each loss contributes")
    seen = "Bars of the Shapley values of the three losses, and of the total that they sum to."
    drawn = _Figure("shapley", seen, partial(figures.shapley_bars, frame, _METRIC))
    return _Part("What each loss contributes", "", [effect_table(frame, _METRIC)], [drawn])


def _embedding_part(represented: Sequence[Represented], frame: pd.DataFrame | None) -> _Part:
    sets: dict[tuple[str, str], list[Represented]] = {}
    for one in represented:
        sets.setdefault((one.sweep, one.dataset), []).append(one)
    drawn = [
        _Figure(
            f"embedding-{file_name(sweep)}-{file_name(dataset)}",
            seen(of),
            partial(embedding, frame[(frame["sweep"] == sweep) & (frame["dataset"] == dataset)]),
        )
        for (sweep, dataset), of in sets.items()
        if frame is not None
    ]
    return _Part("What the representations look like", "", (), drawn)


def _search_part(ledgers: Sequence[Sequence[Record]], curve: pd.DataFrame, weights: pd.DataFrame) -> _Part:
    shown = [
        plain_table(
            "configurations",
            "Best configurations",
            "The best trial of each search that ran its whole budget, its objective on validation data, and what was "
            "searched.",
            best_configurations(ledgers),
        ),
        plain_table(
            "tuning",
            "What tuning gained",
            "Validation objective of the default configuration and of the best of all complete trials. A method that "
            "gained much may gain more with more trials; one that the search has hardly tuned is not a bad loss yet.",
            tuning(ledgers),
        ),
        plain_table(
            "selection",
            "Winner's curse",
            "Objective of the best trial; the same quantity when its configuration is trained again with other seeds "
            "(search optimism: the difference); and, of those runs, validation against test (shift).",
            selection(ledgers),
        ),
        plain_table(
            "ranking",
            "How the objective ranked",
            "Rank correlation, over the methods that were searched, of their best trial's validation objective with "
            "the test score of the same configuration, and the means of both.",
            ranking(ledgers),
        ),
    ]
    if len(weights):
        shown.append(
            plain_table(
                "importance",
                "Importance of hyperparameters",
                "Share of the objective's variance within a search, by fANOVA and PED-ANOVA over complete trials. With "
                "tens of trials both are rough.",
                weights,
            )
        )
    drawn = [
        _Figure(
            "history",
            "The objective of each trial and the best so far, by method; of a pruned trial, its last brief probe's.",
            partial(search_figures.search_history, _trials(ledgers)),
        )
    ]
    if len(curve):
        seen = (
            "The best objective to expect of so many trials, a line for each method: its mean over all choices of so "
            "many of the complete ones (Dodge et al. 2019; unbiased as in Tang et al. 2020). Lines that still rise "
            "call for more trials."
        )
        drawn.append(_Figure("expected-best", seen, partial(search_figures.expected_best, curve)))
    drawn += _coordinates(ledgers)
    return _Part("The search", "", [table for table in shown if len(table.numbers)], drawn)


def _coordinates(ledgers: Sequence[Sequence[Record]]) -> Iterator[_Figure]:
    for records in ledgers:
        for method, trials in full_trials(records).items():
            names = varying(trials)
            if len(trials) < _FEWEST_TRIALS or not names:
                continue
            sweep = trials[0].sweep
            rows = [
                {name: trial.hyperparameters.get(name) for name in names} | {"value": trial.value} for trial in trials
            ]
            seen = f"Trials of {method} in {sweep} as lines across its hyperparameters, coloured by objective."
            drawn = partial(search_figures.parallel_coordinates, pd.DataFrame(rows), method)
            yield _Figure(f"parallel-{file_name(sweep)}-{file_name(method)}", seen, drawn)


def _trials(ledgers: Sequence[Sequence[Record]]) -> pd.DataFrame:
    rows = [
        (record.sweep, record.method, record.number, record.value, record.state)
        for records in ledgers
        for tried in [searches_of(records)]
        for method in [*full_trials(records), *tried]  # as the tables order them
        for record in tried.pop(method, [])
    ]
    return pd.DataFrame(rows, columns=("sweep", "method", "number", "value", "state"))


def _document(made: Report) -> str:
    """A LaTeX document of all tables."""
    tables = [table for part in made.parts for table in part.tables]
    return "\n".join(
        [
            r"\documentclass{article}",
            r"\usepackage[a4paper,margin=2cm]{geometry}",
            r"\usepackage{booktabs,graphicx}",
            r"\extrafloats{1000}\maxdeadcycles=1000",  # with no text between them, tables may all wait for the end
            r"\begin{document}",
            *(rf"\input{{{table.name}}}" for table in tables),
            r"\end{document}",
            "",
        ]
    )


def _write_frame(frame: pd.DataFrame, name: str, out: Path) -> list[Path]:
    paths = [out / f"{name}.csv", out / f"{name}.parquet"]
    write_whole(paths[0], frame.to_csv(index=False, float_format="%.10g").encode())
    write_whole(paths[1], frame.to_parquet(index=False))
    return paths
