"""Tracking: sends a sweep's runs to TensorBoard, MLflow and Weights & Biases, besides the ledger.

Each attempt at a job is one run, named by the job's key. A run gets the job's identity and hyperparameters at its
start, the objective and the losses at every probe, and the summary metrics at its end. Scores of single classes stay in
the ledger. A search trial is probed briefly until its last probe, so its objective may jump there. If a job loses its
slot, a second run of the same name continues it.

Ray's own callbacks talk to MLflow and Weights & Biases. They read plain values from Tune's trials, and remember these
trials. A trial of ours carries a Job and a Report, so the callbacks get a small stand-in. Ray's callback for
TensorBoard was rejected: it starts two threads and a queue for each trial, and loses the queue's last values on Ctrl-C.

No error of a tracker ends the sweep. A tracker that fails is switched off, and the user is told.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ray import tune
from ray.air.constants import TRAINING_ITERATION
from ray.tune.experiment import Trial
from ray.tune.logger import LoggerCallback

from sweeps.config import ConfigError, SweepConfig
from sweeps.config.fields import with_environment
from sweeps.config.sections import MLflow, WeightsAndBiases
from sweeps.execution.tensorboard import TensorBoard
from sweeps.folder.layout import SweepFolder
from sweeps.jobs import Job, Report
from sweeps.ledger import SUMMARY_METRICS

__all__ = ["Tracking", "tracked"]

_UPLOAD_SECONDS = 60  # for Weights & Biases to send the rest of its data at the end of the sweep


@contextmanager
def tracked(config: SweepConfig, folder: SweepFolder, warn: Callable[[str], None]) -> Iterator[list[tune.Callback]]:
    """Yield the Tune callbacks for the configured trackers; end all open runs at exit.

    Ray must still be connected at exit.

    Args:
        config: the sweep.
        folder: the sweep folder, which gets the files of TensorBoard and of Weights & Biases.
        warn: called with a sentence when a tracker is switched off.

    Raises:
        ConfigError: a tracker cannot be used: its server does not answer, or refuses the login.
    """
    settings = config.tracking
    factories: dict[str, Callable[[], LoggerCallback]] = {}
    if settings.tensorboard:
        factories["tensorboard"] = lambda: TensorBoard(folder.tensorboard)
    if (mlflow := settings.mlflow) is not None:
        factories["mlflow"] = lambda: _mlflow(mlflow, config.name)
    if (wandb := settings.wandb) is not None:
        factories["wandb"] = lambda: _wandb(wandb, config.name)
    loggers: dict[str, LoggerCallback] = {}
    problems: list[str] = []
    for name, make in factories.items():
        try:
            loggers[name] = make()
            loggers[name].setup()
        except ConfigError as error:
            problems += error.problems
        except Exception as error:  # each library raises its own errors
            problems.append(f"tracking.{name}: cannot be used: {error}")
    if problems:
        raise ConfigError(problems)
    tracking = Tracking(loggers, folder, warn)
    try:
        yield [tracking]
    finally:
        tracking.close()


@dataclass(eq=False)
class _Run:
    """The part of a Tune trial that logger callbacks use; they also take it as a key of dictionaries."""

    name: str
    trial_id: str
    config: dict[str, Any]
    local_path: str

    def __str__(self) -> str:
        return self.name


class Tracking(tune.Callback):
    """Sends every run to every logger.

    Args:
        loggers: Ray's logger callbacks or similar ones, by the tracker's name.
        folder: the sweep folder.
        warn: called with a sentence when a logger has failed and is switched off.
    """

    def __init__(self, loggers: dict[str, LoggerCallback], folder: SweepFolder, warn: Callable[[str], None]) -> None:
        self._loggers = loggers
        self._warn = warn
        self._root = str(folder.root.resolve())
        self._identity = folder.identity
        self._runs: dict[str, _Run] = {}

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Start a run, with the identity and hyperparameters of the trial's job."""
        job: Job = trial.config["job"]
        run = _Run(
            name=job.key,
            trial_id=f"{self._identity}-{trial.trial_id}",  # Tune's ids alone clash between sweeps
            config={
                "method": job.name,
                "stage": job.stage,
                "number": job.number,
                "seed": job.seed,
                **job.hyperparameters,
            },
            local_path=self._root,
        )
        self._runs[trial.trial_id] = run
        self._send(lambda logger: logger.log_trial_start(run))  # type: ignore[arg-type]

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """Send the numbers of a report."""
        run = self._runs[trial.trial_id]
        report: Report = result["report"]
        values = _scalars(report)
        if result["done"]:
            values["pruned"] = float(report.state == "running")
            values["failed"] = float(report.state == "failed")
        values[TRAINING_ITERATION] = report.epochs
        self._send(lambda logger: logger.log_trial_result(iteration, run, values))  # type: ignore[arg-type]

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """End the trial's run as finished."""
        self._end(trial.trial_id, failed=False)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """End the trial's run as failed."""
        if trial.trial_id in self._runs:  # Tune may report the death of a reused actor twice
            self._end(trial.trial_id, failed=True)

    def close(self) -> None:
        """End the runs that an interrupted sweep leaves open, then let the loggers finish."""
        for trial_id in list(self._runs):
            self._end(trial_id, failed=True)
        self._send(lambda logger: logger.on_experiment_end([]))

    def _end(self, trial_id: str, *, failed: bool) -> None:
        run = self._runs.pop(trial_id)
        self._send(lambda logger: logger.log_trial_end(run, failed))  # type: ignore[arg-type]
        run.config.clear()  # Ray's callbacks keep thousands of runs

    def _send(self, message: Callable[[LoggerCallback], None]) -> None:
        for name, logger in list(self._loggers.items()):
            try:
                message(logger)
            except Exception as error:  # each library raises its own errors
                del self._loggers[name]
                self._warn(f"tracking.{name} is switched off, the sweep goes on: {error}")


