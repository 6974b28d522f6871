"""The only folder that names private parts of Ray.

Ray's public API offers no replacement for these names. `tests/sweeps/execution/ray_internals/` asserts each name on the
installed version, so that an upgrade of Ray fails there first. All names were seen in Ray 2.55 and in Ray 2.60.

`ray._private.state.state`, `.actor_table`, `._connect_and_get_accessor`; `ray.core.generated.gcs_pb2` (`state.py`)
    Why: they give the cause of an actor's death, and the maker of a placement group. Ray's public state API needs a
    dashboard, which a cluster need not have. The private accessor returns protobufs.
    Without: the loss of a node counts against the jobs that ran there. The GPUs of a killed slot stay taken until the
    sweep ends.
`ray.train.v2.api.data_parallel_trainer.DataParallelTrainer` (`train.py`)
    Why: Ray exports only trainers that import a framework. This one runs workers without torch in the slot's process
    and in Train's controller.
    Without: TorchTrainer, a public subclass, would do, with 250 MB more in each of these processes.
`._create_default_callbacks` of this trainer; `PlacementGroupCleanerCallback`, `DatasetsCallback` (`train.py`)
    Why: each of the two callbacks would start a process for each slot. Train's cleaner frees the resources of a dead
    slot. Without a dashboard it cannot see that a slot is dead, warns in the log each second, and outlives its slot.
    The manager of data sets has none to manage, because workers read the features themselves.
    Without: two processes more for each slot, each with 100 MB and 1.5 s of processor, and a line of the log a second.
`ray.train.v2._internal.exceptions.WorkerGroupStartupTimeoutError` (`train.py`)
    Why: it tells a worker group that found no room from a group that failed.
    Without: a group that waits for a lost node's room counts against its job.
`ray._private.services.canonicalize_bootstrap_address_or_die` (`addresses.py`)
    Why: it says what ``auto`` means. Ray's public API tries to join that cluster for a minute, even if it has ended.
    Without: `--address auto` is refused after a minute.
"""
