import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts, LinearLR, SequentialLR

from conclugen.training.schedule import learning_rate_factor


def _torch_factors(epochs: int, warmup: int, period: int, growth: int, floor: float) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    cosine = CosineAnnealingWarmRestarts(optimizer, T_0=period, T_mult=growth, eta_min=floor)
    schedule = SequentialLR(optimizer, [LinearLR(optimizer, 0.1, total_iters=warmup), cosine], milestones=[warmup])
    factors = []
    for _ in range(epochs):
        factors.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return factors


@pytest.mark.filterwarnings("ignore:The epoch parameter in `scheduler.step\\(\\)`:UserWarning")
@pytest.mark.parametrize(
    ("warmup", "period", "growth", "floor"), [(5, 20, 2, 1e-6), (5, 25, 1, 0.0), (1, 4, 3, 0.1), (3, 1, 1, 0.0)]
)
def test_the_schedule_equals_that_of_torch(warmup: int, period: int, growth: int, floor: float) -> None:
    ours = [
        learning_rate_factor(epoch, warmup=warmup, period=period, growth=growth, floor=floor) for epoch in range(90)
    ]
    assert ours == pytest.approx(_torch_factors(90, warmup, period, growth, floor), abs=1e-9)


def test_one_cycle_has_its_closed_form() -> None:
    """Warm-up is 0.1 + 0.9 e / 5; the cosine is (1 + cos(pi p / 4)) / 2 = 1, (2 + sqrt 2)/4, 1/2, (2 - sqrt 2)/4."""
    factors = [learning_rate_factor(epoch, warmup=5, period=4) for epoch in range(9)]
    root = math.sqrt(2)
    assert factors == pytest.approx([0.1, 0.28, 0.46, 0.64, 0.82, 1, (2 + root) / 4, 0.5, (2 - root) / 4])


def test_a_restart_follows_each_cycle() -> None:
    """Cycles of 20, 40, 80 epochs after 5 of warm-up start at 5, 25, 65 and 145."""
    peaks = [e for e in range(150) if learning_rate_factor(e, warmup=5, period=20, growth=2, floor=1e-6) == 1]
    assert peaks == [5, 25, 65, 145]


def test_each_cycle_is_lower_by_decay() -> None:
    """Cycles of two epochs have heights 0.8, 0.4, 0.2 above the floor of 0.2, and the factors of 1 and 1/2 of these."""
    factors = [learning_rate_factor(e, warmup=0, period=2, decay=0.5, floor=0.2) for e in range(6)]
    assert factors == pytest.approx([1, 0.6, 0.6, 0.4, 0.4, 0.3])


def test_without_warmup_the_first_epoch_is_the_peak() -> None:
    assert learning_rate_factor(0, warmup=0, period=10) == 1


@settings(deadline=None)
@given(
    epoch=st.integers(0, 500),
    warmup=st.integers(0, 20),
    period=st.integers(1, 50),
    growth=st.integers(1, 3),
    decay=st.floats(0, 1),
    floor=st.floats(0, 1),
)
def test_the_factor_stays_between_floor_and_peak(
    epoch: int, warmup: int, period: int, growth: int, decay: float, floor: float
) -> None:
    factor = learning_rate_factor(epoch, warmup=warmup, period=period, growth=growth, decay=decay, floor=floor)
    lowest = 0.1 if epoch < warmup else floor
    assert lowest - 1e-12 <= factor <= 1 + 1e-12
