"""What the trackers are told, read back from what they wrote; Weights & Biases, which needs Ray: test_faults.py."""

import struct
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray import tune
from ray.tune.logger import LoggerCallback
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from sweeps.config import ConfigError, SweepConfig, load_config
from sweeps.execution.tracking import _Tracking, tracked
from sweeps.folder.layout import SweepFolder
from sweeps.jobs import Job, Report
from sweeps.ledger import Metric

JOB = Job(stage="search", method="Con", number=3, seed=11, hyperparameters={"lr": 0.01, "lift_audio": False})
PROBE = Report(epochs=2, value=0.25, losses={"total": 1.5}, seconds={"train": 3.0})
METRICS = (
    Metric("planted", "test", "10%", "weighted_f1", 0.75),
    Metric("planted", "test", "", "accuracy", 0.5),
    Metric("planted", "test", "", "accuracy", 0.625, "knn"),
    Metric("planted", "test", "", "f1/a class/with: signs", 0.1),
)
END = Report(epochs=4, value=0.5, losses={"total": 0.5}, state="complete", metrics=METRICS)


@pytest.fixture
def sweep(write_config: Callable[..., Path], tmp_path: Path) -> tuple[SweepConfig, SweepFolder]:
    config, folder = load_config(write_config()), SweepFolder(tmp_path / "sweep")
    folder.prepare(config)
    return config, folder


def no_warning(text: str) -> None:
    pytest.fail(text)


def start(callback: tune.Callback, trial_id: str, job: Job = JOB) -> Any:
    trial: Any = SimpleNamespace(trial_id=trial_id, config={"job": job})
    callback.on_trial_start(0, [], trial)
    return trial


def report(callback: tune.Callback, trial: Any, *reports: Report, stopped: bool = False) -> None:
    for each in reports:
        callback.on_trial_result(0, [], trial, {"report": each, "done": stopped or each.state != "running"})
    if stopped or reports[-1].state != "running":
        callback.on_trial_complete(0, [], trial)


def events(file: Path) -> list[Event]:
    """The events of a file: each a length, its checksum, the message, its checksum."""
    data, found = file.read_bytes(), []
    while data:
        (length,) = struct.unpack_from("<Q", data)
        assert len(data) >= length + 16, "the last record is cut off"
        found.append(Event.FromString(data[12 : 12 + length]))
        data = data[length + 16 :]
    return found


def scalars(file: Path) -> dict[str, list[tuple[int, float]]]:
    found: dict[str, list[tuple[int, float]]] = {}
    for event in events(file):
        for value in event.summary.value:
            if value.HasField("simple_value"):
                found.setdefault(value.tag, []).append((event.step, pytest.approx(value.simple_value)))
    return found


def test_tensorboard_gets_scalars_and_hyperparameters(sweep: tuple[SweepConfig, SweepFolder]) -> None:
    with tracked(*sweep, no_warning) as (callback,):
        report(callback, start(callback, "t1"), PROBE, END)
    (file,) = (sweep[1].root / "tensorboard" / JOB.key).iterdir()
    found = scalars(file)
    assert found["objective"] == [(2, 0.25), (4, 0.5)]
    assert found["loss/total"] == [(2, 1.5), (4, 0.5)]
    assert found["seconds/train"] == [(2, 3.0)]
    assert found["test/planted/10_percent/weighted_f1"] == [(4, 0.75)]
    assert found["test/planted/all/accuracy"] == [(4, 0.5)]
    assert found["test/planted/all/accuracy/knn"] == [(4, 0.625)]
    assert (found["pruned"], found["failed"]) == ([(4, 0.0)], [(4, 0.0)])
    assert not any("class" in tag or "iteration" in tag for tag in found)
    plugin = [
        HParamsPluginData.FromString(value.metadata.plugin_data.content)
        for event in events(file)
        for value in event.summary.value
        if value.tag.startswith("_hparams_")
    ]
    started = next(data.session_start_info.hparams for data in plugin if data.HasField("session_start_info"))
    assert started["lr"].number_value == 0.01
    assert started["method"].string_value == "Con"
    assert any(data.HasField("session_end_info") for data in plugin)


