"""Do the brief probes that judge a running trial rank heads as whole probes do?

Trains heads of random configurations, the subsets in turn, and probes each of them whenever a search trial is probed:
briefly, wholly, and wholly with other label draws and random numbers. Of all pairs of heads of one subset, as pruning
compares within a subset only, it prints which share each probe puts in the same order as the whole one at that epoch,
and as the whole one at the end (0.5 is chance). Without ``--config``, heads are those of the demo's space, probed after
every eighth of 40 epochs. A configuration that diverges is left out.

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

from benchmarks.measuring import parser, write
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
"""Of a head's scores: by a brief probe, by a whole one of another seed, by a whole one."""


@dataclass(frozen=True)
class Head:
    """What became of one configuration: its scores by the epoch and the kind of the probe."""

    method: str
    scores: dict[int, dict[str, float]]

    @property
    def end(self) -> float:
        """The score of its trial."""
        return self.scores[max(self.scores)]["whole"]


def random_job(config: SweepConfig, method: str, number: int) -> Job:
    """A search trial of a random configuration of the space."""
    parameters = config.load_space().for_losses(SUBSETS[method])
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=number))
    sampled = study.ask(distributions({name: p for name, p in parameters.items() if p.fixed is None})).params
    fixed: dict[str, Any] = {name: p.fixed for name, p in parameters.items() if p.fixed is not None}
    values = replace(Hyperparameters(), **fixed, **sampled)
    return Job(stage="search", method=method, number=number, seed=number, hyperparameters=asdict(values))


def trained(config: SweepConfig, number: int) -> list[Head]:
    """Train and probe so many heads; fewer are returned where some diverge."""
    other = config.model_copy(update={"seed": config.seed + 1})
    heads = list[Head]()
    with tempfile.TemporaryDirectory() as scratch:
        runner, runner_of_other = (TrialRunner(each, SweepFolder(Path(scratch)), _DEVICE) for each in (config, other))
        for index, method in enumerate(islice(cycle(config.subsets), number)):
            run = runner.pretraining(random_job(config, method, index))
            head = Head(method, {})
            try:
                while not run.finished:
                    run.run_epoch()
                    if run.finished or run.epoch in config.probe_epochs:
                        head.scores[run.epoch] = {
                            "brief": runner.objective(run.head, brief=True),
                            "other": runner_of_other.objective(run.head),
                            "whole": runner.objective(run.head),
                        }
            except DivergedError:
                continue
            heads.append(head)
    return heads


def alike(pairs: Iterable[tuple[float, float, float, float]]) -> float:
    """Share of pairs (a, b of one score; a, b of another) that both scores order alike; a tie counts a half.

    Raises:
        ZeroDivisionError: there is no pair.
    """
    products = [(a - b) * (c - d) for a, b, c, d in pairs]
    return math.fsum(0.5 if product == 0 else product > 0 for product in products) / len(products)


def agreement(heads: Sequence[Head], epoch: int) -> dict[str, list[float]]:
    """Kind -> shares of pairs that it orders as the whole probe does at ``epoch``, and as it does at the end."""
    probed = [head for head in heads if epoch in head.scores]
    pairs = [
        (a.scores[epoch], b.scores[epoch], a.end, b.end) for a, b in combinations(probed, 2) if a.method == b.method
    ]
    return {
        kind: [
            alike((a[kind], b[kind], a["whole"], b["whole"]) for a, b, _, _ in pairs),
            alike((a[kind], b[kind], end, other_end) for a, b, end, other_end in pairs),
        ]
        for kind in KINDS
    }


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--config", type=Path, help="of a sweep whose features, space and budget to take")
    options.add_argument("--set", metavar="KEY=VALUE", dest="overrides", action="append", default=[])
    options.add_argument("--heads", type=int, help="default 28, quick 4")
    options.add_argument("--threads", type=int, default=1, help="of torch on the CPU")
    given = options.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    own = [] if given.config else ["probe.every=8"]
    quick = ["subsets=[Con, Gen]", "budget.epochs=8", "probe.every=4"] if given.quick else []
    with tempfile.TemporaryDirectory() as scratch, computing(given.threads):
        config = load_config(given.config or write_demo(Path(scratch)), [*own, *quick, *given.overrides])
        number = given.heads or (4 if given.quick else 28)
        if number < 2 * len(config.subsets):
            options.error(f"--heads {number}: give at least two of each of {len(config.subsets)} subsets.")
        heads = trained(config, number)
    print(f"{len(heads)} of {number} heads; share of pairs in the order of the whole probe at that epoch, at the end")
    result = {epoch: agreement(heads, epoch) for epoch in config.probe_epochs}
    for epoch, shares in result.items():
        brief, other, whole = (shares[kind] for kind in KINDS)
        print(
            f"{epoch:5} epochs: brief {brief[0]:.2f}, {brief[1]:.2f}; "
            f"whole of another seed {other[0]:.2f}, {other[1]:.2f}; whole 1, {whole[1]:.2f}"
        )
    write(given.json, {"shares": result, "heads": [asdict(head) for head in heads]})


if __name__ == "__main__":
    main()
