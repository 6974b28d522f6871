from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from sklearn.metrics import f1_score

from conclugen.features import FeatureSet
from conclugen.hyperparameters import Hyperparameters
from conclugen.manifest import FeatureSetError, SplitName
from conclugen.pretrain import DivergedError
from conclugen.subsets import SUBSETS
from sweeps.config import SweepConfig, load_config
from sweeps.plan import Job, Report
from sweeps.trial import TrialRunner

CPU = torch.device("cpu")


@pytest.fixture
def config(write_config: Callable[..., Path]) -> SweepConfig:
    return load_config(write_config(checkpoint={"every": 1}))


def make_job(config: SweepConfig, stage: str, method: str, **changes: object) -> Job:
    values = {}
    if method != "raw_features":
        defaults = config.load_space().default_configuration(SUBSETS.get(method, ()))
        values = asdict(replace(Hyperparameters(), **(defaults | changes)))
    return Job(stage=stage, method=method, number=0, seed=11, hyperparameters=values)


class Listener:
    """Takes reports; says stop at ``stop_at`` epochs, or dies there like a killed process."""

    def __init__(self, *, stop_at: int | None = None, die_at: int | None = None) -> None:
        self.reports: list[Report] = []
        self._stop_at, self._die_at = stop_at, die_at

    def __call__(self, report: Report) -> bool:
        self.reports.append(report)
        if report.epochs == self._die_at:
            raise KeyboardInterrupt
        return report.epochs != self._stop_at


@pytest.mark.parametrize("method", SUBSETS)
def test_search_trials_report_at_every_rung_and_end_with_the_objective(
    config: SweepConfig, tmp_path: Path, method: str
) -> None:
    listener = Listener()
    final = TrialRunner(config, CPU).run(make_job(config, "search", method), tmp_path / "c", listener)
    assert [report.epochs for report in listener.reports] == [1, 2, 3]
    assert all(report.state == "running" and 0 <= report.value <= 1 for report in listener.reports)
    assert (final.state, final.epochs) == ("complete", 4)
    assert 0 <= final.value <= 1
    assert (tuple(final.metrics), tuple(final.predictions)) == ((), ())
    assert {str(loss) for loss in SUBSETS[method]} | {"total"} == set(final.losses)
    assert final.seconds["total"] == pytest.approx(final.seconds["train"] + final.seconds["probe"])


def test_search_never_opens_a_test_split(config: SweepConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: set[SplitName] = set()
    original = FeatureSet.split

    def spy(self: FeatureSet, name: SplitName) -> object:
        opened.add(name)
        return original(self, name)

    monkeypatch.setattr(FeatureSet, "split", spy)
    runner = TrialRunner(config, CPU)
    runner.run(make_job(config, "search", "ConCluGen"), tmp_path / "c", Listener())
    assert opened == {"train", "val"}
    for data in runner._search_sets:
        assert "test" not in data.splits
    runner.run(make_job(config, "confirm", "ConCluGen"), tmp_path / "d", Listener())
    assert opened == {"train", "val", "test"}


def test_search_works_where_the_test_shards_do_not_even_exist(
    config: SweepConfig, write_config: Callable[..., Path], planted: Path, tmp_path: Path
) -> None:
    import shutil

    copy = tmp_path / "without-test"
    shutil.copytree(planted, copy)
    for shard in copy.glob("test-*.arrow"):
        shard.unlink()
    config = load_config(write_config(features={"pretrain": str(copy), "downstream": {"planted": str(copy)}}))
    final = TrialRunner(config, CPU).run(make_job(config, "search", "Con"), tmp_path / "c", Listener())
    assert final.value is not None
    with pytest.raises(FeatureSetError):
        TrialRunner(config, CPU).run(make_job(config, "confirm", "Con"), tmp_path / "d", Listener())


@pytest.mark.parametrize("method", ["Con", "Gen", "raw_features", "random_head"])
def test_confirmation_scores_every_budget_on_val_and_test(config: SweepConfig, tmp_path: Path, method: str) -> None:
    listener = Listener()
    final = TrialRunner(config, CPU).run(make_job(config, "confirm", method), tmp_path / "c", listener)
    assert listener.reports == []
    cells = {(metric.dataset, metric.split, metric.labels_per_class) for metric in final.metrics}
    assert cells == {("planted", split, budget) for split in ("val", "test") for budget in (None, 2)}
    names = {metric.metric for metric in final.metrics}
    assert names == {"weighted_f1", "macro_f1", "accuracy", "f1/a", "f1/b", "f1/c"}


def test_recorded_scores_follow_from_the_recorded_predictions(config: SweepConfig, tmp_path: Path) -> None:
    final = TrialRunner(config, CPU).run(make_job(config, "confirm", "Con"), tmp_path / "c", Listener())
    for budget, draws in ((None, 1), (2, 2)):
        predictions = [p for p in final.predictions if p.labels_per_class == budget]
        assert [p.draw for p in predictions] == list(range(draws))
        expected = sum(f1_score(p.truth, p.predicted, average="weighted") for p in predictions) / draws
        (recorded,) = [
            m.value for m in final.metrics if (m.split, m.labels_per_class, m.metric) == ("test", budget, "weighted_f1")
        ]
        assert recorded == pytest.approx(expected)


def test_a_stopped_trial_returns_nothing(config: SweepConfig, tmp_path: Path) -> None:
    listener = Listener(stop_at=2)
    assert TrialRunner(config, CPU).run(make_job(config, "search", "Con"), tmp_path / "c", listener) is None
    assert [report.epochs for report in listener.reports] == [1, 2]


@pytest.mark.parametrize("method", ["Con", "ConCluGen"])
def test_a_trial_cut_anywhere_continues_to_the_same_result(config: SweepConfig, tmp_path: Path, method: str) -> None:
    job = make_job(config, "search", method)
    whole = Listener()
    expected = TrialRunner(config, CPU).run(job, tmp_path / "whole", whole)
    with pytest.raises(KeyboardInterrupt):
        TrialRunner(config, CPU).run(job, tmp_path / "cut", Listener(die_at=2))
    assert (tmp_path / "cut").exists()
    rest = Listener()
    final = TrialRunner(config, CPU).run(job, tmp_path / "cut", rest)
    assert [report.epochs for report in rest.reports] == [2, 3]
    assert [r.value for r in rest.reports] == [r.value for r in whole.reports[1:]]
    assert (final.value, final.losses) == (expected.value, expected.losses)


def test_the_same_job_scores_the_same_in_another_process_order(config: SweepConfig, tmp_path: Path) -> None:
    """Nothing leaks from one job to the next within a runner."""
    job = make_job(config, "confirm", "ConClu")
    fresh = TrialRunner(config, CPU).run(job, tmp_path / "a", Listener())
    used = TrialRunner(config, CPU)
    used.run(make_job(config, "search", "Gen"), tmp_path / "b", Listener())
    torch.rand(3)
    again = used.run(job, tmp_path / "c", Listener())
    assert fresh.metrics == again.metrics
    assert fresh.predictions == again.predictions


def test_divergence_is_raised(config: SweepConfig, tmp_path: Path) -> None:
    job = make_job(config, "search", "Gen", lr=1e30)
    with pytest.raises(DivergedError):
        TrialRunner(config, CPU).run(job, tmp_path / "c", Listener())
