"""The room on nodes: how many trials fit, and what their workers get."""

from typing import Any

import pytest

from sweeps.config import ConfigError
from sweeps.config.sections import Workers
from sweeps.estimate.room import Allocation, Node, allocate


def nodes(*sizes: tuple[int, int]) -> list[Node]:
    """Nodes of so many CPUs and GPUs."""
    return [Node(str(i), f"10.0.0.{i}", cpus, gpus) for i, (cpus, gpus) in enumerate(sizes)]


@pytest.mark.parametrize(
    ("sizes", "settings", "expected"),
    [
        ([(2, 0)], {}, Allocation(slots=2, workers=1, cpus=1, gpus=0)),
        ([(16, 0)], {"concurrent_trials": 3}, Allocation(slots=3, workers=1, cpus=5, gpus=0)),
        ([(16, 4)], {}, Allocation(slots=4, workers=1, cpus=4, gpus=1)),
        ([(16, 4)], {"gpus": 0}, Allocation(slots=16, workers=1, cpus=1, gpus=0)),
        ([(16, 0)], {"per_trial": 4}, Allocation(slots=4, workers=4, cpus=1, gpus=0)),
        ([(16, 5)], {"per_trial": 2}, Allocation(slots=2, workers=2, cpus=4, gpus=1)),
        ([(2, 4)], {}, Allocation(slots=2, workers=1, cpus=1, gpus=1)),
        # Several nodes: totals would promise workers that no single node can hold.
        ([(3, 0), (3, 0)], {"concurrent_trials": 3}, Allocation(slots=3, workers=1, cpus=1, gpus=0)),
        ([(3, 0), (3, 0)], {"concurrent_trials": 2}, Allocation(slots=2, workers=1, cpus=3, gpus=0)),
        ([(1, 0), (1, 0)], {"per_trial": 2}, Allocation(slots=1, workers=2, cpus=1, gpus=0)),
        ([(1, 0), (9, 0)], {"concurrent_trials": 2}, Allocation(slots=2, workers=1, cpus=4, gpus=0)),
        ([(0, 0), (8, 2), (8, 1)], {}, Allocation(slots=3, workers=1, cpus=4, gpus=1)),
        ([(32, 0), (8, 4)], {}, Allocation(slots=4, workers=1, cpus=2, gpus=1)),
    ],
)
def test_the_cluster_is_divided_into_slots_that_fit_on_its_nodes(
    sizes: list[tuple[int, int]], settings: dict[str, Any], expected: Allocation
) -> None:
    allocation = allocate(Workers(**settings), nodes(*sizes))
    assert allocation == expected
    assert allocation.room(nodes(*sizes)) >= allocation.slots


@pytest.mark.parametrize(
    ("sizes", "settings", "message"),
    [
        ([(2, 0)], {"gpus": 1}, "a GPU for each worker, but the cluster has 2 CPUs and 0 GPUs on 1 node"),
        ([(2, 0)], {"concurrent_trials": 3}, "3 trials at a time .* room for 2 trials; ask for at most 2"),
        ([(1, 0), (1, 0)], {"per_trial": 3}, "of 3 workers .* 2 CPUs and 0 GPUs on 2 nodes: room for 0 trials"),
        ([(0, 0)], {}, "room for 0 trials"),
    ],
)
def test_more_than_the_cluster_has_is_refused(
    sizes: list[tuple[int, int]], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        allocate(Workers(**settings), nodes(*sizes))


def test_a_cluster_that_may_grow_starts_with_what_there_is() -> None:
    settings = Workers(concurrent_trials=8)
    assert allocate(settings, nodes((4, 0)), may_grow=True) == Allocation(slots=4, workers=1, cpus=1, gpus=0)
    with pytest.raises(ConfigError, match=r"add nodes, or let workers\.wait_minutes wait"):
        allocate(settings, nodes((0, 0)), may_grow=True)
