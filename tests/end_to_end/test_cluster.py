"""Room on a cluster, and whole sweeps on real clusters of several nodes on this machine."""

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
from typing import Any

import psutil
import pytest
import ray
from ray._private import node as ray_node

from sweeps.config import ConfigError
from sweeps.config.sections import Workers
from sweeps.execution import cluster as cluster
from sweeps.execution.capacity import Allocation, Capacity, NoNodeError, allocate, grow
from sweeps.execution.cluster import Node, connect, local_only
from sweeps.ledger import Ledger


def nodes(*sizes: tuple[int, int]) -> list[Node]:
    """Nodes of so many CPUs and GPUs."""
    return [Node(str(i), f"10.0.0.{i}", cpus, gpus) for i, (cpus, gpus) in enumerate(sizes)]


@pytest.mark.parametrize(
    ("there", "settings", "expected"),
    [
        ([(2, 0)], {}, Allocation(slots=2, workers=1, cpus=1, gpus=0)),
        ([(16, 0)], {"concurrent_trials": 3}, Allocation(slots=3, workers=1, cpus=5, gpus=0)),
        ([(16, 4)], {}, Allocation(slots=4, workers=1, cpus=4, gpus=1)),
        ([(16, 4)], {"gpus": 0}, Allocation(slots=16, workers=1, cpus=1, gpus=0)),
        ([(16, 0)], {"per_trial": 4}, Allocation(slots=4, workers=4, cpus=1, gpus=0)),
        ([(16, 5)], {"per_trial": 2}, Allocation(slots=2, workers=2, cpus=4, gpus=1)),
        ([(2, 4)], {}, Allocation(slots=2, workers=1, cpus=1, gpus=1)),
        # Several nodes: totals would promise workers that no single node can hold.
        ([(3, 0), (3, 0)], {"concurrent_trials": 3}, Allocation(slots=3, workers=1, cpus=1, gpus=0)),
        ([(3, 0), (3, 0)], {"concurrent_trials": 2}, Allocation(slots=2, workers=1, cpus=3, gpus=0)),
        ([(1, 0), (1, 0)], {"per_trial": 2}, Allocation(slots=1, workers=2, cpus=1, gpus=0)),
        ([(1, 0), (9, 0)], {"concurrent_trials": 2}, Allocation(slots=2, workers=1, cpus=4, gpus=0)),
        ([(0, 0), (8, 2), (8, 1)], {}, Allocation(slots=3, workers=1, cpus=4, gpus=1)),
        ([(32, 0), (8, 4)], {}, Allocation(slots=4, workers=1, cpus=2, gpus=1)),
    ],
)
def test_the_cluster_is_divided_into_slots_that_fit_on_its_nodes(
    there: list[tuple[int, int]], settings: dict[str, Any], expected: Allocation
) -> None:
    allocation = allocate(Workers(**settings), nodes(*there))
    assert allocation == expected
    assert allocation.room(nodes(*there)) >= allocation.slots


