"""Ray Train's trainer without torch and without useless helpers, and the error of a group that found no room."""

from typing import Any

from ray.train import ControllerError
from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

__all__ = ["Trainer", "found_no_room"]


class Trainer(DataParallelTrainer):
    """Runs a train loop on workers, without loading torch in the process that calls it."""

    def _create_default_callbacks(self) -> list[Any]:
        useless = (PlacementGroupCleanerCallback, DatasetsCallback)
        return [callback for callback in super()._create_default_callbacks() if not isinstance(callback, useless)]


def found_no_room(error: Exception) -> bool:
    """Whether a Train run ended because the cluster had no room for its workers."""
    return isinstance(error, ControllerError) and isinstance(error.controller_failure, WorkerGroupStartupTimeoutError)
