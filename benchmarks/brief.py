"""Do the brief probes that judge a running trial rank heads as whole probes do?

The benchmark trains heads of random configurations, the subsets in turn. Wherever a search trial is probed, it probes
each head three times: briefly, wholly, and wholly with other label draws and random numbers. It then takes all pairs of
heads of one subset, because pruning compares within a subset only. For each probe it prints two shares of these pairs:
those in the order of the whole probe at that epoch, and those in the order of the whole probe at the end (0.5 is
chance). Without ``--config``, heads are those of the demo's space, trained for 40 epochs and probed after every 8. A
configuration that diverges is left out.

    python -m benchmarks.brief [--quick] [--json FILE] [--config SWEEP.yaml] [--set KEY=VALUE ...] [--heads 28]
"""

import math
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations, cycle, islice
from pathlib import Path
from typing import Any

import optuna
import torch

from benchmarks.measuring import merged, parser, write
from conclugen.hyperparameters import Hyperparameters
from conclugen.subsets import SUBSETS
from conclugen.training.pretrain import DivergedError
from sweeps.actions.demo import write_demo
from sweeps.config import SweepConfig, load_config
from sweeps.folder.layout import SweepFolder
from sweeps.jobs import Job
from sweeps.search.samplers import distributions
from sweeps.trial import TrialRunner
from sweeps.trial.hardware import computing

_DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
KINDS = ("brief", "other", "whole")
"""The probes of a head: a brief one, a whole one with another seed, a whole one."""


@dataclass(frozen=True)
class Head:
    """A trained head.

    Attributes:
        method: the subset that it was trained with.
        scores: epoch -> kind of the probe -> score.
    """

    method: str
    scores: dict[int, dict[str, float]]

    @property
    def final_score(self) -> float:
        """The whole probe's score after the last epoch."""
        return self.scores[max(self.scores)]["whole"]


def random_job(config: SweepConfig, method: str, number: int) -> Job:
    """Return a search trial with a random configuration of the sweep's space."""
    parameters = config.load_space().for_losses(SUBSETS[method])
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=number))
    sampled = study.ask(distributions({name: p for name, p in parameters.items() if p.fixed is None})).params
    fixed: dict[str, Any] = {name: p.fixed for name, p in parameters.items() if p.fixed is not None}
    values = replace(Hyperparameters(), **fixed, **sampled)
    return Job(stage="search", method=method, number=number, seed=number, hyperparameters=asdict(values))


def train_heads(config: SweepConfig, number: int) -> list[Head]:
    """Train and probe ``number`` heads; return those that did not diverge."""
    other = config.model_copy(update={"seed": config.seed + 1})
    heads = list[Head]()
    with tempfile.TemporaryDirectory() as scratch:
        runner, other_runner = (TrialRunner(each, SweepFolder(Path(scratch)), _DEVICE) for each in (config, other))
        for index, method in enumerate(islice(cycle(config.subsets), number)):
            run = runner.pretraining(random_job(config, method, index))
            head = Head(method, {})
            try:
                while not run.finished:
                    run.run_epoch()
                    if run.finished or run.epoch in config.probe_epochs:
                        head.scores[run.epoch] = {
                            "brief": runner.objective(run.head, brief=True),
                            "other": other_runner.objective(run.head),
                            "whole": runner.objective(run.head),
                        }
            except DivergedError:
                continue
            heads.append(head)
    return heads


def same_order(pairs: Iterable[tuple[float, float, float, float]]) -> float:
    """Return the share of pairs that two scores put in the same order; a tie counts a half.

    Args:
        pairs: (first head by one score, second head by it, first head by the other score, second head by it).

    Raises:
        ZeroDivisionError: there is no pair.
    """
    products = [(a - b) * (c - d) for a, b, c, d in pairs]
    return math.fsum(0.5 if product == 0 else product > 0 for product in products) / len(products)


def agreement(heads: Sequence[Head], epoch: int) -> dict[str, list[float]]:
    """Return kind -> shares of pairs that it orders as the whole probe does at ``epoch``, and at the end."""
    probed = [head for head in heads if epoch in head.scores]
    pairs = [
        (a.scores[epoch], b.scores[epoch], a.final_score, b.final_score)
        for a, b in combinations(probed, 2)
        if a.method == b.method
    ]
    return {
        kind: [
            same_order((a[kind], b[kind], a["whole"], b["whole"]) for a, b, _, _ in pairs),
            same_order((a[kind], b[kind], final_a, final_b) for a, b, final_a, final_b in pairs),
        ]
        for kind in KINDS
    }


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--config", type=Path, help="a sweep whose features, space and budget to take")
    options.add_argument("--set", metavar="KEY=VALUE", dest="overrides", action="append", default=[])
    options.add_argument("--heads", type=int, help="default 28, quick 4")
    options.add_argument("--threads", type=int, default=1, help="torch's threads on the CPU")
    arguments = options.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    defaults = [] if arguments.config else ["probe.every=8"]
    quick = ["subsets=[Con, Gen]", "budget.epochs=8", "probe.every=4"] if arguments.quick else []
    with tempfile.TemporaryDirectory() as scratch, computing(arguments.threads):
        config_file = arguments.config or write_demo(Path(scratch))
        config = load_config(config_file, merged(defaults, quick, arguments.overrides))
        number = arguments.heads or (4 if arguments.quick else 28)
        if number < 2 * len(config.subsets):
            options.error(f"--heads {number}: give at least two of each of {len(config.subsets)} subsets.")
        heads = train_heads(config, number)
    print(f"{len(heads)} of {number} heads; share of pairs in the order of the whole probe at that epoch, at the end")
    shares_by_epoch = {epoch: agreement(heads, epoch) for epoch in config.probe_epochs}
    for epoch, shares in shares_by_epoch.items():
        brief, other, whole = (shares[kind] for kind in KINDS)
        print(
            f"{epoch:5} epochs: brief {brief[0]:.2f}, {brief[1]:.2f}; "
            f"whole of another seed {other[0]:.2f}, {other[1]:.2f}; whole 1, {whole[1]:.2f}"
        )
    write(arguments.json, {"shares": shares_by_epoch, "heads": [asdict(head) for head in heads]})


if __name__ == "__main__":
    main()