def test_values_are_on_disk_as_soon_as_they_are_reported(sweep: tuple[SweepConfig, SweepFolder]) -> None:
    """Nothing that kills the driver may cost more than the report that was under way."""
    with tracked(*sweep, no_warning) as (callback,):
        report(callback, start(callback, "t1"), PROBE)
        (file,) = (sweep[1].tensorboard / JOB.key).iterdir()
        assert scalars(file)["objective"] == [(2, 0.25)]
    assert scalars(file)["objective"] == [(2, 0.25)]


def test_a_lost_job_goes_on_in_a_file_of_its_own(sweep: tuple[SweepConfig, SweepFolder]) -> None:
    with tracked(*sweep, no_warning) as (callback,):
        lost = start(callback, "t1")
        report(callback, lost, PROBE)
        callback.on_trial_error(0, [], lost)
        callback.on_trial_error(0, [], lost)  # as Tune does for a reused actor
        report(callback, start(callback, "t2"), END)
    files = sorted((sweep[1].tensorboard / JOB.key).iterdir(), key=lambda path: path.suffix)
    assert [scalars(file)["objective"] for file in files] == [[(2, 0.25)], [(4, 0.5)]]


@pytest.mark.parametrize(
    ("last", "stopped", "flags"),
    [(PROBE, True, (1.0, 0.0)), (Report(epochs=2, state="failed", reason="nan_loss: x"), False, (0.0, 1.0))],
)
def test_how_a_run_ended_is_told(
    sweep: tuple[SweepConfig, SweepFolder], last: Report, stopped: bool, flags: tuple[float, float]
) -> None:
    with tracked(*sweep, no_warning) as (callback,):
        report(callback, start(callback, "t1"), last, stopped=stopped)
    (file,) = (sweep[1].tensorboard / JOB.key).iterdir()
    found = scalars(file)
    assert ([found["pruned"][0][1]], [found["failed"][0][1]]) == ([flags[0]], [flags[1]])


def test_tensorboard_can_be_switched_off(sweep: tuple[SweepConfig, SweepFolder], tmp_path: Path) -> None:
    config = load_config(sweep[1].config, ["tracking.tensorboard=false"])
    with tracked(config, sweep[1], no_warning) as (callback,):
        report(callback, start(callback, "t1"), PROBE, END)
    assert not sweep[1].tensorboard.exists()


class Refuses(LoggerCallback):
    def __init__(self) -> None:
        self.asked = 0

    def log_trial_result(self, iteration: int, trial: Any, result: dict[str, Any]) -> None:
        self.asked += 1
        raise ConnectionError("the server has gone")


def test_a_tracker_that_fails_is_switched_off_and_the_others_go_on(sweep: tuple[SweepConfig, SweepFolder]) -> None:
    warnings: list[str] = []
    with tracked(*sweep, no_warning) as (callback,):
        others, refuses = callback._loggers, Refuses()
        both = _Tracking({"mlflow": refuses, **others}, sweep[1], warnings.append)
        report(both, start(both, "t1"), PROBE, END)
    assert refuses.asked == 1
    assert warnings == ["tracking.mlflow is switched off, the sweep goes on: the server has gone"]
    (file,) = (sweep[1].tensorboard / JOB.key).iterdir()
    assert scalars(file)["objective"] == [(2, 0.25), (4, 0.5)]


def test_thousands_of_runs_leave_little_in_memory(sweep: tuple[SweepConfig, SweepFolder]) -> None:
    class Keeps(LoggerCallback):
        """Remembers all runs, as Ray's callback for MLflow does."""

        def __init__(self) -> None:
            self.runs: dict[Any, str] = {}

        def log_trial_start(self, trial: Any) -> None:
            self.runs[trial] = str(trial)

    hyperparameters = {f"parameter_{number}": float(number) for number in range(40)}
    with tracked(*sweep, no_warning) as (callback,):
        both = _Tracking({"mlflow": Keeps(), **callback._loggers}, sweep[1], no_warning)

        def run(numbers: range) -> None:
            for number in numbers:
                job = Job(stage="search", method="Con", number=number, seed=1, hyperparameters=hyperparameters)
                report(both, start(both, f"t{number}", job), PROBE, END)

        run(range(20))
        tracemalloc.start()
        run(range(20, 120))
        grown, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert grown / 100 < 2_000


