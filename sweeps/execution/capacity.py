"""How many trials the cluster has room for now, as nodes come and go.

The resources of a worker are fixed when the sweep starts (`sweeps.estimate.room`). The number of trials that run at a
time follows the nodes.

Rejected: leaving it to Ray to queue worker groups. A group that waits for room looks like a trial that runs, and holds
a job that another slot could run.
"""

import math
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import ray
from ray.autoscaler.sdk import request_resources
from ray.util.placement_group import placement_group, remove_placement_group

from conclugen.counts import counted
from sweeps.config.sections import Workers
from sweeps.estimate.room import Allocation, Node, gpus_per_worker, trials_that_fit
from sweeps.execution.cluster import alive_nodes

__all__ = ["Capacity", "Gate", "NoNodeError", "grow"]

LOOK_SECONDS = 1.0
"""Seconds between two looks at the nodes."""

_REQUEST_SECONDS = 10.0  # between two requests for the same nodes


def grow(settings: Workers, say: Callable[[str], None]) -> None:
    """Ask an autoscaling cluster for room for the configured trials; wait for the first trial's if so configured.

    :func:`sweeps.execution.cluster.disconnect` withdraws the request.
    """
    nodes = alive_nodes()
    bundle = _bundle(settings, nodes)
    _request(settings, nodes)
    if trials_that_fit(nodes, settings.per_trial, 1, bundle.get("GPU", 0)) or not settings.wait_minutes:
        return
    need = f"{counted(settings.per_trial, 'worker')} of {', '.join(f'{n} {name}' for name, n in bundle.items())}"
    say(f"Waiting for nodes, at most {settings.wait_minutes:g} min: the first trial needs {need}.")
    group = placement_group([bundle] * settings.per_trial)  # a pending group makes the cluster grow too
    try:
        ray.wait([group.ready()], timeout=60 * settings.wait_minutes)
    finally:
        remove_placement_group(group)


def _bundle(settings: Workers, nodes: Sequence[Node]) -> dict[str, int]:
    """Return the least resources of one worker."""
    return {"CPU": 1, **({"GPU": 1} if gpus_per_worker(settings, nodes) else {})}


def _request(settings: Workers, nodes: Sequence[Node]) -> None:
    """Ask the cluster's autoscaler for the workers of all trials that are configured to run at a time."""
    if settings.concurrent_trials != "auto":
        request_resources(bundles=[_bundle(settings, nodes)] * (settings.concurrent_trials * settings.per_trial))


class NoNodeError(RuntimeError):
    """Ray's only node is gone, and no other can come."""


class Gate(Protocol):
    """Decides which nodes a sweep may use."""

    @property
    def refused(self) -> tuple[str, ...]:
        """Identities of the nodes that the sweep may not use."""

    def usable(self, nodes: Sequence[Node]) -> list[Node]:
        """Return those of ``nodes`` that are known to be good."""


class Capacity:
    """How many trials there is room for now.

    Args:
        allocation: the shape of a trial.
        settings: the section ``workers`` of the configuration.
        gate: decides which nodes may be used; None where this machine is the only node.
        say: called with a sentence when the room changes.
        look: returns the nodes of the cluster.
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
        self._settings = settings
        self._most = math.inf if settings.concurrent_trials == "auto" else settings.concurrent_trials
        self._gate = gate
        self._say = say
        self._look = look
        self._slots = allocation.slots
        self._last_look = -math.inf
        self._last_request = time.monotonic()

    @property
    def refused(self) -> tuple[str, ...]:
        """Identities of the nodes that the sweep may not use."""
        return () if self._gate is None else self._gate.refused

    @property
    def slots(self) -> int:
        """The number of trials that may run at a time, as of the last second.

        Raises:
            NoNodeError: the only node is gone, and none will join.
        """
        if (now := time.monotonic()) - self._last_look >= LOOK_SECONDS:
            self._last_look = now
            self._follow(self._look())
        return self._slots

    def _follow(self, nodes: Sequence[Node]) -> None:
        if not nodes and self._gate is None:
            raise NoNodeError("Ray's node on this machine has died.")
        usable = nodes if self._gate is None else self._gate.usable(nodes)
        slots = int(min(self.allocation.room(usable), self._most))
        if slots != self._slots:
            self._slots = slots
            waiting = "" if slots else "; waiting for nodes"
            room = f"room for {counted(slots, 'trial')} at a time{waiting}"
            self._say(f"The cluster has {counted(len(nodes), 'node')} now: {room}.")
        # A cluster keeps only the latest request, and Ray Train makes one of its own for each worker group that runs.
        if self._gate is not None and self._last_look - self._last_request >= _REQUEST_SECONDS:
            self._last_request = self._last_look
            _request(self._settings, nodes)
