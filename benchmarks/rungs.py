"""How well do the probes of a running trial tell how it will end, on the reference ledger (`benchmarks/reference`)?

The ledger's trials were probed after each fifth of their epochs, briefly but for the last time, and none was pruned.
For each set and rung, means over the subsets:

* order: the share of pairs of trials of one subset that are in the order of their final scores (0.5 is chance);
* lost: the share of the best tenth that the median pruner would stop there. Its best probe so far is then below the
  median of the subset's probes at that rung.

    python -m benchmarks.rungs [--quick] [--json FILE]
"""

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from benchmarks.measuring import parser, write
from benchmarks.reference.ledger import recorded_searches
from sweeps.search.replay import RecordedTrial


def order(trials: Sequence[RecordedTrial], epoch: int) -> float:
    """Return the share of pairs of trials that are in the order of their final scores; ties count for half."""
    last = max(trials[0].curve)
    signs = [
        np.sign(a.curve[epoch] - b.curve[epoch]) * np.sign(a.curve[last] - b.curve[last])
        for a, b in combinations(trials, 2)
    ]
    return float(np.mean(np.add(signs, 1) / 2))


def lost(trials: Sequence[RecordedTrial], epoch: int) -> float:
    """Return the share of the best tenth of the trials that the median pruner would stop after ``epoch``."""
    final = np.array([trial.curve[max(trial.curve)] for trial in trials])
    so_far = np.array([max(score for at, score in trial.curve.items() if at <= epoch) for trial in trials])
    best = final >= np.quantile(final, 0.9)
    return float(np.mean(so_far[best] < np.median([trial.curve[epoch] for trial in trials])))


def main() -> None:
    """Print a table."""
    given = parser(__doc__).parse_args()
    rows = []
    for name, (config, searches) in recorded_searches().items():
        for epoch in config.probe_epochs[:-1]:
            share = epoch / config.budget.epochs
            arms = list(searches.values())[:1] if given.quick else searches.values()
            rows.append(
                {
                    "set": name,
                    "share": share,
                    "order": float(np.mean([order(trials, epoch) for trials in arms])),
                    "lost": float(np.mean([lost(trials, epoch) for trials in arms])),
                }
            )
    print("| set | share of the epochs | order | lost |")
    for row in rows:
        print(f"| {row['set']} | {row['share']:.0%} | {row['order']:.2f} | {row['lost']:.0%} |")
    write(given.json, {"rungs": rows})


if __name__ == "__main__":
    main()
