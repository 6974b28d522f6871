"""AdamW (Loshchilov and Hutter 2019, algorithm 2), computed by torch's fused kernels.

This module only keeps the optimiser's state and calls torch's function. `torch.optim.AdamW` keeps the same state, but
the first use of any optimiser class loads torch's compiler. That costs each process over 3 s of processor time and
80 MB, and nothing here is compiled (docs/decisions/start.md).
"""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

__all__ = ["AdamW"]

_BETAS, _EPSILON = (0.9, 0.999), 1e-8  # torch's defaults
_SLOTS = ("exp_avg", "exp_avg_sq", "step")  # torch's names


class AdamW:
    """Optimiser that updates parameters in place by their gradients.

    Args:
        parameters: the parameters; a step does not change those without a gradient.
        lr: learning rate; a tensor on the parameters' device can be changed between replays of a CUDA graph.
        weight_decay: weight decay, decoupled from the gradient.
    """

    def __init__(self, parameters: Iterable[nn.Parameter | Tensor], *, lr: float | Tensor, weight_decay: float) -> None:
        self.parameters = tuple(parameters)
        self._lr, self._weight_decay = lr, weight_decay
        self._state: dict[int, dict[str, Tensor]] = {}  # by index of the parameter, from its first gradient on

    @property
    def lr(self) -> float:
        """The learning rate of the next step; reading a tensor waits for its device."""
        return float(self._lr)

    @lr.setter
    def lr(self, value: float) -> None:
        if isinstance(self._lr, Tensor):
            self._lr.fill_(value)
        else:
            self._lr = value

    def zero_grad(self) -> None:
        """Drop all gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Update every parameter that has a gradient."""
        parameters: list[Tensor] = []
        gradients: list[Tensor] = []
        slots: dict[str, list[Tensor]] = {slot: [] for slot in _SLOTS}
        for index, parameter in enumerate(self.parameters):
            if parameter.grad is None:
                continue
            if index not in self._state:
                self._state[index] = _initial(parameter)
            parameters.append(parameter)
            gradients.append(parameter.grad)
            for slot, tensors in slots.items():
                tensors.append(self._state[index][slot])
        adamw(
            parameters,
            gradients,
            slots["exp_avg"],
            slots["exp_avg_sq"],
            [],
            slots["step"],
            fused=True,
            amsgrad=False,
            beta1=_BETAS[0],
            beta2=_BETAS[1],
            lr=self._lr,
            weight_decay=self._weight_decay,
            eps=_EPSILON,
            maximize=False,
        )

    def state(self) -> dict[str, Tensor]:
        """Return ``INDEX.SLOT`` -> tensor: both moments and the step count of each parameter that was updated.

        The tensors are not copied, so the next step changes them.
        """
        return {f"{index}.{slot}": tensor for index, slots in self._state.items() for slot, tensor in slots.items()}

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Continue from what :meth:`state` returned for the same parameters."""
        self._state = {}
        for name, tensor in tensors.items():
            index, _, slot = name.partition(".")
            parameter = self.parameters[int(index)]
            self._state.setdefault(int(index), {})[slot] = tensor.to(parameter.device, copy=True)


def _initial(parameter: Tensor) -> dict[str, Tensor]:
    step = torch.zeros((), dtype=torch.float32, device=parameter.device)
    return {"exp_avg": torch.zeros_like(parameter), "exp_avg_sq": torch.zeros_like(parameter), "step": step}
