"""How many trials a cluster has room for while its nodes come and go, and requests for nodes."""

from types import SimpleNamespace
from typing import Any

import pytest
import ray

from sweeps.config.sections import Workers
from sweeps.estimate.room import Allocation, Node
from sweeps.execution import capacity as capacity_module
from sweeps.execution.capacity import Capacity, NoNodeError, grow
from tests.sweeps.estimate.test_room import nodes


@pytest.mark.parametrize(("most", "expected"), [("auto", [2, 3, 0, 2]), (2, [2, 2, 0, 2])])
def test_the_number_of_slots_follows_the_nodes(monkeypatch: pytest.MonkeyPatch, most: Any, expected: list[int]) -> None:
    monkeypatch.setattr(capacity_module, "LOOK_SECONDS", 0.0)
    clusters = [nodes((1, 0), (1, 0)), nodes((1, 0), (2, 0)), nodes((0, 0)), nodes((2, 0))]
    looks = iter(clusters)
    messages: list[str] = []
    allocation = Allocation(slots=2, workers=1, cpus=1, gpus=0)
    capacity = Capacity(allocation, Workers(concurrent_trials=most), None, messages.append, lambda: next(looks))
    assert [capacity.slots for _ in clusters] == expected
    assert any("room for 0 trials at a time; waiting for nodes" in message for message in messages)
    assert len(messages) == (3 if most == "auto" else 2)


def test_a_sweep_on_one_machine_ends_when_its_node_has_died(monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver survives a kill of its raylet, and would otherwise wait for ever."""
    monkeypatch.setattr(capacity_module, "LOOK_SECONDS", 0.0)
    looks = iter([nodes((1, 0)), []])
    allocation = Allocation(slots=1, workers=1, cpus=1, gpus=0)
    capacity = Capacity(allocation, Workers(), None, print, lambda: next(looks))
    assert capacity.slots == 1
    with pytest.raises(NoNodeError, match="has died"):
        _ = capacity.slots


def test_the_nodes_are_looked_up_once_a_second_at_most() -> None:
    looks = 0

    def look() -> list[Node]:
        nonlocal looks
        looks += 1
        return nodes((1, 0))

    capacity = Capacity(Allocation(slots=1, workers=1, cpus=1, gpus=0), Workers(), None, print, look)
    assert [capacity.slots for _ in range(100)] == [1] * 100
    assert looks == 1


class FakeGroup:
    """Stands for a placement group."""

    def ready(self) -> str:
        return "ready"


@pytest.mark.parametrize(
    ("cluster", "settings", "requested", "waited"),
    [
        ([(1, 0)], {}, None, None),
        ([(0, 0)], {}, None, None),
        ([(0, 0)], {"wait_minutes": 2, "per_trial": 2}, None, ([{"CPU": 1}] * 2, 120)),
        ([(1, 0)], {"concurrent_trials": 3, "wait_minutes": 2}, [{"CPU": 1}] * 3, None),
        ([(0, 0)], {"gpus": 1, "wait_minutes": 0.5}, None, ([{"CPU": 1, "GPU": 1}], 30)),
    ],
)
def test_a_sweep_requests_the_configured_trials_and_waits_for_room_for_the_first(
    monkeypatch: pytest.MonkeyPatch,
    cluster: list[tuple[int, int]],
    settings: dict[str, Any],
    requested: list[dict[str, int]] | None,
    waited: tuple[list[dict[str, int]], float] | None,
) -> None:
    calls: dict[str, Any] = {}
    monkeypatch.setattr(capacity_module, "alive_nodes", lambda: nodes(*cluster))
    monkeypatch.setattr(capacity_module, "request_resources", lambda bundles: calls.update(request=bundles))
    monkeypatch.setattr(capacity_module, "placement_group", lambda bundles: calls.update(group=bundles) or FakeGroup())
    monkeypatch.setattr(capacity_module, "remove_placement_group", lambda group: calls.update(removal=group))
    monkeypatch.setattr(ray, "wait", lambda references, timeout: calls.update(timeout=timeout))
    messages: list[str] = []
    grow(Workers(**settings), messages.append)
    assert calls.get("request") == requested
    if waited is None:
        assert (messages, "group" in calls) == ([], False)
    else:
        assert (calls["group"], calls["timeout"]) == waited
        assert isinstance(calls["removal"], FakeGroup)
        assert "Waiting for nodes" in messages[0]


@pytest.mark.parametrize(("trials", "requests"), [("auto", 0), (3, 2)])
def test_a_request_for_nodes_is_repeated_because_ray_train_replaces_it(
    monkeypatch: pytest.MonkeyPatch, trials: Any, requests: int
) -> None:
    requested: list[list[dict[str, int]]] = []
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(capacity_module, "request_resources", lambda bundles: requested.append(bundles))
    monkeypatch.setattr("time.monotonic", lambda: clock.now)
    open_gate: Any = SimpleNamespace(refused=(), usable=lambda nodes: nodes)
    settings = Workers(concurrent_trials=trials)
    allocation = Allocation(slots=1, workers=1, cpus=1, gpus=0)
    capacity = Capacity(allocation, settings, open_gate, print, lambda: nodes((1, 0)))
    for second in range(25):
        clock.now = float(second)
        assert capacity.slots == 1
    assert requested == [[{"CPU": 1}] * 3] * requests
