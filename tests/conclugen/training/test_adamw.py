"""The optimiser, against that of torch."""

import subprocess
import sys

import pytest
import torch

from conclugen.training.adamw import AdamW


def _parameters() -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in ((5, 3), (4,), (2, 2))]


def _give_gradients(parameters: list[torch.nn.Parameter], number: int) -> None:
    """Set different gradients in each step; the last parameter has none before the third step."""
    generator = torch.Generator().manual_seed(number)
    for parameter in parameters[: 3 if number >= 2 else 2]:
        parameter.grad = torch.randn(parameter.shape, generator=generator)


@pytest.mark.parametrize("as_tensor", [False, True])
def test_steps_equal_those_of_torch_to_the_last_bit(as_tensor: bool) -> None:
    ours, reference_parameters = _parameters(), _parameters()
    lr = torch.tensor(0.1) if as_tensor else 0.1
    optimizer = AdamW(ours, lr=lr, weight_decay=0.3)
    reference = torch.optim.AdamW(
        reference_parameters, lr=lr.clone() if as_tensor else lr, weight_decay=0.3, fused=True
    )
    for number in range(6):
        optimizer.lr = rate = 0.1 / (number + 1)
        for group in reference.param_groups:
            group["lr"] = torch.tensor(rate) if as_tensor else rate
        _give_gradients(ours, number)
        _give_gradients(reference_parameters, number)
        optimizer.step()
        reference.step()
        assert all(map(torch.equal, ours, reference_parameters))
    expected = {
        f"{index}.{slot}": value
        for index, slots in reference.state_dict()["state"].items()
        for slot, value in slots.items()
    }
    assert optimizer.state().keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in optimizer.state().items())


def test_the_optimiser_continues_from_a_state() -> None:
    whole, rest = _parameters(), _parameters()
    optimizer = AdamW(whole, lr=0.1, weight_decay=0.3)
    for number in range(3):
        _give_gradients(whole, number)
        optimizer.step()
    continued = AdamW(rest, lr=0.1, weight_decay=0.3)
    continued.load_state(optimizer.state())
    with torch.no_grad():
        for parameter, value in zip(rest, whole, strict=True):
            parameter.copy_(value)
    for number in range(3, 5):
        for parameters, each in ((whole, optimizer), (rest, continued)):
            _give_gradients(parameters, number)
            each.step()
    assert all(map(torch.equal, whole, rest))


def test_without_any_gradient_nothing_moves() -> None:
    parameters = _parameters()
    _give_gradients(parameters, 0)
    optimizer = AdamW(parameters, lr=0.1, weight_decay=0.3)
    optimizer.zero_grad()
    optimizer.step()
    assert all(map(torch.equal, parameters, _parameters()))
    assert optimizer.state() == {}


def test_a_learning_rate_that_is_a_tensor_is_changed_in_place() -> None:
    lr = torch.tensor(0.5)
    AdamW(_parameters(), lr=lr, weight_decay=0.0).lr = 0.25
    assert lr.item() == 0.25


def test_no_process_that_trains_loads_the_compiler() -> None:
    """Loading it costs each process seconds."""
    program = """
import sys, torch
from conclugen.evaluation.draws import LabelledDraws
from conclugen.evaluation.probe import fit_probes
x, y = torch.randn(20, 4), torch.arange(20) % 2
draws = torch.arange(20)[None]
data = LabelledDraws(x=x, labels=y, draws=draws, validation_x=x, validation_labels=y, classes=("a", "b"))
for instrument in ("logistic", "knn", "paper"):
    fit_probes(instrument, data)
from conclugen.baselines.supervised import SupervisedTraining
from conclugen.training.pretrain import Pretraining
sys.exit("torch._dynamo" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
