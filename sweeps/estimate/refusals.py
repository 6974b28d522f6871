"""Problems of a sweep that its configuration alone does not show: packages, labels, an earlier sweep, memory."""

from collections.abc import Callable, Sequence

from conclugen.features.manifest import Manifest
from sweeps.config import SweepConfig
from sweeps.search.warm_start import warm_start_problems

__all__ = ["LATER", "remote_sets", "too_large"]


def _missing_trackers(config: SweepConfig) -> list[str]:
    return config.tracking.missing()


def _label_problems(config: SweepConfig) -> list[str]:
    from sweeps.estimate.labels import label_findings  # loads torch

    return label_findings(config, fetch=False).problems


LATER: Sequence[Callable[[SweepConfig], list[str]]] = (_missing_trackers, warm_start_problems, _label_problems)
"""The checks that follow :func:`sweeps.config.load_config`.

Where the configuration is wrong, the problems that they find in its valid part are listed with the others.
"""


def remote_sets(config: SweepConfig) -> list[str]:
    """Return the addresses of the sets that are not on this machine."""
    sets = [config.features.pretrain, *config.features.downstream.values()]
    return [location for location in dict.fromkeys(sets) if isinstance(location, str)]


def too_large(config: SweepConfig, gpu_memory: float | None) -> list[str]:
    """Return a problem for each method that does not fit a GPU, or this machine if it has none.

    Args:
        config: the sweep, or the valid part of its configuration.
        gpu_memory: GiB of the GPUs to be used; None for this machine's.
    """
    from sweeps.estimate.footprint import cpu_problems, gpu_problems, own_memory, smallest_gpu  # loads torch

    modalities = {*config.modalities, *(name for subset in config.modality_subsets for name in subset)}
    widths = Manifest.read(config.features.pretrain).widths
    if not modalities <= widths.keys() or None in config.features.downstream.values():
        return []  # a wrong modality or set has a message of its own
    memory = smallest_gpu(config) if gpu_memory is None else int(gpu_memory * 2**30)
    if memory is not None:
        return gpu_problems(config, memory)
    return [] if remote_sets(config) else cpu_problems(config, own_memory())
