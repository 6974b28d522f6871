"""Joining a Ray cluster, and the refusals when a process cannot."""

import errno
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import ray

from sweeps.config import ConfigError
from sweeps.execution.cluster import connect, local_only, untested_version


@pytest.mark.parametrize(
    ("address", "environment", "local"),
    [(None, None, True), ("local", "10.0.0.1:6379", True), (None, "10.0.0.1:6379", False), ("auto", None, False)],
)
def test_a_sweep_starts_its_own_cluster_only_if_none_is_named(
    monkeypatch: pytest.MonkeyPatch, address: str | None, environment: str | None, local: bool
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if environment is not None:
        monkeypatch.setenv("RAY_ADDRESS", environment)
    assert local_only(address) == local


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What Ray reads from the environment is set by each test."""
    for name in ("RAY_ADDRESS", "RAY_TMPDIR", "TMPDIR", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH", "RAY_USE_TLS"):
        monkeypatch.setenv(name, "")  # so that it is put back, whatever the test does
        monkeypatch.delenv(name)


@pytest.fixture
def listen() -> Iterator[Callable[[bytes], str]]:
    """Return a function that starts a server on this machine; it gives the answer to each caller."""
    with ExitStack() as stack:

        def start(answer: bytes) -> str:
            class Handler(socketserver.BaseRequestHandler):
                def handle(self) -> None:
                    self.request.recv(1024)
                    self.request.sendall(answer)

            server = stack.enter_context(socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler))
            threading.Thread(target=server.serve_forever, daemon=True).start()
            stack.callback(server.shutdown)
            return f"127.0.0.1:{server.server_address[1]}"

        yield start


HEAD = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
"""The first frame of a gRPC server, such as a head: its settings, without any."""


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            ray.exceptions.AuthenticationError("token"),
            ": the cluster there lets nobody in without its token; set RAY_AUTH_MODE=token",
        ),
        (
            RuntimeError("Failed to connect to GCS; see https://docs.ray.io/en/latest/ray-security/token-auth.html"),
            ": the cluster there lets nobody in without its token; set RAY_AUTH_MODE=token",
        ),
        (ConnectionError("refused"), ": no Ray cluster there .* refused; run this command on"),
        (ConnectionError("Version mismatch:\n  Ray: 2.59"), "Version mismatch: Ray: 2.59; .* same versions"),
        (Exception("Head node temp_dir not found"), "Head node temp_dir not found; run this command on"),
    ],
)
def test_every_refusal_to_join_a_cluster_is_one_line(
    monkeypatch: pytest.MonkeyPatch, listen: Callable[[bytes], str], error: Exception, message: str
) -> None:
    def init(**settings: Any) -> None:
        raise error

    monkeypatch.setattr(ray, "init", init)
    address = listen(HEAD)
    with pytest.raises(ConfigError, match=f"--address {address}.*{message}") as refusal:
        connect(address)
    assert "\n" not in str(refusal.value)


def test_a_server_that_is_no_head_is_refused_at_once(listen: Callable[[bytes], str]) -> None:
    """ray.init() would try for minutes."""
    for answer in (b"HTTP/1.0 400 Bad Request\r\n\r\n", b""):
        with pytest.raises(ConfigError, match=r"--address .* what answers is no Ray; the port of a head is 6379"):
            connect(listen(answer))


def test_an_address_without_a_cluster_is_refused_at_once() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # but does not listen
        address = f"127.0.0.1:{bound.getsockname()[1]}"
        with pytest.raises(ConfigError, match=f"--address {address}: no Ray cluster there .* refused"):
            connect(address)


def test_auto_is_refused_at_once_if_the_cluster_has_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """ray.init() would try for a minute to join the cluster that was last started here."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # but does not listen
        address = f"127.0.0.1:{bound.getsockname()[1]}"
        monkeypatch.setattr("sweeps.execution.cluster.running_here", lambda: address)
        ended = f"--address auto: no Ray cluster there .*: the one last started on this machine, {address}, has ended"
        with pytest.raises(ConfigError, match=ended):
            connect("auto")


@pytest.mark.parametrize("address", ["foo", "127.0.0.1:99999", "http://127.0.0.1:8265", "127.0.0.1:"])
def test_what_is_no_address_is_refused_and_an_address_is_explained(address: str) -> None:
    with pytest.raises(ConfigError, match=f"--address {address}: no Ray cluster there .* an address is HOST:PORT, or"):
        connect(address)


def test_a_ray_client_address_is_refused_with_the_remedy() -> None:
    with pytest.raises(ConfigError, match="ray job submit"):
        connect("ray://head:10001")


@pytest.mark.parametrize("address", ["foo", "ray://head:10001", "127.0.0.1:99999"])
def test_a_bad_address_in_the_environment_names_its_variable(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(ConfigError, match=f"^RAY_ADDRESS={address}: no Ray cluster there") as refusal:
        connect(None)
    assert "--address foo" not in str(refusal.value)
    assert str(refusal.value).endswith("unset RAY_ADDRESS to start a Ray on this machine.")


# -- a Ray of our own --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variable", ["RAY_TMPDIR", "TMPDIR"])
def test_a_folder_that_ray_cannot_use_is_named_with_the_variable_and_the_remedy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str
) -> None:
    file = tmp_path / "file"
    file.touch()
    deep = tmp_path / ("x" * 100)
    for folder, reason in ((file, "Not a directory"), (deep, "AF_UNIX path length cannot exceed 107 bytes")):
        monkeypatch.setenv(variable, str(folder))
        with pytest.raises(ConfigError) as refusal:
            connect(None)
        (problem,) = refusal.value.problems
        assert problem.startswith("Ray cannot start on this machine: ")
        assert reason in problem
        assert f"Ray's files and logs go to {folder}/ray ({variable}): set RAY_TMPDIR to another folder" in problem


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (Exception("The current node timed out during startup."), "startup. Ray's files and logs go to /tmp/ray: set"),
        (OSError(errno.ENOSPC, "No space left on device"), "[Errno 28] No space left on device. Ray's files and logs"),
        (
            ModuleNotFoundError("No module named 'x'"),
            "ModuleNotFoundError: No module named 'x'. Look at what is set of",
        ),
    ],
)
def test_whatever_ray_raises_at_its_start_is_one_line_with_a_remedy(
    monkeypatch: pytest.MonkeyPatch, error: Exception, text: str
) -> None:
    def init(**settings: Any) -> None:
        raise error

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setenv("RAY_RUNTIME_ENV_HOOK", "x.y")
    with pytest.raises(ConfigError) as refusal:
        connect(None)
    (problem,) = refusal.value.problems
    assert text in problem
    assert "\n" not in problem


def test_a_home_that_cannot_be_written_is_named_as_the_place_of_the_token(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))

    def init(**settings: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(tmp_path / ".ray"))

    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(ConfigError, match=f"Ray keeps a token in {tmp_path}/.ray/auth_token: set HOME to a folder"):
        connect(None)


@pytest.mark.parametrize(
    ("version", "warning"),
    [
        ("2.55.1", None),
        ("2.60.3", None),
        ("2.61.0", "Ray 2.61.0 is newer than 2.60"),
        ("3.0.0.dev0", "Ray 3.0.0.dev0 is"),
    ],
)
def test_a_ray_version_newer_than_tested_gives_a_warning(
    monkeypatch: pytest.MonkeyPatch, version: str, warning: str | None
) -> None:
    monkeypatch.setattr(ray, "__version__", version)
    message = untested_version()
    if warning is None:
        assert message is None
    else:
        assert message is not None
        assert message.startswith(warning)
