"""Shared parts of all benchmarks: options, spreads of measurements, and a description of the machine."""

import argparse
import json
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from sweeps.jobs import Report
from sweeps.ledger import Record
from sweeps.trial.hardware import own_hardware

__all__ = ["check_same", "machine", "merged", "parser", "spread", "spread_text", "write"]


def parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options that every benchmark has."""
    options = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true", help="less of everything: in under two minutes on a CPU")
    options.add_argument("--json", type=Path, metavar="FILE", help="where to write all numbers")
    return options


def merged(*overrides: Sequence[str]) -> list[str]:
    """Return one ``key=value`` for each setting, the last one; a configuration refuses a setting given twice."""
    return list({override.partition("=")[0]: override for part in overrides for override in part}.values())


def spread(values: Sequence[float] | npt.NDArray[np.floating]) -> list[float]:
    """Return the median and the quartiles of ``values``."""
    return [round(float(value), 4) for value in np.percentile(values, [50, 25, 75])]


def spread_text(values: Sequence[float], decimals: int = 2) -> str:
    """Return a :func:`spread` as text, such as ``1.08 (1.07 to 1.09)``."""
    return "{0:.{3}f} ({1:.{3}f} to {2:.{3}f})".format(*values, decimals)


def check_same(record: Record, report: Report) -> None:
    """Check that a job that ran again has reached the objective of its record.

    Raises:
        RuntimeError: the objectives differ.
    """
    if report.value is None or record.value is None or abs(report.value - record.value) > 1e-6:
        raise RuntimeError(f"{record.key}: the objective was {record.value} and is {report.value}.")


def machine() -> dict[str, Any]:
    """Describe this machine: processor, CPUs that this process may use, versions of Python and torch."""
    processor = own_hardware(torch.device("cpu")).processor
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"processor": processor, "cpus": cpus, "python": platform.python_version(), "torch": torch.__version__}


def write(file: Path | None, result: Mapping[str, Any]) -> None:
    """Write a result and the machine's description as JSON; without a file, write nothing."""
    if file is not None:
        file.write_text(json.dumps({"machine": machine(), **result}, indent=1) + "\n", encoding="utf-8")
