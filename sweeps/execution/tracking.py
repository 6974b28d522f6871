"""Tracking: what TensorBoard, MLflow and Weights & Biases are told of a sweep, besides the ledger.

Each attempt at a job is a run, named by the job's key. It has the job's identity and hyperparameters from its start,
the objective and the losses at every probe, and the summary metrics at its end; scores of single classes stay in the
ledger. All probes of a search trial but its last are brief, so that its objective may jump there. A job whose slot was
lost goes on in a second run of the same name.

Ray's own callbacks speak to MLflow and Weights & Biases. They read plain values from Tune's trials, and remember these;
a trial of ours carries a Job and a Report, so they get a small stand-in for it. Ray's callback for TensorBoard was
rejected: per trial it starts two threads and a queue, in which Ctrl-C leaves the last values.

Whatever a tracker does, the sweep goes on: one that fails is switched off, and the user is told.
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

__all__ = ["tracked"]

_UPLOAD_SECONDS = 60  # that Weights & Biases gets at the end of the sweep for what it has not sent yet


@contextmanager
def tracked(config: SweepConfig, folder: SweepFolder, warn: Callable[[str], None]) -> Iterator[list[tune.Callback]]:
    """Yield the Tune callbacks that the configuration asks for, and end at exit whatever runs are open.

    Ray must be connected at exit.

    Args:
        config: the sweep.
        folder: the sweep's; TensorBoard's files and those of Weights & Biases go into it.
        warn: told of a tracker that is switched off.

    Raises:
        ConfigError: a tracker cannot be used: its server does not answer, or does not let us in.
    """
    asked = config.tracking
    makers: dict[str, Callable[[], LoggerCallback]] = {}
    if asked.tensorboard:
        makers["tensorboard"] = lambda: TensorBoard(folder.tensorboard)
    if (mlflow := asked.mlflow) is not None:
        makers["mlflow"] = lambda: _mlflow(mlflow, config.name)
    if (wandb := asked.wandb) is not None:
        makers["wandb"] = lambda: _wandb(wandb, config.name)
    loggers, problems = dict[str, LoggerCallback](), []
    for name, make in makers.items():
        try:
            loggers[name] = make()
            loggers[name].setup()
        except ConfigError as error:
            problems += error.problems
        except Exception as error:  # each library has errors of its own
            problems.append(f"tracking.{name}: cannot be used: {error}")
    if problems:
        raise ConfigError(problems)
    tracking = _Tracking(loggers, folder, warn)
    try:
        yield [tracking]
    finally:
        tracking.close()


@dataclass(eq=False)
class _Run:
    """What a logger callback asks of a Tune trial; a key of its dictionaries."""

    name: str
    trial_id: str
    config: dict[str, Any]
    local_path: str

    def __str__(self) -> str:
        return self.name


class _Tracking(tune.Callback):
    """Tells every logger of every run."""

    def __init__(self, loggers: dict[str, LoggerCallback], folder: SweepFolder, warn: Callable[[str], None]) -> None:
        self._loggers, self._warn = loggers, warn
        self._root, self._identity = str(folder.root.resolve()), folder.identity
        self._runs: dict[str, _Run] = {}

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        job: Job = trial.config["job"]
        run = _Run(
            name=job.key,
            trial_id=f"{self._identity}-{trial.trial_id}",  # Tune's own numbers clash with other sweeps'
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
        self._tell(lambda logger: logger.log_trial_start(run))  # type: ignore[arg-type]

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        run, report = self._runs[trial.trial_id], result["report"]
        values = _scalars(report)
        if result["done"]:
            values["pruned"] = float(report.state == "running")
            values["failed"] = float(report.state == "failed")
        values[TRAINING_ITERATION] = report.epochs
        self._tell(lambda logger: logger.log_trial_result(iteration, run, values))  # type: ignore[arg-type]

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._end(trial.trial_id, failed=False)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        if trial.trial_id in self._runs:  # Tune may report the death of a reused actor twice
            self._end(trial.trial_id, failed=True)

    def close(self) -> None:
        """End what an interrupted sweep has left open, and let the loggers finish."""
        for trial_id in list(self._runs):
            self._end(trial_id, failed=True)
        self._tell(lambda logger: logger.on_experiment_end([]))

    def _end(self, trial_id: str, *, failed: bool) -> None:
        run = self._runs.pop(trial_id)
        self._tell(lambda logger: logger.log_trial_end(run, failed))  # type: ignore[arg-type]
        run.config.clear()  # Ray's callbacks keep the runs, thousands of them

    def _tell(self, message: Callable[[LoggerCallback], None]) -> None:
        for name, logger in list(self._loggers.items()):
            try:
                message(logger)
            except Exception as error:  # each library has errors of its own
                del self._loggers[name]
                self._warn(f"tracking.{name} is switched off, the sweep goes on: {error}")


def _scalars(report: Report) -> dict[str, float]:
    """A report's numbers under names that all trackers allow."""
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
    # The driver waits for every request: better to be switched off than to hold the sweep up for minutes each time.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    from ray.air.integrations.mlflow import MLflowLoggerCallback  # loads MLflow, for seconds

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
            """Not Ray's clean-up, which fails at the interpreter's exit: `tracked` has ended the runs by then."""

    return Tagged(
        project=settings.project,
        group=sweep,
        upload_timeout=_UPLOAD_SECONDS,
        entity=settings.entity,
        mode=os.environ.get("WANDB_MODE", "online"),  # Ray's logging processes need not inherit it
    )
