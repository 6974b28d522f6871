"""Which sampler and pruner find better configurations, on the reference ledger (`benchmarks/reference`)?

The ledger has random trials of the seven subsets on six sets. Each set's trials become a landscape, a random forest for
each subset, which is searched again with the sweep's own studies, samplers and pruners. Regrets are means over
subsets, and intervals are over replicates. `first below` is the fewest trials after which a strategy's mean regret is
at most that of tpe after 20 trials.

    python -m benchmarks.replay [--quick] [--json FILE] [--samplers tpe joint random] [--pruners none median]
        [--grace 0.4] [--trials 4 6 8 12 16 20] [--replicates 8] [--noise 0.004] [--sets handwritten mosi]
"""

from typing import Any

import pandas as pd

from benchmarks.measuring import parser, write
from benchmarks.reference.ledger import recorded_searches
from reports.processes import processors
from sweeps.actions.search_replay import replay_all, summary
from sweeps.config.sections import Search as SearchSettings
from sweeps.search.replay import Landscape, Strategy

_REFERENCE = "tpe"
_MOST = 20


def first_below(means: pd.DataFrame, target: float, strategy: str) -> int | None:
    """Return the fewest trials after which a strategy's mean regret is at most ``target``; None if it never is."""
    rows = means[(means["strategy"] == strategy) & (means["regret"] <= target)]
    return None if rows.empty else int(rows["trials"].min())


def main() -> None:
    """Replay, and print a table."""
    options = parser(__doc__)
    options.add_argument("--samplers", nargs="+", default=["tpe", "joint", "random"])
    options.add_argument("--pruners", nargs="+", default=["none"])
    options.add_argument("--grace", type=float, default=SearchSettings().grace_period, help="search.grace_period")
    options.add_argument("--trials", nargs="+", type=int, default=[4, 6, 8, 12, 16, 20])
    options.add_argument("--replicates", type=int, default=8)
    options.add_argument("--noise", type=float, default=0.004)
    options.add_argument("--sets", nargs="+")
    given = options.parse_args()
    if given.quick:
        given.trials, given.replicates, given.sets = [4, 6], 2, ["emodb"]
    searches = recorded_searches()
    landscapes = {name: Landscape(*searches[name]) for name in given.sets or searches}
    for landscape in landscapes.values():
        search = landscape.config.search.model_copy(update={"grace_period": given.grace})
        landscape.config = landscape.config.model_copy(update={"search": search})
    strategies = [Strategy(sampler, pruner) for sampler in given.samplers for pruner in given.pruners]
    frame = replay_all(
        landscapes, strategies, given.trials, replicates=given.replicates, noise=given.noise, processes=processors()
    )
    everywhere = frame.assign(sweep="all sets")
    means = summary(pd.concat([frame, everywhere] if len(landscapes) > 1 else [frame]))
    print("| set | strategy |", *(f"{count} |" for count in given.trials), "epochs | first below |")
    for name, of_set in means.groupby("sweep", sort=False):
        reference = of_set[(of_set["strategy"] == _REFERENCE) & (of_set["trials"] == _MOST)]["regret"]
        for strategy, rows in of_set.groupby("strategy", sort=False):
            cells = [f"{r:.4f} ± {h - r:.4f} |" for r, h in zip(rows["regret"], rows["high"], strict=True)]
            reached = first_below(of_set, float(reference.iloc[0]), str(strategy)) if len(reference) else None
            print(f"| {name} | {strategy} |", *cells, f"{rows['epochs'].iloc[-1]:.0%} |", f"{reached or '-'} |")
    document: dict[str, Any] = {"regrets": means.to_dict("records")}
    write(given.json, document)


if __name__ == "__main__":
    main()
