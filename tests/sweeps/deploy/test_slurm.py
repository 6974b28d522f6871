"""sweeps/deploy/slurm.sh without Slurm: its options for sbatch, its start, its end, and a whole sweep.

`srun` is a stand-in that runs its command on this machine, once for each node. `scontrol` is not needed, because the
script asks Ray.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from ray.scripts.scripts import start

import sweeps
from sweeps.ledger import Ledger

SCRIPT = Path(sweeps.__file__).parent / "deploy" / "slurm.sh"

SRUN = """
import os, signal, subprocess, sys
from itertools import takewhile
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # until there are tasks to pass the signal on to
options = list(takewhile(lambda argument: argument.startswith("--"), sys.argv[1:]))
values = dict(option[2:].split("=") for option in options)
assert set(values) == {"nodes", "ntasks-per-node", "cpus-per-task"}, values
unblock = lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
tasks = []
for number in range(int(values["nodes"])):
    environment = {**os.environ, "SLURM_NODEID": str(number)}
    tasks.append(subprocess.Popen(sys.argv[1 + len(options):], env=environment, preexec_fn=unblock))
signal.signal(signal.SIGTERM, lambda *_: [task.terminate() for task in tasks])
unblock()
sys.exit(max(task.wait() for task in tasks) and 1)
"""
# Stand-ins for the programs that the script starts. They write down their arguments, and run until a signal ends them.
RAY = """
import json, os, signal, sys
with open(f"ray-{os.environ['SLURM_NODEID']}.json", "w") as file:
    json.dump({"arguments": sys.argv[1:], "pid": os.getpid(), "token": os.environ["RAY_AUTH_TOKEN"]}, file)
with open("joined", "w") as file:
    file.write(".")
signal.pause()
"""
PYTHON = """
import os, sys
if sys.argv[1] == "-c":  # the script wants a token, or an address
    print("127.0.0.1:6379")
else:  # the script waits for the nodes
    joined = os.open("joined", os.O_RDWR)
    for _ in range(int(os.environ["SLURM_JOB_NUM_NODES"])):
        os.read(joined, 1)
"""
CONCLUGEN = """
import json, signal, sys
with open("conclugen.json", "w") as file:
    json.dump(sys.argv[1:], file)