@pytest.mark.parametrize(
    ("there", "settings", "said"),
    [
        ([(2, 0)], {"gpus": 1}, "a GPU for each worker, but the cluster has 2 CPUs and 0 GPUs on 1 nodes"),
        ([(2, 0)], {"concurrent_trials": 3}, "3 trials at a time .* room for 2 trials; ask for at most 2"),
        ([(1, 0), (1, 0)], {"per_trial": 3}, "of 3 workers .* 2 CPUs and 0 GPUs on 2 nodes: room for 0 trials"),
        ([(0, 0)], {}, "room for 0 trials"),
    ],
)
def test_more_than_the_cluster_has_is_refused(
    there: list[tuple[int, int]], settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        allocate(Workers(**settings), nodes(*there))


def test_a_cluster_that_may_grow_starts_with_what_there_is() -> None:
    settings = Workers(concurrent_trials=8)
    assert allocate(settings, nodes((4, 0)), may_grow=True) == Allocation(slots=4, workers=1, cpus=1, gpus=0)
    with pytest.raises(ConfigError, match=r"add nodes, or let workers\.wait_minutes wait"):
        allocate(settings, nodes((0, 0)), may_grow=True)


@pytest.mark.parametrize(("most", "expected"), [("auto", [2, 3, 0, 2]), (2, [2, 2, 0, 2])])
def test_capacity_follows_the_nodes(monkeypatch: pytest.MonkeyPatch, most: Any, expected: list[int]) -> None:
    monkeypatch.setattr(cluster, "_LOOK_SECONDS", 0.0)
    seen = [nodes((1, 0), (1, 0)), nodes((1, 0), (2, 0)), nodes((0, 0)), nodes((2, 0))]
    looks, said = iter(seen), list[str]()
    allocation = Allocation(slots=2, workers=1, cpus=1, gpus=0)
    capacity = Capacity(allocation, Workers(concurrent_trials=most), None, said.append, lambda: next(looks))
    assert [capacity.slots for _ in seen] == expected
    assert any("room for 0 trials at a time; waiting for nodes" in text for text in said)
    assert len(said) == (3 if most == "auto" else 2)


def test_a_sweep_whose_only_node_is_gone_does_not_wait_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed raylet of a sweep's own leaves a driver that could wait for ever."""
    monkeypatch.setattr(cluster, "_LOOK_SECONDS", 0.0)
    looks = iter([nodes((1, 0)), []])
    allocation = Allocation(slots=1, workers=1, cpus=1, gpus=0)
    capacity = Capacity(allocation, Workers(), None, print, lambda: next(looks))
    assert capacity.slots == 1
    with pytest.raises(NoNodeError, match="has died"):
        _ = capacity.slots


def test_capacity_does_not_look_at_every_step() -> None:
    looks: list[int] = []

    def look() -> list[Node]:
        looks.append(1)
        return nodes((1, 0))

    capacity = Capacity(Allocation(slots=1, workers=1, cpus=1, gpus=0), Workers(), None, print, look)
    assert [capacity.slots for _ in range(100)] == [1] * 100
    assert len(looks) == 1


# -- joining -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "environment", "local"),
    [(None, None, True), ("local", "10.0.0.1:6379", True), (None, "10.0.0.1:6379", False), ("auto", None, False)],
)
def test_a_cluster_of_its_own_is_started_only_where_none_is_named(
    monkeypatch: pytest.MonkeyPatch, address: str | None, environment: str | None, local: bool
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if environment is not None:
        monkeypatch.setenv("RAY_ADDRESS", environment)
    assert local_only(address) == local


@pytest.mark.parametrize(("address", "fewer"), [("local", True), ("h:1", False)])
@pytest.mark.parametrize("error", [None, OSError("no space")])
def test_only_a_cluster_of_its_own_does_without_processes_and_books(
    monkeypatch: pytest.MonkeyPatch, address: str, fewer: bool, error: OSError | None
) -> None:
    every = ray_node.Node.start_monitor, ray_node.Node.start_api_server
    during, books = [], []

    def init(**settings: Any) -> None:
        books.append("_system_config" not in settings)
        during.append((ray_node.Node.start_monitor, ray_node.Node.start_api_server))
        if error is not None:
            raise error

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(cluster, "_knock", lambda address: None)
    with suppress(ConfigError):
        connect(address)
    assert all((one is not other) == fewer for one, other in zip(during[0], every, strict=True))
    assert every == (ray_node.Node.start_monitor, ray_node.Node.start_api_server)
    assert books == [not fewer]


@pytest.mark.parametrize(
    ("address", "error", "said"),
    [
        (
            "h:1",
            ray.exceptions.AuthenticationError("token"),
            "--address h:1: the cluster there lets nobody in without its token; set RAY_AUTH_MODE=token",
        ),
        ("h:1", ConnectionError("refused"), "--address h:1: no Ray cluster there .* refused; run this command on"),
        ("h:1", ConnectionError("Version mismatch:\n  Ray: 2.59"), "Version mismatch: Ray: 2.59; .* same versions"),
        ("local", OSError("no space"), "Ray cannot start on this machine: no space"),
    ],
)
def test_whatever_keeps_a_process_out_is_one_line(
    monkeypatch: pytest.MonkeyPatch, address: str, error: Exception, said: str
) -> None:
    def init(**settings: Any) -> None:
        raise error

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(cluster, "_knock", lambda address: None)
    with pytest.raises(ConfigError, match=said) as refusal:
        connect(address)
    assert "\n" not in str(refusal.value)


def test_an_address_where_nobody_answers_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    with pytest.raises(ConfigError, match="--address foo: no Ray cluster there"):
        connect("foo")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # and does not listen
        address = f"127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(ConfigError, match=f"--address {address}: no Ray cluster there .* refused"):
            connect(address)


def test_ray_client_is_refused_with_what_to_do_instead() -> None:
    with pytest.raises(ConfigError, match="ray job submit"):
        connect("ray://head:10001")


class FakeGroup:
    def ready(self) -> str:
        return "ready"


@pytest.mark.parametrize(
    ("there", "settings", "requested", "waited"),
    [
        ([(1, 0)], {}, None, None),
        ([(0, 0)], {}, None, None),
        ([(0, 0)], {"wait_minutes": 2, "per_trial": 2}, None, ([{"CPU": 1}] * 2, 120)),
        ([(1, 0)], {"concurrent_trials": 3, "wait_minutes": 2}, [{"CPU": 1}] * 3, None),
        ([(0, 0)], {"gpus": 1, "wait_minutes": 0.5}, None, ([{"CPU": 1, "GPU": 1}], 30)),
    ],
)
def test_nodes_are_asked_and_waited_for(
    monkeypatch: pytest.MonkeyPatch,
    there: list[tuple[int, int]],
    settings: dict[str, Any],
    requested: list[dict[str, int]] | None,
    waited: tuple[list[dict[str, int]], float] | None,
) -> None:
    did: dict[str, Any] = {}
    monkeypatch.setattr(cluster, "alive_nodes", lambda: nodes(*there))
    monkeypatch.setattr(cluster, "request_resources", lambda bundles: did.update(requested=bundles))
    monkeypatch.setattr(cluster, "placement_group", lambda bundles: did.update(group=bundles) or FakeGroup())
    monkeypatch.setattr(cluster, "remove_placement_group", lambda group: did.update(removed=True))
    monkeypatch.setattr(ray, "wait", lambda references, timeout: did.update(timeout=timeout))
    said: list[str] = []
    grow(Workers(**settings), said.append)
    assert did.get("requested") == requested
    if waited is None:
        assert (said, "group" in did) == ([], False)
    else:
        assert ((did["group"], did["timeout"]), did["removed"]) == (waited, True)
        assert "Waiting for nodes" in said[0]


# -- real clusters -----------------------------------------------------------------------------------------------------


class RayNode:
    """A node of a real cluster: `ray start` with all its processes.

    Not ray.cluster_utils.Cluster: that one tells every ray.init() on the machine of itself.
    """

    def __init__(
        self, *arguments: str, prefix: Sequence[str] = (), environment: Mapping[str, str] | None = None
    ) -> None:
        ports = ("--min-worker-port=0", "--max-worker-port=0")  # the default range serves one node of a machine
        store = f"--object-store-memory={100 * 2**20}"
        command = [*prefix, sys.executable, "-m", "ray.scripts.scripts", "start", "--block", *ports, store, *arguments]
        self._process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **(environment or {})},
        )
        said = []
        for line in self._process.stdout:
            said.append(line)
            if "Ray runtime started" in line:
                return
        raise RuntimeError("".join(said))

    def kill(self) -> None:
        """Lose the node with everything on it, as if its power went; nothing happens to one that is lost."""
        if self._process.poll() is None:
            node = psutil.Process(self._process.pid)
            for process in [node, *node.children(recursive=True)]:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            self._process.wait(timeout=60)


