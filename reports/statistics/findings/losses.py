"""Findings about losses: what each adds, and where instruments or label budgets disagree about it."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from itertools import combinations

from reports.statistics.ablation import PlannedColumn
from reports.statistics.factorial import CELLS, LOSSES
from reports.statistics.findings.evidence import METRIC, Evidence
from reports.statistics.findings.finding import Finding, finite
from reports.statistics.findings.words import Effect, grouped, listing
from reports.statistics.pairs import ALPHA

__all__ = ["instrument_disagreements", "label_disagreements", "losses"]


def losses(evidence: Evidence) -> Iterator[Finding]:
    """Yield one finding per loss: its Shapley value in every column that has all eight combinations of losses."""
    frame = evidence.factorial
    names = {column.name for column in evidence.columns}
    rows = frame[(frame["metric"] == METRIC) & (frame["kind"] == "shapley") & frame["dataset"].isin(names)]
    for loss in LOSSES:
        of_loss = rows[rows["quantity"] == loss]
        effects = [_effect(row, PlannedColumn.named(row["dataset"]), evidence) for row in of_loss.to_dict("records")]
        if effects:
            numbers = {name: value for effect in effects for name, value in effect.numbers.items()}
            phrases = {
                "helps": "helps",
                "hurts": "hurts",
                "no difference": f"makes no difference beyond {evidence.equivalent:g}",
                "open": "has an open effect",
            }
            text = (
                f"Adding {loss} to an untrained head, averaged over the other losses (Shapley value), "
                f"{grouped(effects, phrases, evidence.places)}."
            )
            yield Finding("loss", text, finite(numbers), "effects", _cells(evidence, effects))


def instrument_disagreements(evidence: Evidence) -> Iterator[Finding]:
    """Yield one finding, if instruments disagree about a loss in some column; see :func:`_contradiction`."""
    frame = evidence.instruments
    rows = frame[(frame["metric"] == METRIC) & (frame["kind"] == "shapley")]
    phrases = []
    numbers: dict[str, float | str | int] = {}
    effects_told = []
    for (dataset, loss), group in rows.groupby(["dataset", "quantity"], sort=False):
        column = PlannedColumn.named(str(dataset))
        effects = [(f"by {row['instrument']}", _effect(row, column, evidence)) for row in group.to_dict("records")]
        if (told := _contradiction(effects)) is not None:
            phrases.append(f"{loss} {evidence.places.of([column])} ({_sides(told)})")
            numbers |= _told_numbers(f"{dataset} {loss}", told)
            effects_told += [effect for _, effect in told]
    if phrases:
        text = f"Instruments, which score the same heads in different ways, disagree about {listing(phrases)}."
        yield Finding("instrument", text, finite(numbers), "instruments", _cells(evidence, effects_told))


def label_disagreements(evidence: Evidence) -> Iterator[Finding]:
    """Yield one finding, if label budgets of a set disagree about a loss; see :func:`_contradiction`."""
    frame = evidence.factorial
    rows = frame[(frame["metric"] == METRIC) & (frame["kind"] == "shapley")].to_dict("records")
    phrases = []
    numbers: dict[str, float | str | int] = {}
    effects_told = []
    for dataset in dict.fromkeys(column.dataset for column in evidence.columns):
        columns = [column for column in evidence.columns if column.dataset == dataset]
        for loss in LOSSES:
            effects = [
                (evidence.places.budgets([column.labels]).strip(), _effect(row, column, evidence))
                for column in columns
                for row in rows
                if (row["dataset"], row["quantity"]) == (column.name, loss)
            ]
            if (told := _contradiction(effects)) is not None:
                phrases.append(f"{loss} on {dataset} ({_sides(told)})")
                numbers |= _told_numbers(f"{dataset} {loss}", told)
                effects_told += [effect for _, effect in told]
    if phrases:
        text = f"The number of labels decides about {listing(phrases)}."
        yield Finding("labels", text, finite(numbers), "effects", _cells(evidence, effects_told))


def _effect(row: Mapping[Hashable, object], column: PlannedColumn, evidence: Evidence) -> Effect:
    """Return an effect with its verdict.

    An effect whose interval lies within the limit of what matters makes no difference, even if it is not 0. Otherwise
    its p value decides, corrected by Holm's method over the three losses.
    """
    value, low, high, p = (float(str(row[name])) for name in ("value", "low", "high", "p_holm"))
    verdict = "open"
    if -evidence.equivalent < low and high < evidence.equivalent:
        verdict = "no difference"
    elif p < ALPHA:
        verdict = "helps" if value > 0 else "hurts"
    return Effect(column, value, low, high, verdict, p, comparisons=len(LOSSES))


def _contradiction(effects: Sequence[tuple[str, Effect]]) -> list[tuple[str, Effect]] | None:
    """Return the two effects that contradict each other most; None if no two do.

    Two effects contradict each other if their verdicts differ and their intervals do not overlap. One effect that is
    settled beside one that is not is no contradiction: the difference between the two may be chance (Gelman and Stern
    2006, The American Statistician 60:328).
    """
    pairs = [
        (distance, [first, second])
        for first, second in combinations(effects, 2)
        if first[1].verdict != second[1].verdict
        and (distance := max(first[1].low, second[1].low) - min(first[1].high, second[1].high)) > 0
    ]
    return max(pairs, key=lambda pair: pair[0])[1] if pairs else None


def _sides(told: Sequence[tuple[str, Effect]]) -> str:
    return "; ".join(f"{effect.verdict} {where}: {effect.text}" for where, effect in told)


def _told_numbers(name: str, told: Sequence[tuple[str, Effect]]) -> dict[str, float | str | int]:
    return {
        f"{name} {where} {key}": value
        for where, effect in told
        for key, value in (("value", effect.value), ("low", effect.low), ("high", effect.high))
    }


def _cells(evidence: Evidence, effects: Sequence[Effect]) -> tuple[str, ...]:
    """Return the keys of the runs of all eight combinations of losses."""
    return evidence.sources_of(dict.fromkeys(effect.column for effect in effects), CELLS)
