"""The environment that Ray, torch and Python need in each process that runs jobs.

Importing this module sets what follows. It comes before Ray and torch, which read their variables when they are loaded.
Nothing that the user has set is overwritten. Workers import it as well: on a cluster that was started by someone else,
they do not inherit the driver's environment.
"""

import gc
import os

__all__ = ["DEFAULTS"]

DEFAULTS = {
    # Ray Train: nobody reads its metrics, and no cloud tells it of preemptions that the search does not notice anyway.
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",  # a lost worker is noticed after so many seconds
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "5",  # how long a group waits for room; see `sweeps.execution.slot`
    # Ray Tune: the ledger is the record. Tune's own files would hold each report a second time.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",
    "TUNE_MAX_PENDING_TRIALS_PG": "10000",  # the searcher has the cap that counts; with Tune's, slots start in turn
    # A Ray of the sweep's own: its log monitor looks for new files twice a second instead of ten times.
    "RAY_LOG_MONITOR_MANY_FILES_THRESHOLD": "0",
    # Workers of a Ray of the sweep's own: with Ray's niceness of 15, jobs took some percent longer (LOG.md).
    "RAY_worker_niceness": "0",
}
"""Variable -> what it is set to where the user has not set it."""

for _name, _value in DEFAULTS.items():
    os.environ.setdefault(_name, _value)

# OpenMP's threads spin while they wait for each other. That takes the processor from the threads they wait for wherever
# more of them run than there are cores. Threads that sleep are slow to wake. A tenth of a millisecond costs neither.
if "OMP_WAIT_POLICY" not in os.environ:  # the user's choice, which the spin count would overrule
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")

# Python looks for reference cycles after 700 new objects. While modules load, that takes an eighth of the time.
# The tensors of a failed job are collected explicitly (`sweeps.execution.worker`).
gc.set_threshold(10_000)
