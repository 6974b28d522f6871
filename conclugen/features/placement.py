"""Where features lie while they are used: in the memory of the device, or of the host."""

import torch
from torch import Tensor

__all__ = ["RESIDENT_SHARE", "stays_on_device", "to_device"]


RESIDENT_SHARE = 0.4
"""Of a GPU's memory, what all splits' features together may take; the rest is the step's."""


def stays_on_device(size: int, device: torch.device) -> bool:
    """Whether a split's features of ``size`` bytes are placed on ``device`` once; else batches are streamed to it.

    What is there already, other splits included, counts: what has to stay free stays free.
    """
    if device.type != "cuda":
        return device.type != "cpu"  # a CPU maps the files
    free, total = torch.cuda.mem_get_info(device)
    return size <= free - (1 - RESIDENT_SHARE) * total


def to_device(x: Tensor, device: torch.device) -> Tensor:
    """Return ``x``, of the CPU, on ``device``, without waiting for what that does at the time."""
    return x.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else x.to(device)
