"""What the trackers write, read back; end_to_end/test_faults.py does so for Weights & Biases, which needs Ray."""

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
from sweeps.execution.tensorboard import TensorBoard
from sweeps.execution.tracking import Tracking, tracked
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
    """Stands for `warn` in a test in which no tracker fails."""
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
    """The events of a file, in which each event is a length, its checksum, the message and its checksum."""
    data = file.read_bytes()
    messages: list[Event] = []
    while data:
        (length,) = struct.unpack_from("<Q", data)
        assert len(data) >= length + 16, "the last record is incomplete"
        messages.append(Event.FromString(data[12 : 12 + length]))
        data = data[length + 16 :]
    return messages


def scalars(file: Path) -> dict[str, list[tuple[int, float]]]:
    """Tag -> the steps and values of a file's scalars."""
    series: dict[str, list[tuple[int, float]]] = {}
    for event in events(file):
        for value in event.summary.value:
            if value.HasField("simple_value"):
                series.setdefault(value.tag, []).append((event.step, pytest.approx(value.simple_value)))
    return series


def test_tensorboard_gets_scalars_and_hyperparameters(sweep: tuple[SweepConfig, SweepFolder]) -> None:
    with tracked(*sweep, no_warning) as (callback,):
        report(callback, start(callback, "t1"), PROBE, END)
    (file,) = (sweep[1].root / "tensorboard" / JOB.key).iterdir()
    series = scalars(file)
    assert series["objective"] == [(2, 0.25), (4, 0.5)]
    assert series["loss/total"] == [(2, 1.5), (4, 0.5)]
    assert series["seconds/train"] == [(2, 3.0)]
    assert series["test/planted/10_percent/weighted_f1"] == [(4, 0.75)]
    assert series["test/planted/all/accuracy"] == [(4, 0.5)]
    assert series["test/planted/all/accuracy/knn"] == [(4, 0.625)]
    assert (series["pruned"], series["failed"]) == ([(4, 0.0)], [(4, 0.0)])
    assert not any("class" in tag or "iteration" in tag for tag in series)
    plugin = [
        HParamsPluginData.FromString(value.metadata.plugin_data.content)
        for event in events(file)
        for value in event.summary.value
        if value.tag.startswith("_hparams_")
    ]
    hyperparameters = next(data.session_start_info.hparams for data in plugin if data.HasField("session_start_info"))
    assert hyperparameters["lr"].number_value == 0.01
    assert hyperparameters["method"].string_value == "Con"
    assert any(data.HasField("session_end_info") for data in plugin)


def test_each_report_is_on_disk_at_once(sweep: tuple[SweepConfig, SweepFolder]) -> None:
    """A driver that is killed loses at most the report in progress."""
    with tracked(*sweep, no_warning) as (callback,):
        report(callback, start(callback, "t1"), PROBE)
        (file,) = (sweep[1].tensorboard / JOB.key).iterdir()
        assert scalars(file)["objective"] == [(2, 0.25)]
    assert scalars(file)["objective"] == [(2, 0.25)]


def test_a_job_that_lost_its_slot_continues_in_a_second_file(sweep: tuple[SweepConfig, SweepFolder]) -> None:
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
def test_tensorboard_marks_pruned_and_failed_runs(
    sweep: tuple[SweepConfig, SweepFolder], last: Report, stopped: bool, flags: tuple[float, float]
) -> None:
    with tracked(*sweep, no_warning) as (callback,):
        report(callback, start(callback, "t1"), last, stopped=stopped)
    (file,) = (sweep[1].tensorboard / JOB.key).iterdir()
    series = scalars(file)
    assert [series[name][0][1] for name in ("pruned", "failed")] == list(flags)


def test_tensorboard_can_be_switched_off(sweep: tuple[SweepConfig, SweepFolder], tmp_path: Path) -> None:
    config = load_config(sweep[1].config, ["tracking.tensorboard=false"])
    with tracked(config, sweep[1], no_warning) as (callback,):
        report(callback, start(callback, "t1"), PROBE, END)
    assert not sweep[1].tensorboard.exists()


class FailingLogger(LoggerCallback):
    """Fails at each result."""

    def __init__(self) -> None:
        self.calls = 0

    def log_trial_result(self, iteration: int, trial: Any, result: dict[str, Any]) -> None:
        self.calls += 1
        raise ConnectionError("the server has gone")


