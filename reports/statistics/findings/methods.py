"""Findings about methods: the best one, pretraining against none, and what is open between them."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from statistics import fmean

from conclugen.counts import counted
from reports.statistics.ablation import PlannedColumn
from reports.statistics.factorial import CELLS
from reports.statistics.findings.evidence import METRIC, Evidence
from reports.statistics.findings.finding import Finding, Numbers, finite
from reports.statistics.findings.words import Effect, grouped, listing, score

__all__ = ["WITHOUT_PRETRAINING", "against_raw_features", "best_methods", "open_pairs", "pretraining"]

WITHOUT_PRETRAINING = ("raw_features", "raw_pca", "label_spreading", "random_head", "supervised_head")
"""Methods that train no head without labels. SimCLR does: it is pretraining by another method."""
_RAW = "raw_features"
_MOST_SETS = 5
"""Data sets, or label budgets, that a sentence lists before it refers to the table."""
_FEW = 4
"""The number of worse methods from which on a sentence counts them instead of naming them."""
_SEEDS = (10, 100)
"""Additional seeds for which the finding on open pairs counts how many they would settle."""


def best_methods(evidence: Evidence) -> Iterator[Finding]:
    """Yield the method with the highest score in each column, and what it is better than.

    A single set has one finding for all label budgets. Several sets have one finding per label budget, all labels
    first. The highest of several scores is too high by the luck of the choice, so the sentence claims
    no more than the pairs say, whose p values are corrected by Holm's method.
    """
    scored = [column for column in evidence.columns if len(evidence.scores.get(column.name, ())) > 1]
    one_set = len({column.dataset for column in scored}) == 1
    for group in dict.fromkeys("" if one_set else column.labels for column in scored):
        yield _best(evidence, [column for column in scored if one_set or column.labels == group])


def _best(evidence: Evidence, columns: Sequence[PlannedColumn]) -> Finding:
    numbers: dict[str, float | str | int] = {}
    one_set = len({column.dataset for column in columns}) == 1
    phrases = []
    leaders = []
    for column in columns:
        scores = evidence.scores[column.name]
        best = next(iter(scores))
        leaders.append((column, best))
        low, high = _interval(evidence, column, best)
        verdicts = _verdicts(evidence, column, best)
        counts = Counter(verdicts.values())
        of_column: Numbers = {"method": best, "score": scores[best], "low": low, "high": high, "others": len(verdicts)}
        numbers |= {f"{column.name} {name}": value for name, value in of_column.items()}
        numbers |= {f"{column.name} {name}": counts[name] for name in ("settled", "equal", "open")}
        interval = "no interval" if math.isnan(low) else f"95 % interval {score(low)} to {score(high)}"
        if len(columns) == 1:
            relation = _relation(verdicts, evidence.equivalent)
            place = evidence.places.of([column])
            phrases.append(f"{place}, {best} has the highest weighted F1, {score(scores[best])} ({interval}){relation}")
        else:
            relation = f"better than {counts['settled']} of the {counted(len(verdicts), 'other')}"
            if not counts["settled"]:
                relation = "no difference is settled"
            elif counts["settled"] == len(verdicts):
                relation = "better than every other"
            where = evidence.places.budgets([column.labels]) if one_set else f" on {column.dataset}"
            phrases.append(f"{best}{where} ({score(scores[best])}, {interval}, {relation})")
    text = phrases[0]
    if len(columns) > 1:
        place = f"on {columns[0].dataset}" if one_set else evidence.places.budgets([columns[0].labels]).strip()
        text = f"{place}, " if place else ""
        text += "the highest weighted F1 is that of " + "; ".join(phrases[:_MOST_SETS])
        if len(phrases) > _MOST_SETS:
            unit = "more label budget" if one_set else "more set"
            text += f"; {counted(len(phrases) - _MOST_SETS, unit)} in the table"
    keys = tuple(key for column, best in leaders for key in evidence.sources_of([column], [best]))
    return Finding("best", f"{text[0].upper()}{text[1:]}.", finite(numbers), "intervals", tuple(dict.fromkeys(keys)))


def _interval(evidence: Evidence, column: PlannedColumn, method: str) -> tuple[float, float]:
    frame = evidence.intervals
    rows = frame[(frame["dataset"] == column.name) & (frame["method"] == method) & (frame["metric"] == METRIC)]
    return (float(rows["low"].iloc[0]), float(rows["high"].iloc[0])) if len(rows) else (math.nan, math.nan)


def _verdicts(evidence: Evidence, column: PlannedColumn, best: str) -> dict[str, str]:
    """Map every other method with a score to settled (in favour of the best), equal, open or untested."""
    verdicts = {}
    for other in evidence.scores[column.name]:
        if other == best:
            continue
        pair = evidence.pair(column, best, other)
        if pair is None or math.isnan(pair.low):
            verdicts[other] = "untested"
        else:
            # Methods that lack seeds are compared on common seeds, on which the best may be the worse one.
            verdicts[other] = "open" if pair.verdict == "settled" and pair.value <= 0 else pair.verdict
    return verdicts


def _relation(verdicts: dict[str, str], equivalent: float) -> str:
    """Return what the best method is better than, and what not."""
    groups = {
        verdict: [method for method, of_method in verdicts.items() if of_method == verdict]
        for verdict in ("settled", "equal", "open", "untested")
    }
    n = len(verdicts)
    if len(groups["untested"]) == n:
        return ", but no difference to another method is tested"
    if len(groups["settled"]) == n:
        return ", better than " + ("the other" if n == 1 else "both others" if n == 2 else f"all {n} others")
    worse = groups["settled"]
    parts = []
    if worse:
        parts.append(f"better than {listing(worse) if len(worse) < _FEW else f'{len(worse)} of the {n} others'}")
    if groups["equal"]:
        parts.append(f"equal within {equivalent:g} to {listing(groups['equal'])}")
    if groups["open"]:
        parts.append(f"open against {listing(groups['open'])}")
    if groups["untested"]:
        parts.append(f"not tested against {listing(groups['untested'])}")
    return ", " + "; ".join(parts)


def against_raw_features(evidence: Evidence) -> Iterator[Finding]:
    """Yield one finding, if all loss subsets of a column score below the raw features, or all above."""
    phrases = []
    numbers: dict[str, float | str | int] = {}
    keys: list[str] = []
    for side, sign in (("below", -1), ("above", 1)):
        columns = []
        settled = 0
        for column in evidence.columns:
            scores = evidence.scores.get(column.name, {})
            subsets = [name for name in CELLS[1:] if name in scores]
            raw = scores.get(_RAW)
            if raw is None or len(subsets) < 2 or any(sign * (scores[name] - raw) <= 0 for name in subsets):
                continue
            columns.append(column)
            pairs = [evidence.pair(column, name, _RAW) for name in subsets]
            settled += (n := sum(pair is not None and pair.verdict == "settled" for pair in pairs))
            numbers |= {f"{column.name} subsets {side}": len(subsets), f"{column.name} settled": n}
            keys += evidence.sources_of([column], [*subsets, _RAW])
        if columns:
            n = sum(int(numbers[f"{column.name} subsets {side}"]) for column in columns)
            share = f"{settled} of {n} differences {'is' if settled == 1 else 'are'} settled"
            if settled == n:
                share = "every difference is settled"
            phrases.append(f"{side} {_RAW} {evidence.places.of(columns)} ({share})")
    if phrases:
        text = f"Every loss subset scores {'; '.join(phrases)}."
        yield Finding("pretraining", text, numbers, "pairs", tuple(dict.fromkeys(keys)))


def pretraining(evidence: Evidence) -> Iterator[Finding]:
    """Yield one finding: the best loss subset minus the best method without pretraining, over all columns.

    The best of seven subsets by test scores would be too good by the luck of the choice. So both sides are chosen by
    their mean validation score in the same column, over the same confirmation runs. Then the interval of their
    difference on test samples needs no correction for the choice. The verdict is that of the table of pairs, whose
    correction by Holm's method makes it cautious.
    """
    effects: list[Effect] = []
    chosen: list[str] = []
    for column in evidence.columns:
        sides = [_by_validation(evidence, column, names) for names in (CELLS[1:], WITHOUT_PRETRAINING)]
        if sides[0] is None or sides[1] is None:
            continue
        pair = evidence.pair(column, sides[0], sides[1])
        if pair is not None:
            direction = "better" if pair.value > 0 else "worse"
            effects.append(replace(pair, verdict=direction if pair.verdict == "settled" else pair.verdict))
            chosen += evidence.sources_of([column], [sides[0], sides[1]])
    if not effects:
        return
    phrases = {
        "better": "is better",
        "worse": "is worse",
        "equal": f"is equal within {evidence.equivalent:g}",
        "open": "is open",
    }
    numbers = {name: value for effect in effects for name, value in effect.numbers.items()}
    text = (
        "Pretraining, against a method without it (validation scores choose both), "
        f"{grouped(effects, phrases, evidence.places)}."
    )
    yield Finding("pretraining", text, finite(numbers), "pairs", tuple(dict.fromkeys(chosen)))


def _by_validation(evidence: Evidence, column: PlannedColumn, names: Sequence[str]) -> str | None:
    """Return the method with the highest mean validation score in the column; None if no method has one."""
    means = {}
    for name in names:
        if name not in evidence.scores.get(column.name, ()):
            continue
        values = [
            m.value
            for key in evidence.sources_of([column], [name])
            for m in evidence.records[key].metrics
            if m.split == "val" and m.metric == METRIC and PlannedColumn.of(m) == column
        ]
        if values:
            means[name] = fmean(values)
    return max(means, key=lambda name: means[name]) if means else None


def open_pairs(evidence: Evidence) -> Iterator[Finding]:
    """Yield one finding: how many pairs of methods are not settled, and what would settle them."""
    pairs = evidence.probe_pairs
    n = len(pairs)
    undecided = pairs[pairs["verdict"] == "open"]
    if undecided.empty:
        return
    more = undecided["more_seeds"].dropna()
    untested = len(undecided) - len(more)
    numbers: dict[str, float | str | int] = {"pairs": n, "open": len(undecided), "untested": untested}
    text = f"{len(undecided)} of {counted(n, 'pair')} of methods {'is' if len(undecided) == 1 else 'are'} open"
    parts = []
    if untested:
        parts.append("a test needs two confirmation seeds" + ("" if untested == n else f", which {untested} lack"))
    if len(more):
        few, many = (int((more <= seeds).sum()) for seeds in _SEEDS)
        numbers |= {"settled by 10 more seeds": few, "settled by 100 more seeds": many}
        if many:
            parts.append(
                f"{_SEEDS[0]} more confirmation seeds would settle {few} of them, and {_SEEDS[1]} more seeds {many} in "
                "all, if differences and variances stay as they are"
            )
        stubborn = undecided.loc[more.index[more > _SEEDS[1]], "more_searches"]
        by_searches = int((stubborn <= _SEEDS[1]).sum())
        if by_searches:
            numbers["settled by more searches"] = by_searches
            parts.append(f"{by_searches} would stay open with {_SEEDS[1]} more seeds and need more searches")
        if never := len(stubborn) - by_searches:
            numbers["beyond seeds"] = never
            parts.append(f"{never} would stay open with {_SEEDS[1]} more seeds and need more test samples")
    names = [*dict.fromkeys([*undecided["first"], *undecided["second"]])]
    keys = evidence.sources_of([PlannedColumn.named(name) for name in dict.fromkeys(undecided["dataset"])], names)
    yield Finding("open", f"{text}: {'; '.join(parts)}.", finite(numbers), "pairs", keys)