class RunningSweep:
    """`conclugen sweep run` in a process of its own, followed line by line."""

    def __init__(
        self, config: Path, out: Path, *, address: str, prefix: Sequence[str] = (), **environment: str
    ) -> None:
        command = [*prefix, sys.executable, "-m", "sweeps", "sweep", "run", str(config), "--out", str(out)]
        self.process = subprocess.Popen(
            [*command, "--address", address],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )

    def wait_for(self, told: Callable[[str], bool]) -> str:
        """Return the next line that ``told`` is true of."""
        for line in self.process.stdout:
            if told(line):
                return line
        raise AssertionError(f"the sweep ended: {self.process.stderr.read()}")

    def end(self) -> tuple[int, str]:
        """Wait for the end; return the exit code and what was written to stderr."""
        _, error = self.process.communicate()
        return self.process.returncode, error


@pytest.fixture
def started() -> Iterator[ExitStack]:
    """What ends when the test does, in reverse order."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def session(started: ExitStack) -> str:
    """A folder for Ray's session: short, as the names of sockets in it are limited, and no other Ray's."""
    folder = tempfile.mkdtemp(prefix="ray-")
    started.callback(shutil.rmtree, folder, ignore_errors=True)
    return folder


@pytest.mark.slow(seconds=115)
@pytest.mark.timeout(900)  # on a machine that is busy with other tests
def test_a_sweep_survives_a_lost_node_and_uses_one_that_joins(
    write_config: Callable[..., Path],
    tmp_path: Path,
    started: ExitStack,
    session: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No node has CPUs for both workers of a trial, and one alone has memory for a slot.

    So every trial spans two nodes. A worker's node is lost, which leaves its slot and its peer behind; and nothing can
    go on without the node that joins. (A slot that dies is in test_faults.py.)
    """
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # else a head goes by the token that other tests leave at home
    for name in ("period", "timeout", "initial_delay"):  # how soon the head knows: in a second instead of 20
        monkeypatch.setenv(f"RAY_health_check_{name}_ms", "500")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    little, enough = f"--memory={100 * 2**20}", f"--memory={500 * 2**20}"

    def start(*arguments: str) -> RayNode:
        node = RayNode(*arguments)
        started.callback(node.kill)
        return node

    def add(memory: str) -> RayNode:
        return start(f"--address=127.0.0.1:{port}", "--num-cpus=1", memory)

    place = ("--node-ip-address=127.0.0.1", f"--port={port}", f"--temp-dir={session}")
    start("--head", "--include-dashboard=false", *place, "--num-cpus=0", little)
    lost, _ = add(little), add(enough)
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
    started.callback(sweep.process.kill)
    assert "1 trials at a time, each on 2 workers with 1 CPU" in sweep.wait_for(lambda line: "at a time" in line)
    sweep.wait_for(lambda line: line.startswith("["))  # a job has ended
    lost.kill()
    sweep.wait_for(lambda line: "room for 0 trials" in line)
    add(little)
    sweep.wait_for(lambda line: "room for 1 trials" in line)
    assert sweep.end() == (0, "")
    records = list(Ledger(tmp_path / "sweep" / "ledger"))
    planned = {f"search-{subset}-{n:05d}" for subset in ("Con", "Gen") for n in range(2)}
    planned |= {f"confirm-{subset}-00000" for subset in ("Con", "Gen")}
    assert Counter(record.key for record in records) == Counter(planned)
    assert {record.state for record in records} == {"complete"}