ignores_interrupts = signal.getsignal(signal.SIGINT) is not signal.default_int_handler
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
print("ignores interrupts" if ignores_interrupts else "started", flush=True)
signal.sigwait({signal.SIGINT})
sys.exit(130)
"""


def install(folder: Path, **programs: str) -> Path:
    """Write Python programs into ``folder``, for the shell to find by their names; return the folder."""
    folder.mkdir()
    for name, source in programs.items():
        (folder / name).write_text(f"#!{sys.executable} -IS\n{source}", encoding="utf-8")
        (folder / name).chmod(0o755)
    return folder


def environment(path: str, **variables: str) -> dict[str, str]:
    """The environment that Slurm gives a batch script."""
    job = {"SLURM_JOB_ID": str(os.getpid()), "SLURM_JOB_NUM_NODES": "2", "SLURM_CPUS_PER_TASK": "1"}
    return {**os.environ, **job, "PATH": path, **variables}


def alive(job: str) -> list[psutil.Process]:
    """The processes of a Slurm job, recognised by their inherited environment."""
    processes = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("SLURM_JOB_ID") == job and process.pid != os.getpid():
                processes.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return processes


def test_bash_accepts_the_script() -> None:
    subprocess.run(["bash", "-n", SCRIPT], check=True)


def test_sbatch_accepts_the_scripts_options() -> None:
    sbatch = argparse.ArgumentParser(allow_abbrev=False, exit_on_error=False)
    for option in ("nodes", "ntasks-per-node", "cpus-per-task", "gpus-per-node"):
        sbatch.add_argument(f"--{option}", type=int)
    for option, pattern in {
        "job-name": r"\w+",
        "output": r"[\w%.-]+",
        "mem": r"\d+[KMGT]",
        "time": r"(\d+-)?\d+:\d\d:\d\d",
        "signal": r"B:TERM@\d+",
    }.items():
        sbatch.add_argument(f"--{option}", type=re.compile(pattern).fullmatch)
    text = SCRIPT.read_text(encoding="utf-8")
    header = text[: text.index("\nset ")]
    lines = re.findall(r"^#SBATCH (.+)$", header, re.MULTILINE)
    assert len(lines) == text.count("#SBATCH")  # sbatch reads no line below the first command
    options, unknown = sbatch.parse_known_args(lines)
    assert not unknown
    assert all(value is not None for value in vars(options).values())
    assert options.ntasks_per_node == 1


@pytest.fixture
def stand_ins(tmp_path: Path) -> Callable[[str], dict[str, str]]:
    """Return a function that replaces every program of the script, and returns the environment to run it in."""

    def write(conclugen: str) -> dict[str, str]:
        os.mkfifo(tmp_path / "joined")
        folder = install(tmp_path / "bin", srun=SRUN, ray=RAY, python=PYTHON, conclugen=conclugen)
        return environment(f"{folder}:/usr/bin:/bin")

    return write


@pytest.mark.parametrize("arguments", [[], ["config.yaml"]])
def test_a_missing_argument_is_refused_before_anything_starts(
    stand_ins: Callable[[str], dict[str, str]], arguments: list[str], tmp_path: Path
) -> None:
    job = stand_ins(CONCLUGEN)
    command = ["bash", str(SCRIPT), *arguments]
    result = subprocess.run(command, env=job, cwd=tmp_path, capture_output=True, encoding="utf-8", check=False)
    assert result.returncode != 0
    assert "usage: sbatch slurm.sh CONFIG DIR" in result.stderr
    assert not list(tmp_path.glob("*.json"))


def test_slurms_signal_interrupts_the_sweep_and_then_ends_the_nodes(
    stand_ins: Callable[[str], dict[str, str]], parse_run: Callable[[list[str]], dict[str, Any]], tmp_path: Path
) -> None:
    job = stand_ins(CONCLUGEN)
    command = ["bash", str(SCRIPT), "config.yaml", "runs/a sweep", "--set", "budget.seeds=3"]
    with subprocess.Popen(command, env=job, cwd=tmp_path, stdout=subprocess.PIPE, encoding="utf-8") as script:
        assert script.stdout.readline() == "started\n"
        script.send_signal(signal.SIGTERM)
        assert script.wait() == 130

    sweep = parse_run(json.loads((tmp_path / "conclugen.json").read_text(encoding="utf-8")))
    assert sweep["config_file"] == Path("config.yaml")
    assert sweep["out"] == Path("runs/a sweep")
    assert sweep["overrides"] == ["budget.seeds=3"]
    nodes = [json.loads((tmp_path / f"ray-{number}.json").read_text(encoding="utf-8")) for number in range(2)]
    head, worker = (start.make_context("ray start", node["arguments"][1:]).params for node in nodes)
    assert head["head"]
    assert sweep["address"] == worker["address"] == f"127.0.0.1:{head['port']}"
    assert head["temp_dir"] == worker["temp_dir"] == f"/tmp/ray-{os.getpid()}"  # noqa: S108
    assert nodes[0]["token"] == nodes[1]["token"] != ""
    assert not any(psutil.pid_exists(node["pid"]) for node in nodes)
    assert not alive(job["SLURM_JOB_ID"])


@pytest.mark.parametrize("code", [0, 1, 2])
def test_the_script_exits_with_the_exit_code_of_the_sweep(
    stand_ins: Callable[[str], dict[str, str]], tmp_path: Path, code: int
) -> None:
    job = stand_ins(f"raise SystemExit({code})")
    command = ["bash", str(SCRIPT), "config.yaml", "out"]
    assert subprocess.run(command, env=job, cwd=tmp_path, check=False).returncode == code
    assert not alive(job["SLURM_JOB_ID"])


@pytest.mark.slow(seconds=45)
@pytest.mark.timeout(900)  # on a machine that is busy with other tests
def test_the_script_runs_a_whole_sweep_on_two_nodes(write_config: Callable[..., Path], tmp_path: Path) -> None:
    programs = install(tmp_path / "bin", srun=SRUN)
    job = environment(f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}")
    out = tmp_path / "sweep"
    budget = {"trials_per_subset": 2, "epochs": 2, "seeds": 1}
    config = write_config(subsets=["Con"], budget=budget, baselines=["raw_features"])
    command = ["bash", str(SCRIPT), str(config), str(out)]
    result = subprocess.run(command, env=job, capture_output=True, encoding="utf-8", check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "2 trials at a time" in result.stdout  # each node has one CPU
    assert [record.state for record in Ledger(out / "ledger")] == ["complete"] * 4
    _, survivors = psutil.wait_procs(alive(job["SLURM_JOB_ID"]), timeout=60)
    assert not survivors
    assert not Path(f"/tmp/ray-{job['SLURM_JOB_ID']}").exists()  # noqa: S108
