"""How many trials there is room for on the nodes of a cluster."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import ray
from ray.autoscaler.sdk import request_resources
from ray.util.placement_group import placement_group, remove_placement_group

from sweeps.config import ConfigError
from sweeps.config.sections import Workers
from sweeps.execution.cluster import Node, alive_nodes

__all__ = ["Allocation", "Capacity", "Gate", "NoNodeError", "allocate", "grow"]


_LOOK_SECONDS = 1.0  # between two looks at the nodes


@dataclass(frozen=True)
class Allocation:
    """How the cluster is divided: slots run at a time, each with so many workers of so many CPUs and GPUs."""

    slots: int
    workers: int
    cpus: int
    gpus: int

    def room(self, nodes: Sequence[Node]) -> int:
        """How many trials of this shape ``nodes`` hold at a time."""
        return _room(nodes, self.workers, self.cpus, self.gpus)


def _room(nodes: Sequence[Node], workers: int, cpus: int, gpus: int) -> int:
    """How many trials ``nodes`` hold at a time if each takes ``workers`` times so many CPUs and GPUs."""
    return sum(min(node.cpus // cpus, node.gpus // gpus if gpus else node.cpus) for node in nodes) // workers


def allocate(settings: Workers, nodes: Sequence[Node], *, may_grow: bool = False) -> Allocation:
    """Divide ``nodes`` among trials.

    Args:
        settings: what the configuration says of workers.
        nodes: what there is.
        may_grow: whether nodes may come: then more trials than fit may be asked for.

    Raises:
        ConfigError: there is no room for what the configuration asks for.
    """
    cpus, gpus = sum(node.cpus for node in nodes), sum(node.gpus for node in nodes)
    gpu, workers = _gpus(settings, nodes), settings.per_trial
    most = _room(nodes, workers, 1, gpu)
    auto = settings.concurrent_trials == "auto"
    wanted = most if settings.concurrent_trials == "auto" else settings.concurrent_trials
    if most == 0 or (wanted > most and not may_grow):
        unit = "GPU" if gpu else "CPU"
        asked = f"{1 if auto else wanted} trials at a time of {workers} workers need a {unit} for each worker"
        there = f"the cluster has {cpus} CPUs and {gpus} GPUs on {len(nodes)} nodes"
        fewer = f"; ask for at most {most}" if most else ""
        later = "; add nodes, or let workers.wait_minutes wait for them" if may_grow else ""
        raise ConfigError([f"workers: {asked}, but {there}: room for {most} trials{fewer}{later}."])
    slots = min(wanted, most)
    # Non-increasing in the CPUs of a worker, so the last that still fits is the most.
    each = max(c for c in range(1, max(node.cpus for node in nodes) + 1) if _room(nodes, workers, c, gpu) >= slots)
    return Allocation(slots=slots, workers=workers, cpus=each, gpus=gpu)


def _gpus(settings: Workers, nodes: Sequence[Node]) -> int:
    """GPUs of a worker."""
    return int(any(node.gpus for node in nodes)) if settings.gpus == "auto" else settings.gpus


def grow(settings: Workers, say: Callable[[str], None]) -> None:
    """Ask an autoscaling cluster for what the configuration wants, and wait until one trial fits, if it is told to.

    :func:`disconnect` withdraws what was asked for.
    """
    nodes = alive_nodes()
    bundle = {"CPU": 1, **({"GPU": 1} if (gpu := _gpus(settings, nodes)) else {})}
    if settings.concurrent_trials != "auto":
        request_resources(bundles=[bundle] * (settings.concurrent_trials * settings.per_trial))
    if _room(nodes, settings.per_trial, 1, gpu) or not settings.wait_minutes:
        return
    need = f"{settings.per_trial} workers of {', '.join(f'{n} {name}' for name, n in bundle.items())}"
    say(f"Waiting for nodes, at most {settings.wait_minutes:g} minutes: the first trial needs {need}.")
    group = placement_group([bundle] * settings.per_trial)  # what is pending makes a cluster grow, too
    try:
        ray.wait([group.ready()], timeout=60 * settings.wait_minutes)
    finally:
        remove_placement_group(group)


class NoNodeError(RuntimeError):
    """Ray's only node is gone, and no other can come."""


class Gate(Protocol):
    """Decides which nodes a sweep may use."""

    @property
    def refused(self) -> tuple[str, ...]:
        """Identities of those that it may not."""

    def usable(self, nodes: Sequence[Node]) -> list[Node]:
        """Those of ``nodes`` that are known to be good."""


class Capacity:
    """How many trials there is room for now, looked at again as nodes come and go.

    Args:
        allocation: the shape of a trial.
        settings: what the configuration says of workers.
        gate: decides on nodes, which come and go; without one, there is only this machine's.
        say: told in a sentence when the room is another one.
        look: gives the nodes that there are.
    """

    def __init__(
        self,
        allocation: Allocation,
        settings: Workers,
        gate: Gate | None,
        say: Callable[[str], None],
        look: Callable[[], Sequence[Node]] = alive_nodes,
    ) -> None:
        self.allocation = allocation
        self._most = math.inf if settings.concurrent_trials == "auto" else settings.concurrent_trials
        self._gate, self._say, self._look = gate, say, look
        self._slots, self._looked = allocation.slots, -math.inf

    @property
    def refused(self) -> tuple[str, ...]:
        """Identities of the nodes that nothing may be placed on."""
        return () if self._gate is None else self._gate.refused

    @property
    def slots(self) -> int:
        """The number, not older than a second.

        Raises:
            NoNodeError: there is no node, and none will come.
        """
        if (now := time.monotonic()) - self._looked >= _LOOK_SECONDS:
            self._looked = now
            nodes = self._look()
            if not nodes and self._gate is None:
                raise NoNodeError("Ray's node on this machine has died.")
            usable = nodes if self._gate is None else self._gate.usable(nodes)
            slots = int(min(self.allocation.room(usable), self._most))
            if slots != self._slots:
                self._slots = slots
                waiting = "" if slots else "; waiting for nodes"
                self._say(f"The cluster has {len(nodes)} nodes now: room for {slots} trials at a time{waiting}.")
        return self._slots
