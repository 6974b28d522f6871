"""What the benchmarks share: their options, how numbers that scatter are told, and where they were measured."""

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

__all__ = ["compare", "machine", "parser", "spread", "told", "write"]


def parser(description: str | None) -> argparse.ArgumentParser:
    """A parser with the options that every benchmark has."""
    options = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true", help="less of everything: in under two minutes on a CPU")
    options.add_argument("--json", type=Path, metavar="FILE", help="where to write all numbers")
    return options


def spread(values: npt.ArrayLike) -> list[float]:
    """Median and quartiles."""
    return [round(float(value), 4) for value in np.percentile(values, [50, 25, 75])]


def told(values: Sequence[float], decimals: int = 2) -> str:
    """A spread as text."""
    return "{0:.{3}f} ({1:.{3}f} to {2:.{3}f})".format(*values, decimals)


def compare(record: Record, report: Report) -> None:
    """See that a job that was run again has come to the objective on record.

    Raises:
        RuntimeError: it has not.
    """
    if report.value is None or record.value is None or abs(report.value - record.value) > 1e-6:
        raise RuntimeError(f"{record.key}: the objective was {record.value} and is {report.value}.")


def machine() -> dict[str, Any]:
    """What numbers were measured on."""
    processor = own_hardware(torch.device("cpu")).processor
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"processor": processor, "cpus": cpus, "python": platform.python_version(), "torch": torch.__version__}


def write(file: Path | None, result: Mapping[str, Any]) -> None:
    """Write a result, with where it was measured, where a file was asked for."""
    if file is not None:
        file.write_text(json.dumps({"machine": machine(), **result}, indent=1) + "\n")
