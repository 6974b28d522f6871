"""The room on given machines: how many trials fit, and what each of their workers gets.

Room is counted node by node. Totals hide that a worker needs all its CPUs and its GPU on one node: two nodes of 3 CPUs
hold two workers of 2 CPUs, not three. The workers of one trial may lie on several nodes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from conclugen.counts import counted
from sweeps.config import ConfigError
from sweeps.config.sections import Workers

__all__ = ["Allocation", "Node", "allocate", "gpus_per_worker", "trials_that_fit"]


@dataclass(frozen=True)
class Node:
    """A machine, as far as room is concerned."""

    identity: str
    address: str
    cpus: int
    gpus: int


@dataclass(frozen=True)
class Allocation:
    """A division of nodes into slots: their number, the workers of each, and each worker's CPUs and GPUs."""

    slots: int
    workers: int
    cpus: int
    gpus: int

    def room(self, nodes: Sequence[Node]) -> int:
        """Return how many trials of this shape ``nodes`` hold at a time."""
        return trials_that_fit(nodes, self.workers, self.cpus, self.gpus)


def trials_that_fit(nodes: Sequence[Node], workers: int, cpus: int, gpus: int) -> int:
    """Return how many trials ``nodes`` hold at a time.

    Args:
        nodes: the machines.
        workers: the workers of one trial.
        cpus: the CPUs of one worker.
        gpus: the GPUs of one worker.
    """
    return sum(min(node.cpus // cpus, node.gpus // gpus if gpus else node.cpus) for node in nodes) // workers


def gpus_per_worker(settings: Workers, nodes: Sequence[Node]) -> int:
    """Return the GPUs of a worker: what is configured, or one where any node has GPUs."""
    return int(any(node.gpus for node in nodes)) if settings.gpus == "auto" else settings.gpus


def allocate(settings: Workers, nodes: Sequence[Node], *, may_grow: bool = False) -> Allocation:
    """Divide ``nodes`` among trials.

    Args:
        settings: the section ``workers`` of the configuration.
        nodes: the machines.
        may_grow: whether nodes may join later; then more trials may be configured than fit now.

    Raises:
        ConfigError: there is no room for what the configuration asks for.
    """
    gpus = gpus_per_worker(settings, nodes)
    workers = settings.per_trial
    most = trials_that_fit(nodes, workers, 1, gpus)
    least = 1 if settings.concurrent_trials == "auto" else settings.concurrent_trials
    if most == 0 or (least > most and not may_grow):
        unit = "GPU" if gpus else "CPU"
        demand = (
            f"{counted(least, 'trial')} at a time of {counted(workers, 'worker')} would need a {unit} for each worker"
        )
        total_cpus = sum(node.cpus for node in nodes)
        total_gpus = sum(node.gpus for node in nodes)
        processors = f"{counted(total_cpus, 'CPU')} and {counted(total_gpus, 'GPU')}"
        supply = f"the cluster has {processors} on {counted(len(nodes), 'node')}"
        fewer = f"; ask for at most {most}" if most else ""
        later = "; add nodes, or let workers.wait_minutes wait for them" if may_grow else ""
        raise ConfigError([f"workers: {demand}, but {supply}: room for {counted(most, 'trial')}{fewer}{later}."])
    slots = most if settings.concurrent_trials == "auto" else min(least, most)
    # A worker gets as many CPUs as possible while all slots still fit.
    largest = max(node.cpus for node in nodes)
    cpus = max(c for c in range(1, largest + 1) if trials_that_fit(nodes, workers, c, gpus) >= slots)
    return Allocation(slots=slots, workers=workers, cpus=cpus, gpus=gpus)