@pytest.fixture
def with_mlflow(
    write_config: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[SweepConfig, SweepFolder]:
    monkeypatch.setenv("RUNS", str(tmp_path))
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    uri = "sqlite:////${RUNS}/runs.db"
    config = load_config(write_config(tracking={"mlflow": {"tracking_uri": uri, "experiment": "faces"}}))
    folder = SweepFolder(tmp_path / "sweep")
    folder.prepare(config)
    return config, folder


def test_mlflow_gets_runs_with_parameters_metrics_and_tags(
    with_mlflow: tuple[SweepConfig, SweepFolder], tmp_path: Path
) -> None:
    second = Job(stage="confirm", method="Con", number=0, seed=1, hyperparameters={}, modalities=("video", "text"))
    with tracked(*with_mlflow, no_warning) as (callback,):
        report(callback, start(callback, "t1"), PROBE, END)
        start(callback, "t2", second)
        kept = callback._loggers["mlflow"]._trial_runs
    assert all(run.config == {} for run in kept)

    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path}/runs.db")
    experiment = client.get_experiment_by_name("faces")
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {JOB.key, second.key}
    done, cut = runs[JOB.key], runs[second.key]
    assert (done.info.status, cut.info.status) == ("FINISHED", "FAILED")
    assert done.data.params == {
        "method": "Con", "stage": "search", "number": "3", "seed": "11", "lr": "0.01", "lift_audio": "False",
    }  # fmt: skip
    assert (done.data.tags["sweep"], done.data.tags["method"], done.data.tags["stage"]) == ("tiny", "Con", "search")
    assert cut.data.tags["method"] == "Con[video-text]"
    history = client.get_metric_history(done.info.run_id, "objective")
    assert [(metric.step, metric.value) for metric in history] == [(2, 0.25), (4, 0.5)]
    scores = {name: value for name, value in done.data.metrics.items() if name.startswith("test/")}
    assert scores == {
        "test/planted/10_percent/weighted_f1": 0.75,
        "test/planted/all/accuracy": 0.5,
        "test/planted/all/accuracy/knn": 0.625,
    }


def test_a_tracker_that_cannot_be_used_is_a_problem_of_the_configuration(
    with_mlflow: tuple[SweepConfig, SweepFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RUNS")
    with pytest.raises(ConfigError) as caught, tracked(*with_mlflow, no_warning):
        pass
    assert caught.value.problems == ["tracking.mlflow.tracking_uri: the environment has no variable RUNS; set it."]


def test_weights_and_biases_without_a_key_is_a_problem_of_the_configuration(
    write_config: Callable[..., Path],
    sweep: tuple[SweepConfig, SweepFolder],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))  # where a login would be
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    config = load_config(write_config(tracking={"wandb": {"project": "faces"}}))
    with pytest.raises(ConfigError) as caught, tracked(config, sweep[1], no_warning):
        pass
    (problem,) = caught.value.problems
    assert problem.startswith("tracking.wandb: cannot be used: ")
    assert "WANDB_API_KEY" in problem


@pytest.mark.parametrize("absent", ["sys.modules", "folder"])
def test_what_is_not_installed_is_named(
    write_config: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, absent: str
) -> None:
    settings = {"mlflow": {"tracking_uri": "https://host", "experiment": "e"}, "wandb": {"project": "p"}}
    tracking = load_config(write_config(tracking=settings)).tracking
    assert tracking.missing() == []
    if absent == "folder":  # of that name, such as wandb leaves in the working directory
        (tmp_path / "wandb").mkdir()
        monkeypatch.setattr(sys, "path", [str(tmp_path)])
        monkeypatch.delitem(sys.modules, "wandb", raising=False)
    else:
        monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.setitem(sys.modules, "mlflow", None)
    assert tracking.missing() == [
        f"tracking.{name}: the package {name} is not installed; pip install 'conclugen-sweeps[tracking]'."
        for name in ("mlflow", "wandb")
    ]
