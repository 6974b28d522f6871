"""The one room that names anything private of Ray.

Ray's public API does not give what follows. `tests/sweeps/execution/ray_internals/` asserts each name on the installed
version, so that an upgrade of Ray fails there first. All were seen in Ray 2.55 and in Ray 2.60.

`ray._private.state.state`, `.actor_table`, `._connect_and_get_accessor`; `ray.core.generated.gcs_pb2` (`state.py`)
    Why: the cause of an actor's death, and the maker of a placement group. Ray's public state API needs a dashboard,
    which a cluster need not have. What the private accessor returns is a protobuf.
    Without: a node that is lost counts against the job that ran there. The GPUs of a killed slot stay taken until the
    sweep ends.
`ray.train.v2.api.data_parallel_trainer.DataParallelTrainer` (`train.py`)
    Why: Ray exports only trainers that import a framework. This one runs workers without torch in the slot's process
    and in Train's controller.
    Without: TorchTrainer, a public subclass, would do, with 250 MB more in each of these processes.
`._create_default_callbacks` of this trainer; `PlacementGroupCleanerCallback` (`train.py`)
    Why: Train's cleaner is a detached process for each slot, to free the resources of a dead one. Without a dashboard
    it cannot see that anything is dead. It then warns in the log each second, and outlives its slot.
    Without: 100 MB and a line of the log per second more for each slot.
`ray.train.v2._internal.exceptions.WorkerGroupStartupTimeoutError` (`train.py`)
    Why: it tells a worker group that found no room from one that failed.
    Without: a group that waits for a lost node's room counts against its job.
"""
