"""How long does the driver take to propose a configuration after so many finished trials?

All seven subsets have equally many trials, with made-up scores. A proposal of the joint sampler fits length scales
first if a trial has ended since the last one. Proposals with and without a fit are timed, on one core.

    python -m benchmarks.proposals [--quick] [--json FILE] [--trials 100 1000 1400] [--rounds 5]
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import optuna
from threadpoolctl import threadpool_limits

from benchmarks.measuring import parser, spread, spread_text, write
from conclugen.subsets import SUBSETS
from search_spaces import load_space
from sweeps.config import Arm
from sweeps.search.joint.encoding import Encoding
from sweeps.search.joint.observations import Observation
from sweeps.search.joint.proposals import JointModel
from sweeps.search.samplers import distributions

_SPACE = load_space("default")
_ARMS = [Arm(subset) for subset in SUBSETS]


def made_up(count: int) -> list[Observation]:
    """Return ``count`` finished trials, the arms in turn."""
    encoding, random = Encoding(_SPACE, _ARMS), np.random.default_rng(count)
    trials = []
    for index in range(count):
        arm = _ARMS[index % len(_ARMS)]
        row = random.random(len(encoding.axes(arm)))
        score = 0.8 + 0.02 * float(np.sin(3 * row).sum()) + random.normal(0.0, 0.004)
        trials.append(Observation(arm, index // len(_ARMS), encoding.values(arm, row), "complete", score))
    return trials


def joint(trials: list[Observation], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of proposals with and without a fit."""
    fitting, usual = [], []
    for seed in range(rounds):
        model = JointModel(_SPACE, _ARMS)
        fitting.append(_seconds(partial(model.propose, _ARMS[-1], trials, seed)))
        usual.append(_seconds(partial(model.propose, _ARMS[-2], trials, seed)))
    return {"joint, with a fit": spread(fitting), "joint": spread(usual)}


def tpe(trials: list[Observation], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of proposals of TPE, which learns from the trials of one arm."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = distributions(_ARMS[-1].parameters(_SPACE))
    seconds = []
    for seed in range(rounds):
        study = optuna.create_study(
            direction="maximize", sampler=optuna.samplers.TPESampler(multivariate=True, seed=seed)
        )
        for trial in trials:
            if trial.arm == _ARMS[-1]:
                study.add_trial(
                    optuna.trial.create_trial(params=dict(trial.values), distributions=space, value=trial.value)
                )
        seconds.append(_seconds(partial(study.ask, space)))
    return {"tpe": spread(seconds)}


def _seconds(work: Callable[[], object]) -> float:
    with threadpool_limits(1):
        started = time.perf_counter()
        work()
        return time.perf_counter() - started


def main() -> None:
    """Measure, and print a row for each number of trials."""
    options = parser(__doc__)
    options.add_argument("--trials", nargs="+", type=int, default=[100, 1000, 1400])
    options.add_argument("--rounds", type=int, default=5)
    given = options.parse_args()
    if given.quick:
        given.trials, given.rounds = [100], 2
    results: dict[str, Any] = {}
    for count in given.trials:
        trials = made_up(count)
        results[str(count)] = {**joint(trials, given.rounds), **tpe(trials, given.rounds)}
        for name, seconds in results[str(count)].items():
            print(f"{count} trials, {name}: {spread_text(seconds, 3)} s")
    write(given.json, {"seconds": results})


if __name__ == "__main__":
    main()
