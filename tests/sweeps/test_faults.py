"""Real kills in mid-sweep. Whatever dies, every planned attempt ends in the ledger, once."""

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

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]

SUBSETS = ("Con", "Gen")
TRIALS, SEEDS = 5, 1


def processes(driver: psutil.Process, title: str) -> list[psutil.Process]:
    """Ray's processes of this sweep by the title that Ray gives them."""
    found = []
    for process in driver.children(recursive=True):
        try:
            if process.cmdline()[:1] and process.cmdline()[0].startswith(title):
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def finished_jobs(line: str) -> int:
    """What a line of progress says; 0 for other lines."""
    return int(line[1:].partition("/")[0]) if line.startswith("[") else 0


def test_killed_processes_cost_no_trial(write_config: Callable[..., Path], tmp_path: Path) -> None:
    """Workers and slots, in turn; each is in the middle of its next job when the line of a finished one appears."""
    out = tmp_path / "sweep"
    config = write_config(
        subsets=list(SUBSETS),
        budget={"trials_per_subset": TRIALS, "epochs": 40, "seeds": SEEDS},
        probe={"labels_per_class": None, "every": 2},
        checkpoint={"every": 2},
        search={"pruner": "none"},
    )
    command = [sys.executable, "-m", "sweeps", "sweep", "run", str(config), "--out", str(out)]
    worker, slot = "ray::RayTrainWorker", "ray::Slot"
    victims = [(1, worker), (4, slot)]  # after so many finished jobs
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as sweep:
        driver = psutil.Process(sweep.pid)
        for line in sweep.stdout:
            if victims and finished_jobs(line) >= victims[0][0]:
                process = processes(driver, victims.pop(0)[1])[0]
                process.send_signal(signal.SIGKILL)
                process.wait(timeout=60)
        assert sweep.wait() == 0
    assert not victims
    keys = Counter(record.key for record in Ledger(out / "ledger"))
    planned = {f"search-{subset}-{n:05d}" for subset in SUBSETS for n in range(TRIALS)}
    planned |= {f"confirm-{method}-{n:05d}" for method in (*SUBSETS, *BASELINES) for n in range(SEEDS)}
    assert keys == Counter(planned)
    assert {record.state for record in Ledger(out / "ledger")} == {"complete"}


@pytest.mark.parametrize("per_trial", [1, 2])
def test_a_worker_that_hangs_costs_no_trial(write_config: Callable[..., Path], tmp_path: Path, per_trial: int) -> None:
    """A stopped process lives, and answers nobody; beside a peer, it takes that one into its wait."""
    out = tmp_path / "sweep"
    config = write_config(
        subsets=["Con"],
        budget={"trials_per_subset": 3, "epochs": 40, "seeds": SEEDS},
        probe={"labels_per_class": None, "every": 2},
        checkpoint={"every": 2},
        search={"pruner": "none"},
        workers={"per_trial": per_trial, "concurrent_trials": 1, "hang_minutes": 1},
    )
    command = [sys.executable, "-m", "sweeps", "sweep", "run", str(config), "--out", str(out)]
    stopped: list[psutil.Process] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as sweep:
        driver = psutil.Process(sweep.pid)
        for line in sweep.stdout:
            if not stopped and finished_jobs(line) >= 1:
                stopped = processes(driver, "ray::RayTrainWorker")[-1:]
                stopped[0].send_signal(signal.SIGSTOP)
                stopped[0].wait(timeout=240)
        assert sweep.wait() == 0
    assert stopped
    records = list(Ledger(out / "ledger"))
    planned = {f"search-Con-{n:05d}" for n in range(3)}
    planned |= {f"confirm-{method}-00000" for method in ("Con", *BASELINES)}
    assert Counter(record.key for record in records) == Counter(planned)
    assert {record.state for record in records} == {"complete"}


def weights_and_biases(file: Path) -> list[Record]:
    """The records of an offline run: LevelDB's log format, without its split into blocks for files below 32 KiB."""
    data, found = file.read_bytes()[7:], []  # after the file's own header
    while data:
        length, kind = struct.unpack_from("<HB", data, 4)  # after the checksum
        assert kind == 1, "a record that is in one piece"
        found.append(Record.FromString(data[7 : 7 + length]))
        data = data[7 + length :]
    return found


def test_ctrl_c_keeps_what_had_finished(
    write_config: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    out, runs = tmp_path / "sweep", f"sqlite:///{tmp_path / 'runs.db'}"
    config = write_config(
        subsets=list(SUBSETS),
        budget={"trials_per_subset": 50, "epochs": 40, "seeds": SEEDS},
        tracking={"mlflow": {"tracking_uri": runs, "experiment": "e"}, "wandb": {"project": "p"}},
    )
    command = [sys.executable, "-m", "sweeps", "sweep", "run", str(config), "--out", str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as sweep:
        driver = psutil.Process(sweep.pid)
        children = []
        for line in sweep.stdout:
            if not children and finished_jobs(line) >= 2:
                children = driver.children(recursive=True)
                sweep.send_signal(signal.SIGINT)
        error = sweep.stderr.read()
        assert sweep.wait() == 130
    assert f"conclugen report {out} --out DIR" in error
    assert "Traceback" not in error
    assert len(list(Ledger(out / "ledger"))) >= 2
    _, alive = psutil.wait_procs(children, timeout=60)
    assert not alive

    finished = {record.key for record in Ledger(out / "ledger")}
    assert finished <= {file.parent.name for file in (out / "tensorboard").glob("*/events.*")}
    client = MlflowClient(runs)
    tracked = client.search_runs([client.get_experiment_by_name("e").experiment_id])
    assert {run.info.status for run in tracked} <= {"FINISHED", "FAILED"}
    # Ctrl-C may come between the ledger's record of a job and the end of its run.
    ended = {run.info.run_name for run in tracked if run.info.status == "FINISHED"}
    assert ended
    assert ended <= finished
    sent = [weights_and_biases(file) for file in (out / "wandb").glob("offline-run-*/*.wandb")]
    named = {record.run.display_name: records for records in sent for record in records if record.HasField("run")}
    assert finished <= set(named)
    for key in ended:
        history = [item for record in named[key] for item in record.history.item]
        assert "objective" in {item.key or "/".join(item.nested_key) for item in history}
