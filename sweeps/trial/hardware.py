"""Names the hardware that a worker runs on, as a paper would, and sets how a worker computes.

The hardware is the GPU's name, or the CPU's name and the number of threads. Ray's resources were rejected: they hold
amounts, not names, and do not exist for a trial without Ray.
"""

import platform
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from conclugen.distributed import rank_and_size
from sweeps.config import SweepConfig
from sweeps.ledger import Hardware
from sweeps.processor import processor_name

__all__ = ["computing", "on_gpus", "own_hardware"]


def own_hardware(device: torch.device) -> Hardware:
    """Return the hardware of this process and of the worker group that it belongs to.

    Args:
        device: the device that this process trains on; the other workers of the group have devices of the same kind.
    """
    workers = rank_and_size()[1]
    return Hardware(
        host=platform.node(),
        processor=processor_name(),
        threads=torch.get_num_threads(),
        workers=workers,
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        gpus=0 if device.type == "cpu" else workers,
    )


@contextmanager
def computing(threads: int) -> Iterator[None]:
    """Compute as every process that runs jobs does: with ``threads`` CPU threads, and with denormal numbers as 0.

    At the end of the block, the number of threads is restored and denormal numbers are allowed. Torch does not say
    whether they were allowed before. The number of threads changes the last bits of a sum, and so training results.

    Args:
        threads: the number of CPU threads.
    """
    former_threads = torch.get_num_threads()
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)  # the optimisers' vanishing moments are 10 times slower as denormal numbers
    try:
        yield
    finally:
        torch.set_num_threads(former_threads)
        torch.set_flush_denormal(False)


def on_gpus(config: SweepConfig) -> bool:
    """Whether the sweep's trials would run on GPUs of this machine."""
    return torch.cuda.is_available() and config.workers.gpus != 0
