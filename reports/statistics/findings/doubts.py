"""Findings that say what to doubt about the others."""

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from itertools import combinations
from statistics import fmean

from conclugen.counts import counted
from conclugen.labels import LabelBudget
from reports.statistics.ablation import PlannedColumn, latest_config, planned_columns
from reports.statistics.findings.evidence import METRIC, Evidence
from reports.statistics.findings.finding import Finding
from reports.statistics.findings.words import listing, score, signed
from reports.statistics.pairs import ALPHA
from reports.statistics.searches import searched_methods
from search_spaces import SpaceError, load_space
from sweeps.ledger import Predictions

__all__ = ["doubts"]

_BAD_RANKING = 0.5
"""Rank correlation below which the objective ranks badly."""
_FEW_RUNS = 2
_FEW_FOR_MANY = 4
"""Confirmation runs that are few if there are many tests; the default is five."""
_TWO = 2


def doubts(evidence: Evidence) -> Iterator[Finding]:
    """Yield a finding for each reason to doubt the others, the weightiest first."""
    for find in (
        _few_runs,
        _many_tests,
        _missing,
        _failed,
        _collapsed,
        _ranking,
        _winners_curse,
        _rising,
        _priors,
        _two_searches,
        _not_covered,
    ):
        found = find(evidence)
        if found is not None:
            yield found


def _few_runs(evidence: Evidence) -> Finding | None:
    """With one run nothing is tested; with two, the spread between runs comes from one difference."""
    frame = evidence.ablation.frame
    names = {column.name for column in evidence.columns}
    rows = frame[(frame["metric"] == METRIC) & frame["dataset"].isin(names) & (frame["n_seeds"] > 0)]
    few = rows[rows["n_seeds"] == rows["n_seeds"].min()]
    if few.empty or (n_runs := int(few["n_seeds"].iloc[0])) > _FEW_RUNS:
        return None
    methods = list(dict.fromkeys(few["method"]))
    who = "Every method" if len(few) == len(rows) else listing(methods)
    have = "has" if len(few) == len(rows) or len(methods) == 1 else "have"
    what = "confirmation run, so it has no interval, and no difference to it is tested"
    if len(methods) > 1:
        what = "confirmation run, so there is no interval and no test of differences"
    if n_runs == 2:
        what = "confirmation runs, so two runs tell how far runs vary, and intervals are rough"
    text = f"{who} {have} only {n_runs} {what}."
    keys = [key for row in few.itertuples() for key in evidence.sources.get((str(row.dataset), str(row.method)), ())]
    return Finding("doubt", text, {"runs": n_runs, "methods": len(methods)}, "intervals", tuple(dict.fromkeys(keys)))


def _many_tests(evidence: Evidence) -> Finding | None:
    """Few runs and many tests: Holm's method leaves pairs open that would be settled if they were the only one."""
    pairs = evidence.probe_pairs
    hidden = pairs[(pairs["verdict"] == "open") & (pairs["p"] < ALPHA) & (pairs["n_seeds"] <= _FEW_FOR_MANY)]
    if hidden.empty:
        return None
    seeds, tests = int(hidden["n_seeds"].min()), max(evidence.family_sizes.values())
    largest, by_two = float(hidden["difference"].abs().max()), int((hidden["more_seeds"] <= 2).sum())
    text = (
        f"{seeds} confirmation runs are few for {tests} comparisons: Holm's correction leaves "
        f"{counted(len(hidden), 'difference')} of up to {score(largest)} open that would be settled alone. Two more "
        f"seeds (budget.seeds) would settle {by_two} of them, if differences and variances stay as they are."
    )
    numbers = {"runs": seeds, "comparisons": tests, "open": len(hidden), "largest": largest, "by two seeds": by_two}
    names = list(dict.fromkeys([*hidden["first"], *hidden["second"]]))
    columns = [PlannedColumn.named(name) for name in dict.fromkeys(hidden["dataset"])]
    return Finding("doubt", text, numbers, "pairs", evidence.sources_of(columns, names))


def _two_searches(evidence: Evidence) -> Finding | None:
    """Two searches say little about a third, so intervals are wide."""
    twice = [records[0].sweep for records in evidence.ledgers if latest_config(records)["budget"]["searches"] == _TWO]
    if not twice:
        return None
    text = (
        f"Two searches say little about a third, so intervals are wide ({listing(twice)}); three (budget.searches) are "
        "better."
    )
    return Finding("doubt", text, {"sweeps": len(twice)}, "intervals", ())