def _scalars(report: Report) -> dict[str, float]:
    """Return the numbers of a report, under names that all trackers allow."""
    values = {"epochs": float(report.epochs)}
    if report.value is not None:
        values["objective"] = report.value
    values |= {f"loss/{name}": value for name, value in report.losses.items()}
    values |= {f"seconds/{activity}": seconds for activity, seconds in report.seconds.items()}
    for metric in report.metrics:
        if metric.metric in SUMMARY_METRICS:
            labels = metric.labels.replace("%", "_percent") or "all"
            instrument = f"/{metric.instrument}" if metric.instrument else ""
            values[f"{metric.split}/{metric.dataset}/{labels}/{metric.metric}{instrument}"] = metric.value
    return values


def _mlflow(settings: MLflow, sweep: str) -> LoggerCallback:
    # The driver waits for every request. A tracker that delays the sweep for minutes each time had better be off.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    from ray.air.integrations.mlflow import MLflowLoggerCallback  # loads MLflow, which takes seconds

    class Tagged(MLflowLoggerCallback):
        def log_trial_start(self, trial: Any) -> None:
            self.tags = {"sweep": sweep, "method": trial.config["method"], "stage": trial.config["stage"]}
            super().log_trial_start(trial)

    uri = with_environment("tracking.mlflow.tracking_uri", settings.tracking_uri)
    return Tagged(uri, experiment_name=settings.experiment)


def _wandb(settings: WeightsAndBiases, sweep: str) -> LoggerCallback:
    from ray.air.integrations.wandb import WandbLoggerCallback

    class Tagged(WandbLoggerCallback):
        def log_trial_start(self, trial: Any) -> None:
            self.kwargs |= {"tags": [trial.config["method"]], "job_type": trial.config["stage"]}
            super().log_trial_start(trial)

        def __del__(self) -> None:
            """Do nothing: Ray's clean-up fails at the interpreter's exit, and `tracked` has ended the runs by then."""

    return Tagged(
        project=settings.project,
        group=sweep,
        upload_timeout=_UPLOAD_SECONDS,
        entity=settings.entity,
        mode=os.environ.get("WANDB_MODE", "online"),  # Ray's logging processes may not inherit the variable
    )
