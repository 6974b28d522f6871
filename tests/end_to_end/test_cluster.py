"""Whole sweeps on real Ray clusters, whose nodes all run on this machine."""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
import pytest

from sweeps.ledger import Ledger


class RayNode:
    """A node of a real cluster: `ray start` with all its processes.

    Rejected: ray.cluster_utils.Cluster, because every ray.init() on the machine would join it.
    """

    def __init__(
        self, *arguments: str, prefix: Sequence[str] = (), environment: Mapping[str, str] | None = None
    ) -> None:
        ports = ("--min-worker-port=0", "--max-worker-port=0")  # the default range serves only one node on a machine
        store = f"--object-store-memory={100 * 2**20}"
        command = [*prefix, sys.executable, "-m", "ray.scripts.scripts", "start", "--block", *ports, store, *arguments]
        self._process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            env={**os.environ, **(environment or {})},
        )
        output = []
        for line in self._process.stdout:
            output.append(line)
            if "Ray runtime started" in line:
                return
        raise RuntimeError("".join(output))

    def kill(self) -> None:
        """Kill all processes of the node, as a power failure would; do nothing if it has ended."""
        if self._process.poll() is None:
            node = psutil.Process(self._process.pid)
            for process in [node, *node.children(recursive=True)]:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            self._process.wait(timeout=60)


class RunningSweep:
    """`conclugen sweep run` in a process of its own, whose output is read line by line."""

    def __init__(
        self, config: Path, out: Path, *, address: str, prefix: Sequence[str] = (), **environment: str
    ) -> None:
        command = [*prefix, sys.executable, "-m", "sweeps", "sweep", "run", str(config), "--out", str(out)]
        self.process = subprocess.Popen(
            [*command, "--address", address],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            env={**os.environ, **environment},
        )

    def wait_for(self, condition: Callable[[str], bool]) -> str:
        """Return the next line for which ``condition`` holds."""
        for line in self.process.stdout:
            if condition(line):
                return line
        raise AssertionError(f"the sweep ended: {self.process.stderr.read()}")

    def end(self) -> tuple[int, str]:
        """Wait for the end; return the exit code and the text on stderr."""
        _, error = self.process.communicate()
        return self.process.returncode, error


@pytest.fixture
def cleanup() -> Iterator[ExitStack]:
    """The callbacks that run when the test ends, the last one first."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def session(cleanup: ExitStack) -> str:
    """A folder for the files of one Ray cluster; its path is short, because Ray limits the paths of its sockets."""
    folder = tempfile.mkdtemp(prefix="ray-")
    cleanup.callback(shutil.rmtree, folder, ignore_errors=True)
    return folder


@pytest.mark.slow(seconds=115)
@pytest.mark.timeout(900)  # on a machine that is busy with other tests
def test_a_sweep_survives_a_lost_node_and_uses_one_that_joins(
    write_config: Callable[..., Path],
    tmp_path: Path,
    cleanup: ExitStack,
    session: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No node has CPUs for both workers of a trial, and only one node has memory for a slot.

    So every trial spans two nodes. The test kills the node of one worker, but not that of the slot and the other
    worker. The sweep cannot go on before another node joins. (benchmarks/faults.py kills slots.)
    """
    # Otherwise the head would read a token that other tests have left in the home folder.
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    for name in ("period", "timeout", "initial_delay"):  # the head notices the loss in a second instead of 20
        monkeypatch.setenv(f"RAY_health_check_{name}_ms", "500")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    little = f"--memory={100 * 2**20}"
    enough = f"--memory={600 * 2**20}"

    def start(*arguments: str) -> RayNode:
        node = RayNode(*arguments)
        cleanup.callback(node.kill)
        return node

    def add(memory: str) -> RayNode:
        return start(f"--address=127.0.0.1:{port}", "--num-cpus=1", memory)

    place = ("--node-ip-address=127.0.0.1", f"--port={port}", f"--temp-dir={session}")
    start("--head", "--include-dashboard=false", *place, "--num-cpus=0", little)
    lost = add(little)
    add(enough)
    config = write_config(
        subsets=["Con", "Gen"],
        baselines=[],
        budget={"trials_per_subset": 2, "epochs": 8, "seeds": 1},
        probe={"labels_per_class": None, "every": 4},
        checkpoint={"every": 2},
        search={"pruner": "none"},
        workers={"per_trial": 2},
    )
    sweep = RunningSweep(config, tmp_path / "sweep", address=f"127.0.0.1:{port}")
    cleanup.callback(sweep.process.kill)
    assert "1 trial at a time, each on 2 workers with 1 CPU" in sweep.wait_for(lambda line: "at a time" in line)
    sweep.wait_for(lambda line: line.startswith("[") and not line.rstrip().endswith(": started"))  # a job has ended
    lost.kill()
    sweep.wait_for(lambda line: "room for 0 trials" in line)
    add(little)
    sweep.wait_for(lambda line: "room for 1 trial at" in line)
    assert sweep.end() == (0, "")
    records = list(Ledger(tmp_path / "sweep" / "ledger"))
    planned = {f"search-{subset}-{n:05d}" for subset in ("Con", "Gen") for n in range(2)}
    planned |= {f"confirm-{subset}-00000" for subset in ("Con", "Gen")}
    assert Counter(record.key for record in records) == Counter(planned)
    assert {record.state for record in records} == {"complete"}


