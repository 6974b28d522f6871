"""Replays of recorded sweeps with other samplers and pruners, and what they say together."""

import math
import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from pathlib import Path

import pandas as pd
from scipy import stats

from conclugen.counts import counted
from sweeps.config import Arm, ConfigError, load_config
from sweeps.folder.layout import SweepFolder
from sweeps.ledger import Ledger
from sweeps.search.joint.observations import observation_of
from sweeps.search.replay import LEAST_TRIALS, Landscape, RecordedTrial, Regret, Strategy, replay

__all__ = ["landscape_of", "replay_all", "summary", "write_csv"]


def landscape_of(folder: SweepFolder) -> Landscape:
    """Learn the scores of a sweep's configurations from the trials that ran their full budget.

    Raises:
        ConfigError: the folder's configuration cannot be used, or no arm has enough trials.
        LedgerError: a record cannot be read.
    """
    config = load_config(folder.config, alone=True, written=True)
    trials: dict[Arm, list[RecordedTrial]] = {arm: [] for arm in config.arms.values()}
    for record in Ledger(folder.ledger):
        if record.stage == "search" and record.state == "complete" and record.method in config.arms:
            values = observation_of(record, config.arms[record.method]).values
            trials[config.arms[record.method]].append(RecordedTrial(values, dict(record.history)))
    try:
        return Landscape(config, trials)
    except ValueError:
        most = max(map(len, trials.values()), default=0)
        raise ConfigError(
            [
                f"{folder.root}: {counted(most, 'full trial')} of a method at most; a replay needs {LEAST_TRIALS}. "
                "Give a sweep with more trials of each method, best with search.pruner: none."
            ]
        ) from None


def replay_all(
    landscapes: Mapping[str, Landscape],
    strategies: Sequence[Strategy],
    trials: Sequence[int],
    *,
    replicates: int,
    noise: float,
    processes: int = 1,
    progress: Callable[[int, int], object] = lambda done, of: None,
) -> pd.DataFrame:
    """Replay every strategy on every landscape; strategies see the same noise.

    Args:
        landscapes: name of a sweep -> its landscape.
        strategies: samplers and pruners.
        trials: numbers of trials of each arm after which regrets are noted.
        replicates: repetitions, with other seeds.
        noise: standard deviation of each score.
        processes: how many replays run at once.
        progress: called with the number of replays that have ended, and of all.

    Returns:
        Columns sweep, strategy, arm, replicate, trials, regret, and epochs, the share of all epochs of that many full
        trials that were trained.
    """
    jobs = [
        (name, strategy, list(trials), replicate, noise)
        for name, replicate, strategy in product(landscapes, range(replicates), strategies)
    ]
    rows = list[tuple[object, ...]]()
    for done, ((name, *_), regrets) in enumerate(zip(jobs, _results(landscapes, jobs, processes), strict=True), 1):
        full = landscapes[name].epochs[-1]
        rows += [
            (name, str(r.strategy), r.arm, r.replicate, r.trials, r.regret, r.epochs / (full * r.trials))
            for r in regrets
        ]
        progress(done, len(jobs))
    return pd.DataFrame(rows, columns=["sweep", "strategy", "arm", "replicate", "trials", "regret", "epochs"])


def summary(frame: pd.DataFrame) -> pd.DataFrame:
    """Return mean regrets, with 95 % intervals of Student's t over replicates.

    Args:
        frame: from :func:`replay_all`.

    Returns:
        Columns sweep, strategy, trials, regret, low, high (NaN with one replicate) and epochs.
    """
    keys = ["sweep", "strategy", "trials"]
    means = frame.groupby([*keys, "replicate"], sort=False)[["regret", "epochs"]].mean().reset_index()
    rows = list[tuple[object, ...]]()
    for key, group in means.groupby(keys, sort=False):
        regret, count = float(group["regret"].mean()), len(group)
        half = math.nan
        if count > 1:
            half = float(stats.t.ppf(0.975, count - 1) * group["regret"].std() / math.sqrt(count))
        rows.append((*key, regret, regret - half, regret + half, float(group["epochs"].mean())))
    return pd.DataFrame(rows, columns=[*keys, "regret", "low", "high", "epochs"])


_Job = tuple[str, Strategy, list[int], int, float]
_landscapes: dict[str, Landscape] = {}


def _results(landscapes: Mapping[str, Landscape], jobs: Sequence[_Job], processes: int) -> Iterator[list[Regret]]:
    """Yield what each job found, in the order of the jobs."""
    if processes == 1:
        _begin(dict(landscapes))
        yield from map(_replay, jobs)
        return
    context = multiprocessing.get_context("spawn")
    number = min(processes, len(jobs))
    with ProcessPoolExecutor(number, mp_context=context, initializer=_begin, initargs=(dict(landscapes),)) as pool:
        yield from pool.map(_replay, jobs)


def _begin(landscapes: dict[str, Landscape]) -> None:
    """Keep the landscapes of a child process, so that they are sent once."""
    _landscapes.clear()
    _landscapes.update(landscapes)


def _replay(job: _Job) -> list[Regret]:
    name, strategy, trials, replicate, noise = job
    return list(replay(_landscapes[name], strategy, trials, replicate, noise))


def write_csv(frame: pd.DataFrame, out: Path) -> Path:
    """Write all regrets as ``replay.csv`` into a folder, created if missing."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / "replay.csv"
    frame.to_csv(path, index=False, float_format="%.6g")
    return path
