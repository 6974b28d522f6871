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
`._create_default_callbacks` of this trainer; `PlacementGroupCleanerCallback`, `DatasetsCallback` (`train.py`)
    Why: each of the two starts a process for each slot. Train's cleaner frees the resources of a dead slot. Without a
    dashboard it cannot see that anything is dead; it warns in the log each second, and outlives its slot. The manager
    of data sets has none to manage, as workers read the features themselves.
    Without: two processes more for each slot, with 100 MB and 1.5 s of processor each, and a line of the log a second.
`ray.train.v2._internal.exceptions.WorkerGroupStartupTimeoutError` (`train.py`)
    Why: it tells a worker group that found no room from one that failed.
    Without: a group that waits for a lost node's room counts against its job.
"""
