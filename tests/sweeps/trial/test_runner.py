"""A job runs from its hyperparameters to its scores, and continues after a kill."""

import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score

from conclugen import release
from conclugen.evaluation.classification import Classifiers
from conclugen.evaluation.logistic import BRIEF, WHOLE
from conclugen.evaluation.probe import fit_probes
from conclugen.features.importing import import_arrays
from conclugen.features.manifest import FeatureSetError, SplitName
from conclugen.features.shards import FeatureSet, Split
from conclugen.hyperparameters import Hyperparameters
from conclugen.subsets import SUBSETS
from conclugen.training.pretrain import DivergedError
from sweeps.config import SweepConfig, load_config
from sweeps.folder.comparability import provenance
from sweeps.folder.layout import SweepFolder
from sweeps.jobs import Job, Report
from sweeps.ledger import BASELINES, SUMMARY_METRICS
from sweeps.trial import TrialRunner, load_head
from sweeps.trial.hardware import own_hardware
from tests.conftest import write_planted

CPU = torch.device("cpu")
VALIDATED = ("val", "2", "weighted_f1")


@pytest.fixture
def folder(tmp_path: Path) -> SweepFolder:
    return SweepFolder(tmp_path / "sweep")


@pytest.fixture
def config(write_config: Callable[..., Path]) -> SweepConfig:
    return load_config(write_config(checkpoint={"every": 1}, baselines="all"))


def make_job(
    config: SweepConfig, stage: str, method: str, *, modalities: tuple[str, ...] = (), **changes: object
) -> Job:
    values = {}
    if method not in ("raw_features", "raw_pca", "label_spreading"):
        defaults = config.load_space().default_configuration(SUBSETS.get(method, ()))
        values = asdict(replace(Hyperparameters(), **(defaults | changes)))
    return Job(stage=stage, method=method, number=0, seed=11, hyperparameters=values, modalities=modalities)


class Listener:
    """Receives reports; stops the trial at ``stop_at`` epochs, or dies at ``die_at`` like a killed process."""

    def __init__(self, *, stop_at: int | None = None, die_at: int | None = None) -> None:
        self.reports: list[Report] = []
        self._stop_at = stop_at
        self._die_at = die_at

    def __call__(self, report: Report) -> bool:
        self.reports.append(report)
        if report.epochs == self._die_at:
            raise KeyboardInterrupt
        return report.epochs != self._stop_at


@pytest.mark.parametrize("method", SUBSETS)
def test_search_trials_report_at_every_rung_and_end_with_the_objective(
    config: SweepConfig, folder: SweepFolder, method: str
) -> None:
    listener = Listener()
    final = TrialRunner(config, folder, CPU).run(make_job(config, "search", method), listener)
    assert [report.epochs for report in listener.reports] == [1, 2, 3]
    assert all(report.state == "running" and 0 <= report.value <= 1 for report in listener.reports)
    assert (final.state, final.epochs) == ("complete", 4)
    assert 0 <= final.value <= 1
    assert (tuple(final.metrics), tuple(final.predictions)) == ((), ())
    assert {str(loss) for loss in SUBSETS[method]} | {"total"} == set(final.losses)
    assert final.seconds["total"] == pytest.approx(final.seconds["train"] + final.seconds["probe"])


@pytest.mark.parametrize(("stage", "method"), [("search", "Con"), ("confirm", "raw_features")])
def test_every_report_names_its_hardware(config: SweepConfig, folder: SweepFolder, stage: str, method: str) -> None:
    listener = Listener()
    runner = TrialRunner(config, folder, CPU)
    final = runner.run(make_job(config, stage, method), listener)
    assert {report.hardware for report in [*listener.reports, final]} == {own_hardware(CPU)}


