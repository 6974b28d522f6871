"""Placement of features in use: in the device's memory or in the host's."""

import torch
from torch import Tensor

__all__ = ["RESIDENT_SHARE", "stays_on_device", "to_device"]


RESIDENT_SHARE = 0.4
"""Share of a GPU's memory that the features of all splits may take; training steps need the rest."""


def stays_on_device(size: int, device: torch.device) -> bool:
    """Return whether a split's features of ``size`` bytes are kept on ``device``; else batches are streamed to it.

    Memory already in use counts, including that of other splits, so the share for training steps stays free.
    """
    if device.type != "cuda":
        return device.type != "cpu"  # a CPU maps the files
    free, total = torch.cuda.mem_get_info(device)
    return size <= free - (1 - RESIDENT_SHARE) * total


def to_device(x: Tensor, device: torch.device) -> Tensor:
    """Copy ``x`` from the CPU to ``device``, without waiting for the device's earlier work."""
    return x.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else x.to(device)
