"""Event files, which TensorBoard reads, written by tensorboardX.

tensorboardX loads torch wherever it is installed: a second of every start and 250 MB, for tensors that a driver has
not. It does without where torch cannot be loaded, and so torch is hidden from it.
"""

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ray.air.constants import TRAINING_ITERATION
from ray.tune.logger import LoggerCallback

_torch = sys.modules.get("torch")
sys.modules["torch"] = None  # type: ignore[assignment]  # how Python says that there is no such module
try:
    from tensorboardX.event_file_writer import EventsWriter
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.proto.summary_pb2 import Summary
    from tensorboardX.summary import hparams
finally:
    del sys.modules["torch"]
    if _torch is not None:
        sys.modules["torch"] = _torch

__all__ = ["TensorBoard"]


class TensorBoard(LoggerCallback):
    """Writes an event file per run; what has been reported is in it at once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writers: dict[Any, EventsWriter] = {}

    def log_trial_start(self, trial: Any) -> None:
        """Begin its file with its hyperparameters."""
        folder = self._folder / str(trial)
        folder.mkdir(parents=True, exist_ok=True)
        # The run's own number tells its file from that of an earlier attempt, which names by the second would not.
        self._writers[trial] = EventsWriter(str(folder / "events"), f".{trial.trial_id}")
        experiment, start, _ = hparams(trial.config, {"objective": None})
        self._write(trial, experiment, start)

    def log_trial_result(self, iteration: int, trial: Any, result: Mapping[str, float]) -> None:
        """Add a report's numbers."""
        scalars = [(name, value) for name, value in result.items() if name != TRAINING_ITERATION]
        values = [Summary.Value(tag=name, simple_value=value) for name, value in scalars]
        self._write(trial, Summary(value=values), step=int(result[TRAINING_ITERATION]))

    def log_trial_end(self, trial: Any, failed: bool = False) -> None:
        """End its file."""
        if not failed:
            self._write(trial, hparams({}, {})[2])
        self._writers.pop(trial).close()

    def _write(self, run: Any, *summaries: Summary, step: int = 0) -> None:
        writer = self._writers[run]
        for summary in summaries:
            writer.write_event(Event(wall_time=time.time(), step=step, summary=summary))
        writer.flush()
