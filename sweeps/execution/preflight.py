"""What has to be the same on every node, checked before anything runs.

One short task on each node collects facts; a pure function compares them with what this process has and says what is
wrong, everything at once. Workers would find each of these faults, too, but late, one after the other, and as a
traceback of a process on another machine.

A node that joins later is looked at in the same way. It counts as room only once nothing is wrong with it; else the
sweep says why and goes on without it.
"""

import hashlib
import os
import platform
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from conclugen import __version__
from conclugen.features.manifest import FeatureSetError, Manifest, location_of
from sweeps.config import ConfigError, SweepConfig, load_config
from sweeps.estimate.room import Node
from sweeps.execution.cluster import alive_nodes
from sweeps.folder.layout import SweepFolder

__all__ = ["Facts", "Preflight", "collect", "problems"]

_PACKAGES = ("conclugen", "search_spaces", "sweeps")  # what runs on nodes
_ANSWER_SECONDS = 120.0  # for a node's first process to start and answer; a busy node takes a few
_OBJECT_STORE = 75 * 2**20  # bytes: the smallest object store that Ray accepts, which lies in shared memory
_NCCL = 2**30  # bytes: what NVIDIA has containers given for NCCL's buffers between the GPUs of a machine


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What one process finds on its machine."""

    versions: Mapping[str, str]
    """Of Python and of the libraries that a trial's result depends on."""
    code: str
    """Checksum of this project's files."""
    folder: str
    """Identity of the sweep that lies where this sweep's folder should; empty where none does."""
    writable: bool
    configuration: tuple[str, ...] = ()
    """What is wrong with the sweep's configuration on this machine, feature sets and search space included."""
    features: Mapping[str, str]
    """Feature set -> fingerprint."""
    missing: tuple[str, ...] = ()
    """Files of feature sets that the manifests name and the machine lacks."""
    shared_memory: int | None
    """Bytes of /dev/shm; None where the system has none."""
    gpu_memory: int | None = None
    """Bytes of its smallest GPU; None where no driver tells."""
    loopback: bool
    """Whether the machine's own name means itself alone, and nothing says which network to use instead."""


def collect(root: str, features: Sequence[str]) -> Facts:
    """Look at this machine.

    Args:
        root: the sweep's folder.
        features: its feature sets.
    """
    folder = SweepFolder(Path(root))
    try:
        identity = folder.identity
    except OSError:
        identity = ""
    fingerprints, missing = {}, []
    for path in features:
        try:
            location = location_of(path)
            manifest = Manifest.read(location)
        except FeatureSetError:
            continue  # the configuration's problem, below
        fingerprints[path] = manifest.fingerprint
        if isinstance(location, Path):  # the machine's copy of a set elsewhere is fetched by its first worker
            missing += [str(file) for shard in manifest.shards if not (file := location / shard.file).is_file()]
    return Facts(
        versions={"Python": platform.python_version(), "conclugen-sweeps": __version__}
        | {name: version(name).partition("+")[0] for name in ("ray", "torch")},  # a build for GPUs is no other version
        code=_checksum(),
        folder=identity,
        writable=_writable(folder.running),
        configuration=_configuration(folder.config) if identity else (),
        features=fingerprints,
        missing=tuple(missing),
        shared_memory=_shared_memory(),
        gpu_memory=_gpu_memory(),
        loopback=_loopback(),
    )


def _checksum() -> str:
    """Of every file of the project that runs on nodes, wherever it is installed."""
    checksum = hashlib.sha256()
    for package in _PACKAGES:
        spec = find_spec(package)
        for place in (spec.submodule_search_locations or ()) if spec is not None else ():
            root = Path(place)
            for file in sorted(file for file in root.rglob("*") if file.suffix in (".py", ".yaml")):
                name = f"{package}/{file.relative_to(root).as_posix()}"
                checksum.update(name.encode() + b"\0" + file.read_bytes() + b"\0")
    return checksum.hexdigest()[:16]