@pytest.mark.slow(seconds=35)
@pytest.mark.timeout(900)  # on a machine that is busy with other tests
def test_a_cluster_with_a_token_lets_in_who_has_it_and_nobody_else(
    write_config: Callable[..., Path],
    tmp_path: Path,
    started: ExitStack,
    session: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Needs no rights and runs no sweep: the head has no CPUs, so that who is let in learns that there is no room."""
    monkeypatch.setenv("HOME", str(tmp_path))  # where Ray would look for a token
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = ("--node-ip-address=127.0.0.1", f"--port={port}", f"--temp-dir={session}")
    right, wrong = ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)} for _ in range(2))
    head = RayNode("--head", "--include-dashboard=false", *place, "--num-cpus=0", environment=right)
    started.callback(head.kill)
    config, out = write_config(), tmp_path / "sweep"
    for environment, said in (
        ({}, "lets nobody in without its token; set RAY_AUTH_MODE=token"),
        (wrong, "lets nobody in without its token; set RAY_AUTH_MODE=token"),
        (right, "room for 0 trials"),
    ):
        code, error = RunningSweep(config, out, address=f"127.0.0.1:{port}", **environment).end()
        assert (code, error.count("\n")) == (2, 2), error
        assert said in error
        assert not out.exists()


@pytest.fixture
def two_machines(started: ExitStack, tmp_path: Path) -> list[list[str]]:
    """Prefixes of commands that run on either of two machines: a network, a name and mounts of its own each.

    What is in ``hidden`` on the first is not there on the second.
    """
    names = [f"conclugen{os.getpid()}{letter}" for letter in "ab"]
    try:
        for name in names:
            subprocess.run(["ip", "netns", "add", name], check=True, capture_output=True, text=True)
            started.callback(subprocess.run, ["ip", "netns", "delete", name], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"network namespaces cannot be made here: {getattr(error, 'stderr', error)}")
    hosts, hidden, empty = tmp_path / "hosts", tmp_path / "hidden", tmp_path / "empty"
    hosts.write_text("127.0.0.1 localhost\n10.99.0.1 machine-0\n10.99.0.2 machine-1\n")
    hidden.mkdir(), empty.mkdir()
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
def test_two_machines_with_a_token_and_a_folder_that_one_cannot_see(
    write_config: Callable[..., Path],
    tmp_path: Path,
    started: ExitStack,
    session: str,
    two_machines: list[list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # where Ray would look for a token
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    address, token = "10.99.0.1:6379", {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    heads = ("--head", "--port=6379", "--include-dashboard=false", f"--temp-dir={session}"), (f"--address={address}",)
    for i, (head, prefix) in enumerate(zip(heads, two_machines, strict=True)):
        place = f"--node-ip-address=10.99.0.{i + 1}"
        node = RayNode(*head, place, "--num-cpus=1", prefix=prefix, environment=token)
        started.callback(node.kill)
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
    assert f"node 10.99.0.2: the results folder {tmp_path / 'hidden' / 'sweep'} is not visible there" in error
    assert not (tmp_path / "hidden" / "sweep").exists()

    out = tmp_path / "sweep"
    assert run(out, **token) == (0, "")  # two workers, and a CPU for one at each address
    assert {record.state for record in Ledger(out / "ledger")} == {"complete"}
    assert len(list(Ledger(out / "ledger"))) == 2
