"""The environment that Ray, torch and Python need in each process that runs jobs.

Importing this module sets the variables. The import comes before Ray and torch, which read them when they are loaded.
Nothing that the user has set is overwritten. Workers import the module as well: on a cluster that someone else started,
they do not inherit the driver's environment.
"""

import gc
import os

__all__ = ["DEFAULTS"]

DEFAULTS = {
    # Ray Train: nobody reads its metrics, and the search notices preempted nodes without the watcher.
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",  # seconds between two checks for lost workers
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "5",  # how long a group waits for room; see `sweeps.execution.slot`
    # Ray Tune: the ledger is the record. Tune's own files would hold each report a second time.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",
    "TUNE_MAX_PENDING_TRIALS_PG": "10000",  # no limit: the searcher has one, and Tune's starts slots one by one
    # The log is a file: no colours, no line that stands for the same one of other workers, no message twice.
    "RAY_COLOR_PREFIX": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    # For a Ray that the sweep starts: its log monitor looks for new files twice a second instead of ten times.
    "RAY_LOG_MONITOR_MANY_FILES_THRESHOLD": "0",
    # For a Ray that the sweep starts: with Ray's niceness of 15 for workers, jobs took some percent longer
    # (docs/decisions/price-of-ray.md).
    "RAY_worker_niceness": "0",
}
"""Variable -> its value where the user has set none."""

for _name, _value in DEFAULTS.items():
    os.environ.setdefault(_name, _value)

# OpenMP's threads spin while they wait for each other. Where more threads run than there are cores, spinning takes the
# processor from the threads that are waited for. Threads that sleep are slow to wake. Spinning for a tenth of a
# millisecond avoids both.
if "OMP_WAIT_POLICY" not in os.environ:  # the user's choice, which the spin count would overrule
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")

# By default, Python looks for reference cycles after 700 new objects. That takes an eighth of the time to load modules.
# `sweeps.execution.worker` collects the tensors of a failed job explicitly.
gc.set_threshold(10_000)