def _missing(evidence: Evidence) -> Finding | None:
    """Planned results that do not exist, or lack seeds."""
    frame = evidence.ablation.frame
    rows = frame[frame["metric"] == METRIC]
    planned = rows["dataset"].map(evidence.ablation.planned_seeds)
    lacking = rows[rows["n_seeds"] < planned]
    if lacking.empty:
        return None
    none = lacking[lacking["n_seeds"] == 0]
    methods = list(dict.fromkeys(lacking["method"]))
    text = (
        f"{len(lacking)} of {counted(len(rows), 'planned score')} {'lack' if len(lacking) != 1 else 'lacks'} runs, "
        f"{len(none)} of them all runs: {listing(methods)}."
    )
    numbers = {"planned": len(rows), "lacking runs": len(lacking), "without any run": len(none)}
    keys = evidence.sources_of(evidence.columns, methods)
    return Finding("doubt", text, numbers, "ablation", keys)


def _failed(evidence: Evidence) -> Finding | None:
    records = [record for ledger in evidence.ledgers for record in ledger]
    failed = [record for record in records if record.state == "failed"]
    if not failed:
        return None
    reasons = Counter(record.failure_class for record in failed)
    methods = Counter(record.method for record in failed)
    n_most = max(methods.values())
    most = listing([method for method, n in methods.items() if n == n_most])
    each = " each" if sum(n == n_most for n in methods.values()) > 1 else ""
    shown = listing([f"{reason} ({n})" for reason, n in reasons.most_common()])
    whose = f"all of {most}" if len(methods) == 1 else f"most often of {most} ({n_most}{each})"
    text = f"{len(failed)} of {counted(len(records), 'job')} failed, {whose}; reasons: {shown}."
    keys = tuple(f"{record.sweep}: {record.key}" for record in failed)
    numbers = {"jobs": len(records), "failed": len(failed), **{f"failed: {name}": n for name, n in reasons.items()}}
    return Finding("doubt", text, numbers, "accounting", keys)


def _collapsed(evidence: Evidence) -> Finding | None:
    """Runs that predict the same for every test sample, as they do if the head represents all samples alike."""
    runs = {key: record for key, record in evidence.records.items() if record.stage == "confirm" and record.predictions}
    collapsed: dict[str, set[PlannedColumn]] = {}
    for key, record in runs.items():
        by_column: dict[PlannedColumn, list[Predictions]] = {}
        for predictions in record.predictions:
            by_column.setdefault(PlannedColumn.of(predictions), []).append(predictions)
        if constant := {column for column, draws in by_column.items() if all(map(_constant, draws))}:
            collapsed[key] = constant
    if not collapsed:
        return None
    methods = Counter(runs[key].method for key in collapsed)
    text = (
        f"{len(collapsed)} of {counted(len(runs), 'confirmation run')} collapsed: the probe predicts the same for "
        f"every test sample ({listing([f'{method}: {n}' for method, n in methods.most_common()])})."
    )
    numbers = {"runs": len(runs), "collapsed": len(collapsed), **{f"runs of {name}": n for name, n in methods.items()}}
    return Finding("doubt", text, numbers, "ablation", tuple(collapsed))


def _constant(predictions: Predictions) -> bool:
    """Return whether all samples have the same class, or the same labels."""
    width = len(predictions.classes) if predictions.multi_label else 1
    predicted = predictions.predicted
    return all(predicted[place] == predicted[place % width] for place in range(len(predicted)))


def _ranking(evidence: Evidence) -> Finding | None:
    """The objective ranks badly where methods differ: a rank correlation among equal methods means nothing."""
    frame = evidence.ranking
    settled = evidence.probe_pairs[evidence.probe_pairs["verdict"] == "settled"]
    differing = set(settled["dataset"])
    bad = frame[(frame["spearman"] < _BAD_RANKING) & frame["dataset"].isin(differing)]
    if bad.empty:
        return None
    columns = [PlannedColumn.named(name) for name in dict.fromkeys(bad["dataset"])]
    worst = signed(float(bad["spearman"].min())) + ("" if len(bad) == 1 else " at worst")
    text = (
        f"The search's objective ranks methods badly {evidence.places.of(columns)}: the rank correlation with test "
        f"scores is {worst}, below {_BAD_RANKING:g}."
    )
    numbers = {f"{row.dataset} search {row.search} spearman": float(str(row.spearman)) for row in bad.itertuples()}
    keys = evidence.sources_of(columns, [name for column in columns for name in evidence.scores[column.name]])
    return Finding("doubt", text, numbers, "ranking", keys)