def _writable(folder: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _configuration(path: Path) -> tuple[str, ...]:
    try:
        load_config(path)
    except ConfigError as error:
        return tuple(error.problems)
    return ()


def _shared_memory() -> int | None:
    try:
        status = os.statvfs("/dev/shm")  # noqa: S108  # asked for its size
    except OSError:
        return None
    return status.f_frsize * status.f_blocks


def _gpu_memory() -> int | None:
    """Asked of the driver's own tool: loading torch on every node would take seconds of each."""
    if (tool := shutil.which("nvidia-smi")) is None:
        return None
    command = [tool, "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # no outside input
    sizes = [int(line) * 2**20 for line in answer.stdout.split() if line.isdigit()]
    return min(sizes, default=None)


def _loopback() -> bool:
    if "GLOO_SOCKET_IFNAME" in os.environ:
        return False
    try:
        return socket.gethostbyname(socket.gethostname()).startswith("127.")
    except OSError:
        return True


def problems(
    here: Facts, nodes: Mapping[Node, Facts | str], *, root: Path, workers: int, gpus: int, spread: bool = False
) -> list[str]:
    """What keeps a sweep from running on ``nodes``: one line each, with what was expected and how to mend it.

    Args:
        here: what this process has, which counts as right.
        nodes: what each node has, or why it could not say.
        root: the sweep's folder.
        workers: of one trial.
        gpus: of one worker.
        spread: whether those workers may lie on several machines.
    """
    found = []
    for node, facts in nodes.items():
        if isinstance(facts, str):
            remedy = f"install conclugen-sweeps {here.versions['conclugen-sweeps']} there, as it is here"
            texts = [f"cannot run this project's code: {facts}; {remedy}."]
        else:
            texts = [*_code(here, facts), *_folder(here, facts, root), *_features(here, facts)]
            texts += _machine(facts, workers, gpus, spread=spread)
        found += [f"node {node.address}: {text}" for text in texts]
    return found


def _code(here: Facts, there: Facts) -> list[str]:
    found = [
        f"{name} {there.versions[name]}, but {expected} here; install the same version on both."
        for name, expected in here.versions.items()
        if there.versions[name] != expected
    ]
    if not found and there.code != here.code:
        found = [f"the project's files are others than here ({there.code}, not {here.code}); update what is older."]
    return found


def _folder(here: Facts, there: Facts, root: Path) -> list[str]:
    remedy = "keep sweeps on storage that every node mounts at the same place"
    if not there.folder:
        return [f"the results folder {root} is not visible there; {remedy}."]
    if there.folder != here.folder:
        return [f"what lies there at {root} is not this sweep's results folder; {remedy}."]
    if not there.writable:
        return [f"the results folder {root} cannot be written there; let the user that Ray runs as write to it."]
    return []


def _features(here: Facts, there: Facts) -> list[str]:
    found = list(there.configuration)
    found += [
        f"the feature set {path} is another one there ({there.features[path]}, not {expected}); copy it anew."
        for path, expected in here.features.items()
        if there.features.get(path, expected) != expected
    ]
    if there.missing:
        found.append(f"feature sets lack {len(there.missing)} files there, such as {there.missing[0]}; copy them anew.")
    return found


def _machine(there: Facts, workers: int, gpus: int, *, spread: bool) -> list[str]:
    found = []
    need, reason = _OBJECT_STORE, "Ray's object store lies there"
    if gpus and workers > 1:
        need, reason = _NCCL, "the workers of a trial exchange gradients through it"
    if there.shared_memory is not None and there.shared_memory < need:
        size = f"{there.shared_memory // 2**20} MiB, but {need // 2**20} MiB are needed"
        found.append(f"its /dev/shm has {size}: {reason}; start its container with --shm-size=1g or more.")
    if spread and there.loopback:
        remedy = "give its name the address in /etc/hosts, or set GLOO_SOCKET_IFNAME before starting Ray there"
        found.append(f"its own name means 127.0.0.1, so a trial's workers on other nodes cannot reach it; {remedy}.")
    return found


class Preflight:
    """Looks at nodes, each once.

    Args:
        config: the sweep.
        folder: where it lies; prepared.
        gpus: of one worker.
        say: told in a sentence of each fault of a node that joins later.
    """

    def __init__(self, config: SweepConfig, folder: SweepFolder, gpus: int, say: Callable[[str], None]) -> None:
        sets = {str(config.features.pretrain), *map(str, config.features.downstream.values())}
        self._root, self._features = folder.root.resolve(), sorted(sets)
        self._config, self._workers, self._gpus, self._say = config, config.workers.per_trial, gpus, say
        self._here = collect(str(self._root), self._features)
        self._asked: dict[Any, Node] = {}  # by the reference of its answer
        self._good: dict[str, Node] = {}
        self._bad: dict[str, Node] = {}

    @property
    def refused(self) -> tuple[str, ...]:
        """Identities of the nodes that joined late and cannot be used."""
        return tuple(self._bad)

    def check_here(self) -> None:
        """Check this machine alone, on which all of the sweep runs.

        Raises:
            ConfigError: something is wrong.
        """
        self._raise(self._problems({Node("", "localhost", 0, 0): self._here}))

    def check(self, nodes: Sequence[Node]) -> None:
        """Check ``nodes`` and wait for their answers.

        Raises:
            ConfigError: something is wrong with one.
        """
        self._ask(nodes)
        ray.wait(list(self._asked), num_returns=len(self._asked), timeout=_ANSWER_SECONDS)
        alive = {node.identity for node in alive_nodes()}
        answers = {node: _answer(ref) for ref, node in self._asked.items() if node.identity in alive}
        self._raise(self._problems(answers))
        self._good |= {node.identity: node for node in self._asked.values()}
        self._asked.clear()

    def usable(self, nodes: Sequence[Node]) -> list[Node]:
        """Those of ``nodes`` that were found good; looks at new ones meanwhile, and says what is wrong with them."""
        known = {*self._good, *self._bad, *(node.identity for node in self._asked.values())}
        self._ask([node for node in nodes if node.identity not in known])
        ready, _ = ray.wait(list(self._asked), num_returns=len(self._asked), timeout=0) if self._asked else ([], [])
        alive = {node.identity for node in nodes}
        for reference in ready:
            if (node := self._asked.pop(reference)).identity not in alive:
                continue
            found = self._problems({node: _answer(reference)})
            (self._bad if found else self._good)[node.identity] = node
            for problem in found:
                self._say(f"Not used: {problem}")
        return [node for node in nodes if node.identity in self._good]

    def _ask(self, nodes: Sequence[Node]) -> None:
        # In a process of its own: NumPy's threads, fixed when it was loaded for no CPU, would be a worker's.
        task: Any = ray.remote(num_cpus=0, max_retries=0, max_calls=1)(collect)
        for node in nodes:
            there = NodeAffinitySchedulingStrategy(node.identity, soft=False)
            reference = task.options(scheduling_strategy=there).remote(str(self._root), self._features)
            self._asked[reference] = node

    def _problems(self, nodes: Mapping[Node, Facts | str]) -> list[str]:
        spread = self._workers > 1 and len({node.address for node in (*nodes, *self._good.values())}) > 1
        found = problems(self._here, nodes, root=self._root, workers=self._workers, gpus=self._gpus, spread=spread)
        return [*found, *self._too_small(nodes)]

    def _too_small(self, nodes: Mapping[Node, Facts | str]) -> list[str]:
        """What of the search space does not fit the GPUs of ``nodes``, once for those of a size."""
        sizes: dict[int, Node] = {}
        for node, facts in nodes.items():
            if self._gpus and isinstance(facts, Facts) and facts.gpu_memory is not None:
                sizes.setdefault(facts.gpu_memory, node)
        if not sizes:
            return []
        from sweeps.estimate.footprint import gpu_problems  # loads torch, which a driver needs for nothing else

        return [
            f"node {node.address}: {problem}"
            for size, node in sizes.items()
            for problem in gpu_problems(self._config, size)
        ]

    @staticmethod
    def _raise(found: list[str]) -> None:
        if found:
            raise ConfigError(found)


def _answer(reference: Any) -> Facts | str:
    """What a node says, or why it says nothing."""
    try:
        facts: Facts = ray.get(reference, timeout=0)
    except ray.exceptions.GetTimeoutError:
        return f"no answer within {_ANSWER_SECONDS:.0f} s"
    except (ray.exceptions.RayError, ImportError) as error:
        return str(error).strip().splitlines()[-1]
    return facts
