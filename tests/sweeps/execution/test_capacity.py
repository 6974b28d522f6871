"""Room on a cluster whose nodes come and go, and requests for nodes."""

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
def test_capacity_follows_the_nodes(monkeypatch: pytest.MonkeyPatch, most: Any, expected: list[int]) -> None:
    monkeypatch.setattr(capacity_module, "LOOK_SECONDS", 0.0)
    seen = [nodes((1, 0), (1, 0)), nodes((1, 0), (2, 0)), nodes((0, 0)), nodes((2, 0))]
    looks, said = iter(seen), list[str]()
    allocation = Allocation(slots=2, workers=1, cpus=1, gpus=0)
    capacity = Capacity(allocation, Workers(concurrent_trials=most), None, said.append, lambda: next(looks))
    assert [capacity.slots for _ in seen] == expected
    assert any("room for 0 trials at a time; waiting for nodes" in text for text in said)
    assert len(said) == (3 if most == "auto" else 2)


def test_a_sweep_whose_only_node_is_gone_does_not_wait_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed raylet of a sweep's own leaves a driver that could wait for ever."""
    monkeypatch.setattr(capacity_module, "LOOK_SECONDS", 0.0)
    looks = iter([nodes((1, 0)), []])
    allocation = Allocation(slots=1, workers=1, cpus=1, gpus=0)
    capacity = Capacity(allocation, Workers(), None, print, lambda: next(looks))
    assert capacity.slots == 1
    with pytest.raises(NoNodeError, match="has died"):
        _ = capacity.slots


def test_capacity_does_not_look_at_every_step() -> None:
    looks: list[int] = []

    def look() -> list[Node]:
        looks.append(1)
        return nodes((1, 0))

    capacity = Capacity(Allocation(slots=1, workers=1, cpus=1, gpus=0), Workers(), None, print, look)
    assert [capacity.slots for _ in range(100)] == [1] * 100
    assert len(looks) == 1


class FakeGroup:
    def ready(self) -> str:
        return "ready"


@pytest.mark.parametrize(
    ("there", "settings", "requested", "waited"),
    [
        ([(1, 0)], {}, None, None),
        ([(0, 0)], {}, None, None),
        ([(0, 0)], {"wait_minutes": 2, "per_trial": 2}, None, ([{"CPU": 1}] * 2, 120)),
        ([(1, 0)], {"concurrent_trials": 3, "wait_minutes": 2}, [{"CPU": 1}] * 3, None),
        ([(0, 0)], {"gpus": 1, "wait_minutes": 0.5}, None, ([{"CPU": 1, "GPU": 1}], 30)),
    ],
)
def test_nodes_are_asked_and_waited_for(
    monkeypatch: pytest.MonkeyPatch,
    there: list[tuple[int, int]],
    settings: dict[str, Any],
    requested: list[dict[str, int]] | None,
    waited: tuple[list[dict[str, int]], float] | None,
) -> None:
    did: dict[str, Any] = {}
    monkeypatch.setattr(capacity_module, "alive_nodes", lambda: nodes(*there))
    monkeypatch.setattr(capacity_module, "request_resources", lambda bundles: did.update(requested=bundles))
    monkeypatch.setattr(capacity_module, "placement_group", lambda bundles: did.update(group=bundles) or FakeGroup())
    monkeypatch.setattr(capacity_module, "remove_placement_group", lambda group: did.update(removed=True))
    monkeypatch.setattr(ray, "wait", lambda references, timeout: did.update(timeout=timeout))
    said: list[str] = []
    grow(Workers(**settings), said.append)
    assert did.get("requested") == requested
    if waited is None:
        assert (said, "group" in did) == ([], False)
    else:
        assert ((did["group"], did["timeout"]), did["removed"]) == (waited, True)
        assert "Waiting for nodes" in said[0]


@pytest.mark.parametrize(("trials", "requests"), [("auto", 0), (3, 2)])
def test_a_request_for_nodes_is_repeated_because_ray_train_replaces_it(
    monkeypatch: pytest.MonkeyPatch, trials: Any, requests: int
) -> None:
    requested: list[list[dict[str, int]]] = []
    now = [0.0]
    monkeypatch.setattr(capacity_module, "request_resources", lambda bundles: requested.append(bundles))
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    everywhere: Any = SimpleNamespace(refused=(), usable=lambda nodes: nodes)
    settings = Workers(concurrent_trials=trials)
    allocation = Allocation(slots=1, workers=1, cpus=1, gpus=0)
    capacity = Capacity(allocation, settings, everywhere, print, lambda: nodes((1, 0)))
    for second in range(25):
        now[0] = float(second)
        assert capacity.slots == 1
    assert requested == [[{"CPU": 1}] * 3] * requests
