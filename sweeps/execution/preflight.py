"""The preflight check: every node has what the sweep needs, checked before anything runs.

One short task on each node compares the project's files, and then collects facts. A pure function compares them with
the facts of this process and lists every problem at once. Workers would find each of these faults too, but late, one
after the other, and as a traceback of a process on another machine.

A node that joins later is checked in the same way, and counts as room only after the check. A node with a problem stays
unused: the sweep says why and goes on without the node.
"""

import os
import platform
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import ray
from ray import cloudpickle
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from conclugen import __version__
from conclugen.counts import counted
from conclugen.features.manifest import FeatureSetError, Manifest, location_of
from sweeps.config import ConfigError, SweepConfig, load_config
from sweeps.estimate.room import Node
from sweeps.execution import code as code_module
from sweeps.execution.cluster import alive_nodes
from sweeps.execution.code import Code, code_here
from sweeps.folder.layout import SweepFolder

__all__ = ["Facts", "Preflight", "check_code", "collect", "problems"]

_ANSWER_SECONDS = 120.0  # for a node's first process to start and answer; a busy node takes a few
_OBJECT_STORE = 75 * 2**20  # bytes: the smallest object store that Ray accepts, which lies in shared memory
_NCCL = 2**30  # bytes: what NVIDIA recommends for a container, for NCCL's buffers between the GPUs of a machine


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What one process observes on its machine."""

    versions: Mapping[str, str]
    """Versions of Python and of the libraries that a trial's result depends on."""
    folder: str
    """Identity of the sweep at the sweep folder's path; empty if there is none."""
    writable: bool
    """Whether the sweep folder can be written."""
    configuration: tuple[str, ...] = ()
    """Problems of the sweep's configuration on this machine, feature sets and search space included."""
    features: Mapping[str, str]
    """Feature set -> fingerprint."""
    missing: tuple[str, ...] = ()
    """Files of feature sets that the manifests name and the machine lacks."""
    shared_memory: int | None
    """Bytes of /dev/shm; None if the system has none."""
    gpu_memory: int | None = None
    """Bytes of the machine's smallest GPU; None if there is no driver to ask."""
    loopback: bool
    """Whether the host name means a loopback address or none, and GLOO_SOCKET_IFNAME names no network instead."""


def collect(root: str, features: Sequence[str]) -> Facts:
    """Collect the facts of this machine.

    Args:
        root: path of the sweep folder.
        features: paths of the sweep's feature sets.
    """
    folder = SweepFolder(Path(root))
    try:
        identity = folder.identity
    except (OSError, ConfigError):  # missing, or damaged
        identity = ""
    fingerprints: dict[str, str] = {}
    missing: list[str] = []
    for path in features:
        try:
            location = location_of(path)
            manifest = Manifest.read(location)
        except FeatureSetError:
            continue  # `configuration` below reports this set
        fingerprints[path] = manifest.fingerprint
        if isinstance(location, Path):  # a remote set has no files to check: a worker downloads it when it starts
            missing += [str(file) for shard in manifest.shards if not (file := location / shard.file).is_file()]
    return Facts(
        versions={"Python": platform.python_version()}
        | {name: version(name).partition("+")[0] for name in ("ray", "torch")},  # builds for CPU and GPU count as equal
        folder=identity,
        writable=_writable(folder.running),
        configuration=_configuration(folder.config) if identity else (),
        features=fingerprints,
        missing=tuple(missing),
        shared_memory=_shared_memory(),
        gpu_memory=_gpu_memory(),
        loopback=_loopback(),
    )


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
        status = os.statvfs("/dev/shm")  # noqa: S108  # only its size is read
    except OSError:
        return None
    return status.f_frsize * status.f_blocks


def _gpu_memory() -> int | None:
    """Ask the driver's own tool, because loading torch takes seconds on each node."""
    if (tool := shutil.which("nvidia-smi")) is None:
        return None
    command = [tool, "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    result = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", check=False)  # noqa: S603
    sizes = [int(line) * 2**20 for line in result.stdout.split() if line.isdigit()]
    return min(sizes, default=None)


def _loopback() -> bool:
    if "GLOO_SOCKET_IFNAME" in os.environ:
        return False
    try:
        return socket.gethostbyname(socket.gethostname()).startswith("127.")
    except OSError:
        return True


