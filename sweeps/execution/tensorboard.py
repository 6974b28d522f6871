"""Event files for TensorBoard, written by TensorBoard's own package.

Rejected: tensorboardX and torch.utils.tensorboard. Both load torch, which costs the driver a second and 250 MB.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from ray.air.constants import TRAINING_ITERATION
from ray.tune.logger import LoggerCallback
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2
from tensorboard.plugins.hparams.summary_v2 import Metric, hparams_config_pb, hparams_pb
from tensorboard.summary.writer.record_writer import RecordWriter

__all__ = ["TensorBoard"]

_FILE_VERSION = "brain.Event:2"  # stated by the first event of each file


class TensorBoard(LoggerCallback):
    """Writes one event file for each run, and each report at once.

    Args:
        folder: the folder that gets a subfolder for each job.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[Any, IO[bytes]] = {}

    def log_trial_start(self, trial: Any) -> None:
        """Start a run's file with its hyperparameters."""
        folder = self._folder / str(trial)
        folder.mkdir(parents=True, exist_ok=True)
        # The run's id keeps its file apart from that of an earlier attempt: TensorBoard's names clash within a second.
        name = f"events.out.tfevents.{int(time.time())}.{trial.trial_id}"
        self._files[trial] = (folder / name).open("wb")
        self._write(trial, Event(wall_time=time.time(), file_version=_FILE_VERSION))
        hyperparameters = {
            name: value for name, value in trial.config.items() if isinstance(value, bool | int | float | str)
        }
        self._write_summary(trial, hparams_config_pb(hparams=[], metrics=[Metric("objective")]))
        self._write_summary(trial, hparams_pb(hyperparameters, trial_id=trial.trial_id))

    def log_trial_result(self, iteration: int, trial: Any, result: Mapping[str, float]) -> None:
        """Add the numbers of a report to the run's file."""
        scalars = [(name, value) for name, value in result.items() if name != TRAINING_ITERATION]
        values = [Summary.Value(tag=name, simple_value=value) for name, value in scalars]
        self._write_summary(trial, Summary(value=values), step=int(result[TRAINING_ITERATION]))

    def log_trial_end(self, trial: Any, failed: bool = False) -> None:
        """Close a run's file, marked as a success unless the run failed."""
        if not failed:
            info = plugin_data_pb2.SessionEndInfo(status=api_pb2.STATUS_SUCCESS, end_time_secs=time.time())
            value = Summary.Value(
                tag=metadata.SESSION_END_INFO_TAG,
                metadata=metadata.create_summary_metadata(plugin_data_pb2.HParamsPluginData(session_end_info=info)),
            )
            self._write_summary(trial, Summary(value=[value]))
        self._files.pop(trial).close()

    def _write_summary(self, run: Any, summary: Summary, step: int = 0) -> None:
        self._write(run, Event(wall_time=time.time(), step=step, summary=summary))

    def _write(self, run: Any, event: Event) -> None:
        file = self._files[run]
        RecordWriter(file).write(event.SerializeToString())
        file.flush()
