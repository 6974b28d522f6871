"""The Ray cluster of a sweep: joining it, what its nodes have, and leaving it."""

import logging
import os
import socket
from typing import Any

import ray
from ray.autoscaler.sdk import request_resources

from sweeps.config import ConfigError
from sweeps.estimate.room import Node

__all__ = ["alive_nodes", "connect", "disconnect", "local_only", "untested_version"]

_CONNECT_SECONDS = 10.0  # until a head takes a connection
_NEWEST_TESTED = (2, 60)  # version of Ray that the tests run on (constraints.txt)


def local_only(address: str | None) -> bool:
    """Whether a sweep that was given ``address`` starts a cluster of its own, on this machine."""
    return _address(address) == "local"


def _address(address: str | None) -> str:
    """Return the address to join. Without an address, Ray would join the cluster last started on the machine."""
    return address or os.environ.get("RAY_ADDRESS") or "local"


def connect(address: str | None) -> None:
    """Join the Ray cluster at ``address``, else at RAY_ADDRESS; without either, start one on this machine.

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
            ray.init(address=address, include_dashboard=False, logging_level=logging.WARNING)
        else:
            _expect_answer(address)
            ray.init(address=address, logging_level=logging.WARNING)
    except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        raise ConfigError([_refusal(address, error)]) from None


def untested_version() -> str | None:
    """Return a warning where this Ray is newer than those the sweeper was tested with; None otherwise."""
    major, minor = (int(part) for part in ray.__version__.split(".")[:2])
    if (major, minor) <= _NEWEST_TESTED:
        return None
    newest = ".".join(map(str, _NEWEST_TESTED))
    return f"Ray {ray.__version__} is newer than {newest}, the newest that this version was tested with."


def _expect_answer(address: str) -> None:
    """Connect to the head once, because ray.init() tries for a minute where nobody listens.

    Raises:
        OSError: nobody takes the connection.
        ValueError: ``address`` is no address.
    """
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise ValueError("an address is HOST:PORT, or auto for a cluster that this machine belongs to")
    socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_SECONDS).close()


def _refusal(address: str, error: Exception) -> str:
    """Return the problem and its remedy in one line."""
    reason = " ".join(str(error.__cause__ or error).split()).rstrip(".")
    if address == "local":
        return f"Ray cannot start on this machine: {reason}."
    # The class of the error depends on which of Ray's parts met the refusal; its text names the token.
    if isinstance(error, ray.exceptions.AuthenticationError) or "token-auth" in reason:
        remedy = "set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH to the token of the cluster"
        return f"--address {address}: the cluster there lets nobody in without its token; {remedy}."
    remedy = "run this command on a machine of the cluster, with the same versions of Ray and Python"
    return f"--address {address}: no Ray cluster there that this process can join: {reason}; {remedy}."


def disconnect(*, withdraw: bool = False) -> None:
    """Leave the cluster, and stop it where :func:`connect` started it.

    Args:
        withdraw: take back the sweep's request for nodes. A cluster keeps one request only, which may be somebody
            else's.
    """
    if withdraw and ray.is_initialized():
        request_resources(bundles=[])
    ray.shutdown()


def alive_nodes() -> list[Node]:
    """Return the present nodes of this process's cluster, in an order that does not change."""
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