def test_every_epoch_and_every_fit_of_the_scoring_is_a_sign_of_life(config: SweepConfig, folder: SweepFolder) -> None:
    signs: list[int] = []
    runner = TrialRunner(config, folder, CPU, lambda: signs.append(1))
    runner.run(make_job(config, "search", "Con"), Listener())
    assert len(signs) == 4 + 4  # epochs, and probes of which three were reported
    runner.run(make_job(config, "confirm", "raw_features"), Listener())
    assert len(signs) == 8 + len(config.probe.budgets)


@pytest.mark.parametrize(
    ("kind", "brief", "whole"),
    [("logistic", BRIEF, WHOLE), ("paper", 45, 140)],
)
def test_a_trial_is_judged_by_brief_probes_and_scored_by_a_whole_one(
    write_config: Callable[..., Path],
    folder: SweepFolder,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    brief: object,
    whole: object,
) -> None:
    config = load_config(write_config(probe={"kind": kind, "labels_per_class": [2], "label_draws": 2}))
    efforts = list[object]()

    def fit(instrument: str, *arguments: Any, **settings: Any) -> Classifiers:
        assert instrument == kind
        efforts.append(settings["paper"].epochs if kind == "paper" else settings["precision"])
        return fit_probes(instrument, *arguments, **settings)

    monkeypatch.setattr("sweeps.trial.scoring.fit_probes", fit)
    runner = TrialRunner(config, folder, CPU)
    runner.run(make_job(config, "search", "Con"), Listener())
    assert efforts == [brief, brief, brief, whole]
    efforts.clear()
    runner.run(make_job(config, "confirm", "Con"), Listener())
    assert efforts == [whole] * len(config.probe.budgets)


