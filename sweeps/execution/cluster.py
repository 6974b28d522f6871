"""The Ray cluster of a sweep: joining it, what its nodes have, and how many trials that is room for.

Room is counted node by node: totals hide that a worker needs all its CPUs and its GPU on one node (two nodes of 3 CPUs
hold two workers of 2, not three). The workers of one trial may lie on several nodes. What one worker gets is settled
when the sweep starts; how many trials run at a time follows the nodes that there are.

Rejected: leaving it to Ray to queue worker groups. What waits for room looks like a trial that runs, and holds a job
that another slot could run.
"""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray
from ray._private import services
from ray._private.authentication.authentication_token_setup import (
    ensure_token_if_auth_enabled,
    maybe_enable_token_auth_if_token_available,
)
from ray._private.node import Node as RayNode
from ray._raylet import GcsClient  # type: ignore[attr-defined]  # compiled
from ray.autoscaler.sdk import request_resources

from sweeps.config import ConfigError

__all__ = ["Node", "alive_nodes", "connect", "disconnect", "local_only"]

_UNOBSERVED = {"event_stats": False, "task_events_report_interval_ms": 0}
"""A cluster that ends with its sweep counts neither what its event loops do nor what becomes of each call: nobody asks
for it, and it is a quarter of the work of Ray's threads and processes while jobs run. Overrules RAY_event_stats."""

_KNOCK_SECONDS = 10.0  # for a head to take a connection


@dataclass(frozen=True)
class Node:
    """A machine of the cluster, as far as room is concerned."""

    identity: str
    address: str
    cpus: int
    gpus: int


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
