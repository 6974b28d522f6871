"""The engine: plan, search, trials, workers, ledger and command line. The only importer of Ray."""

import gc
import os

# Python looks for cycles after 700 new objects, and while modules load among all that there are, again and again: an
# eighth of the time in which a worker loads its own. It stays so while they train: what a failed job's error holds,
# its tensors, is collected at once (sweeps.execution.worker).
gc.set_threshold(10_000)

# Ray Train reads these when it is imported, or when a worker group starts. They are set here, where every process of a
# sweep comes by first; a runtime environment costs each process another start of Python.
os.environ |= {
    "RAY_TRAIN_V2_ENABLED": "1",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",  # a lost worker, or a group that has ended, is noticed so much later
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "5",  # for room; sweeps.execution.slot says how often
}

# Of a Ray that a sweep starts: new log files are looked for twice a second, not ten times.
os.environ.setdefault("RAY_LOG_MONITOR_MANY_FILES_THRESHOLD", "0")

# Of its workers: with Ray's own 15, jobs took some percent longer by turns on two cores, if with much scatter (LOG.md).
os.environ.setdefault("RAY_worker_niceness", "0")

# Read by OpenMP when torch is imported. Threads that wait for each other by spinning take the processor from those
# that they wait for, wherever more runs than there are cores; threads that sleep take long to wake. Spinning for a
# tenth of a millisecond costs neither (LOG.md).
if "OMP_WAIT_POLICY" not in os.environ:  # the user's, which it would overrule
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
