"""Real signals to processes of a running sweep: every planned job ends in the ledger, once.

`benchmarks/faults.py`, which test_benchmarks runs, kills workers and slots and damages files.
"""

import signal
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient
from wandb.proto.wandb_internal_pb2 import Record

from sweeps.ledger import Ledger

BASELINES = ("raw_features", "random_head")

pytestmark = pytest.mark.timeout(900)  # on a machine that is busy with other tests

SUBSETS = ("Con", "Gen")
TRIALS, SEEDS = 2, 1
ONE_SLOT = {"concurrent_trials": 1}  # so the next job has begun when the line of a finished job appears


def processes(driver: psutil.Process, title: str) -> list[psutil.Process]:
    """Ray's processes of this sweep whose title begins with ``title``."""
    matches = []
    for process in driver.children(recursive=True):
        try:
            if process.cmdline()[:1] and process.cmdline()[0].startswith(title):
                matches.append(process)
        except psutil.NoSuchProcess:
            continue
    return matches


def finished_jobs(line: str) -> int:
    """The number of finished jobs according to a line of progress; 0 for other lines."""
    return int(line[1:].partition("/")[0]) if line.startswith("[") else 0


@pytest.mark.slow(seconds=115)
def test_a_worker_that_hangs_costs_no_trial(write_config: Callable[..., Path], tmp_path: Path) -> None:
    """A stopped process lives but does nothing, and its peer waits for it."""
    out = tmp_path / "sweep"
    config = write_config(
        subsets=["Con"],
        budget={"trials_per_subset": 2, "epochs": 20, "seeds": SEEDS},
        probe={"labels_per_class": None, "every": 2},
        checkpoint={"every": 2},
        search={"pruner": "none"},
        workers={**ONE_SLOT, "per_trial": 2, "hang_minutes": 0.5},
    )
    command = [sys.executable, "-m", "sweeps", "sweep", "run", str(config), "--out", str(out)]
    stopped: list[psutil.Process] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8") as sweep:
        driver = psutil.Process(sweep.pid)
        for line in sweep.stdout:
            if not stopped and finished_jobs(line) >= 1:
                stopped = processes(driver, "ray::RayTrainWorker")[-1:]
                stopped[0].send_signal(signal.SIGSTOP)
                stopped[0].wait(timeout=240)
        assert sweep.wait() == 0
    assert stopped
    records = list(Ledger(out / "ledger"))
    planned = {f"search-Con-{n:05d}" for n in range(2)}
    planned |= {f"confirm-{method}-00000" for method in ("Con", *BASELINES)}
    assert Counter(record.key for record in records) == Counter(planned)
    assert {record.state for record in records} == {"complete"}


def weights_and_biases(file: Path) -> list[Record]:
    """The records of an offline run, in LevelDB's log format; files below 32 KiB have no split into blocks."""
    data = file.read_bytes()[7:]  # after the file's header
    records: list[Record] = []
    while data:
        length, kind = struct.unpack_from("<HB", data, 4)  # after the checksum
        assert kind == 1, "the record is split"
        records.append(Record.FromString(data[7 : 7 + length]))
        data = data[7 + length :]
    return records


@pytest.mark.slow(seconds=190)
def test_a_sweep_that_was_interrupted_and_then_killed_resumes_to_its_end(
    write_config: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    out, runs = tmp_path / "sweep", f"sqlite:///{tmp_path / 'runs.db'}"
    config = write_config(
        subsets=list(SUBSETS),
        budget={"trials_per_subset": TRIALS, "epochs": 20, "seeds": SEEDS},
        workers=ONE_SLOT,
        tracking={"mlflow": {"tracking_uri": runs, "experiment": "e"}, "wandb": {"project": "p"}},
    )
    code, error = session("run", config, "--out", out, strike=(1, signal.SIGINT))
    assert code == 130
    assert f"go on with: conclugen sweep resume {out}" in error
    assert "Traceback" not in error
    finished = {record.key for record in Ledger(out / "ledger")}
    assert finished
    check_trackers(out, runs, finished)

    code, _ = session("resume", out, strike=(len(finished) + 1, signal.SIGKILL))
    assert code == -signal.SIGKILL
    finished_by_kill = {record.key for record in Ledger(out / "ledger")}
    assert len(finished_by_kill) > len(finished)
    assert session("resume", out) == (0, "")
    keys = Counter(record.key for record in Ledger(out / "ledger"))
    planned = {f"search-{subset}-{n:05d}" for subset in SUBSETS for n in range(TRIALS)}
    planned |= {f"confirm-{method}-{n:05d}" for method in (*SUBSETS, *BASELINES) for n in range(SEEDS)}
    assert keys == Counter(planned)
    assert not any((out / "running").iterdir())
    assert not (out / "ray").exists()
    log = (out / "logs" / "ray.log").read_text(encoding="utf-8")
    assert "steps on cpu" in log
    assert "\x1b" not in log


def session(*arguments: object, strike: tuple[int, signal.Signals] | None = None) -> tuple[int, str]:
    """Run ``conclugen sweep``; return its exit code and its errors. It must leave no process behind.

    A sweep that is killed may leave processes, because Ray's agents notice it only after a while.

    Args:
        arguments: those of the command.
        strike: a number of finished jobs in the sweep, and the signal to send once there are as many.
    """
    command = [sys.executable, "-m", "sweeps", "sweep", *map(str, arguments)]
    children: list[psutil.Process] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8") as sweep:
        for line in sweep.stdout:
            if strike is not None and not children and finished_jobs(line) >= strike[0]:
                children = psutil.Process(sweep.pid).children(recursive=True)
                sweep.send_signal(strike[1])
        error = sweep.stderr.read()
    if strike is None or strike[1] != signal.SIGKILL:
        _, alive = psutil.wait_procs(children, timeout=60)
        assert not alive
    return sweep.returncode, error


def check_trackers(out: Path, runs: str, finished: set[str]) -> None:
    """Assert that TensorBoard's files, MLflow and the files of Weights & Biases have the finished jobs."""
    assert finished <= {file.parent.name for file in (out / "tensorboard").glob("*/events.*")}
    client = MlflowClient(runs)
    tracked = client.search_runs([client.get_experiment_by_name("e").experiment_id])
    assert {run.info.status for run in tracked} <= {"FINISHED", "FAILED"}
    # Ctrl-C may come between the ledger's record of a job and the end of its run.
    ended = {run.info.run_name for run in tracked if run.info.status == "FINISHED"}
    assert ended
    assert ended <= finished
    files = [weights_and_biases(file) for file in (out / "wandb").glob("offline-run-*/*.wandb")]
    by_name = {record.run.display_name: records for records in files for record in records if record.HasField("run")}
    assert finished <= set(by_name)
    for key in ended:
        history = [item for record in by_name[key] for item in record.history.item]
        assert "objective" in {item.key or "/".join(item.nested_key) for item in history}