def problems(
    expected: Facts, nodes: Mapping[Node, Facts | str], *, root: Path, workers: int, gpus: int, spread: bool = False
) -> list[str]:
    """Return the problems that keep a sweep from running on ``nodes``: one line each, with the remedy.

    Args:
        expected: the facts of this process, which count as right.
        nodes: the facts of each node, or the reason why the node sent none.
        root: the sweep folder.
        workers: the number of workers of a trial.
        gpus: the number of GPUs of a worker.
        spread: whether the workers of a trial may run on several machines.
    """
    lines: list[str] = []
    for node, facts in nodes.items():
        if isinstance(facts, str):
            texts = [facts]
        else:
            texts = [*_versions(expected, facts), *_folder(expected, facts, root), *_features(expected, facts)]
            texts += _machine(facts, workers, gpus, spread=spread)
        lines += [f"node {node.address}: {text}" for text in texts]
    return lines


def _versions(expected: Facts, facts: Facts) -> list[str]:
    return [
        f"has {name} {facts.versions[name]}, but this machine has {required}; install the same version on both."
        for name, required in expected.versions.items()
        if facts.versions[name] != required
    ]


def _folder(expected: Facts, facts: Facts, root: Path) -> list[str]:
    remedy = "keep sweeps on storage that every node mounts at the same path"
    if not facts.folder:
        return [f"the sweep folder {root} is not visible on the node; {remedy}."]
    if facts.folder != expected.folder:
        return [f"the folder {root} on the node is not this sweep's folder; {remedy}."]
    if not facts.writable:
        return [f"the sweep folder {root} cannot be written on the node; give the user that runs Ray write access."]
    return []


def _features(expected: Facts, facts: Facts) -> list[str]:
    texts = list(facts.configuration)
    for path, fingerprint in expected.features.items():
        if (actual := facts.features.get(path, fingerprint)) != fingerprint:
            fingerprints = f"fingerprint {actual}, not {fingerprint}"
            texts.append(f"the feature set {path} differs from that on this machine ({fingerprints}); copy it again.")
    if facts.missing:
        count, example = len(facts.missing), facts.missing[0]
        texts.append(f"feature sets on the node lack {counted(count, 'file')}, such as {example}; copy the sets again.")
    return texts


def _machine(facts: Facts, workers: int, gpus: int, *, spread: bool) -> list[str]:
    texts: list[str] = []
    need, user = _OBJECT_STORE, "Ray's object store needs"
    if gpus and workers > 1:
        need, user = _NCCL, "the workers of a trial, which exchange gradients through it, need"
    if facts.shared_memory is not None and facts.shared_memory < need:
        sizes = f"has {facts.shared_memory // 2**20} MiB, but {user} {need // 2**20} MiB"
        texts.append(f"its /dev/shm {sizes}; start its container with --shm-size=1g or more.")
    if spread and facts.loopback:
        remedy = "map the name to the node's address in /etc/hosts, or set GLOO_SOCKET_IFNAME before `ray start`"
        texts.append(f"its host name means 127.0.0.1, so workers on other nodes cannot reach its workers; {remedy}.")
    return texts


def _ask(node: Node, code: Code, question: str = "", *arguments: Any) -> Any:
    """Start :func:`sweeps.execution.code.answer` on ``node``; return the reference of its answer."""
    cloudpickle.register_pickle_by_value(code_module)  # a node with other files would import another check
    # The process ends after one call. Ray set its thread count of NumPy for a task without CPUs, and a worker that
    # reused the process would keep that count.
    task: Any = ray.remote(num_cpus=0, max_retries=0, max_calls=1)(code_module.answer)
    placement = NodeAffinitySchedulingStrategy(node.identity, soft=False)
    return task.options(scheduling_strategy=placement).remote(code, question, *arguments)


def check_code(nodes: Sequence[Node]) -> None:
    """Check that workers on ``nodes`` import the files that this process has imported.

    Raises:
        ConfigError: on a node, they would import others.
    """
    code = code_here()
    pending = {_ask(node, code): node for node in nodes}
    ray.wait(list(pending), num_returns=len(pending), timeout=_ANSWER_SECONDS)
    answers = {node: _answer(reference) for reference, node in pending.items()}
    if lines := [f"node {node.address}: {text}" for node, text in answers.items() if isinstance(text, str)]:
        raise ConfigError(lines)


