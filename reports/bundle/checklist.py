"""CHECKLIST.md of a bundle: questions of reproducibility, answered from the records or left to the authors.

The questions follow two lists, in our own words: the paper checklist of NeurIPS (2024), and the machine learning
reproducibility checklist (Pineau et al. 2021, JMLR 22(164)). An answer cites the files of the bundle that support it.
If no record can answer a question, the answer says so: the authors must answer.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from conclugen.counts import counted
from reports.bundle.manifest import MANIFEST, BundledSweep, Manifest
from reports.output.provenance import hardware_lines
from reports.statistics.ablation import latest_config
from reports.statistics.accounting import HOURS, accounting
from reports.statistics.searches import early_ends_in_words, searched_methods, searches_of, varying
from sweeps.ledger import Record, label_budgets
from sweeps.ledger.comparability import mean_over, objective_sets

__all__ = ["AUTHORS", "Facts", "checklist"]

AUTHORS = "The authors must answer."

_INTRODUCTION = f"""\
# Reproducibility checklist

The questions follow, in other words, the NeurIPS paper checklist (2024) and the machine learning reproducibility
checklist (Pineau et al. 2021, JMLR 22(164)). The answers were computed from the records of this bundle, and name the
files that support them. Where no record can answer, it says: {AUTHORS.lower()}
"""


@dataclass(frozen=True)
class Facts:
    """What the answers follow from."""

    manifest: Manifest
    ledgers: Sequence[Sequence[Record]]
    """Records of each sweep."""
    files: Collection[str]
    """Paths of all other files of the bundle."""
    rows: Mapping[str, int]
    """Name of each table of the report -> its number of rows."""

    def sweeps(self) -> Iterator[tuple[BundledSweep, Sequence[Record]]]:
        """Yield each sweep with its records."""
        yield from zip(self.manifest.sweeps, self.ledgers, strict=True)

    def cited(self, *paths: str) -> str:
        """Return those of the files that the bundle has, for a sentence."""
        return ", ".join(f"`{path}`" for path in paths if path in self.files)


def checklist(facts: Facts) -> str:
    """Return the checklist as Markdown."""
    lines = [_INTRODUCTION]
    for title, questions in _QUESTIONS.items():
        lines.append(f"## {title}\n")
        for question, answer in questions.items():
            text = answer if isinstance(answer, str) else "\n".join(answer(facts))
            lines.append(f"**{question}**\n\n{text}\n")
    return "\n".join(lines)


def _by_sweep(answer: Callable[[BundledSweep, Sequence[Record]], str]) -> Callable[[Facts], Iterator[str]]:
    """Return an answer that has a line for each sweep."""

    def answers(facts: Facts) -> Iterator[str]:
        for sweep, records in facts.sweeps():
            yield f"* {_escaped(sweep.name)}: {answer(sweep, records)}"

    return answers


def _escaped(text: str) -> str:
    return re.sub(r"([\\`*_<|\[])", r"\\\1", text)


# -- answers ---------------------------------------------------------------------------------------------------------


def _claims(facts: Facts) -> Iterator[str]:
    yield f"{AUTHORS} The report says what it found in {facts.cited('report/findings.md', 'report/index.html')}."


def _limits(facts: Facts) -> Iterator[str]:
    counts = [Counter(record.state for record in records) for records in facts.ledgers]
    jobs, failures = (sum(map(function, counts)) for function in (Counter.total, lambda count: count["failed"]))
    yield f"{AUTHORS} The records say: {failures} of {counted(jobs, 'job')} failed. {_seeds_in_words(facts.ledgers)}"


def _space(sweep: BundledSweep, records: Sequence[Record]) -> str:
    names = sorted({name for trials in searches_of(records).values() for name in varying(trials)})
    values = f"{len(names)} hyperparameters had several values in the trials: {', '.join(names) or 'none'}."
    if sweep.space is None:
        return f"{values} The search space is no longer there. {AUTHORS}"
    return f"`{sweep.space}`. {values}"


def _selection(sweep: BundledSweep, records: Sequence[Record]) -> str:
    config = latest_config(records)
    search = {name: config["search"][name] for name in ("sampler", "pruner") if name in config["search"]}
    settings = "".join(f", {name} {value}" for name, value in search.items())
    goal = f"{config['objective']['metric']} of {mean_over(objective_sets(config))}"
    trials = [trial for trials in searches_of(records).values() for trial in trials]
    tested = sum(any(metric.split == "test" for metric in trial.metrics) for trial in trials)
    return (
        f"by the validation {_escaped(goal + settings)}. {tested} of {counted(len(trials), 'search trial')} have a "
        f"score on a test split. `{sweep.folder}/config.yaml`."
    )


def _values(facts: Facts) -> Iterator[str]:
    folders = ", ".join(f"`{sweep.folder}/ledger/`" for sweep in facts.manifest.sweeps)
    yield f"Every record names all hyperparameters of its job, defaults too: {folders}."
    if cited := facts.cited("report/configurations.csv"):
        yield f"The best of each search are in {cited}."


def _trials(sweep: BundledSweep, records: Sequence[Record]) -> str:
    searches = searches_of(records)
    if not searches:
        return "no method was searched."
    parts = []
    for method in dict.fromkeys([*searched_methods(latest_config(records)), *searches]):
        states = Counter(trial.state for trial in searches.get(method, ()))
        parts.append(f"{_escaped(method)} {states.total()} ({states['pruned']} pruned, {states['failed']} failed)")
    sentences = [
        f"trials by method: {'; '.join(parts)}.",
        *map(_escaped, early_ends_in_words(records)),
        f"Epochs of a full trial: {latest_config(records)['budget']['epochs']}.",
    ]
    return " ".join(sentences)


def _seeds(sweep: BundledSweep, records: Sequence[Record]) -> str:
    runs: dict[str, list[Record]] = {}
    for record in records:
        if record.stage == "confirm":
            runs.setdefault(record.method, []).append(record)
    if not runs:
        return "no confirmation run has finished."
    seeds: dict[tuple[int, ...], list[str]] = {}
    for method, confirmed in runs.items():
        seeds.setdefault(tuple(sorted(run.seed for run in confirmed)), []).append(_escaped(method))
    return "; ".join(f"seeds {', '.join(map(str, numbers))}: {', '.join(names)}" for numbers, names in seeds.items())


def _seeds_in_words(ledgers: Sequence[Sequence[Record]]) -> str:
    counts = [
        number
        for records in ledgers
        for number in Counter(record.method for record in records if record.stage == "confirm").values()
    ]
    if not counts:
        return "No method was confirmed."
    least, most = min(counts), max(counts)
    return f"Each method was confirmed with {least if least == most else f'{least} to {most}'} seeds."


def _measure(sweep: BundledSweep, records: Sequence[Record]) -> str:
    probe = latest_config(records)["probe"]
    budgets = ", ".join(budget or "all" for budget in label_budgets(probe))
    further = f" Further instruments: {', '.join(probe['also'])}." if probe["also"] else ""
    return (
        f"the {probe['kind']} probe on frozen representations, label budgets {budgets}; its settings are chosen on "
        f"validation labels ({probe['selection']}).{further} `{sweep.folder}/config.yaml`."
    )


def _uncertainty(facts: Facts) -> Iterator[str]:
    tables = {"intervals": "95 % intervals", "pairs": "paired tests, corrected by Holm's method"}
    lines = [
        f"* {facts.rows[name]} {what}: `report/{name}.csv`; how they are computed is in `report/{name}.md`."
        for name, what in tables.items()
        if facts.rows.get(name)
    ]
    yield from lines or [f"No interval and no test was computed. {AUTHORS}"]


def _failures(facts: Facts) -> Iterator[str]:
    for sweep, records in facts.sweeps():
        reasons = Counter(record.failure_class for record in records if record.state == "failed")
        counts = ", ".join(f"{number} {_escaped(reason)}" for reason, number in sorted(reasons.items()))
        former = counted(sweep.former_records, "former record")
        yield f"* {_escaped(sweep.name)}: failed jobs: {counts or 'none'}; {former} in subfolders of the ledger."
    if cited := facts.cited("report/accounting.csv"):
        yield f"* All jobs, the failed ones too, are counted in {cited}."


def _fingerprints(sweep: BundledSweep, records: Sequence[Record]) -> str:
    sets = "; ".join(f"{_escaped(place)} {value}" for place, value in sorted(sweep.features.items()))
    return f"fingerprints of the feature sets: {sets or 'none'}. The features are not in the bundle."


def _splits(sweep: BundledSweep, records: Sequence[Record]) -> str:
    latest: dict[str, Record] = {}
    for record in records:
        latest |= {p.dataset: record for p in record.predictions}
    parts = [_split(dataset, record) for dataset, record in latest.items()]
    return " ".join(parts) or f"no predictions were recorded. {AUTHORS}"


def _split(dataset: str, record: Record) -> str:
    whole = [p for p in record.predictions if p.dataset == dataset and not p.labels and not p.instrument and not p.draw]
    tested = sum(len(p.truth) // (len(p.classes) if p.multi_label else 1) for p in whole)
    trained = sorted({p.train_samples for p in whole if p.train_samples})
    numbers = " to ".join(dict.fromkeys(map(str, (trained[0], trained[-1])))) if trained else ""
    learned = f" The probe learned from {numbers} samples." if trained else ""
    units = len({number for p in whole for number in p.groups})
    grouped = f"{units} groups" if units else "no groups recorded"
    folds = counted(len({p.fold for p in whole}), "test split")
    return f"{_escaped(dataset)}: {tested} test samples in {folds}, {grouped}.{learned} Record `{record.key}`."


def _hardware(sweep: BundledSweep, records: Sequence[Record]) -> str:
    return _escaped("; ".join(hardware_lines(records))) or f"no record names its hardware. {AUTHORS}"


def _hours(facts: Facts) -> Iterator[str]:
    frame = accounting(facts.ledgers)
    for name, rows in frame.groupby("sweep", sort=False):
        sums = ", ".join(f"{column.replace('_', ' ')} {_sum(rows[column])}" for column in HOURS)
        yield f"* {_escaped(str(name))}: {sums}."
    if cited := facts.cited("report/accounting.csv"):
        yield f"* By method and stage: {cited}."
    yield f"* Work that no record holds, such as earlier sweeps and extraction: {AUTHORS.lower()}"


def _sum(hours: pd.Series) -> str:
    total: float = hours.sum(skipna=False)
    return "unknown" if pd.isna(total) else f"{total:.4g}"


def _versions(facts: Facts) -> Iterator[str]:
    for sweep in facts.manifest.sweeps:
        for versions in sweep.versions:
            text = ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
            yield f"* {_escaped(sweep.name)} ran with {_escaped(text)}."
    text = ", ".join(f"{name} {version}" for name, version in facts.manifest.environment.items())
    yield f"* The report was computed with {_escaped(text)}. `{MANIFEST}`."


def _command(facts: Facts) -> Iterator[str]:
    yield f"    {facts.manifest.command}"
    yield "    conclugen report verify FILE.zip"


_QUESTIONS: Mapping[str, Mapping[str, str | Callable[[Facts], Iterator[Any]]]] = {
    "Claims": {
        "Do the claims of the paper follow from its results?": _claims,
        "Does the paper say what limits its results?": _limits,
    },
    "Search": {
        "Which hyperparameters could vary, and over which values?": _by_sweep(_space),
        "How were hyperparameters chosen?": _by_sweep(_selection),
        "Which values did the reported runs have?": _values,
        "How many trials did each method get?": _by_sweep(_trials),
    },
    "Evaluation": {
        "With which seeds were the reported runs trained?": _by_sweep(_seeds),
        "What exactly is measured?": _by_sweep(_measure),
        "Are there intervals and tests, and what do they cover?": _uncertainty,
        "Are failed and repeated runs reported?": _failures,
    },
    "Data": {
        "Which data were used?": _by_sweep(_fingerprints),
        "How large are the splits, and are samples independent?": _by_sweep(_splits),
        "Where do the data come from, what was left out, and how were features made?": AUTHORS,
        "Which licences and consents cover the data, and are they respected?": AUTHORS,
    },
    "Computing": {
        "On which hardware did it run?": _by_sweep(_hardware),
        "How many hours did it take?": _hours,
    },
    "Code": {
        "Which versions of software were used?": _versions,
        "Which command makes the report again, and which checks its numbers?": _command,
        "Is the code public, with licence and instructions?": AUTHORS,
        "Are trained models public?": f"{AUTHORS} Heads are not in this bundle; `conclugen export` shares them.",
    },
    "People and society": {
        "Which good and bad consequences may the work have, and what guards against misuse?": AUTHORS,
        "Were people studied or paid, and did an ethics board approve?": AUTHORS,
        "Does the work keep to the code of ethics of the venue?": AUTHORS,
        "Were language models part of the method?": AUTHORS,
    },
}
