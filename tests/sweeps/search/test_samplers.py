"""Every sampler and pruner, in whole searches whose jobs are simulated."""

from collections.abc import Callable
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import optuna
import pytest
import yaml
from cmaes import CMA
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import FloatDistribution

from search_spaces import Parameter
from sweeps.config import ConfigError, load_config
from sweeps.folder.layout import SweepFolder
from sweeps.jobs import Job, Report
from sweeps.ledger import Ledger, Record
from sweeps.search import Search
from sweeps.search.cmaes import CmaEsSampler
from sweeps.search.grid import grid_point
from sweeps.search.study_view import NUMBER, STARTUP_TRIALS

FINITE = {
    "description": "finite",
    "parameters": {
        "representation_dim": {"choices": [8, 16, 32], "default": 16},
        "projection_dim": {"low": 2, "high": 5, "default": 3, "needs": "Con"},
        "kmeans_queue_size": 0,
        "batch_size": 20,
        "warmup_epochs": 1,
    },
}
RANGES = {
    "description": "ranges",
    "parameters": {
        "lr": {"low": 1.0e-4, "high": 1.0e-1, "log": True, "default": 1.0e-3},
        "feature_dropout": {"low": 0.0, "high": 0.9, "default": 0.5},
        "kmeans_queue_size": 0,
        "batch_size": 20,
        "warmup_epochs": 1,
    },
}


def run(
    write_config: Callable[..., Path],
    tmp_path: Path,
    space: dict[str, object],
    evaluate: Callable[[Job], float],
    **settings: object,
) -> list[Record]:
    """Search Con alone, one trial at a time; a trial's objective grows to ``evaluate``'s value over its epochs."""
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(space), encoding="utf-8")
    config = load_config(write_config(subsets=["Con"], baselines=[], space=str(tmp_path / "space.yaml"), **settings))
    folder = SweepFolder(tmp_path / "sweep")
    folder.prepare(config)
    search = Search(config, folder)
    while (job := search.next_job()) is not None and job.stage == "search":
        for epoch in config.probe_epochs:
            state = "complete" if epoch == config.budget.epochs else "running"
            value = evaluate(job) * epoch / config.budget.epochs
            if search.report(job.key, Report(epochs=epoch, value=value, state=state)):
                break
    return [record for record in Ledger(folder.ledger) if record.stage == "search"]


def budget(trials: int, epochs: int = 4) -> dict[str, int]:
    return {"trials_per_subset": trials, "epochs": epochs, "seeds": 1}


def test_a_grid_visits_each_point_once_and_the_default_first(write_config: Callable[..., Path], tmp_path: Path) -> None:
    records = run(
        write_config, tmp_path, FINITE, lambda _: 0.5, budget=budget(12), search={"sampler": "grid", "pruner": "none"}
    )
    points = [(r.hyperparameters["representation_dim"], r.hyperparameters["projection_dim"]) for r in records]
    assert points[0] == (16, 3)
    assert sorted(points) == [(r, p) for r in (8, 16, 32) for p in (2, 3, 4, 5)]
    assert points != sorted(points)


GRIDS = st.lists(
    st.one_of(
        st.integers(1, 5).flatmap(
            lambda count: st.integers(0, count - 1).map(lambda i: Parameter(choices=range(count), default=i))
        ),
        st.integers(0, 6).map(lambda steps: Parameter(low=0.1, high=0.1 + steps / 5, step=0.2, default=0.1)),
        st.just(Parameter(low=-3, high=5, step=4, default=1)),
        st.just(Parameter(fixed="joint")),
    ),
    max_size=4,
)


@settings(deadline=None, max_examples=50)
@given(grid=GRIDS, seed=st.integers(0, 2**31 - 1))
def test_any_grid_has_every_point_once(grid: list[Parameter], seed: int) -> None:
    parameters = {str(i): parameter for i, parameter in enumerate(grid)}
    free = {name: p for name, p in parameters.items() if p.fixed is None}
    every = list(product(*([p.value(i) for i in range(p.count or 0)] for p in free.values())))
    points = [grid_point(parameters, number, seed) for number in range(len(every))]
    assert points[0] == {name: p.start for name, p in free.items()}
    assert all(point.keys() == free.keys() for point in points)
    assert sorted(tuple(point[name] for name in free) for point in points) == sorted(every)


