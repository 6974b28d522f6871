"""What a worker runs on, in the words of a paper: which GPU, or which CPU and how many of its threads; and using them.

Hides where each system keeps these names. Ray's own resources were rejected: they tell what was asked for, not what it
is called, and nothing of a trial that runs without Ray.
"""

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from conclugen.distributed import rank_and_size
from sweeps.config import SweepConfig
from sweeps.ledger import Hardware

__all__ = ["computing", "own_hardware"]

_CPUINFO = Path("/proc/cpuinfo")


def own_hardware(device: torch.device) -> Hardware:
    """Return what this process, and the group of workers that it is in, runs on.

    Args:
        device: where it trains; the others of the group train on one of the same kind each.
    """
    workers = rank_and_size()[1]
    return Hardware(
        host=platform.node(),
        processor=_processor(),
        threads=torch.get_num_threads(),
        workers=workers,
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        gpus=0 if device.type == "cpu" else workers,
    )


@contextmanager
def computing(threads: int) -> Iterator[None]:
    """Compute as every process that runs jobs does: with so many threads on the CPU, and denormal numbers taken for 0.

    When it is left, there are as many threads as before, and denormal numbers, which torch does not say whether there
    were. The last bits of a sum follow from the number of threads, and training makes other results of them.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)  # the optimisers' vanishing moments are 10 times slower as denormal numbers
    try:
        yield
    finally:
        torch.set_num_threads(before)
        torch.set_flush_denormal(False)


def _processor() -> str:
    """The CPU's name; its architecture where the system has no name for it."""
    try:
        lines = _CPUINFO.read_text(errors="replace").splitlines()
    except OSError:  # only Linux has it
        lines = []
    entries = (line.partition(":") for line in lines)
    names = (value.strip() for name, _, value in entries if name.strip() == "model name")
    return next(names, "") or platform.processor() or platform.machine()


def on_gpus(config: SweepConfig) -> bool:
    """Whether the sweep's trials would run on GPUs of this machine."""
    return torch.cuda.is_available() and config.workers.gpus != 0