class Preflight:
    """Checks nodes, each once.

    Args:
        config: the sweep.
        folder: the sweep folder, already prepared.
        gpus: the number of GPUs of a worker.
        say: called with a sentence for each problem of a node that joins later.
        ask: takes a node, our code, the name of :func:`collect` and its arguments; starts collecting the node's facts
            and returns their Ray reference.
    """

    def __init__(
        self,
        config: SweepConfig,
        folder: SweepFolder,
        gpus: int,
        say: Callable[[str], None],
        ask: Callable[..., Any] = _ask,
    ) -> None:
        self._root = folder.root.resolve()
        self._features = sorted({str(config.features.pretrain), *map(str, config.features.downstream.values())})
        self._config = config
        self._workers = config.workers.per_trial
        self._gpus = gpus
        self._say = say
        self._ask = ask
        self._code = code_here()
        self._pending: dict[Any, Node] = {}  # by the reference of the node's facts
        self._good: dict[str, Node] = {}
        self._bad: dict[str, Node] = {}

    @property
    def refused(self) -> tuple[str, ...]:
        """Identities of the nodes that joined late and cannot be used."""
        return tuple(self._bad)

    @cached_property
    def _expected(self) -> Facts:
        return collect(str(self._root), self._features)

    def check(self, nodes: Sequence[Node]) -> None:
        """Check ``nodes`` and wait for their facts.

        Raises:
            ConfigError: a node has a problem.
        """
        self._start_asking(nodes)
        _ = self._expected  # collected here while the nodes collect theirs
        ray.wait(list(self._pending), num_returns=len(self._pending), timeout=_ANSWER_SECONDS)
        alive = {node.identity for node in alive_nodes()}
        answers = {node: _answer(reference) for reference, node in self._pending.items() if node.identity in alive}
        self._raise(self._problems(answers))
        self._good |= {node.identity: node for node in self._pending.values()}
        self._pending.clear()

    def check_here(self, nodes: Sequence[Node]) -> None:
        """Check this machine, on which the sweep has started Ray: its facts are those of this process.

        Asking a process of Ray would put the first result off by two seconds. Workers compare their code in any case.

        Raises:
            ConfigError: the machine has a problem.
        """
        self._raise(self._problems(dict.fromkeys(nodes, self._expected)))

    def usable(self, nodes: Sequence[Node]) -> list[Node]:
        """Return those of ``nodes`` that are known to be good.

        Each call also starts to check new nodes, and reports the problems of nodes whose facts have arrived.
        """
        known = {*self._good, *self._bad, *(node.identity for node in self._pending.values())}
        self._start_asking([node for node in nodes if node.identity not in known])
        alive = {node.identity for node in nodes}
        for reference in self._ready():
            if (node := self._pending.pop(reference)).identity not in alive:
                continue
            lines = self._problems({node: _answer(reference)})
            (self._bad if lines else self._good)[node.identity] = node
            for line in lines:
                self._say(f"Not used: {line}")
        return [node for node in nodes if node.identity in self._good]

    def _start_asking(self, nodes: Sequence[Node]) -> None:
        for node in nodes:
            question = f"{collect.__module__}:{collect.__name__}"
            self._pending[self._ask(node, self._code, question, str(self._root), self._features)] = node

    def _ready(self) -> list[Any]:
        """Return the references whose facts have arrived."""
        if not self._pending:
            return []
        ready, _ = ray.wait(list(self._pending), num_returns=len(self._pending), timeout=0)
        return list(ready)

    def _problems(self, nodes: Mapping[Node, Facts | str]) -> list[str]:
        spread = self._workers > 1 and len({node.address for node in (*nodes, *self._good.values())}) > 1
        lines = problems(self._expected, nodes, root=self._root, workers=self._workers, gpus=self._gpus, spread=spread)
        return [*lines, *self._gpu_problems(nodes)]

    def _gpu_problems(self, nodes: Mapping[Node, Facts | str]) -> list[str]:
        """Return the problems of the search space with the GPUs of ``nodes``, once for each GPU size."""
        sizes: dict[int, Node] = {}
        for node, facts in nodes.items():
            if self._gpus and isinstance(facts, Facts) and facts.gpu_memory is not None:
                sizes.setdefault(facts.gpu_memory, node)
        if not sizes:
            return []
        from sweeps.estimate.footprint import gpu_problems  # loads torch, which the driver needs only here

        return [
            f"node {node.address}: {problem}"
            for size, node in sizes.items()
            for problem in gpu_problems(self._config, size)
        ]

    @staticmethod
    def _raise(lines: list[str]) -> None:
        if lines:
            raise ConfigError(lines)


def _answer(reference: Any) -> Any:
    """Return a node's answer, or a text that says why its code cannot be used."""
    try:
        answer = ray.get(reference, timeout=0)
    except ray.exceptions.GetTimeoutError:
        reason = f"no answer within {_ANSWER_SECONDS:.0f} s"
    except (ray.exceptions.RayError, ImportError) as error:
        reason = str(error).strip().splitlines()[-1]
    else:
        if not isinstance(answer, list):
            return answer
        remedy = "install the same files in both places, or take the wrong ones off the PYTHONPATH of its Ray"
        return f"its workers would run other code than this process: {'; '.join(answer)}; {remedy}."
    return f"cannot run this project's code: {reason}; install conclugen-sweeps {__version__} on the node."
