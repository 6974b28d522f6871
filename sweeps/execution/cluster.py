"""The Ray cluster of a sweep: joining it, what its nodes have, and leaving it."""

import logging
import os
import socket
import tempfile
from pathlib import Path
from typing import Any

import ray
from ray.autoscaler.sdk import request_resources

from sweeps.config import ConfigError
from sweeps.estimate.room import Node
from sweeps.execution.code import right_search_path
from sweeps.execution.environment import DEFAULTS
from sweeps.execution.ray_internals.addresses import running_here

__all__ = ["alive_nodes", "connect", "disconnect", "local_only", "untested_version"]

_CONNECT_SECONDS = 10.0  # until a head takes a connection, and until it answers
_SETTINGS = b"\0\0\0\4\0\0\0\0\0"  # the first frame of either side of a gRPC connection (RFC 9113, 6.5)
_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _SETTINGS
_LEAST_DISK = 2**20  # bytes
_NEWEST_TESTED = (2, 60)  # version of Ray that the tests run on (constraints.txt)


def local_only(address: str | None) -> bool:
    """Whether a sweep that was given ``address`` starts a cluster of its own, on this machine."""
    return _named(address)[0] == "local"


def _named(address: str | None) -> tuple[str, str]:
    """Return the address to join, and how the user has set it.

    Without an address, Ray would join the cluster last started on the machine.
    """
    if not address and (variable := os.environ.get("RAY_ADDRESS")):
        return variable, f"RAY_ADDRESS={variable}"
    return address or "local", f"--address {address}"


def connect(address: str | None) -> None:
    """Join the Ray cluster at ``address``, else at RAY_ADDRESS; without either, start one on this machine.

    Workers search for modules as this process does (:func:`sweeps.execution.code.right_search_path`).

    Raises:
        ConfigError: there is no cluster that this process could join.
    """
    address, setting = _named(address)
    try:
        with right_search_path():
            if address == "local":
                _expect_writable(_temporary_folder()[0])
                ray.init(address=address, include_dashboard=False, logging_level=logging.WARNING)
            else:
                _expect_answer(address)
                ray.init(address=address, logging_level=logging.WARNING)
    except Exception as error:  # Ray raises plain exceptions, too
        refusal = _local_refusal(error) if address == "local" else _refusal(setting, error)
        raise ConfigError([refusal]) from None


def untested_version() -> str | None:
    """Return a warning where this Ray is newer than those the sweeper was tested with; None otherwise."""
    major, minor = (int(part) for part in ray.__version__.split(".")[:2])
    if (major, minor) <= _NEWEST_TESTED:
        return None
    newest = ".".join(map(str, _NEWEST_TESTED))
    return f"Ray {ray.__version__} is newer than {newest}, the newest that this version was tested with."


def _temporary_folder() -> tuple[Path, str]:
    """Return the folder of Ray's files, logs and sockets on this machine, and the variable that names it, if any."""
    for name in ("RAY_TMPDIR", "TMPDIR"):
        if value := os.environ.get(name):
            return Path(value) / "ray", name
    return Path("/tmp/ray"), ""  # noqa: S108  # Ray's choice


def _expect_writable(folder: Path) -> None:
    """Write a file into ``folder``, because Ray's own message may come after half a minute, and without the cause.

    Raises:
        OSError: that is impossible.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(bytes(_LEAST_DISK))


class _AddressError(ValueError):
    """An address that no cluster can have; the text says what an address is."""


def _expect_answer(address: str) -> None:
    """Greet the head once: ray.init() tries for minutes where nobody listens, or somebody else.

    Raises:
        OSError: nobody takes the connection.
        _AddressError: ``address`` is no address, or what answers there is no Ray.
    """
    if address.startswith("ray://"):
        raise _AddressError("Ray Client cannot carry a sweep; use --address auto, or hand it to `ray job submit`")
    automatic = address == "auto"
    if automatic:
        address = running_here()
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdigit() or int(port) >= 2**16:
        raise _AddressError("an address is HOST:PORT, or auto for a cluster that this machine belongs to")
    try:
        connection = socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_SECONDS)
    except OSError as error:
        if not automatic:
            raise
        raise ConnectionError(f"the one last started on this machine, {address}, has ended ({error})") from None
    with connection:
        if os.environ.get("RAY_USE_TLS", "0") != "0":
            return
        connection.sendall(_GREETING)
        try:
            answer = connection.recv(len(_SETTINGS))
        except OSError:
            answer = b""
        if answer[3:4] != _SETTINGS[3:4]:
            raise _AddressError("what answers is no Ray; the port of a head is 6379, unless --port gave it another")


def _reason(error: Exception) -> str:
    cause = error.__cause__ or error
    name = "" if isinstance(cause, OSError | RuntimeError) or type(cause) is Exception else f"{type(cause).__name__}: "
    return name + " ".join(str(cause).split()).rstrip(".")


def _local_refusal(error: Exception) -> str:
    """Return why Ray does not start on this machine, and the remedy, in one line."""
    reason = _reason(error)
    token = Path("~/.ray/auth_token").expanduser()
    settings = sorted({name for name in os.environ if name.startswith("RAY_")} - set(DEFAULTS))
    if "auth_token" in reason or getattr(error, "filename", None) in (str(token), str(token.parent)):
        reason = reason.partition(". ")[0]
        remedy = "set HOME to a folder that you can write to, or RAY_AUTH_TOKEN_PATH to a file with a token"
        remedy = f"Ray keeps a token in {token}: {remedy}"
    elif not isinstance(error, OSError | RuntimeError) and type(error) is not Exception and settings:
        remedy = f"Look at what is set of Ray's variables: {', '.join(settings)}"
    else:
        folder, variable = _temporary_folder()
        remedy = "set RAY_TMPDIR to another folder: local, yours, with space, its path no longer than 30 letters"
        remedy = f"Ray's files and logs go to {folder}{f' ({variable})' if variable else ''}: {remedy}"
    return f"Ray cannot start on this machine: {reason}. {remedy}."


def _refusal(setting: str, error: Exception) -> str:
    """Return why no cluster can be joined, and the remedy, in one line."""
    reason = str(error) if isinstance(error, _AddressError) else _reason(error)
    # The class of the error depends on which of Ray's parts met the refusal; its text names the token.
    if isinstance(error, ray.exceptions.AuthenticationError) or "token-auth" in reason:
        remedy = "set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH to the token of the cluster"
        return f"{setting}: the cluster there lets nobody in without its token; {remedy}."
    remedies = []
    if not isinstance(error, _AddressError):
        remedies.append("run this command on a machine of the cluster, with the same versions of Ray and Python")
    if setting.startswith("RAY_ADDRESS"):
        remedies.append("unset RAY_ADDRESS to start a Ray on this machine")
    parts = [f"{setting}: no Ray cluster there that this process can join: {reason}", " or ".join(remedies)]
    return f"{'; '.join(filter(None, parts))}."


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