def _winners_curse(evidence: Evidence) -> Finding | None:
    """The chosen configurations lost more when trained anew than two searched methods differ on average.

    The loss is from the value that chose a configuration, the best trial's or the mean of the finalist that won, to the
    same quantity of its confirmation runs.
    """
    frame = evidence.selection.dropna(subset=["confirmed"])
    frame = frame[frame["dataset"].isin(_columns_of_objectives(evidence))]
    losses = frame["winner"].fillna(frame["objective"]) - frame["confirmed"]
    worst: tuple[float, str, float, float] | None = None
    for dataset, rows in frame.groupby("dataset", sort=False):
        tests = rows.groupby("method")["test"].mean()
        if len(tests) < 2:
            continue
        loss = float(losses[rows.index].mean())
        typical = fmean(abs(a - b) for a, b in combinations(tests, 2))
        if loss > typical and (worst is None or loss - typical > worst[0]):
            worst = loss - typical, str(dataset), loss, typical
    if worst is None:
        return None
    _, dataset, loss, typical = worst
    column = PlannedColumn.named(dataset)
    text = (
        f"The chosen configurations lost {score(loss)} on average when trained anew (winner's curse), more than two "
        f"searched methods differ on average {evidence.places.of([column])} ({score(typical)})."
    )
    methods = list(dict.fromkeys(frame[frame["dataset"] == dataset]["method"]))
    numbers: dict[str, float | str | int] = {"loss": loss, "difference": typical}
    return Finding("doubt", text, numbers, "selection", evidence.sources_of([column], methods))


def _columns_of_objectives(evidence: Evidence) -> set[str]:
    """Return the columns at the label budget that the search looked at: the optimism is in their unit."""
    names = set()
    for records in evidence.ledgers:
        config = latest_config(records)
        objective = config["objective"]
        budget = LabelBudget(per_class=objective["labels_per_class"], fraction=objective["label_fraction"])
        nested = "labels" in config["search"]["nested"]
        names |= {name for name, column in planned_columns(records).items() if nested or column.labels == str(budget)}
    return names


def _rising(evidence: Evidence) -> Finding | None:
    """Searches whose expected best still rose by more than what matters over the second half of their trials."""
    rises = {}
    for (sweep, method, search), curve in evidence.tuning_curve.groupby(["sweep", "method", "search"], sort=False):
        expected = curve.sort_values("n_trials")["expected"].to_numpy()
        if len(expected) > 1:
            arm = str(method) if search == 1 else f"{method}~{search}"
            rises[str(sweep), arm] = float(expected[-1] - expected[(len(expected) + 1) // 2 - 1])
    rising = {arm: rise for arm, rise in rises.items() if rise > evidence.equivalent}
    if not rising:
        return None
    names = listing([arm for _, arm in sorted(rising, key=lambda arm: -rising[arm])])
    text = (
        f"{len(rising)} of {counted(len(rises), 'search', 'searches')} had not levelled off ({names}): the second half "
        f"of the trials raised the expected best by more than {evidence.equivalent:g}, at most "
        f"{signed(max(rising.values()))}."
    )
    numbers: dict[str, float | str | int] = {f"{sweep}: {arm}": rise for (sweep, arm), rise in rising.items()}
    keys = [
        key for key, record in evidence.records.items()
        if record.stage == "search" and record.state == "complete" and (record.sweep, record.method) in rising
    ]  # fmt: skip
    return Finding("doubt", text, numbers, "tuning", tuple(keys))


def _priors(evidence: Evidence) -> Finding | None:
    """A prior of the user: the search looked at first, and looked more, where good values were expected."""
    priors: dict[str, str] = {}
    for records in evidence.ledgers:
        with suppress(SpaceError):  # the space is gone or has changed
            priors |= {name: prior.text for name, prior in load_space(latest_config(records)["space"]).priors.items()}
    if not priors:
        return None
    named = listing([f"{name} {text}" for name, text in priors.items()])
    text = f"The search had {'a prior' if len(priors) == 1 else 'priors'} of the user: {named}."
    return Finding("doubt", text, dict(priors), "tuning", ())


def _not_covered(evidence: Evidence) -> Finding | None:
    """Sources of chance that the intervals leave out: another search, and samples that go together."""
    configs = [latest_config(records) for records in evidence.ledgers]
    once = [config for config in configs if searched_methods(config) and config["budget"]["searches"] < 2]
    rows = evidence.intervals.dropna(subset=["low"])
    names = [PlannedColumn.named(name).dataset for name in rows[rows["grouped_by"] == ""]["dataset"]]
    sets = list(dict.fromkeys(names))
    parts = []
    if once:
        parts.append("do not cover another search (each method was searched once; see budget.searches)")
    if sets:
        verb = "names" if len(sets) == 1 else "name"
        parts.append(f"take all test samples as independent ({listing(sets)} {verb} no speakers or groups)")
    if rows.empty or not parts:
        return None
    numbers = {"sweeps with one search": len(once), "sets without groups": len(sets)}
    return Finding("doubt", f"The intervals {', and '.join(parts)}.", numbers, "intervals", ())