@pytest.mark.slow(seconds=35)
@pytest.mark.timeout(900)  # on a machine that is busy with other tests
def test_a_cluster_with_a_token_refuses_sweeps_without_the_right_one(
    write_config: Callable[..., Path],
    tmp_path: Path,
    cleanup: ExitStack,
    session: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No sweep runs: the head has no CPUs, so a sweep with the right token is refused for want of room."""
    monkeypatch.setenv("HOME", str(tmp_path))  # where Ray would look for a token
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = ("--node-ip-address=127.0.0.1", f"--port={port}", f"--temp-dir={session}")
    right, wrong = ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)} for _ in range(2))
    head = RayNode("--head", "--include-dashboard=false", *place, "--num-cpus=0", environment=right)
    cleanup.callback(head.kill)
    config, out = write_config(), tmp_path / "sweep"
    for environment, message in (
        ({}, "lets nobody in without its token; set RAY_AUTH_MODE=token"),
        (wrong, "lets nobody in without its token; set RAY_AUTH_MODE=token"),
        (right, "room for 0 trials"),
    ):
        code, error = RunningSweep(config, out, address=f"127.0.0.1:{port}", **environment).end()
        assert (code, error.count("\n")) == (2, 2), error
        assert message in error
        assert not out.exists()


@pytest.fixture
def two_machines(cleanup: ExitStack, tmp_path: Path) -> list[list[str]]:
    """Two command prefixes, each of which runs a command on another machine.

    A machine is a namespace with its own network, host name and mounts. The files in ``hidden`` on the first machine
    are not visible on the second.
    """
    names = [f"conclugen{os.getpid()}{letter}" for letter in "ab"]
    try:
        for name in names:
            subprocess.run(["ip", "netns", "add", name], check=True, capture_output=True, encoding="utf-8")
            cleanup.callback(subprocess.run, ["ip", "netns", "delete", name], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"this machine cannot create network namespaces: {getattr(error, 'stderr', error)}")
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 localhost\n10.99.0.1 machine-0\n10.99.0.2 machine-1\n", encoding="utf-8")
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    empty = tmp_path / "empty"
    empty.mkdir()
    links = [
        ["ip", "link", "add", "eth0", "netns", names[0], "type", "veth", "peer", "name", "eth0", "netns", names[1]]
    ]
    for i, name in enumerate(names):
        links += [["ip", "-n", name, *f"address add 10.99.0.{i + 1}/24 dev eth0".split()]]
        links += [["ip", "-n", name, "link", "set", device, "up"] for device in ("lo", "eth0")]
    for link in links:
        subprocess.run(link, check=True)
    script = (
        'hostname machine-$1; mount --bind "$2" /etc/hosts; [ $1 = 0 ] || mount --bind "$3" "$4"; shift 4; exec "$@"'
    )
    inside = ["unshare", "--mount", "--uts", "sh", "-ec", script, "sh"]
    paths = [str(path) for path in (hosts, empty, hidden)]
    return [["ip", "netns", "exec", name, *inside, str(i), *paths] for i, name in enumerate(names)]


@pytest.mark.slow(seconds=70)
@pytest.mark.timeout(900)  # on a machine that is busy with other tests
def test_a_sweep_on_two_machines_needs_the_token_and_a_folder_that_both_see(
    write_config: Callable[..., Path],
    tmp_path: Path,
    cleanup: ExitStack,
    session: str,
    two_machines: list[list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # where Ray would look for a token
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    address = "10.99.0.1:6379"
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    roles = ("--head", "--port=6379", "--include-dashboard=false", f"--temp-dir={session}"), (f"--address={address}",)
    for i, (role, prefix) in enumerate(zip(roles, two_machines, strict=True)):
        place = f"--node-ip-address=10.99.0.{i + 1}"
        node = RayNode(*role, place, "--num-cpus=1", prefix=prefix, environment=token)
        cleanup.callback(node.kill)
    config = write_config(
        subsets=["Con"],
        baselines=[],
        budget={"trials_per_subset": 1, "epochs": 2, "seeds": 1},
        workers={"per_trial": 2},
    )

    def run(out: Path, **environment: str) -> tuple[int, str]:
        return RunningSweep(config, out, address=address, prefix=two_machines[0], **environment).end()

    code, error = run(tmp_path / "refused")
    assert (code, error.count("\n")) == (2, 2), error
    assert "lets nobody in without its token; set RAY_AUTH_MODE=token" in error
    assert not (tmp_path / "refused").exists()

    code, error = run(tmp_path / "hidden" / "sweep", **token)
    assert (code, error.count("\n")) == (2, 2), error
    assert f"node 10.99.0.2: the sweep folder {tmp_path / 'hidden' / 'sweep'} is not visible on the node" in error
    assert not (tmp_path / "hidden" / "sweep").exists()

    out = tmp_path / "sweep"
    assert run(out, **token) == (0, "")  # two workers, and one CPU on each machine
    assert {record.state for record in Ledger(out / "ledger")} == {"complete"}
    assert len(list(Ledger(out / "ledger"))) == 2
