"""The Ray cluster of a sweep: joining it, what its nodes have, and how many trials that is room for.

Room is counted node by node: totals hide that a worker needs all its CPUs and its GPU on one node (two nodes of 3 CPUs
hold two workers of 2, not three). The workers of one trial may lie on several nodes. What one worker gets is settled
when the sweep starts; how many trials run at a time follows the nodes that there are.

Rejected: leaving it to Ray to queue worker groups. What waits for room looks like a trial that runs, and holds a job
that another slot could run.
"""

import logging
import math
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import ray
from ray._private import services
from ray._private.authentication.authentication_token_setup import (
    ensure_token_if_auth_enabled,
    maybe_enable_token_auth_if_token_available,
)
from ray._private.node import Node as RayNode
from ray._raylet import GcsClient  # type: ignore[attr-defined]  # compiled
from ray.autoscaler.sdk import request_resources
from ray.util.placement_group import placement_group, remove_placement_group

from sweeps.config import ConfigError
from sweeps.config.sections import Workers

__all__ = [
    "Allocation",
    "Capacity",
    "NoNodeError",
    "Node",
    "alive_nodes",
    "allocate",
    "connect",
    "disconnect",
    "grow",
    "local_only",
]

_UNOBSERVED = {"event_stats": False, "task_events_report_interval_ms": 0}
"""A cluster that ends with its sweep counts neither what its event loops do nor what becomes of each call: nobody asks
for it, and it is a quarter of the work of Ray's threads and processes while jobs run. Overrules RAY_event_stats."""

_LOOK_SECONDS = 1.0  # between two looks at the nodes
_KNOCK_SECONDS = 10.0  # for a head to take a connection


@dataclass(frozen=True)
class Node:
    """A machine of the cluster, as far as room is concerned."""

    identity: str
    address: str
    cpus: int
    gpus: int


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


# -- joining ---------------------------------------------------------------------------------------------------------


def local_only(address: str | None) -> bool:
    """Whether a sweep that was given ``address`` starts a cluster of its own, on this machine."""
    return _address(address) == "local"


def _address(address: str | None) -> str:
    """Ray itself would, without an address, join whatever cluster was last started on the machine."""
    return address or os.environ.get("RAY_ADDRESS") or "local"


def connect(address: str | None) -> None:
    """Join the Ray cluster at ``address``, or the one that RAY_ADDRESS names; start one on this machine without.

    Raises:
        ConfigError: there is no cluster that this process could join.
    """
    address = _address(address)
    if "://" in address:
        raise ConfigError(
            [
                f"--address {address}: Ray Client cannot carry a sweep; run this command on a machine of the cluster, "
                "with --address auto, or hand it to `ray job submit`."
            ]
        )
    try:
        if address == "local":
            with _few_processes():
                ray.init(
                    address=address, include_dashboard=False, logging_level=logging.WARNING, _system_config=_UNOBSERVED
                )
        else:
            _knock(address)
            ray.init(address=address, logging_level=logging.WARNING)
    except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        raise ConfigError([_refusal(address, error)]) from None


@contextmanager
def _few_processes() -> Iterator[None]:
    """Have ray.init() start neither the process that makes clusters grow, nor the one of the dashboard.

    A cluster of one machine cannot grow, and without a dashboard, its process would only report Ray's usage to its
    makers. A sweep's first result comes more than a second sooner, and its end one, as the former does not heed what
    asks it to end.
    """
    every = RayNode.start_monitor, RayNode.start_api_server
    RayNode.start_monitor = RayNode.start_api_server = lambda *_, **__: None  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        RayNode.start_monitor, RayNode.start_api_server = every  # type: ignore[method-assign]


def _knock(address: str) -> None:
    """Ask the cluster once, and raise what it says: ray.init() asks 20 times, and buries the answer in a traceback."""
    if address == "auto":
        maybe_enable_token_auth_if_token_available(warn_if_disabled=False)  # as ray.init() does for this address alone
    ensure_token_if_auth_enabled(create_token_if_missing=False)
    if (found := services.canonicalize_bootstrap_address(address)) is None:
        raise ConnectionError("none is running on this machine")
    host, _, port = found.rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), timeout=_KNOCK_SECONDS).close()
    GcsClient(address=found)


def _refusal(address: str, error: Exception) -> str:
    """What is wrong and how to mend it, in one line."""
    reason = " ".join(str(error.__cause__ or error).split()).rstrip(".")
    if address == "local":
        return f"Ray cannot start on this machine: {reason}."
    if isinstance(error, ray.exceptions.AuthenticationError):
        remedy = "set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH to the token of the cluster"
        return f"--address {address}: the cluster there lets nobody in without its token; {remedy}."
    remedy = "run this command on a machine of the cluster, with the same versions of Ray and Python"
    return f"--address {address}: no Ray cluster there that this process can join: {reason}; {remedy}."


def disconnect(*, withdraw: bool = False) -> None:
    """Leave the cluster, and stop it where :func:`connect` started it.

    Args:
        withdraw: take back what :func:`grow` asked for; a cluster has one such request, maybe somebody else's.
    """
    if withdraw and ray.is_initialized():
        request_resources(bundles=[])
    ray.shutdown()


# -- room ------------------------------------------------------------------------------------------------------------


def alive_nodes() -> list[Node]:
    """The nodes that this process's cluster has now, in an order that does not change."""
    rows: list[dict[str, Any]] = [row for row in ray.nodes() if row["Alive"]]
    return [
        Node(
            identity=row["NodeID"],
            address=row["NodeManagerAddress"],
            cpus=int(row["Resources"].get("CPU", 0)),
            gpus=int(row["Resources"].get("GPU", 0)),
        )
        for row in sorted(rows, key=lambda row: str(row["NodeID"]))
    ]


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