def test_the_search_never_opens_a_test_split(
    config: SweepConfig, folder: SweepFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: set[SplitName] = set()
    original = FeatureSet.split

    def spy(self: FeatureSet, *names: SplitName) -> object:
        opened.update(names)
        return original(self, *names)

    monkeypatch.setattr(FeatureSet, "split", spy)
    runner = TrialRunner(config, folder, CPU)
    runner.run(make_job(config, "search", "ConCluGen"), Listener())
    assert opened == {"train", "val"}
    for divisions in runner.scoring.search_sets.values():
        assert all("test" not in division.parts for division in divisions)
    runner.run(make_job(config, "confirm", "ConCluGen"), Listener())
    assert opened == {"train", "val", "test"}


def test_the_search_works_without_test_shards(
    folder: SweepFolder, write_config: Callable[..., Path], planted: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "without-test"
    shutil.copytree(planted, copy)
    for shard in copy.glob("test-*.arrow"):
        shard.unlink()
    config = load_config(write_config(features={"pretrain": str(copy), "downstream": {"planted": str(copy)}}))
    final = TrialRunner(config, folder, CPU).run(make_job(config, "search", "Con"), Listener())
    assert final.value is not None
    with pytest.raises(FeatureSetError):
        TrialRunner(config, folder, CPU).run(make_job(config, "confirm", "Con"), Listener())


@pytest.mark.parametrize("method", ["Con", "Gen", *BASELINES])
def test_a_confirmation_scores_every_budget_on_val_and_test(
    config: SweepConfig, folder: SweepFolder, method: str
) -> None:
    listener = Listener()
    final = TrialRunner(config, folder, CPU).run(make_job(config, "confirm", method), listener)
    assert listener.reports == []
    cells = {(metric.dataset, metric.split, metric.labels) for metric in final.metrics}
    assert cells == {("planted", split, budget) for split in ("val", "test") for budget in ("", "2")}
    names = {metric.metric for metric in final.metrics}
    assert {*SUMMARY_METRICS, "f1/a", "f1/b", "f1/c"} < names
    assert final.value == next(m.value for m in final.metrics if (m.split, m.labels, m.metric) == VALIDATED)


def test_recorded_scores_follow_from_the_recorded_predictions(config: SweepConfig, folder: SweepFolder) -> None:
    final = TrialRunner(config, folder, CPU).run(make_job(config, "confirm", "Con"), Listener())
    for budget, draws in (("", 1), ("2", 2)):
        predictions = [p for p in final.predictions if p.labels == budget]
        assert [p.draw for p in predictions] == list(range(draws))
        expected = sum(f1_score(p.truth, p.predicted, average="weighted") for p in predictions) / draws
        (recorded,) = [
            m.value for m in final.metrics if (m.split, m.labels, m.metric) == ("test", budget, "weighted_f1")
        ]
        assert recorded == pytest.approx(expected)


def test_a_stopped_trial_returns_nothing(config: SweepConfig, folder: SweepFolder) -> None:
    listener = Listener(stop_at=2)
    assert TrialRunner(config, folder, CPU).run(make_job(config, "search", "Con"), listener) is None
    assert [report.epochs for report in listener.reports] == [1, 2]


@pytest.mark.parametrize("method", ["Con", "ConCluGen"])
def test_a_killed_trial_continues_to_the_same_result(config: SweepConfig, folder: SweepFolder, method: str) -> None:
    job = make_job(config, "search", method)
    whole = Listener()
    expected = TrialRunner(config, SweepFolder(folder.root / "whole"), CPU).run(job, whole)
    with pytest.raises(KeyboardInterrupt):
        TrialRunner(config, folder, CPU).run(job, Listener(die_at=2))
    assert list(folder.job(job.key).glob("checkpoint-*.safetensors"))
    rest = Listener()
    final = TrialRunner(config, folder, CPU).run(job, rest)
    # The receiver may have lost the first report, which came before the checkpoint.
    assert [(r.epochs, r.value, r.losses) for r in rest.reports] == [
        (r.epochs, r.value, r.losses) for r in whole.reports
    ]
    assert (final.value, final.losses) == (expected.value, expected.losses)


def test_a_trial_with_a_damaged_checkpoint_continues_to_the_same_result(
    config: SweepConfig, folder: SweepFolder
) -> None:
    job = make_job(config, "search", "Con")
    expected = TrialRunner(config, SweepFolder(folder.root / "whole"), CPU).run(job, Listener())
    with pytest.raises(KeyboardInterrupt):
        TrialRunner(config, folder, CPU).run(job, Listener(die_at=3))
    *_, latest = sorted(folder.job(job.key).glob("checkpoint-*.safetensors"))
    latest.write_bytes(bytes(len(latest.read_bytes())))
    rest = Listener()
    final = TrialRunner(config, folder, CPU).run(job, rest)
    assert [report.epochs for report in rest.reports] == [1, 2, 3]
    assert (final.value, final.losses) == (expected.value, expected.losses)


def test_a_checkpoint_of_other_hyperparameters_is_not_used(config: SweepConfig, folder: SweepFolder) -> None:
    with pytest.raises(KeyboardInterrupt):
        TrialRunner(config, folder, CPU).run(make_job(config, "search", "Con"), Listener(die_at=2))
    listener = Listener()
    TrialRunner(config, folder, CPU).run(make_job(config, "search", "Con", lr=0.005), listener)
    assert [report.epochs for report in listener.reports] == [1, 2, 3]


def test_a_trial_that_is_stopped_at_an_earlier_report_does_not_train_again(
    config: SweepConfig, folder: SweepFolder
) -> None:
    job = make_job(config, "search", "Con")
    signs: list[int] = []
    rest = Listener(stop_at=1)
    with pytest.raises(KeyboardInterrupt):
        TrialRunner(config, folder, CPU).run(job, Listener(die_at=3))
    assert TrialRunner(config, folder, CPU, lambda: signs.append(1)).run(job, rest) is None
    assert ([report.epochs for report in rest.reports], signs) == ([1], [])


# Epochs, probes and the end.
@pytest.mark.parametrize(("code", "work"), [("9.9.0", 4 + 3 + 1), (f"{release()}.99", 2 + 2 + 1)])
def test_a_checkpoint_is_used_within_a_release(
    config: SweepConfig, folder: SweepFolder, monkeypatch: pytest.MonkeyPatch, code: str, work: int
) -> None:
    job = make_job(config, "search", "Con")
    signs: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        TrialRunner(config, folder, CPU).run(job, Listener(die_at=2))
    monkeypatch.setattr("sweeps.trial.runner.release", lambda: release(code))
    TrialRunner(config, folder, CPU, lambda: signs.append(1)).run(job, Listener())
    assert len(signs) == work


def test_a_job_scores_the_same_after_another_job(config: SweepConfig, folder: SweepFolder) -> None:
    """Nothing leaks from one job to the next within a runner."""
    job = make_job(config, "confirm", "ConClu")
    fresh = TrialRunner(config, folder, CPU).run(job, Listener())
    used = TrialRunner(config, folder, CPU)
    used.run(make_job(config, "search", "Gen"), Listener())
    torch.rand(3)
    again = used.run(job, Listener())
    assert fresh.metrics == again.metrics
    assert fresh.predictions == again.predictions


def test_a_diverged_trial_raises(config: SweepConfig, folder: SweepFolder) -> None:
    job = make_job(config, "search", "Gen", lr=1e30)
    with pytest.raises(DivergedError):
        TrialRunner(config, folder, CPU).run(job, Listener())


@pytest.mark.parametrize("method", ["Con", "SimCLR"])
def test_a_confirmation_keeps_its_head(config: SweepConfig, folder: SweepFolder, method: str) -> None:
    job = make_job(config, "confirm", method)
    TrialRunner(config, folder, CPU).run(job, Listener())
    head, standardisation = load_head(folder.head(job.key), Hyperparameters(**job.hyperparameters))
    expected = ["video"] if method == "SimCLR" else ["video", "audio", "text"]
    assert list(head.heads) == list(standardisation.mean) == expected
    fitted = FeatureSet(config.features.pretrain).standardisation
    assert all(torch.equal(standardisation.scale[name], fitted.scale[name]) for name in expected)


def test_a_search_trial_keeps_no_head(config: SweepConfig, folder: SweepFolder) -> None:
    TrialRunner(config, folder, CPU).run(make_job(config, "search", "Con"), Listener())
    assert not folder.heads.exists()


def test_a_job_reads_only_the_modalities_that_it_is_restricted_to(
    config: SweepConfig, folder: SweepFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    modalities: set[str] = set()
    original = Split.gather

    def spy(self: Split, modality: str, rows: torch.Tensor) -> torch.Tensor:
        modalities.add(modality)
        return original(self, modality, rows)

    monkeypatch.setattr(Split, "gather", spy)
    for method in ("ConCluGen", *BASELINES[:-1]):
        job = make_job(config, "confirm", method, modalities=("video", "text"))
        assert job.key == f"confirm-{method}[video-text]-00000"
        TrialRunner(config, folder, CPU).run(job, Listener())
    assert modalities == {"video", "text"}


def test_a_supervised_trial_ends_with_the_objective(config: SweepConfig, folder: SweepFolder) -> None:
    final = TrialRunner(config, folder, CPU).run(make_job(config, "search", "supervised_head"), Listener())
    assert 0 < final.value <= 1


@pytest.fixture
def write_arrays(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a planted set with other labels or divisions."""

    def write(**changes: Any) -> Path:
        rng = np.random.default_rng(0)
        n = 180
        classes = np.arange(n) % 3
        arrays = {name: rng.normal(size=(n, 4)) + 3 * np.eye(3, 4)[classes] for name in ("video", "audio", "text")}
        split = np.array(["train", "val", "test"])[np.arange(n) // 3 % 3]
        options = {"labels": classes, "class_names": ["a", "b", "c"], "split": split} | changes
        import_arrays(arrays, tmp_path / "other", sources=dict.fromkeys(arrays, "planted"), **options)
        return tmp_path / "other"

    return write


def test_each_fold_is_test_once(
    write_config: Callable[..., Path], planted: Path, write_arrays: Callable[..., Path], folder: SweepFolder
) -> None:
    other = write_arrays(split=None, folds=np.arange(180) // 3 % 5)
    config = load_config(write_config(features={"pretrain": str(other), "downstream": {"folded": str(other)}}))
    final = TrialRunner(config, folder, CPU).run(make_job(config, "confirm", "Con"), Listener())
    whole = [p for p in final.predictions if p.labels == ""]
    assert [p.fold for p in whole] == [0, 1, 2, 3, 4]
    assert sum(len(p.truth) for p in whole) == 180
    expected = sum(f1_score(p.truth, p.predicted, average="weighted") for p in whole) / 5
    (value,) = [m.value for m in final.metrics if (m.split, m.labels, m.metric) == ("test", "", "weighted_f1")]
    assert value == pytest.approx(expected)


def test_samples_with_several_labels_are_scored(
    write_config: Callable[..., Path], write_arrays: Callable[..., Path], folder: SweepFolder
) -> None:
    labels = np.stack([np.arange(180) % 3 == 0, np.arange(180) % 3 != 1], axis=1).astype(int)
    other = write_arrays(labels=labels, class_names=["zero", "not one"])
    config = load_config(
        write_config(
            features={"pretrain": str(other), "downstream": {"several": str(other)}}, baselines=["raw_features"]
        )
    )
    for method in ("ConCluGen", "raw_features", "supervised_head"):
        final = TrialRunner(config, folder, CPU).run(make_job(config, "confirm", method), Listener())
        (prediction,) = [p for p in final.predictions if p.labels == ""]
        assert len(prediction.truth) == len(prediction.predicted) == 60 * 2
        (value,) = [m.value for m in final.metrics if (m.split, m.labels, m.metric) == ("test", "", "weighted_f1")]
        shape = np.array(prediction.truth).reshape(60, 2), np.array(prediction.predicted).reshape(60, 2)
        assert value == pytest.approx(f1_score(*shape, average="weighted"))
        assert value > (0.8 if method == "raw_features" else 0)


def test_a_probe_of_one_modality_makes_raw_baselines_read_that_modality_alone(
    write_config: Callable[..., Path], folder: SweepFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_config(write_config(probe={"fusion": "audio"}))
    modalities: set[str] = set()
    original = Split.gather

    def spy(self: Split, modality: str, rows: torch.Tensor) -> torch.Tensor:
        modalities.add(modality)
        return original(self, modality, rows)

    monkeypatch.setattr(Split, "gather", spy)
    for method in ("raw_features", "raw_pca", "label_spreading"):
        TrialRunner(config, folder, CPU).run(make_job(config, "confirm", method), Listener())
    assert modalities == {"audio"}


class TestFinalists:
    def finalist(self, config: SweepConfig, method: str, seed: int = 11, **changes: object) -> Job:
        return replace(make_job(config, "search", method, **changes), stage="finalist", seed=seed, origin="trial 0")

    def test_a_finalist_is_trained_to_the_end_and_scored_by_the_objective_on_validation_alone(
        self, config: SweepConfig, folder: SweepFolder
    ) -> None:
        listener = Listener()
        final = TrialRunner(config, folder, CPU).run(self.finalist(config, "Con"), listener)
        assert final is not None
        assert listener.reports == []
        assert (final.state, final.epochs) == ("complete", config.budget.epochs)
        assert {(metric.split, metric.labels, metric.instrument) for metric in final.metrics} == {("val", "2", "")}
        (value,) = [m.value for m in final.metrics if (m.split, m.labels, m.metric) == VALIDATED]
        assert final.value == value
        assert final.predictions == ()
        assert not folder.head("finalist-Con-00000").exists()

    def test_a_finalist_opens_no_test_split(
        self, config: SweepConfig, folder: SweepFolder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        opened: list[SplitName] = []
        split = FeatureSet.split

        def note(self: FeatureSet, *parts: SplitName) -> Split:
            opened.extend(parts)
            return split(self, *parts)

        monkeypatch.setattr(FeatureSet, "split", note)
        runner = TrialRunner(config, folder, CPU)
        for method in ("Con", "supervised_head"):
            runner.run(self.finalist(config, method), Listener())
        assert set(opened) == {"train", "val"}

    @pytest.mark.parametrize("method", ["Con", "supervised_head"])
    def test_the_seed_of_a_finalist_decides_its_training_and_its_label_draws(
        self, config: SweepConfig, folder: SweepFolder, method: str
    ) -> None:
        runner = TrialRunner(config, folder, CPU)
        values = [
            final.value
            for seed in (11, 11, 12, 13, 14)
            if (final := runner.run(self.finalist(config, method, seed), Listener())) is not None
        ]
        assert values[0] == values[1]
        assert len(set(values)) > 1

    def test_a_later_search_draws_other_labels(self, config: SweepConfig, folder: SweepFolder) -> None:
        runner = TrialRunner(config, folder, CPU)
        job = make_job(config, "search", "Con")
        values = []
        for search in (1, 2, 3, 4):
            final = runner.run(replace(job, search=search), Listener())
            assert final is not None
            values.append(final.value)
        assert len(set(values)) > 1  # the head has the same seed in all of them

    def test_a_job_of_the_first_search_goes_on_from_a_checkpoint_of_a_version_with_one_search(
        self, config: SweepConfig
    ) -> None:
        first = make_job(config, "search", "Con")
        assert "search" not in first.settings()
        assert replace(first, search=2).settings() == {**first.settings(), "search": 2}


@pytest.mark.parametrize("method", [*SUBSETS, *BASELINES])
@pytest.mark.parametrize("fusion", ["concat", "mean"])
def test_every_method_runs_on_a_set_with_gaps(
    write_config: Callable[..., Path], tmp_path: Path, folder: SweepFolder, method: str, fusion: str
) -> None:
    """A third of the rows of every split lack video, another third audio."""
    if method in ("raw_features", "raw_pca", "label_spreading", "SimCLR") and fusion == "mean":
        pytest.skip("this method has nothing to fuse")
    thirds = np.random.default_rng(0).permutation(120) % 3
    gaps = write_planted(tmp_path / "gaps", present={"video": thirds != 0, "audio": thirds != 1})
    features = {"pretrain": str(gaps), "downstream": {"planted": str(gaps)}}
    config = load_config(write_config(features=features, baselines="all", probe={"fusion": fusion}))
    modalities = ("video",) if method == "SimCLR" else ()
    final = TrialRunner(config, folder, CPU).run(make_job(config, "confirm", method, modalities=modalities), Listener())
    assert final is not None
    assert final.state == "complete"
    assert all(np.isfinite(metric.value) for metric in final.metrics)
    assert {len(predictions.truth) for predictions in final.predictions} == {30}  # no test row is left out


def test_records_of_a_sweep_say_which_modalities_rows_have(write_config: Callable[..., Path], tmp_path: Path) -> None:
    """Of 12 consecutive rows, 6 are train, 3 val and 3 test in this order; rows 0, 4 and 8 of them lack video."""
    masks = {"video": np.arange(120) % 4 != 0}
    gaps, whole = write_planted(tmp_path / "gaps", present=masks), write_planted(tmp_path / "whole")
    features = {"pretrain": str(gaps), "downstream": {"planted": str(whole)}}
    config = load_config(write_config(features=features))
    assert provenance(config)["rows_by_modalities"] == {
        "pretrain": {
            "train": {"video+audio+text": 40, "audio+text": 20},
            "val": {"video+audio+text": 20, "audio+text": 10},
            "test": {"video+audio+text": 30},
        }
    }
