"""Joining a Ray cluster, and the refusals when a process cannot."""

import socket
from typing import Any
from unittest.mock import MagicMock

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


@pytest.mark.parametrize(
    ("address", "error", "message"),
    [
        (
            "h:1",
            ray.exceptions.AuthenticationError("token"),
            "--address h:1: the cluster there lets nobody in without its token; set RAY_AUTH_MODE=token",
        ),
        (
            "h:1",
            RuntimeError("Failed to connect to GCS; see https://docs.ray.io/en/latest/ray-security/token-auth.html"),
            "--address h:1: the cluster there lets nobody in without its token; set RAY_AUTH_MODE=token",
        ),
        ("h:1", ConnectionError("refused"), "--address h:1: no Ray cluster there .* refused; run this command on"),
        ("h:1", ConnectionError("Version mismatch:\n  Ray: 2.59"), "Version mismatch: Ray: 2.59; .* same versions"),
        ("local", OSError("no space"), "Ray cannot start on this machine: no space"),
    ],
)
def test_every_refusal_to_join_a_cluster_is_one_line(
    monkeypatch: pytest.MonkeyPatch, address: str, error: Exception, message: str
) -> None:
    def init(**settings: Any) -> None:
        raise error

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(socket, "create_connection", lambda address, timeout: MagicMock())
    with pytest.raises(ConfigError, match=message) as refusal:
        connect(address)
    assert "\n" not in str(refusal.value)


def test_an_address_without_a_cluster_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    with pytest.raises(ConfigError, match="--address foo: no Ray cluster there"):
        connect("foo")
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # but does not listen
        address = f"127.0.0.1:{bound.getsockname()[1]}"
        with pytest.raises(ConfigError, match=f"--address {address}: no Ray cluster there .* refused"):
            connect(address)


def test_a_ray_client_address_is_refused_with_the_remedy() -> None:
    with pytest.raises(ConfigError, match="ray job submit"):
        connect("ray://head:10001")


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