def test_the_order_of_a_grid_is_random_and_follows_from_the_seed() -> None:
    """In a random order of 256 points, the mean distance between neighbours is a third of the range."""
    parameters = {"lr": Parameter(low=0, high=255, default=0)}
    orders = [[grid_point(parameters, n, seed)["lr"] for n in range(1, 256)] for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    for order in orders:
        assert sum(abs(a - b) for a, b in pairwise(order)) / 254 == pytest.approx(256 / 3, rel=0.15)
        assert len({(b - a) % 256 for a, b in pairwise(order)}) > 100  # no constant stride


def test_a_point_of_a_huge_grid_takes_no_time() -> None:
    """The grid has 10^36 points; listing them, or shuffling their numbers, would never end."""
    parameters = {str(i): Parameter(low=0, high=999_999_999, default=7) for i in range(4)}
    assert len({tuple(grid_point(parameters, number, 0).values()) for number in range(1000)}) == 1000


@pytest.mark.parametrize("sampler", ["tpe", "cmaes"])  # for joint, see joint/test_proposals.py
def test_model_based_samplers_come_closer_to_the_optimum_than_random_search(
    write_config: Callable[..., Path], tmp_path: Path, sampler: str
) -> None:
    """The optimum is at feature_dropout 0.2. Compared are the last ten proposals, averaged over three seeds."""

    def error(name: str, seed: int) -> float:
        folder = tmp_path / f"{name}-{seed}"
        folder.mkdir()
        records = run(
            write_config, folder, RANGES, lambda job: 1 - abs(job.hyperparameters["feature_dropout"] - 0.2),
            budget=budget(40), search={"sampler": name, "pruner": "none"}, seed=seed, name=f"{name}-{seed}",
        )  # fmt: skip
        return sum(abs(r.hyperparameters["feature_dropout"] - 0.2) for r in records[-10:])

    assert sum(error(sampler, seed) for seed in range(3)) < 0.6 * sum(error("random", seed) for seed in range(3))


def test_cmaes_proposes_what_one_lasting_optimiser_would() -> None:
    """Oracle: one optimiser of the same library, from the first generation to the last."""
    space = {name: FloatDistribution(0.0, 1.0) for name in ("x", "y")}
    storage = optuna.storages.InMemoryStorage()
    study = optuna.create_study(direction="maximize", storage=storage)
    oracle = CMA(mean=np.full(2, 0.5), sigma=1 / 6, bounds=np.array([[0.0, 1.0]] * 2), n_max_resampling=20)
    generation: list[tuple[np.ndarray, float]] = []
    for number in range(40):
        study.sampler = CmaEsSampler(number, storage)
        study.enqueue_trial({}, user_attrs={NUMBER: number})
        trial = study.ask(space)
        point = np.array([trial.params["x"], trial.params["y"]])
        if number >= STARTUP_TRIALS:
            oracle.reseed_rng(number)
            assert np.allclose(point, oracle.ask(), rtol=0, atol=1e-9)
            generation.append((point, float(((point - 0.3) ** 2).sum())))
            if len(generation) == oracle.population_size:
                oracle.tell(generation)
                generation = []
        study.tell(trial, -float(((point - 0.3) ** 2).sum()))
    assert oracle.generation >= 5


def test_cmaes_learns_only_from_trials_that_it_has_drawn(write_config: Callable[..., Path], tmp_path: Path) -> None:
    """Eleven slots start together. They have no finished trials to learn from, and draw at random."""
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(RANGES), encoding="utf-8")
    cmaes = {"sampler": "cmaes", "pruner": "none"}
    config = load_config(
        write_config(subsets=["Con"], baselines=[], space=str(tmp_path / "space.yaml"), budget=budget(12), search=cmaes)
    )
    folder = SweepFolder(tmp_path / "sweep")
    folder.prepare(config)
    search = Search(config, folder)
    for job in [search.next_job() for _ in range(11)]:
        assert job is not None
        search.report(job.key, Report(epochs=config.budget.epochs, value=0.1 * job.number, state="complete"))
    assert search.next_job() is not None
    assert '"generation":0' in folder.journal.read_text(encoding="utf-8")


@pytest.mark.parametrize("pruner", ["successive_halving", "hyperband"])
def test_halving_prunes_the_bad_and_keeps_the_best(
    write_config: Callable[..., Path], tmp_path: Path, pruner: str
) -> None:
    """The objective is a hash of the trial's number. The best trial must complete, most bad trials must not."""

    def quality(job: Job) -> float:
        return job.number * 37 % 27 / 27

    records = run(
        write_config, tmp_path, RANGES, quality, budget=budget(27, epochs=27),
        search={"sampler": "random", "pruner": pruner, "reduction_factor": 3, "grace_period": 0.0}, probe={"every": 1},
    )  # fmt: skip
    states = {record.number: record.state for record in records}
    best = max(states, key=lambda number: number * 37 % 27)
    assert states[best] == "complete"
    pruned = [record for record in records if record.state == "pruned"]
    assert len(pruned) >= 9
    assert all(record.reason.startswith(f"{pruner}: too low beside the other trials") for record in pruned)
    assert min(record.epochs for record in pruned) < 5
    mean = {
        state: sum(n * 37 % 27 for n in states if states[n] == state) / list(states.values()).count(state)
        for state in ("pruned", "complete")
    }
    assert mean["pruned"] < mean["complete"]


@pytest.mark.parametrize("pruner", ["median", "successive_halving", "hyperband"])
@pytest.mark.parametrize(("grace_period", "first"), [(0.0, 1), (0.25, 3), (0.28, 4)])
def test_no_trial_is_pruned_before_the_grace_period_has_passed(
    write_config: Callable[..., Path], tmp_path: Path, pruner: str, grace_period: float, first: int
) -> None:
    """Each trial is worse than the ones before it, so all but the first few are pruned at the first rung of 12."""
    search = {"sampler": "random", "pruner": pruner, "grace_period": grace_period}
    records = run(
        write_config, tmp_path, RANGES, lambda job: 1 / (1 + job.number), budget=budget(12, epochs=12), search=search,
        probe={"every": 1},
    )  # fmt: skip
    assert min(record.epochs for record in records if record.state == "pruned") == first


def test_a_space_that_a_sampler_cannot_search_is_refused(write_config: Callable[..., Path]) -> None:
    with pytest.raises(ConfigError, match=r"a grid needs finitely many values: give .*lr.* choices or a step"):
        load_config(write_config(search={"sampler": "grid"}))
    with pytest.raises(ConfigError, match="cmaes searches ranges only"):
        load_config(write_config(search={"sampler": "cmaes"}))