def test_a_tracker_that_fails_is_switched_off_and_the_others_go_on(sweep: tuple[SweepConfig, SweepFolder]) -> None:
    folder = sweep[1]
    warnings: list[str] = []
    failing = FailingLogger()
    callback = Tracking({"mlflow": failing, "tensorboard": TensorBoard(folder.tensorboard)}, folder, warnings.append)
    report(callback, start(callback, "t1"), PROBE, END)
    assert failing.calls == 1
    assert warnings == ["tracking.mlflow is switched off, the sweep goes on: the server has gone"]
    (file,) = (folder.tensorboard / JOB.key).iterdir()
    assert scalars(file)["objective"] == [(2, 0.25), (4, 0.5)]


class RememberingLogger(LoggerCallback):
    """Remembers all runs, as Ray's callback for MLflow does."""

    def __init__(self) -> None:
        self.runs: dict[Any, str] = {}

    def log_trial_start(self, trial: Any) -> None:
        assert trial.config["seed"] == 1
        self.runs[trial] = str(trial)


def test_thousands_of_runs_leave_little_in_memory(sweep: tuple[SweepConfig, SweepFolder]) -> None:
    folder = sweep[1]
    hyperparameters = {f"parameter_{number}": float(number) for number in range(40)}
    remembering = RememberingLogger()
    loggers: dict[str, LoggerCallback] = {"mlflow": remembering, "tensorboard": TensorBoard(folder.tensorboard)}
    callback = Tracking(loggers, folder, no_warning)

    def run(numbers: range) -> None:
        for number in numbers:
            job = Job(stage="search", method="Con", number=number, seed=1, hyperparameters=hyperparameters)
            report(callback, start(callback, f"t{number}", job), PROBE, END)

    run(range(20))
    tracemalloc.start()
    run(range(20, 120))
    growth, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert growth / 100 < 2_000
    assert len(remembering.runs) == 120
    assert all(run.config == {} for run in remembering.runs)


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

    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path}/runs.db")
    experiment = client.get_experiment_by_name("faces")
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {JOB.key, second.key}
    complete, open_at_exit = runs[JOB.key], runs[second.key]
    assert (complete.info.status, open_at_exit.info.status) == ("FINISHED", "FAILED")
    assert complete.data.params == {
        "method": "Con", "stage": "search", "number": "3", "seed": "11", "lr": "0.01", "lift_audio": "False",
    }  # fmt: skip
    assert (complete.data.tags["sweep"], complete.data.tags["method"], complete.data.tags["stage"]) == (
        "tiny",
        "Con",
        "search",
    )
    assert open_at_exit.data.tags["method"] == "Con[video-text]"
    history = client.get_metric_history(complete.info.run_id, "objective")
    assert [(metric.step, metric.value) for metric in history] == [(2, 0.25), (4, 0.5)]
    scores = {name: value for name, value in complete.data.metrics.items() if name.startswith("test/")}
    assert scores == {
        "test/planted/10_percent/weighted_f1": 0.75,
        "test/planted/all/accuracy": 0.5,
        "test/planted/all/accuracy/knn": 0.625,
    }


def test_an_unset_variable_in_a_tracker_address_is_a_problem_of_the_configuration(
    with_mlflow: tuple[SweepConfig, SweepFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RUNS")
    with pytest.raises(ConfigError) as refusal, tracked(*with_mlflow, no_warning):
        pass
    assert refusal.value.problems == ["tracking.mlflow.tracking_uri: the environment has no variable RUNS; set it."]


def test_weights_and_biases_without_a_key_is_a_problem_of_the_configuration(
    write_config: Callable[..., Path],
    sweep: tuple[SweepConfig, SweepFolder],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))  # where wandb keeps a login
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    config = load_config(write_config(tracking={"wandb": {"project": "faces"}}))
    with pytest.raises(ConfigError) as refusal, tracked(config, sweep[1], no_warning):
        pass
    (problem,) = refusal.value.problems
    assert problem.startswith("tracking.wandb: cannot be used: ")
    assert "WANDB_API_KEY" in problem


@pytest.mark.parametrize("absent", ["sys.modules", "folder"])
def test_a_tracker_package_that_is_not_installed_is_named(
    write_config: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, absent: str
) -> None:
    settings = {"mlflow": {"tracking_uri": "https://host", "experiment": "e"}, "wandb": {"project": "p"}}
    tracking = load_config(write_config(tracking=settings)).tracking
    assert tracking.missing() == []
    if absent == "folder":  # wandb leaves a folder of its own name in the working directory
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
